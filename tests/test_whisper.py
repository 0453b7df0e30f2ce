"""Whisper's encoder against stock transformers, alone against in a batch, and every way such a backbone comes in."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from mtlser.config import RunConfig
from mtlser.corpus.audio import AudioError, read_audio
from mtlser.corpus.dataset import build_dataset
from mtlser.model import BackboneError, MultitaskModel, Recognizer, backbone_digest
from mtlser.model.backbone import CARDS, published_name
from mtlser.model.features import convolution_features
from mtlser.model.frames import FrameLayout
from mtlser.model.whisper import Whisper
from mtlser.runs.feed import Feed
from mtlser.runs.work import work, write_order
from tiny import tiny_plan, tiny_utterances
from tiny_models import from_backbone, padded, with_random_norms

NAME = "openai/whisper-tiny.en"
LENGTHS = (16_000, 9600, 9601, 320, 1, 15_999, 4242)  # samples; two of them have one frame


def tiny_config(**changes) -> WhisperConfig:
    """Two layers, 16 hidden, 8 mel bands, one second of positions."""
    fields = {
        "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 24, "num_mel_bins": 8,
        "max_source_positions": 50, "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 24,
        "vocab_size": 32, "pad_token_id": None, "bos_token_id": None, "eos_token_id": None, "decoder_start_token_id": 0,
    }  # fmt: skip
    return WhisperConfig(**fields | changes)


def tiny_whisper(folder: Path, seed: int = 0, **changes) -> Path:
    """A folder as the hub has them: an untrained Whisper with its decoder, in half precision."""
    torch.manual_seed(seed)
    WhisperModel(tiny_config(**changes)).half().save_pretrained(folder)
    return folder


def random_encoder(dtype: torch.dtype = torch.float64, **changes) -> Whisper:
    torch.manual_seed(3)
    return with_random_norms(Whisper(tiny_config(**changes)), dtype)


def voices(lengths: tuple[int, ...] = LENGTHS, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """A quiet chirp in noise for each length: raw samples, no unit variance."""
    generator = torch.Generator().manual_seed(0)
    noise = (torch.randn(length, generator=generator, dtype=torch.float64) for length in lengths)
    return [(0.05 * each + 0.2 * torch.sin(1e-5 * torch.arange(len(each)) ** 2)).to(dtype) for each in noise]


def stock(encoder: Whisper, num_frames: int) -> WhisperEncoder:
    """transformers' encoder with the same weights, whose positions end at that many frames."""
    model = WhisperEncoder(WhisperConfig(**encoder.config.to_dict() | {"max_source_positions": num_frames}))
    weights = encoder.state_dict()
    weights["embed_positions.weight"] = weights["embed_positions.weight"][:num_frames]
    model.to(encoder.dtype).eval().load_state_dict(weights)
    return model


def mel(part: Tensor, num_mel_bins: int) -> Tensor:
    """transformers' own log-mel of whole frames: (S,) -> (1, M, 2T)."""
    extractor = WhisperFeatureExtractor(feature_size=num_mel_bins)
    whole = np.concatenate([part.numpy(), np.zeros(-len(part) % 320, dtype=part.numpy().dtype)])
    found = extractor(whole, sampling_rate=16_000, padding=False, truncation=False, return_tensors="pt")
    return found["input_features"].to(part.dtype)


def gradients(encoder: Whisper, groups: list[list[Tensor]]) -> dict[str, Tensor]:
    """Of a sum over every utterance's own frames, accumulated over batches."""
    encoder.zero_grad()
    for group in groups:
        hidden, frame_lengths = encoder(*padded(group))
        for row, length in enumerate(frame_lengths):
            (hidden[row, :length] * torch.linspace(-1, 1, hidden.shape[-1])).pow(3).sum().backward(retain_graph=True)
    return {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-9 * scale, msg=name)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
def test_an_utterance_does_not_depend_on_its_batch_and_is_stock_transformers(dtype, tolerance):
    encoder, parts = random_encoder(dtype), voices(dtype=dtype)
    hidden, frame_lengths = encoder(*padded(parts))
    assert frame_lengths.tolist() == [50, 30, 31, 1, 1, 50, 14]
    for row, part in enumerate(parts):
        alone, [length] = encoder(*padded([part]))
        assert length == frame_lengths[row] == alone.shape[1]
        torch.testing.assert_close(hidden[row, :length], alone[0], rtol=0, atol=tolerance)
        expected = stock(encoder, int(length))(mel(part, 8)).last_hidden_state
        torch.testing.assert_close(alone, expected, rtol=0, atol=tolerance)


