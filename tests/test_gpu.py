"""Correctness on a GPU, beside the CPU: encoders, loss and gradient, training, resuming, two runs on one card.

`make test-gpu` runs them. Without CUDA they are reported as not run; `make gpu DEVICE=cpu` tries them on the CPU, where
they compare it with itself.
"""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import Wav2Vec2Config, WavLMConfig, WhisperConfig

from mtlser.config import RunConfig
from mtlser.corpus.dataset import build_dataset
from mtlser.machine import use_float32
from mtlser.model.losses import multitask_loss
from mtlser.model.multitask import make_encoder
from mtlser.runs.engines import complete
from mtlser.runs.evaluation import predict
from mtlser.runs.records import read_run
from mtlser.runs.training import RunInputs, Trainer, train
from tiny import tiny_backbone, tiny_plan, tiny_utterances
from tiny_models import FAMILIES, padded, tiny_config, waveforms

pytestmark = pytest.mark.gpu

FLOAT32 = 1e-4  # between processors, of outputs of about 1
BF16 = 0.1  # three digits, through some layers
CONFIG = RunConfig(
    "smoke", fold="Ses02M", epochs=4, learning_rate=5e-3, batch_size=4, mask_time_length=2, dropout=0.0, layerdrop=0.0
)


@pytest.fixture(scope="module")
def device() -> torch.device:
    use_float32()
    if torch.cuda.is_available():
        return torch.device("cuda")
    if os.environ.get("MTLSER_DEVICE") == "cpu":
        return torch.device("cpu")
    pytest.skip("NOT RUN: no CUDA")


def whisper_config() -> WhisperConfig:
    return WhisperConfig(
        vocab_size=32, d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=24, num_mel_bins=80,
        max_source_positions=60, pad_token_id=0,
    )  # fmt: skip


def of_kind(configuration: type, size: str):
    fields = tiny_config(size).to_dict() | {"model_type": configuration.model_type}
    return configuration.from_dict(fields | {"num_buckets": 12, "max_bucket_distance": 30})


