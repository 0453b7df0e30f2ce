"""The pocket backbone's pretraining: masks, a loss that falls, the same again, and the files that ship."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2Config

from mtlser.config import POCKET_BACKBONE
from mtlser.model import MultitaskModel
from mtlser.model.backbone import read_config
from mtlser.model.frames import FrameLayout
from mtlser.model.pretraining import Pretraining, PretrainingConfig, draw_mask, masked_loss
from mtlser.model.pretraining_speech import SpeechConfig, Utterance, make_utterances

CONFIG = PretrainingConfig(
    speech=SpeechConfig(num_training=24, num_probe=6), steps=12, batch_size=4, num_phone_clusters=12,
    num_prosody_clusters=6, learning_rate=3e-3, convolution_share=0.4,
)  # fmt: skip


def tiny_architecture() -> Wav2Vec2Config:
    config = read_config(POCKET_BACKBONE / "config.json")
    config.update({"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 32, "conv_dim": [16] * 8})
    return config


@pytest.fixture(scope="module")
def utterances() -> list[Utterance]:
    return make_utterances(CONFIG.speech, 12, 6, 0, FrameLayout.of(tiny_architecture()))


def test_frame_layout_of_pocket_and_of_base() -> None:
    assert FrameLayout.of(read_config(POCKET_BACKBONE / "config.json")) == FrameLayout(stride=640, window=720)
    base = FrameLayout.of(Wav2Vec2Config())
    assert base == FrameLayout(stride=320, window=400)
    assert [base.num_frames(n) for n in (399, 400, 719, 720)] == [0, 1, 1, 2]
    assert base.num_samples(2) == 720


def test_targets_line_up_with_the_encoder(utterances: list[Utterance]) -> None:
    pretraining = Pretraining(CONFIG, utterances, tiny_architecture())
    for frozen in (False, True):
        features, phones, prosody = pretraining._batch(np.random.default_rng(0), frozen)
        assert features.shape[:2] == phones.shape == prosody.shape and len(phones) == 4
    for utterance in utterances[:3]:
        assert pretraining.model.convolve(utterance.waveform()[None]).shape == (1, len(utterance.phones), 16)


def test_held_out_voices_are_not_trained_on(utterances: list[Utterance]) -> None:
    pretraining = Pretraining(CONFIG, utterances, tiny_architecture())
    assert len(pretraining.by_length) == 24
    assert not any(utterance.draw.held_out for utterance in (*pretraining.by_length, *pretraining.long_enough))


def test_masks_are_spans_and_depend_on_the_generator_alone() -> None:
    masks = [draw_mask(np.random.default_rng(seed), 16, 40, CONFIG) for seed in (0, 0, 1)]
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])
    assert 0.35 < masks[0].float().mean() < 0.55
    runs = [len(run) for row in masks[0][:, :36].int().tolist() for run in "".join(map(str, row)).split("0") if run]
    assert sum(length < 4 for length in runs) <= 16  # only a span cut by the end is shorter
    assert draw_mask(np.random.default_rng(0), 2, 3, CONFIG).shape == (2, 3)


def test_masked_loss_by_hand() -> None:
    logits = torch.log(torch.tensor([[[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]]]))
    targets, mask = torch.tensor([[0, 1, 0]]), torch.tensor([[True, True, False]])
    expected = -(np.log(0.5) + np.log(0.75)) / 2 - 0.2 * np.log(0.9)
    assert masked_loss(logits, targets, mask, 0.2).item() == pytest.approx(expected, rel=1e-6)


def test_learning_rate_rises_then_falls_to_zero() -> None:
    config = PretrainingConfig(steps=100, warmup_share=0.1, learning_rate=1.0)
    rates = [config.learning_rate_at(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[9] == rates[10] == 1.0
    assert rates[100] == 0.0 and rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True)


def test_a_few_steps_reduce_the_loss_of_both_streams(utterances: list[Utterance]) -> None:
    config = replace(CONFIG, steps=40, batch_size=8)
    pretraining = Pretraining(config, utterances, tiny_architecture())
    shown: list[dict] = []
    pretraining.run(log=shown.append)
    assert pretraining.curve[-1]["step"] == 40 and shown == pretraining.curve
    first, last = ([np.mean([c[k] for c in part]) for k in ("phone_loss", "prosody_loss")] for part in (
        pretraining.curve[:5], pretraining.curve[-5:]
    ))  # fmt: skip
    assert last[0] < 0.95 * first[0] and last[1] < 0.9 * first[1]


def test_convolutions_stop_learning_halfway(utterances: list[Utterance]) -> None:
    pretraining = Pretraining(CONFIG, utterances, tiny_architecture())

    def weights() -> list[torch.Tensor]:
        return [part.detach().clone() for part in pretraining.model.encoder.feature_extractor.parameters()]

    history = [weights()]
    pretraining.run(log=lambda entry: history.append(weights()))
    initial, trained = history[0], history[CONFIG.convolution_steps]
    assert all(not torch.equal(a, b) for a, b in zip(initial, trained, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(trained, history[-1], strict=True))


def test_the_same_seed_gives_the_same_weights_bitwise(utterances: list[Utterance]) -> None:
    first, second, other = (
        Pretraining(replace(CONFIG, seed=seed), utterances, tiny_architecture()) for seed in (0, 0, 1)
    )
    for pretraining in (first, second, other):
        pretraining.run(log=[].append)
    assert first.curve == second.curve != other.curve
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name


def test_shipped_files_belong_together() -> None:
    record = json.loads((POCKET_BACKBONE / "record.json").read_text(encoding="utf-8"))
    weights = (POCKET_BACKBONE / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == record["sha256"]
    card = (POCKET_BACKBONE / "README.md").read_text(encoding="utf-8")
    assert f"sha256 `{record['sha256']}`" in card and f"{record['num_parameters']:,} parameters" in card
    for name, value in record["probes"]["pretrained"].items():
        assert f"| {value:.3f} | {record['probes']['random weights'][name]:.3f} |" in card, name
        assert value > record["probes"]["random weights"][name], name
    recipe = json.loads(json.dumps(asdict(PretrainingConfig())))
    assert recipe.items() <= record["config"].items()
    assert record["config"]["objective"] == "masked prediction" and record["config"]["second_pass_share"] == 0
    assert record["held_out_voices"]["phone_accuracy"] > 2 * record["held_out_voices"]["phone_accuracy_commonest"]


def test_shipped_backbone_loads() -> None:
    model = MultitaskModel.from_backbone("pocket-backbone", seed=0)
    assert 0.85e6 < sum(p.numel() for p in model.wav2vec2.parameters()) < 0.95e6
    with torch.no_grad():
        emotions, characters, frames = model(torch.randn(2, 16_000), torch.tensor([16_000, 16_000]))
    assert emotions.shape == (2, 4) and characters.shape == (2, 24, 32) and frames.tolist() == [24, 24]