def test_gradients_are_those_of_utterances_alone_and_of_stock_transformers():
    encoder, parts = random_encoder(), voices()
    alone = gradients(encoder, [[part] for part in parts])
    assert_close(gradients(encoder, [parts]), alone)
    assert_close(gradients(encoder, [parts[:3], parts[3:]]), alone)
    assert alone.keys() == dict(encoder.named_parameters()).keys() - {"embed_positions.weight"}
    [part, *_] = voices()
    model = stock(encoder, 50)
    hidden = model(mel(part, 8)).last_hidden_state[0]
    (hidden * torch.linspace(-1, 1, 16)).pow(3).sum().backward()
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert_close(gradients(encoder, [[part]]), expected)


def test_what_is_in_the_padding_does_not_matter():
    encoder = random_encoder()
    inputs, lengths = padded(voices())
    noisy = inputs + (torch.arange(inputs.shape[1]) >= lengths[:, None])
    features, frame_lengths = encoder.convolve(inputs, lengths)
    beyond = (torch.arange(features.shape[1]) >= frame_lengths[:, None])[..., None]
    found = [encoder(inputs, lengths)[0], encoder(noisy, lengths)[0]]
    found += [encoder.forward_features(features + 100 * beyond, frame_lengths)]
    for other in found[1:]:
        for row, length in enumerate(frame_lengths):
            torch.testing.assert_close(other[row, :length], found[0][row, :length], rtol=0, atol=1e-9)


def test_masked_frames_are_two_mel_frames_of_zeros_as_in_transformers():
    encoder, [part, *_] = random_encoder(), voices()
    features, frame_lengths = encoder.convolve(*padded([part]))
    mask = torch.zeros(1, 50, dtype=torch.bool)
    mask[0, 3:7] = True
    spectrogram = mel(part, 8)
    spectrogram[:, :, 6:14] = 0
    expected = stock(encoder, 50)(spectrogram).last_hidden_state
    torch.testing.assert_close(encoder.forward_features(features, frame_lengths, mask), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(encoder(*padded([part]), mask)[0], expected, rtol=0, atol=1e-12)
    assert not torch.allclose(expected, encoder(*padded([part]))[0])


def test_layerdrop_drops_layers_in_training_only():
    encoder, inputs = random_encoder(encoder_layerdrop=1.0), padded(voices())
    whole, _ = encoder(*inputs)
    dropped, _ = encoder.train()(*inputs)
    assert not torch.allclose(dropped, whole)
    encoder.layers = torch.nn.ModuleList()
    torch.testing.assert_close(dropped, encoder.eval()(*inputs)[0])


def test_what_whisper_cannot_take_is_refused():
    with pytest.raises(ValueError, match="'released'; Whisper has 'exact' alone"):
        Whisper(tiny_config(encoder_padding="released"))
    encoder = random_encoder()
    with pytest.raises(ValueError, match=r"1\.0 s are too long: Whisper's positions end at 1 s; cut it"):
        encoder(*padded(voices((320, 16_001))))
    for lengths in ([0, 320], [320, 321]):
        with pytest.raises(ValueError, match=rf"\[{lengths[0]}, {lengths[1]}\]: each must be from 1 to 320"):
            encoder(torch.zeros(2, 320), torch.tensor(lengths))


def test_bf16_autocast_is_finite_and_close():
    encoder = random_encoder(torch.float32)
    inputs, lengths = padded(voices(dtype=torch.float32))
    exact, frame_lengths = encoder(inputs, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        rough, _ = encoder(inputs, lengths)
    valid = torch.arange(exact.shape[1]) < frame_lengths[:, None]
    assert rough.isfinite().all() and (rough.float() - exact)[valid].abs().mean() < 0.05


def test_a_frame_s_place_in_time():
    layout, encoder = FrameLayout.of(tiny_config()), random_encoder()
    assert (layout.stride, layout.window) == (320, 1)
    for num_samples in (1, 320, 321, 9600, 16_000):
        assert layout.num_frames(num_samples) == int(encoder.frame_lengths(torch.tensor([num_samples])))


# Backbones and models on disk


def keys_with(prefix: str, folder: Path) -> dict[str, Tensor]:
    """The encoder's weights of what `tiny_whisper` wrote, under another prefix."""
    weights = {key.removeprefix("model."): w for key, w in load_file(folder / "model.safetensors").items()}
    return {prefix + key.removeprefix("encoder."): w for key, w in weights.items() if not key.startswith("decoder.")}


@pytest.mark.parametrize("prefix", ["model.encoder.", "encoder.", ""])
def test_every_naming_loads_the_same_model_and_has_the_same_digest(tmp_path, prefix):
    folder = tiny_whisper(tmp_path)
    expected, digest = from_backbone(folder).wav2vec2.state_dict(), backbone_digest(folder)
    save_file({key: w.float() for key, w in keys_with(prefix, folder).items()}, folder / "model.safetensors")
    assert backbone_digest(folder) == digest
    found = from_backbone(folder)
    assert found.wav2vec2.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.wav2vec2.state_dict().items())
    assert {p.dtype for p in found.parameters()} == {torch.float32}
    assert {name for name, p in found.named_parameters() if not p.requires_grad} == {"wav2vec2.embed_positions.weight"}
    changed = load_file(folder / "model.safetensors")
    changed[f"{prefix}conv1.bias"] += 1
    save_file(changed, folder / "model.safetensors")
    assert backbone_digest(folder) != digest


def test_a_published_encoder_is_known_wherever_it_lies_and_checked_by_its_name(tmp_path, monkeypatch):
    folder = tiny_whisper(tmp_path / "mine")
    assert published_name(backbone_digest(folder)) is None
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **kwargs: str(folder))
    monkeypatch.setitem(CARDS, NAME, replace(CARDS[NAME], sha256=backbone_digest(folder)))
    assert published_name(backbone_digest(folder)) == "openai/whisper-tiny.en"
    for revision in (None, "abc"):
        assert from_backbone("openai/whisper-tiny.en", revision=revision).config.d_model == 16
    tiny_whisper(folder, seed=1)
    with pytest.raises(BackboneError, match="sha256"):
        from_backbone("openai/whisper-tiny.en")


