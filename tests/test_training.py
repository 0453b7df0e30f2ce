import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from mtlser.config import RECIPE_VERSION, RunConfig
from mtlser.corpus.dataset import build_dataset
from mtlser.runs import training
from mtlser.runs.checkpoints import save_checkpoint
from mtlser.runs.feed import Feed
from mtlser.runs.records import EPOCH, RecordError, read_run, run_status
from mtlser.runs.training import RunInputs, Trainer, learning_rate_factor, make_optimizer, train
from tiny import tiny_backbone, tiny_utterances

CONFIG = RunConfig("smoke", fold="Ses02M", epochs=3, learning_rate=1e-2, batch_size=8, mask_time_length=2)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    utterances = tiny_utterances(folder / "wav")
    speech = build_dataset(utterances, folder / "cache")
    is_test = (utterances["speaker"] == "Ses02M").to_numpy()
    return RunInputs(
        run_id="a-run", dataset=speech, train=np.flatnonzero(~is_test), test=np.flatnonzero(is_test),
        backbone=str(tiny_backbone(folder / "backbone")), backbone_revision=None, record={"corpus": "tones"},
    )  # fmt: skip


def tables(folder):
    history = pd.read_parquet(folder / "history.parquet").drop(columns="seconds")
    return history, pd.read_parquet(folder / "predictions.parquet")


def assert_equal_records(one, other):
    for left, right in zip(tables(one), tables(other), strict=True):
        pd.testing.assert_frame_equal(left, right, check_exact=True)


def test_learning_rate_warms_up_then_decays_to_nothing():
    factors = [learning_rate_factor(step, 10, 0.2) for step in range(10)]
    assert factors[:3] == [0.5, 1.0, 1.0]
    np.testing.assert_allclose(np.diff(factors[2:]), -1 / 8)
    assert factors[-1] == pytest.approx(1 / 8)
    assert learning_rate_factor(0, 10, 0.0) == 1.0


def test_the_optimiser_has_table_1_and_what_the_library_added(inputs):
    model = training.MultitaskModel.from_backbone(inputs.backbone, seed=0)
    model.freeze_convolutions()
    group = make_optimizer(model, replace(CONFIG, alpha=0.1, learning_rate=5e-5)).param_groups[0]
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (5e-5, (0.9, 0.999), 1e-8, 0.0)
    assert not any(p is q for p in model.wav2vec2.feature_extractor.parameters() for q in group["params"])


@pytest.mark.parametrize("freeze", [False, True])
def test_a_run_leaves_complete_records(inputs, tmp_path, freeze):
    config = replace(CONFIG, freeze_convolutions=freeze)
    events = []
    assert train(config, inputs, tmp_path, keep_weights=True, progress=events.append) == "done"
    run, (history, predictions) = read_run(tmp_path), tables(tmp_path)
    assert run["status"] == "done" and run["config"] == config.to_dict() and run["corpus"] == "tones"
    assert history["epoch"].tolist() == [1, 2, 3] == [event["epoch"] for event in events]
    assert np.isfinite(history.to_numpy(dtype=float)).all()
    assert predictions["utterance"].tolist() == inputs.dataset.table["utterance"].iloc[inputs.test].tolist()
    assert run["final"]["num_correct"] == (predictions["label"] == predictions["prediction"]).sum()
    assert history["accuracy"].iloc[-1] == run["final"]["accuracy"]
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert not (tmp_path / "checkpoint.pt").exists()


def test_training_lowers_the_loss(inputs, tmp_path):
    train(replace(CONFIG, epochs=8, mask_time_probability=0.0), inputs, tmp_path)
    loss = pd.read_parquet(tmp_path / "history.parquet")["loss"]
    assert loss.iloc[-1] < 0.7 * loss.iloc[0]


def masks_of(trainer, indices, epoch):
    """Of each part of the batch."""
    return [trainer.feed.masks(part, epoch).numpy().tobytes() for part in trainer.feed.parts(indices, 40.0)]