KINDS = {
    **{f"wav2vec2, {size}": lambda size=size: of_kind(Wav2Vec2Config, size) for size in FAMILIES},
    # HuBERT is read into the encoder of wav2vec 2.0.
    **{f"wavlm, {size}": lambda size=size: of_kind(WavLMConfig, size) for size in FAMILIES},
    "whisper": whisper_config,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_encoder_packed_and_padded_equals_the_cpu(kind, device):
    torch.manual_seed(0)
    encoder = make_encoder(KINDS[kind]()).eval()
    inputs, lengths = padded(waveforms(dtype=torch.float32))
    if encoder.hears_raw:
        inputs = inputs / inputs.abs().max()

    def outputs(where: torch.device, autocast: bool = False) -> list[torch.Tensor]:
        encoder.to(where)
        with torch.no_grad(), torch.autocast(where.type, torch.bfloat16, enabled=autocast):
            hidden, frames = encoder(inputs.to(where), lengths)
            features, _ = encoder.convolve(inputs.to(where), lengths)
            again = encoder.forward_features(features, frames)
        valid = torch.arange(hidden.shape[1])[None] < frames.cpu()[:, None]
        return [each.float().cpu()[valid] for each in (hidden, again)]

    expected = outputs(torch.device("cpu"))
    for found, wanted in zip(outputs(device), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=FLOAT32)
    for found, wanted in zip(outputs(device, autocast=True), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=BF16)


@pytest.mark.parametrize("transcripts", ["some", "one empty", "one too long", "all empty"])
def test_loss_and_gradient_equal_the_cpu(transcripts, device):
    """Whatever CTC can't spell or has nothing to spell."""
    generator = torch.Generator().manual_seed(1)
    emotions, characters = (torch.randn(*shape, generator=generator) for shape in ((4, 4), (4, 20, 32)))
    frames, labels = torch.tensor([20, 15, 9, 12]), torch.tensor([0, 1, 2, 3])
    targets = torch.randint(5, 32, (4, 15), generator=generator)
    target_lengths = {
        "some": [5, 4, 3, 2], "one empty": [5, 0, 3, 2], "one too long": [5, 4, 15, 2], "all empty": [0, 0, 0, 0]
    }[transcripts]  # fmt: skip

    def computed(where: torch.device) -> list[torch.Tensor]:
        logits = [each.to(where).requires_grad_() for each in (emotions, characters)]
        lengths = torch.tensor(target_lengths)
        loss = multitask_loss(*logits, frames, labels.to(where), targets.to(where), lengths, 0.1)
        loss.total.backward()
        assert loss.num_infeasible == (transcripts == "one too long")
        return [loss.total.detach().cpu(), loss.ctc.detach().cpu(), *(each.grad.cpu() for each in logits)]

    for found, wanted in zip(computed(device), computed(torch.device("cpu")), strict=True):
        torch.testing.assert_close(found, wanted, rtol=FLOAT32, atol=FLOAT32)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> RunInputs:
    folder = tmp_path_factory.mktemp("gpu")
    utterances = tiny_utterances(folder / "wav")
    is_test = (utterances["speaker"] == "Ses02M").to_numpy()
    speech, backbone = build_dataset(utterances, folder / "cache"), str(tiny_backbone(folder / "backbone"))
    return RunInputs("a-run", speech, np.flatnonzero(~is_test), np.flatnonzero(is_test), backbone, None)


def trainer_on(where: torch.device, config: RunConfig, inputs: RunInputs, folder, monkeypatch) -> Trainer:
    with monkeypatch.context() as only:
        if where.type == "cpu":
            only.setattr(torch.cuda, "is_available", lambda: False)
        return Trainer(config, inputs, folder)


@pytest.mark.parametrize("freeze", [False, True])
def test_twenty_steps_equal_the_cpus(freeze, inputs, tmp_path, device, monkeypatch):
    config, losses, logits = replace(CONFIG, freeze_convolutions=freeze), {}, {}
    for name, where in (("cpu", torch.device("cpu")), ("device", device)):
        trainer = trainer_on(where, config, inputs, tmp_path, monkeypatch)
        trainer.model.train()
        batches = [inputs.train[(4 * step) % 16 :][:4] for step in range(20)]
        losses[name] = np.array([trainer.step(batch, 0) for batch in batches])
        logits[name] = np.stack(predict(trainer.feed, inputs.test)["logits"])
    np.testing.assert_allclose(losses["device"], losses["cpu"], rtol=1e-3)
    np.testing.assert_allclose(logits["device"], logits["cpu"], rtol=1e-2, atol=1e-2)  # and so evaluation


def test_a_killed_run_resumes_on_the_device(inputs, tmp_path, device, monkeypatch):
    """CUDA's CTC adds in no fixed order, so that the results agree, and not bit for bit."""
    train(CONFIG, inputs, tmp_path / "whole")
    original, epochs = Trainer._train_epoch, []

    def kill(self, epoch):
        if epoch == 2 and not epochs:
            epochs.append(epoch)
            raise KeyboardInterrupt
        return original(self, epoch)

    monkeypatch.setattr(Trainer, "_train_epoch", kill)
    with pytest.raises(KeyboardInterrupt):
        train(CONFIG, inputs, tmp_path / "killed", checkpoint_seconds=0.0)
    started = []
    train(CONFIG, inputs, tmp_path / "killed", progress=lambda event: started.append(event["epoch"]))
    assert started[0] > 1
    whole, killed = (pd.read_parquet(tmp_path / name / "history.parquet") for name in ("whole", "killed"))
    np.testing.assert_allclose(killed["loss"], whole["loss"], rtol=1e-3)
    assert (device.type == "cuda") == (read_run(tmp_path / "whole")["device"] != "cpu")


def test_two_runs_share_the_card(tmp_path, device):
    chosen = {"alphas": (0.0, 0.1), "folds": ("Ses01F",), "workers": 2, "device": "any"}
    plan = tiny_plan(tmp_path, tiny_utterances(tmp_path / "wav"), **chosen)
    runs = complete(plan).runs
    assert runs["status"].tolist() == ["done", "done"] and runs["accuracy"].between(0, 1).all()
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    assert set(runs["device"]) == {name}