def test_records_name_a_folder_by_what_is_in_it(tmp_path, monkeypatch):
    plan = tiny_plan(tmp_path, tiny_utterances(tmp_path / "wav"), backbone=str(tiny_whisper(tmp_path / "mine")))
    for name, checked in (("mine", False), ("openai/whisper-tiny.en", True)):
        [task] = json.loads(write_order(plan, plan.runs[:1]).read_text())["runs"]
        assert (task["record"]["backbone"], task["record"]["backbone_checked"]) == (name, checked)
        monkeypatch.setitem(CARDS, NAME, replace(CARDS[NAME], sha256=plan.backbone_digest))


def test_settings_of_a_run_reach_the_model_and_none_keeps_the_backbone_s(tmp_path):
    folder = tiny_whisper(tmp_path, dropout=0.3, encoder_layerdrop=0.2)
    kept, given = from_backbone(folder), from_backbone(folder, dropout=0.25, layerdrop=0.5)
    for model, dropout, layerdrop in ((kept, 0.3, 0.2), (given, 0.25, 0.5)):
        assert model.dropout.p == model.wav2vec2.dropout == model.wav2vec2.layers[0].dropout == dropout
        assert model.wav2vec2.layerdrop == layerdrop
    assert kept.wav2vec2.layers[0].self_attn.dropout == 0.0 and given.wav2vec2.layers[0].self_attn.dropout == 0.25
    assert kept.ctc_head.weight.shape == (32, 16)
    with pytest.raises(ValueError, match="Whisper has 'exact' alone"):
        from_backbone(folder, encoder_padding="released")
    random, expected = from_backbone(folder, pretrained=False).wav2vec2, WhisperEncoder(tiny_config())
    assert torch.equal(random.embed_positions.weight, expected.embed_positions.weight)  # sinusoids