def test_two_runs_are_equal_and_alpha_changes_neither_order_nor_initialisation(inputs, tmp_path, monkeypatch):
    seen = {}
    original = Trainer._step

    def spy(self, indices, parts, epoch):
        key = (self.config.alpha, epoch, tuple(indices))
        seen.setdefault(self.config.alpha, []).append((key[1:], masks_of(self, indices, epoch)))
        if len(seen[self.config.alpha]) == 1:
            seen[f"{self.config.alpha} heads"] = self.model.ctc_head.weight.detach().numpy().tobytes()
        return original(self, indices, parts, epoch)

    monkeypatch.setattr(Trainer, "_step", spy)
    train(CONFIG, inputs, tmp_path / "a")
    train(replace(CONFIG, alpha=1.0), inputs, tmp_path / "b")
    assert seen[0.1] == seen[1.0]
    assert seen["0.1 heads"] == seen["1.0 heads"]
    monkeypatch.undo()
    train(CONFIG, inputs, tmp_path / "c")
    assert_equal_records(tmp_path / "a", tmp_path / "c")


@pytest.mark.parametrize("freeze", [False, True])
@pytest.mark.parametrize("stop_at", [(1, 2), (2, 0)])  # (epoch, step) at which it is killed
def test_a_killed_run_resumes_with_the_uninterrupted_result_bitwise(inputs, tmp_path, monkeypatch, freeze, stop_at):
    config = replace(CONFIG, freeze_convolutions=freeze)
    train(config, inputs, tmp_path / "whole")
    original, steps = Trainer._step, []

    def kill(self, indices, parts, epoch):
        steps.append(epoch)
        if (epoch, steps.count(epoch) - 1) == stop_at:
            raise KeyboardInterrupt
        return original(self, indices, parts, epoch)

    monkeypatch.setattr(Trainer, "_step", kill)
    monkeypatch.setattr(training, "CHECKPOINT_SHARE", float("inf"))  # after every epoch
    with pytest.raises(KeyboardInterrupt):
        train(config, inputs, tmp_path / "killed", checkpoint_seconds=0.0)
    assert run_status(tmp_path / "killed") == "running"
    epoch, seconds, host = json.loads((tmp_path / "killed" / EPOCH).read_text())
    assert epoch == stop_at[0] and seconds > 0 and host
    monkeypatch.undo()
    torch.rand(7), np.random.rand(7)  # another process has other generator states
    started = []
    train(config, inputs, tmp_path / "killed", progress=lambda event: started.append(event["epoch"]))
    assert started[0] == stop_at[0] + 1  # finished epochs are not repeated
    assert not (tmp_path / "killed" / EPOCH).exists()
    assert_equal_records(tmp_path / "whole", tmp_path / "killed")


def test_the_controls_of_ctc(inputs, tmp_path):
    """On a detached encoder CTC trains its own head alone; clipped apart, emotion's gradient is that of alpha 0."""

    def gradients(**changes) -> dict[str, torch.Tensor]:
        config = replace(CONFIG, max_gradient_norm=0.1, mask_time_probability=0.0, dropout=0.0, **changes)
        trainer = Trainer(config, inputs, tmp_path)
        trainer.model.train()
        trainer.step(inputs.train[:8], 0)
        return {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}

    def same(one: dict, other: dict, scale: float = 1.0) -> bool:
        names = [name for name in other if not name.startswith("ctc_head")]
        return all(torch.allclose(one[name] * scale, other[name], atol=1e-7) for name in names)

    zero, shared = gradients(alpha=0.0), gradients(alpha=1.0)
    head, apart = (gradients(alpha=1.0, ctc_gradient=kind) for kind in ("head", "head, clipped apart"))
    assert "ctc_head.weight" not in zero and apart["ctc_head.weight"].any()
    assert same(apart, zero) and not same(head, zero) and not same(shared, zero)
    scale = (zero["emotion_head.weight"].norm() / head["emotion_head.weight"].norm()).item()
    assert scale > 1.1 and same(head, zero, scale)  # clipped together: all of emotion's gradient is smaller
    squares = [p.square().sum() for name, p in apart.items() if name.startswith("ctc_head")]
    assert torch.stack(squares).sum().sqrt().item() == pytest.approx(0.1, rel=1e-3)


