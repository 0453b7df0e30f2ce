"""Audio files: what is read back, what is refused, and how a long list of bad files is reported."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from transformers import Wav2Vec2FeatureExtractor

from mtlser.corpus import audio
from mtlser.corpus.audio import AudioError
from mtlser.corpus.pocket import write_wav


def tone(num_samples: int, rate: int = 16_000, hz: float = 440.0) -> np.ndarray:
    """A sine of amplitude 0.5."""
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(num_samples) / rate)).astype(np.float32)


def test_write_then_read_is_within_half_a_step(tmp_path):
    samples = tone(1600)
    write_wav(tmp_path / "tone.wav", samples)
    read = audio.read_audio(tmp_path / "tone.wav")
    assert read.dtype == np.float32 and read.shape == (1600,)
    assert np.abs(read - samples).max() <= 0.5 / 32768
    info = audio.audio_info(tmp_path / "tone.wav")
    assert (info.frames, info.samplerate, info.channels, info.duration) == (1600, 16_000, 1, 0.1)


def test_writing_clips_and_leaves_no_other_file(tmp_path):
    write_wav(tmp_path / "loud.wav", [2.0, -2.0, 0.0])
    assert audio.read_audio(tmp_path / "loud.wav").tolist() == [32767 / 32768, -1.0, 0.0]
    assert [path.name for path in tmp_path.iterdir()] == ["loud.wav"]


@pytest.mark.parametrize("samples", [[], [[0.1, 0.2]], [0.1, float("nan")]])
def test_writing_refuses(tmp_path, samples):
    with pytest.raises(AudioError, match="samples to write"):
        write_wav(tmp_path / "bad.wav", samples)
    assert not list(tmp_path.iterdir())


def test_channels_are_averaged(tmp_path):
    soundfile.write(tmp_path / "stereo.wav", np.stack([tone(800), np.zeros(800)], axis=1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(audio.read_audio(tmp_path / "stereo.wav"), tone(800) / 2, atol=1e-7)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100])
@pytest.mark.parametrize("extension", ["wav", "flac", "ogg"])
def test_other_rates_and_formats_are_resampled(tmp_path, rate, extension):
    path = tmp_path / f"tone.{extension}"
    soundfile.write(path, tone(rate, rate), rate)
    read = audio.read_audio(path)
    assert abs(len(read) - 16_000) <= 2
    middle = slice(2000, 14_000)  # the resampler's filter needs neighbours
    spectrum = np.abs(np.fft.rfft(read[middle]))
    assert spectrum.argmax() == 440 * 12_000 // 16_000
    assert np.abs(read).max() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("gain", [4, 32768])
def test_float_files_beyond_full_scale_are_scaled_and_never_clipped(tmp_path, gain):
    soundfile.write(tmp_path / "loud.wav", gain * np.array([1.0, -1.0, 0.25]), 16_000, subtype="FLOAT")
    assert audio.read_audio(tmp_path / "loud.wav").tolist() == [1.0, -1.0, 0.25]
    soundfile.write(tmp_path / "loud.wav", np.array([1e9, 0.1]), 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="reaches 1e\\+09, where full scale is 1"):
        audio.read_audio(tmp_path / "loud.wav")


def test_channels_that_cancel_each_other_are_refused(tmp_path):
    soundfile.write(tmp_path / "opposite.wav", np.stack([tone(800), -tone(800)], axis=1), 16_000)
    with pytest.raises(AudioError, match="opposite phase"):
        audio.read_audio(tmp_path / "opposite.wav")
    soundfile.write(tmp_path / "silent.wav", np.zeros((800, 2)), 16_000)
    assert not audio.read_audio(tmp_path / "silent.wav").any()


@pytest.fixture(params=["wav", "flac", "ogg", "mp3"])
def noise(request, tmp_path):
    """Two seconds in a file of each format."""
    path = tmp_path / f"noise.{request.param}"
    soundfile.write(path, np.random.default_rng(0).normal(size=32_000) * 0.1, 16_000)
    return path


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_that_is_cut_short_says_so(noise, share):
    content = noise.read_bytes()
    noise.write_bytes(content[: int(share * len(content))])
    with pytest.raises(AudioError, match="cut short"):
        audio.read_audio(noise)


def test_several_recordings_in_one_file_are_refused(noise):
    alone, content = audio.read_audio(noise), noise.read_bytes()
    noise.write_bytes(content + bytes(500))  # what some programs leave at the end
    np.testing.assert_array_equal(audio.read_audio(noise), alone)
    noise.write_bytes(content + content)
    with pytest.raises(AudioError, match=r"several recordings in one file|not readable as audio: .+"):
        audio.read_audio(noise)


def test_a_streamed_file_has_the_length_that_is_there(tmp_path):
    path = tmp_path / "noise.flac"
    soundfile.write(path, tone(32_000), 16_000)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # 36 bits of STREAMINFO count the samples; 0: unknown
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert audio.audio_seconds(path) == 2 and len(audio.read_audio(path)) == 32_000
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match="cut short"):
        audio.read_audio(path)
    write_wav(tmp_path / "piped.wav", tone(1600))
    content = bytearray((tmp_path / "piped.wav").read_bytes())
    content[4:8] = content[40:44] = bytes(4)
    (tmp_path / "piped.wav").write_bytes(content)
    with pytest.raises(AudioError, match="no samples by its header, though it has 3244 bytes: it was .* streamed"):
        audio.read_audio(tmp_path / "piped.wav")


@pytest.mark.skipif(os.name != "posix", reason="Windows has neither")
def test_a_pipe_is_not_waited_for_and_a_name_may_be_any_bytes(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(AudioError, match="is a pipe"):
        audio.read_audio(tmp_path / "pipe.wav")
    write_wav(tmp_path / "a.wav", tone(160))
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")
    os.rename(tmp_path / "a.wav", odd)
    assert len(audio.read_audio(odd)) == 160


def make_bad_files(folder) -> dict[str, str]:
    """File name -> part of the reason it is refused by `read_audio`."""
    (folder / "zero.wav").write_bytes(b"")
    (folder / "text.wav").write_text("this is no audio", encoding="utf-8")
    (folder / "folder.wav").mkdir()
    (folder / "headless.raw").write_bytes(bytes(320))
    soundfile.write(folder / "empty.wav", np.zeros(0), 16_000)
    soundfile.write(folder / "nan.wav", np.array([0.0, np.nan]), 16_000, subtype="FLOAT")
    return {
        "absent.wav": "does not exist",
        "zero.wav": "0 bytes",
        "text.wav": "not readable as audio",
        "headless.raw": "not readable as audio",
        f"{'a' * 300}.wav": "does not exist",
        "folder.wav": "is a folder",
        "empty.wav": "holds no samples",
        "nan.wav": "NaN",
    }


def test_each_bad_file_says_why(tmp_path):
    for name, reason in make_bad_files(tmp_path).items():
        with pytest.raises(AudioError, match=reason) as caught:
            audio.read_audio(tmp_path / name)
        assert caught.value.path == str(tmp_path / name) and str(tmp_path / name) in str(caught.value)
        if name != "nan.wav":
            with pytest.raises(AudioError, match=reason):
                audio.audio_info(tmp_path / name)


def test_headers_name_every_problem_in_order(tmp_path):
    write_wav(tmp_path / "good.wav", tone(160))
    write_wav(tmp_path / "cut.wav", tone(1600))
    content = (tmp_path / "cut.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[:1000])
    soundfile.write(tmp_path / "rate.wav", tone(160), 8_000)
    soundfile.write(tmp_path / "stereo.wav", np.zeros((160, 2)), 16_000)
    names = ["cut.wav", "good.wav", "rate.wav", "stereo.wav", "absent.wav"]
    problems = audio.audio_problems(tmp_path / name for name in names)
    assert [problem.reason for problem in problems] == [
        f"is cut short: 1000 of {len(content)} bytes",
        "is 8000 Hz with 1 channel(s); the release has 16000 Hz mono",
        "is 16000 Hz with 2 channel(s); the release has 16000 Hz mono",
        "does not exist",
    ]
    shutil.copy(tmp_path / "good.wav", tmp_path / "piped.wav")
    piped = bytearray((tmp_path / "good.wav").read_bytes())
    piped[4:8] = b"\xff\xff\xff\xff"
    (tmp_path / "piped.wav").write_bytes(piped)
    assert not audio.audio_problems([tmp_path / "piped.wav"])


def test_normalised_as_the_feature_extractor_does():
    samples = tone(400) + 0.2
    expected = Wav2Vec2FeatureExtractor(do_normalize=True)(samples, sampling_rate=16_000).input_values[0]
    np.testing.assert_allclose(audio.normalise_waveform(samples), expected, atol=1e-5)


@given(st.floats(-1, 1), st.integers(1, 2000))
def test_a_constant_waveform_becomes_zeros(value, num_samples):
    normalised = audio.normalise_waveform(np.full(num_samples, value, dtype=np.float32))
    assert normalised.dtype == np.float32
    np.testing.assert_allclose(normalised, 0.0, atol=1e-6)


@given(st.integers(0, 2**32 - 1), st.floats(1e-2, 1.0), st.floats(-0.5, 0.5))
def test_normalised_ignores_gain_and_offset(seed, gain, offset):
    samples = np.random.default_rng(seed).normal(size=500)
    normalised = audio.normalise_waveform(gain * samples + offset)
    assert abs(normalised.mean()) < 1e-5 and normalised.std() == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(normalised, audio.normalise_waveform(samples), atol=5e-3)


def test_an_empty_waveform_cannot_be_normalised():
    with pytest.raises(ValueError, match="empty"):
        audio.normalise_waveform(np.zeros(0))