def test_a_saved_model_comes_back_whole_and_recognises(tmp_path):
    model = from_backbone(tiny_whisper(tmp_path / "backbone")).eval()
    model.save_pretrained(tmp_path / "model")
    again = MultitaskModel.from_pretrained(tmp_path / "model").eval()
    inputs = padded(voices(dtype=torch.float32))
    for saved, loaded in zip(model(*inputs), again(*inputs), strict=True):
        assert torch.equal(saved, loaded)
    assert {name for name, p in again.named_parameters() if not p.requires_grad} == {"wav2vec2.embed_positions.weight"}

    recognizer, path = Recognizer.from_pretrained(tmp_path / "model"), tmp_path / "a.wav"
    soundfile.write(path, voices((8000,))[0].numpy(), 16_000)
    found = recognizer(path)
    with torch.no_grad():
        emotion_logits, _, [num_frames] = model(torch.from_numpy(read_audio(path))[None], torch.tensor([8000]))
    assert list(found.probabilities.values()) == pytest.approx(emotion_logits[0].softmax(0).tolist(), abs=1e-6)
    assert found.num_frames == num_frames == 25 and found.frame_seconds == 0.02
    assert found.frames.seconds[:2] == pytest.approx([0.0, 0.02], abs=1e-4)
    soundfile.write(path, voices((16_001,))[0].numpy(), 16_000)
    with pytest.raises(AudioError, match="at most 1 s are recognised at once"):
        recognizer(path)


# In a run


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whisper")
    return build_dataset(tiny_utterances(folder / "wav"), folder / "cache")


@torch.no_grad()
@pytest.mark.parametrize("freeze", [False, True])
def test_spectrograms_of_raw_samples_are_cached_and_give_the_model_s_outputs(tmp_path, speech, freeze):
    model = from_backbone(tiny_whisper(tmp_path)).eval()
    config = RunConfig("smoke", fold="Ses02M", mask_time_length=2, freeze_convolutions=freeze)
    feed = Feed(model, speech, config, torch.device("cpu"))
    [batch] = feed.parts(np.array([4, 0, 7]), 40.0)
    raw = [torch.from_numpy(speech.store.samples(index) / np.float32(32768)) for index in batch.indices]
    found, expected = feed.outputs(batch), model(*padded(raw))
    assert batch.inputs.shape[2] == 16 and feed.masks(batch, 1).shape == batch.inputs.shape[:2]
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
    frozen = {name for name, p in model.wav2vec2.named_parameters() if not p.requires_grad} - {"embed_positions.weight"}
    assert frozen == ({"conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias"} if freeze else set())


def test_features_have_no_weights_behind_them_and_an_utterance_too_long_is_named(tmp_path, speech):
    model = from_backbone(tiny_whisper(tmp_path / "one"))
    folder = convolution_features(model, speech).folder
    assert convolution_features(from_backbone(tiny_whisper(tmp_path / "two", seed=1)), speech).folder == folder
    more = from_backbone(tiny_whisper(tmp_path / "more", num_mel_bins=10))
    assert convolution_features(more, speech).folder != folder
    short = from_backbone(tiny_whisper(tmp_path / "short", max_source_positions=30, num_mel_bins=12))
    with pytest.raises(ValueError, match=r"^Ses01F_impro01_F002: 0\.7 s are too long"):
        convolution_features(short, speech)


def test_a_run_trains(tmp_path):
    plan = tiny_plan(tmp_path, tiny_utterances(tmp_path / "wav"), backbone=str(tiny_whisper(tmp_path / "mine")))
    plan = plan.only(alpha=0.1, fold="Ses01F")
    assert work(write_order(plan, plan.runs)) == {}
    [run] = plan.records().runs.to_dict("records")
    assert (run["status"], run["backbone"], run["backbone_checked"]) == ("done", "mine", False)


# OpenAI's own weights, where there are some


@pytest.fixture(scope="module")
def real() -> Path:
    folder = os.environ.get("BACKBONE")
    if not folder or not (Path(folder) / "config.json").is_file() or "whisper" not in Path(folder).name:
        pytest.skip("not run: give BACKBONE=<folder of a Whisper encoder>")
    return Path(folder)


def test_released_weights_are_recognised_and_exact(real):
    name = published_name(backbone_digest(real))
    assert name in ("openai/whisper-tiny.en", "openai/whisper-base") and backbone_digest(name) == backbone_digest(real)
    encoder = from_backbone(real).wav2vec2.double().eval()
    parts = voices((16_000, 70_400, 5000))
    with torch.no_grad():
        hidden, frame_lengths = encoder(*padded(parts))
        for row, part in enumerate(parts):
            expected = stock(encoder, int(frame_lengths[row]))(mel(part, 80)).last_hidden_state[0]
            torch.testing.assert_close(hidden[row, : len(expected)], expected, rtol=0, atol=1e-9)