def test_exchanged_transcripts_train_and_the_test_is_read_by_its_own(inputs, tmp_path):
    trainer = Trainer(replace(CONFIG, alpha=0.1, training_texts="exchanged"), inputs, tmp_path)
    own, used = (dataset.table["text"].to_numpy() for dataset in (inputs.dataset, trainer.feed.dataset))
    assert (own[inputs.test] == used[inputs.test]).all()
    assert (own[inputs.train] != used[inputs.train])[own[inputs.train] != ""].all()


def test_micro_batches_change_no_result(inputs, tmp_path):
    train(
        replace(CONFIG, epochs=1, batch_size=5, dropout=0.0, layerdrop=0.0), inputs, tmp_path / "whole"
    )  # batches of 5, 5, 5 and 3
    train(
        replace(CONFIG, epochs=1, batch_size=5, dropout=0.0, layerdrop=0.0, micro_batch_seconds=0.5),
        inputs,
        tmp_path / "parts",
    )
    whole, parts = tables(tmp_path / "whole")[0], tables(tmp_path / "parts")[0]
    for name in ("loss_ce", "loss_ctc", "gradient_norm_ce", "gradient_norm_ctc"):
        np.testing.assert_allclose(whole[name], parts[name], rtol=1e-3)


def gradients_and_parts(inputs, folder, indices, **changes):
    """The gradients of one step on those rows, and the rows of its micro-batches."""
    trainer = Trainer(replace(CONFIG, dropout=0.0, layerdrop=0.0, max_gradient_norm=1e9, **changes), inputs, folder)
    parts, original = [], trainer.feed.outputs
    trainer.feed.outputs = lambda part, mask=None: (parts.append(part.indices.tolist()), original(part, mask))[1]
    trainer.optimizer.step = lambda: None
    trainer.model.train()
    trainer.step(indices, epoch=0)
    return {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}, parts


def assert_close_gradients(one, other, rtol=1e-3, atol=1e-4):
    assert one.keys() == other.keys() and one
    for name, gradient in one.items():
        torch.testing.assert_close(other[name], gradient, rtol=rtol, atol=atol, msg=name)


@pytest.mark.parametrize(
    ("split", "freeze"),
    [({"micro_batch_seconds": 0.1}, False), ({"micro_batch_seconds": 0.1}, True),
     ({"micro_batch_padding_seconds": 0.15}, True)],
)  # fmt: skip
def test_gradients_of_a_batch_equal_those_of_any_split(inputs, tmp_path, split, freeze):
    whole, parts = gradients_and_parts(inputs, tmp_path, inputs.train[:8], freeze_convolutions=freeze)
    assert len(parts) == 1
    split, parts = gradients_and_parts(inputs, tmp_path, inputs.train[:8], freeze_convolutions=freeze, **split)
    assert len(parts) > 1
    assert_close_gradients(whole, split)


def test_in_bf16_the_weights_are_rounded_once_for_all_parts_of_a_step(inputs, tmp_path, monkeypatch):
    chosen = inputs.train[:4]
    together, parts = gradients_and_parts(inputs, tmp_path, chosen, precision="bf16", micro_batch_seconds=0.1)
    assert len(parts) == 4
    original = Feed.loss

    def clearing(self, *arguments):  # as if each part had its own autocast
        torch.clear_autocast_cache()
        return original(self, *arguments)

    monkeypatch.setattr(Feed, "loss", clearing)
    apart, _ = gradients_and_parts(inputs, tmp_path, chosen, precision="bf16", micro_batch_seconds=0.1)
    for name, gradient in together.items():
        assert gradient.dtype == torch.float32
        torch.testing.assert_close(apart[name], gradient, rtol=0, atol=0, msg=name)
    single, _ = gradients_and_parts(inputs, tmp_path, chosen, micro_batch_seconds=0.1)
    assert_close_gradients(single, together, rtol=0.1, atol=0.05)


