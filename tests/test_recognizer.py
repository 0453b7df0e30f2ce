"""The recogniser against the model itself, on files of several kinds, and its refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch

from mtlser.config import EMOTIONS, MAX_SECONDS
from mtlser.corpus.audio import AudioError, normalise_waveform, read_audio
from mtlser.corpus.text import encode
from mtlser.model import BackboneError, MultitaskModel, Recognizer
from tiny_models import tiny_config


@pytest.fixture
def model() -> MultitaskModel:
    torch.manual_seed(0)
    return MultitaskModel(tiny_config(pooling="mean")).eval()


@pytest.fixture
def recognizer(model, tmp_path) -> Recognizer:
    model.save_pretrained(tmp_path / "model")
    return Recognizer.from_pretrained(tmp_path / "model")


def write(path, num_samples: int = 8000, rate: int = 16_000, channels: int = 1):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (num_samples, channels))
    soundfile.write(path, samples, rate)
    return path


def test_recognition_is_what_the_model_computes(model, recognizer, tmp_path):
    path = write(tmp_path / "a.wav")
    found = recognizer(path)
    waveform = torch.from_numpy(normalise_waveform(read_audio(path)))[None]
    with torch.no_grad():
        emotion_logits, ctc_logits, [num_frames] = model(waveform, torch.tensor([8000]))
    expected = emotion_logits[0].softmax(0).tolist()
    assert list(found.probabilities) == list(EMOTIONS)
    assert list(found.probabilities.values()) == pytest.approx(expected, abs=1e-6)
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-6)
    assert found.emotion == EMOTIONS[expected.index(max(expected))]
    assert found.num_frames == num_frames == ctc_logits.shape[1]
    assert (found.seconds, found.frame_seconds) == (0.5, 20 / 16_000)
    assert json.loads(json.dumps(found.to_dict()))["emotion"] == found.emotion


def test_the_transcript_is_decoded_from_the_ctc_head(model, tmp_path):
    blank, [a, _, b] = 0, encode("A B")
    with torch.no_grad():
        for head in (model.ctc_head, model.emotion_head):
            head.weight.zero_()
        model.ctc_head.bias[a] = 5.0
        model.emotion_head.bias[3] = 9.0
    recognizer, path = Recognizer(model), write(tmp_path / "a.wav")
    assert recognizer(path).transcript == "A"  # every frame says A: one A
    assert recognizer(path).emotion == EMOTIONS[3]
    with torch.no_grad():
        model.ctc_head.bias[blank] = 7.0
    assert recognizer(path).transcript == ""
    with torch.no_grad():
        model.ctc_head.bias[b] = 8.0
    assert recognizer(path).transcript == "B"


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_any_format_rate_and_number_of_channels(recognizer, tmp_path, name):
    found = recognizer(str(write(tmp_path / name, num_samples=22_050, rate=44_100, channels=2)))
    assert found.emotion in EMOTIONS
    assert found.seconds == pytest.approx(0.5, abs=0.06)  # mp3 pads


@pytest.mark.parametrize("value", [0.0, 0.25, 1 / 32768])
def test_silence_and_any_constant_is_refused(recognizer, tmp_path, value):
    soundfile.write(tmp_path / "silence.wav", np.full(4000, value), 16_000)
    with pytest.raises(AudioError, match=r"silence\.wav: is silent"):
        recognizer(tmp_path / "silence.wav")


def test_the_faintest_sound_is_no_silence(recognizer, tmp_path):
    samples = np.zeros(4000)
    samples[::2] = 2 / 32768
    soundfile.write(tmp_path / "faint.wav", samples, 16_000)
    assert recognizer(tmp_path / "faint.wav").emotion in EMOTIONS


def test_one_frame_is_enough_and_one_sample_less_is_named(recognizer, tmp_path):
    assert recognizer(write(tmp_path / "a.wav", 40)).num_frames == 1
    with pytest.raises(AudioError, match=r"short\.wav: 39 samples are too few: one frame takes 40 at 16 kHz"):
        recognizer(write(tmp_path / "short.wav", 39))


def test_an_hour_is_refused_by_its_header(recognizer, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "hour.flac", np.zeros(8000 * 3600, dtype=np.int16), 8000)
    monkeypatch.setattr("mtlser.model.recognizer.read_audio", None)  # would fail if it were decoded
    with pytest.raises(AudioError, match=r"lasts 3600 s, and at most 60 s .* cut it into single utterances"):
        recognizer(tmp_path / "hour.flac")


def test_the_limit_can_be_set(model, recognizer, tmp_path):
    path = write(tmp_path / "a.wav", 16_000)
    assert Recognizer(model, max_seconds=1).max_seconds == 1 and recognizer.max_seconds == MAX_SECONDS
    assert Recognizer(model, max_seconds=1)(path).seconds == 1
    with pytest.raises(AudioError, match=r"lasts 1 s, and at most 0\.5 s"):
        Recognizer(model, max_seconds=0.5)(path)


def test_files_that_are_no_audio_or_no_model_are_refused(recognizer, tmp_path):
    (tmp_path / "letter.wav").write_text("Dear reader,")
    (tmp_path / "nothing.wav").write_bytes(b"")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    soundfile.write(tmp_path / "nan.wav", np.array([0.1, np.nan] * 500), 16_000, subtype="FLOAT")
    problems = {"missing.wav": "does not exist", "letter.wav": "not readable as audio", "nothing.wav": "0 bytes",
                "empty.wav": "holds no samples", "nan.wav": "NaN or infinite", ".": "is a folder"}  # fmt: skip
    for name, problem in problems.items():
        with pytest.raises(AudioError, match=problem):
            recognizer(tmp_path / name)
    with pytest.raises(BackboneError, match="no-model"):
        Recognizer.from_pretrained(tmp_path / "no-model")


def test_frames_are_what_the_ctc_head_says(model, tmp_path):
    path = write(tmp_path / "a.wav", 1600)
    found = Recognizer(model)(path)
    waveform = torch.from_numpy(normalise_waveform(read_audio(path)))[None]
    with torch.no_grad():
        probabilities = model(waveform, torch.tensor([1600]))[1][0].softmax(-1)  # (T, V)
    frames = found.frames
    assert len(frames.seconds) == len(frames.characters) == found.num_frames == len(probabilities)
    assert frames.blank_probabilities == pytest.approx(probabilities[:, 0].tolist(), abs=1e-6)
    characters = probabilities[:, 4:]  # after <pad>, <s>, </s>, <unk>
    assert frames.probabilities == pytest.approx(characters.max(-1).values.tolist(), abs=1e-6)
    assert [encode(character)[0] for character in frames.characters] == (characters.argmax(-1) + 4).tolist()
    assert frames.seconds[:2] == pytest.approx([20 / 16_000, 40 / 16_000])  # centres of samples 0 to 40, 20 to 60
    assert "frames" not in found.to_dict()
    assert json.loads(json.dumps(found.to_dict(frames=True)))["frames"]["characters"] == list(frames.characters)


def test_a_model_whose_answer_is_not_finite_gives_none(model, tmp_path):
    torch.nn.init.constant_(model.emotion_head.weight, 3e38)
    with pytest.raises(BackboneError, match="not finite"):
        Recognizer(model)(write(tmp_path / "a.wav"))
