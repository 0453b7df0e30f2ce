"""The pocket backbone's recipe: disjoint speech, targets, masks, a loss that falls, exact resumption, shipped files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2Config

from mtlser.config import POCKET_BACKBONE
from mtlser.corpus.pocket_plan import VOICES
from mtlser.corpus.pocket_text import vocabulary
from mtlser.corpus.text import normalise
from mtlser.model import MultitaskModel
from mtlser.model.pretraining import Batches, Pretraining, PretrainingError
from mtlser.model.pretraining_card import model_card
from mtlser.model.pretraining_contrastive import NUM_DISTRACTORS, draw_distractors, with_two_hidden
from mtlser.model.pretraining_corpus import (
    ACCENTS,
    PROBE_VARIANTS,
    TRAINING_VARIANTS,
    SpeechConfig,
    SpeechCorpus,
    add_noise,
    draw_utterances,
    make_speech,
)
from mtlser.model.pretraining_objective import (
    PretrainingConfig,
    draw_mask,
    masked_accuracy,
    masked_loss,
    pocket_architecture,
)
from mtlser.model.pretraining_report import letters_per_second, write_backbone
from mtlser.model.pretraining_targets import (
    FrameLayout,
    Targets,
    make_targets,
    mfcc_features,
    pitch_and_energy,
    prosody_features,
)

SPEECH = SpeechConfig(num_training=24, num_probe=6)
CONFIG = PretrainingConfig(
    speech=SPEECH, steps=12, batch_size=4, num_phone_clusters=12, num_prosody_clusters=6, learning_rate=3e-3,
    convolution_share=0.4, second_pass_layer=1,
)  # fmt: skip


def tiny_architecture() -> Wav2Vec2Config:
    config = pocket_architecture()
    config.update({"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 32, "conv_dim": [16] * 8})
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pretraining")


@pytest.fixture(scope="module")
def speech(folder: Path) -> SpeechCorpus:
    return make_speech(SPEECH, folder)


@pytest.fixture(scope="module")
def layout() -> FrameLayout:
    return FrameLayout.of(pocket_architecture())


@pytest.fixture(scope="module")
def targets(speech: SpeechCorpus, layout: FrameLayout) -> Targets:
    return make_targets(speech, layout, CONFIG.num_phone_clusters, CONFIG.num_prosody_clusters, seed=0)


@pytest.fixture
def pretraining(speech: SpeechCorpus, targets: Targets, layout: FrameLayout) -> Pretraining:
    return Pretraining(CONFIG, Batches(CONFIG, speech, targets, layout), tiny_architecture())


def test_voices_and_sentences_are_not_the_pocket_corpus() -> None:
    draws = draw_utterances(SpeechConfig())
    voices = {draw.speech.voice for draw in draws}
    variants = {voice.partition("+")[2] for voice in VOICES.values()}
    assert not voices & set(VOICES.values())
    assert not variants & {*TRAINING_VARIANTS, *PROBE_VARIANTS}
    assert not {voice.partition("+")[0] for voice in VOICES.values()} & set(ACCENTS)
    texts = {normalise(draw.speech.text) for draw in draws}
    assert len(texts) > 0.99 * len(draws)
    pocket_words = {normalise(word) for word in vocabulary()}  # of which every pocket sentence is made
    assert not [text for text in texts if set(text.split()) <= pocket_words]


def test_held_out_voices_are_not_trained_on() -> None:
    voices = {"training": set(), "probe": set()}
    for draw in draw_utterances(SpeechConfig(num_training=400, num_probe=400)):
        voices[draw.split].add(draw.speech.voice.partition("+")[2])
    assert voices["training"] == set(TRAINING_VARIANTS)
    assert voices["probe"] == set(PROBE_VARIANTS)
    assert not voices["training"] & voices["probe"]


def test_a_draw_depends_on_its_number_alone() -> None:
    few, many = draw_utterances(SPEECH), draw_utterances(SpeechConfig(num_training=30, num_probe=6))
    assert few[:24] == many[:24] and few[24:] == many[30:]
    assert draw_utterances(SpeechConfig(seed=1, num_training=24, num_probe=6)) != few


def test_speech_is_kept_and_the_same_when_made_again(speech: SpeechCorpus, folder: Path, tmp_path: Path) -> None:
    again = make_speech(SPEECH, tmp_path)
    assert np.array_equal(again.samples, speech.samples) and np.array_equal(again.clean, speech.clean)
    kept = next(folder.glob("speech-*.npz"))
    before = kept.stat().st_mtime_ns
    assert np.array_equal(make_speech(SPEECH, folder).starts, speech.starts)
    assert kept.stat().st_mtime_ns == before
    assert len(speech) == 30 and speech.starts[-1] == len(speech.samples) == len(speech.clean)


def test_noise_has_the_power_that_was_asked_for() -> None:
    samples = np.sin(np.arange(16_000) / 7)
    for slope in (0.0, 1.0):
        noise = add_noise(samples, 10.0, slope, np.random.default_rng(0)) - samples
        assert 10 * np.log10(np.mean(samples**2) / np.mean(noise**2)) == pytest.approx(10.0)
    assert add_noise(samples, float("inf"), 0.0, np.random.default_rng(0)) is samples


def test_frame_layout_of_pocket_and_of_base() -> None:
    assert FrameLayout.of(pocket_architecture()) == FrameLayout(stride=640, window=720)
    base = FrameLayout.of(Wav2Vec2Config())
    assert base == FrameLayout(stride=320, window=400)
    assert [base.num_frames(n) for n in (399, 400, 719, 720)] == [0, 1, 1, 2]
    assert base.num_samples(2) == 720


def test_pitch_of_a_harmonic_tone(layout: FrameLayout) -> None:
    time = np.arange(16_000) / 16_000
    for pitch_hz in (80.0, 125.0, 250.0, 400.0):
        tone = sum(np.sin(2 * np.pi * pitch_hz * k * time) / k for k in range(1, 8)).astype(np.float32)
        log_pitch, _ = pitch_and_energy(tone, layout.num_frames(len(tone)), layout.stride)
        assert np.exp(log_pitch[1:-2]) == pytest.approx(pitch_hz, rel=0.03)


def test_noise_and_silence_are_unvoiced(layout: FrameLayout) -> None:
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    noise[8000:] *= 1e-4
    log_pitch, energy_db = pitch_and_energy(noise, layout.num_frames(len(noise)), layout.stride)
    assert np.isnan(log_pitch).mean() > 0.9
    assert energy_db[:10].mean() - energy_db[-8:].mean() == pytest.approx(80, abs=3)
    features = prosody_features(log_pitch, energy_db)
    assert features.shape == (len(log_pitch), 4) and np.isfinite(features).all()


def test_targets_have_one_entry_per_encoder_frame(speech: SpeechCorpus, targets: Targets, layout: FrameLayout) -> None:
    for i in range(len(speech)):
        waveform = speech.waveform(i)
        num_frames = layout.num_frames(len(waveform))
        assert targets.lengths[i] == num_frames
        assert mfcc_features(waveform, num_frames, layout.stride).shape == (num_frames, 39)
        assert 5 < letters_per_second(speech, i) < 30
    assert len(targets.phones) == len(targets.prosody) == len(targets.log_pitch) == targets.starts[-1]
    assert set(targets.phones) == set(range(12)) and set(targets.prosody) == set(range(6))


def test_targets_line_up_with_the_encoder(pretraining: Pretraining, targets: Targets) -> None:
    batch = pretraining.batches.crops(0)
    assert pretraining.model.convolve(batch.waveforms).shape[:2] == batch.mask.shape == batch.phones.shape == (4, 40)
    index = int(pretraining.batches.by_length[0])
    assert len(pretraining._frozen_features()[index]) == targets.lengths[index]


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
    assert masked_accuracy(logits, torch.tensor([[1, 1, 0]]), torch.tensor([[False, True, True]])) == 1.0


def test_learning_rate_rises_then_falls_to_zero() -> None:
    config = PretrainingConfig(steps=100, warmup_share=0.1, learning_rate=1.0)
    rates = [config.learning_rate_at(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[9] == rates[10] == 1.0
    assert rates[100] == 0.0 and rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True)


def test_a_few_steps_reduce_the_loss_of_both_streams(
    speech: SpeechCorpus, targets: Targets, layout: FrameLayout
) -> None:
    config = PretrainingConfig(
        speech=SPEECH, steps=40, batch_size=8, num_phone_clusters=12, num_prosody_clusters=6, learning_rate=3e-3,
        second_pass_share=0.0,
    )  # fmt: skip
    pretraining = Pretraining(config, Batches(config, speech, targets, layout), tiny_architecture())
    pretraining.run()
    assert pretraining.step == 40 and pretraining.curve[-1]["step"] == 40
    first, last = ([np.mean([c[k] for c in part]) for k in ("phone_loss", "prosody_loss")] for part in (
        pretraining.curve[:5], pretraining.curve[-5:]
    ))  # fmt: skip
    assert last[0] < 0.95 * first[0] and last[1] < 0.9 * first[1]


def test_convolutions_stop_learning_halfway(pretraining: Pretraining) -> None:
    def weights() -> list[torch.Tensor]:
        return [p.detach().clone() for p in pretraining.model.encoder.feature_extractor.parameters()]

    initial = weights()
    pretraining.run(CONFIG.convolution_steps)
    trained = weights()
    pretraining.run()
    assert all(not torch.equal(a, b) for a, b in zip(initial, trained, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(trained, weights(), strict=True))


@pytest.mark.parametrize("stop", [4, 6, 9])
def test_resumed_equals_uninterrupted_bitwise(
    stop: int, speech: SpeechCorpus, targets: Targets, layout: FrameLayout, tmp_path: Path
) -> None:
    def new(seed: int = 0) -> Pretraining:
        config = PretrainingConfig(**{**vars(CONFIG), "seed": seed})
        return Pretraining(config, Batches(config, speech, targets, layout), tiny_architecture())

    whole, first, second = new(), new(), new()
    whole.run()
    first.run(stop)
    first.save(tmp_path / "checkpoint.pt")
    second.load(tmp_path / "checkpoint.pt")
    second.run()
    assert second.curve == whole.curve
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name
    with pytest.raises(PretrainingError, match=r"checkpoint\.pt.*different recipe"):
        new(seed=1).load(tmp_path / "checkpoint.pt")


def test_what_is_written_can_be_fine_tuned(pretraining: Pretraining, targets: Targets, tmp_path: Path) -> None:
    pretraining.run(2)
    record = write_backbone(pretraining, targets, tmp_path)
    assert record == json.loads((tmp_path / "record.json").read_text(encoding="utf-8")) | {"config": record["config"]}
    assert set(record["probes"]) == {"pretrained", "random weights"}
    model = MultitaskModel.from_backbone(tmp_path, seed=0)
    for name, tensor in pretraining.model.encoder.state_dict().items():
        assert torch.equal(model.wav2vec2.state_dict()[name], tensor), name


@pytest.mark.parametrize("objective", ["masked prediction", "contrastive"])
def test_each_objective_trains_the_encoder_and_leaves_a_record(
    objective: str, speech: SpeechCorpus, targets: Targets, layout: FrameLayout, tmp_path: Path
) -> None:
    config = PretrainingConfig(**{**vars(CONFIG), "objective": objective, "convolution_share": 1.0, "steps": 6})
    pretraining = Pretraining(config, Batches(config, speech, targets, layout), tiny_architecture())
    before = {name: tensor.clone() for name, tensor in pretraining.model.encoder.state_dict().items()}
    pretraining.run()
    after = pretraining.model.encoder.state_dict()
    assert [name for name in after if torch.equal(before[name], after[name])] == []
    record = write_backbone(pretraining, targets, tmp_path)
    assert set(record["purity"]) == {"MFCC clusters", "pretrained", "random weights"}
    assert 0 <= record["probes"]["pretrained"]["phoneme_accuracy"] <= 1
    assert ("phone_accuracy" in record["held_out_voices"]) == (objective == "masked prediction")
    assert "HuBERT" in record["name"] if objective == "masked prediction" else "contrastive" in record["name"]
    assert "--objective" in model_card(record) if objective == "contrastive" else True


def test_the_second_pass_asks_for_the_models_own_clusters(pretraining: Pretraining, targets: Targets) -> None:
    config = pretraining.config
    pretraining.run(config.first_pass_steps)
    head = pretraining.model.phone_head.weight.detach().clone()
    assert np.array_equal(pretraining.batches.targets.phones, targets.phones)
    pretraining.run(config.first_pass_steps + 1)
    own = pretraining.batches.targets
    assert not np.array_equal(own.phones, targets.phones) and set(own.phones) <= set(range(config.num_phone_clusters))
    assert np.array_equal(own.prosody, targets.prosody) and np.array_equal(own.starts, targets.starts)
    assert not torch.allclose(pretraining.model.phone_head.weight, head, atol=1e-2)


def test_distractors_are_other_hidden_frames_of_the_same_utterance() -> None:
    np.random.seed(0)
    mask = torch.tensor([[True, False, True, True], [False, True, True, False]])
    drawn = draw_distractors(mask)
    assert drawn.shape == (2, 4, NUM_DISTRACTORS)
    for row, frame in mask.nonzero().tolist():
        positions = set(drawn[row, frame].tolist())
        hidden = {4 * row + t for t in mask[row].nonzero().flatten().tolist()}
        assert positions <= hidden - {4 * row + frame}
    assert with_two_hidden(torch.zeros(1, 4, dtype=torch.bool)).sum() == 2
    assert torch.equal(with_two_hidden(mask), mask)


def test_shipped_files_belong_together() -> None:
    record = json.loads((POCKET_BACKBONE / "record.json").read_text(encoding="utf-8"))
    weights = (POCKET_BACKBONE / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == record["sha256"]
    assert (POCKET_BACKBONE / "README.md").read_text(encoding="utf-8") == model_card(record)
    shipped = json.loads((POCKET_BACKBONE / "config.json").read_text(encoding="utf-8"))
    recipe = pocket_architecture().to_dict()
    for name in ("hidden_size", "num_hidden_layers", "conv_kernel", "conv_stride", "feat_extract_norm", "conv_dim"):
        assert shipped[name] == (list(recipe[name]) if isinstance(recipe[name], tuple) else recipe[name])
    assert record["config"] == json.loads(json.dumps(PretrainingConfig(speech=SpeechConfig()).__dict__, default=vars))
    assert record["held_out_voices"]["phone_accuracy"] > 2 * record["held_out_voices"]["phone_accuracy_commonest"]
    for probe, value in record["probes"]["random weights"].items():
        assert record["probes"]["pretrained"][probe] > value, probe


def test_shipped_backbone_loads() -> None:
    model = MultitaskModel.from_backbone("pocket-backbone", seed=0)
    assert 0.85e6 < sum(p.numel() for p in model.wav2vec2.parameters()) < 0.95e6
    with torch.no_grad():
        emotions, characters, frames = model(torch.randn(2, 16_000), torch.tensor([16_000, 16_000]))
    assert emotions.shape == (2, 4) and characters.shape == (2, 24, 32) and frames.tolist() == [24, 24]