def test_the_longest_utterance_of_iemocap_is_a_micro_batch_of_its_own(tmp_path):
    """34.1 s among short ones: it is a part of its own, and the gradients are those of the whole batch."""
    utterances = tiny_utterances(tmp_path / "wav", per_speaker=2)
    noise = np.random.default_rng(3).normal(0, 0.1, int(34.139 * 16_000)).astype(np.float32)
    soundfile.write(utterances["wav"][5], noise, 16_000, subtype="PCM_16")
    speech = build_dataset(utterances, tmp_path / "cache")
    inputs = RunInputs("a-run", speech, np.arange(8), np.arange(8), str(tiny_backbone(tmp_path / "b")), None)
    split, parts = gradients_and_parts(inputs, tmp_path, inputs.train, micro_batch_seconds=34.139)
    assert [5] in parts and sorted(sum(parts, [])) == list(range(8)) and len(parts) == 2
    no_limit = {"micro_batch_seconds": 999.0, "micro_batch_padding_seconds": 999.0}
    whole, parts = gradients_and_parts(inputs, tmp_path, inputs.train, **no_limit)
    assert len(parts) == 1
    assert_close_gradients(whole, split)


def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_batch(inputs, tmp_path, monkeypatch):
    epochs, original = [], Feed.masks

    def broken(self, batch, epoch):  # a weight breaks in the second epoch
        if epoch == 1 and not epochs:
            epochs.append(epoch)
            with torch.no_grad():
                self.model.emotion_head.weight[0, 0] = float("inf")
        return original(self, batch, epoch)

    monkeypatch.setattr(Feed, "masks", broken)
    assert train(CONFIG, inputs, tmp_path) == "diverged"
    run = read_run(tmp_path)
    assert run["status"] == "diverged" and "epoch 2" in run["error"] and not run["collapsed"]
    assert any(name in run["error"] for name in inputs.dataset.table["utterance"])
    assert len(pd.read_parquet(tmp_path / "history.parquet")) == 1


def test_losses_may_be_read_late_and_batches_prepared_ahead(inputs, tmp_path, monkeypatch):
    """As on a GPU: nothing changes, and a loss that is not finite is found, with its own batch."""
    train(CONFIG, inputs, tmp_path / "at once")

    class Elsewhere(Trainer):  # a device that is not called "cpu", of the same arithmetic
        def _train_epoch(self, epoch):
            own, self.device = self.device, type("Device", (), {"type": "elsewhere"})()
            monkeypatch.setattr(torch, "zeros", lambda *shape, device=None, **given: zeros(*shape, **given))
            try:
                return super()._train_epoch(epoch)
            finally:
                self.device = own
                monkeypatch.setattr(torch, "zeros", zeros)

    zeros = torch.zeros
    monkeypatch.setattr(training, "STEPS_UNREAD", 2)
    monkeypatch.setattr(training, "Trainer", Elsewhere)
    train(replace(CONFIG, micro_batch_padding_seconds=999.0), inputs, tmp_path / "late")
    assert_equal_records(tmp_path / "at once", tmp_path / "late")
    trainer = Trainer(CONFIG, inputs, tmp_path)
    steps = [(np.array([row, row + 1]), torch.tensor([1.0, 1.0, 0.0, 2.0])) for row in (0, 2, 4)]
    np.testing.assert_allclose(trainer._read(steps, 0), [6.0, 6.0, 0.0])
    steps[1][1][3] = float("nan")
    names = ", ".join(inputs.dataset.table["utterance"].iloc[[2, 3]])
    with pytest.raises(training.Diverged, match=f"gradient norm nan, in the batch of {names}$"):
        trainer._read(steps, 0)


def test_checkpoints_take_two_percent_of_the_time_at_most(inputs, tmp_path, monkeypatch):
    """A slow disk: each takes a minute, so the next is not due within fifty."""
    clock, saved = [0.0], []

    def save(self):
        saved.append(clock[0])
        clock[0] += 60.0

    def epoch(self, number):
        clock[0] += 100.0
        return {"loss": 0.0, "loss_ce": 0.0, "loss_ctc": 0.0, "learning_rate": 0.0}

    monkeypatch.setattr(training.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(Trainer, "_save", save)
    monkeypatch.setattr(Trainer, "_train_epoch", epoch)
    train(replace(CONFIG, epochs=70), inputs, tmp_path)
    assert saved[0] == 100.0 and saved[1] - saved[0] - 60.0 == 3000.0


def test_at_alpha_zero_a_ctc_loss_that_is_not_finite_is_recorded_and_no_divergence(inputs, tmp_path, monkeypatch):
    original = Feed.outputs

    def broken(self, batch, mask=None):
        emotion_logits, ctc_logits, frame_lengths = original(self, batch, mask)
        return emotion_logits, ctc_logits * float("nan"), frame_lengths

    train(replace(CONFIG, alpha=0.0, epochs=1), inputs, tmp_path / "whole")
    monkeypatch.setattr(Feed, "outputs", broken)
    assert train(replace(CONFIG, alpha=0.0, epochs=1), inputs, tmp_path / "broken") == "done"
    whole, broken = (tables(tmp_path / name)[0] for name in ("whole", "broken"))
    assert broken["loss_ctc"].isna().all() and whole["loss_ctc"].notna().all()
    assert broken["loss"].equals(whole["loss"]) and broken["loss"].equals(broken["loss_ce"])
    assert train(replace(CONFIG, epochs=1), inputs, tmp_path / "with CTC") == "diverged"


def test_an_error_is_recorded_as_failed_and_raised(inputs, tmp_path):
    with pytest.raises(ValueError, match="not a folder"):
        train(CONFIG, replace(inputs, backbone="./nowhere"), tmp_path)
    run = read_run(tmp_path)
    assert run["status"] == "failed" and "nowhere" in run["error"]


def test_a_damaged_checkpoint_names_its_file(inputs, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(RecordError, match=r"checkpoint\.pt.*delete"):
        train(CONFIG, inputs, tmp_path)


def test_bf16_trains_finite(inputs, tmp_path):
    events = []
    assert train(replace(CONFIG, epochs=1, precision="bf16"), inputs, tmp_path, progress=events.append) == "done"
    assert not [event for event in events if "note" in event]
    assert np.isfinite(tables(tmp_path)[0].to_numpy(dtype=float)).all()


# Losses per epoch of CONFIG without dropout on the tiny corpus. If they move, training arithmetic changed: raise
# RECIPE_VERSION and put the new numbers here, so that records of different arithmetic are never mixed.
GOLDEN = {1: {"loss_ce": [1.344165, 0.400845, 0.092126], "loss_ctc": [32.463371, 30.619927, 28.571053]}}


def test_training_arithmetic_is_that_of_the_recipe_version(inputs, tmp_path):
    train(replace(CONFIG, dropout=0.0, layerdrop=0.0), inputs, tmp_path)
    history = tables(tmp_path)[0]
    for name, values in GOLDEN[RECIPE_VERSION].items():
        found = history[["loss_ce", "loss_ctc"]].to_string()
        np.testing.assert_allclose(history[name], values, rtol=2e-3, err_msg=found)


def test_a_checkpoint_of_another_run_names_its_file(inputs, tmp_path):
    save_checkpoint(tmp_path / "checkpoint.pt", "another-run", {})
    with pytest.raises(RecordError, match=r"checkpoint\.pt belongs to run another-run; delete"):
        train(CONFIG, inputs, tmp_path)
