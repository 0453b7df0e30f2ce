"""Any audio file becomes mono 16 kHz samples, checked.

Legend of shapes: S samples.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr

from mtlser.config import SAMPLE_RATE_HZ
from mtlser.files import whole_file

# How many files of a long list an error names; the rest is counted.
NUM_NAMED = 20

# transformers' feature extractor adds it to the variance, and wav2vec 2.0 was published with it.
VARIANCE_EPSILON = 1e-7

# A RIFF header may count itself or a pad byte; audio that lacks less than this is not cut short in a way that matters.
RIFF_SLACK_BYTES = 64

# Reading is waiting for a disk, often a network's, so that more threads than cores help.
NUM_THREADS = 8


class AudioError(ValueError):
    """One audio file can't be used. `path` and `reason` say which and why."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = str(path), reason


class AudioFilesError(AudioError):
    """Some of `total` audio files can't be used: `problems` has one AudioError each, the message names the first 20."""

    def __init__(self, problems: Sequence[AudioError], total: int):
        super().__init__(problems[0].path, problems[0].reason)
        self.problems = tuple(problems)
        lines = [f"{len(problems)} of {total} audio files are missing or can't be used:"]
        lines += [f"  {problem}" for problem in problems[:NUM_NAMED]]
        if len(problems) > NUM_NAMED:
            lines.append(f"  … and {len(problems) - NUM_NAMED} more")
        self.args = ("\n".join(lines),)


def audio_info(path: str | Path) -> soundfile._SoundFileInfo:
    """The header alone: frames (samples per channel), samplerate in Hz, channels, duration in seconds.

    Raises AudioError for a file that is missing, not audio, or empty.
    """
    try:
        info = soundfile.info(str(path))
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(path, _why_unreadable(path, error)) from error
    if info.frames == 0:
        raise AudioError(path, "holds no samples")
    return info


def read_audio(path: str | Path) -> np.ndarray:
    """float32 (S,) in [-1, 1], mono, 16 kHz: channels are averaged, other rates resampled (soxr, high quality).

    Raises AudioError for a file that is missing, not audio, empty, or holds NaN or infinite samples.
    """
    return at_16_khz(path, *read_source(path))


def read_source(path: str | Path) -> tuple[np.ndarray, int]:
    """float32 (S, channels) as the file holds them, and its sampling rate in Hz. Raises AudioError as `read_audio`."""
    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(path, _why_unreadable(path, error)) from error
    if not np.isfinite(samples).all():
        raise AudioError(path, "holds NaN or infinite samples")
    return samples, rate


def at_16_khz(path: str | Path, samples: np.ndarray, rate: int) -> np.ndarray:
    """What `read_source` read, as `read_audio` gives it. Raises AudioError where there are no samples."""
    samples = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]  # (S,)
    if rate != SAMPLE_RATE_HZ and len(samples):
        samples = soxr.resample(samples, rate, SAMPLE_RATE_HZ)
    if len(samples) == 0:
        raise AudioError(path, "holds no samples")
    # Float files, and the resampler around a full-scale edge, go slightly beyond full scale.
    return np.clip(samples, -1.0, 1.0, dtype=np.float32)


def normalise_waveform(samples: np.ndarray) -> np.ndarray:
    """float32 (S,) with zero mean and unit variance, as wav2vec 2.0 was pretrained; a constant waveform gives zeros.

    Source: transformers' Wav2Vec2FeatureExtractor, epsilon 1e-7 on the variance. Raises ValueError when S is 0.
    """
    samples = np.asarray(samples, dtype=np.float64)
    if samples.size == 0:
        raise ValueError("an empty waveform can't be normalised")
    centred = samples - samples.mean()
    return (centred / np.sqrt(centred.var() + VARIANCE_EPSILON)).astype(np.float32)


def write_wav(path: str | Path, samples: np.ndarray) -> None:
    """Writes samples (S,) in [-1, 1] as 16 bit PCM, 16 kHz, mono; whole or not at all.

    `read_audio` returns them within half a step of 1 / 32768. Raises AudioError for empty or non-finite samples.
    """
    samples = np.asarray(samples, dtype=np.float64)
    if samples.ndim != 1 or samples.size == 0 or not np.isfinite(samples).all():
        raise AudioError(path, f"samples to write must be one row of finite numbers; their shape is {samples.shape}")
    steps = np.round(samples * 32768.0).clip(-32768, 32767).astype(np.int16)
    with whole_file(Path(path)) as partial:
        soundfile.write(str(partial), steps, SAMPLE_RATE_HZ, subtype="PCM_16", format="WAV")


def audio_problems(paths: Iterable[str | Path]) -> list[AudioError]:
    """One AudioError for each file that isn't readable, non-empty, mono 16 kHz audio by its header, in order."""
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return [problem for problem in pool.map(_header_problem, paths) if problem is not None]


def _header_problem(path: str | Path) -> AudioError | None:
    """libsndfile reads what there is of a file whose copy was interrupted: compare its size and its RIFF header."""
    try:
        info = audio_info(path)
    except AudioError as error:
        return error
    if (info.samplerate, info.channels) != (SAMPLE_RATE_HZ, 1):
        found = f"{info.samplerate} Hz with {info.channels} channel(s)"
        return AudioError(path, f"is {found}; the release has {SAMPLE_RATE_HZ} Hz mono")
    with open(path, "rb") as file:
        header, size = file.read(8), os.fstat(file.fileno()).st_size
    promised = 8 + int.from_bytes(header[4:], "little")
    is_known = header[:4] == b"RIFF" and promised < 2**31  # writers to a pipe leave a huge size
    if is_known and size + RIFF_SLACK_BYTES < promised:
        return AudioError(path, f"is cut short: {size} of {promised} bytes")
    return None


def _why_unreadable(path: str | Path, error: Exception) -> str:
    """libsndfile calls a missing file a "System error": say what is wrong with it instead."""
    path = Path(path)
    if path.is_dir():
        return "is a folder, not an audio file"
    if not path.exists():
        return "does not exist"
    if not os.access(path, os.R_OK):
        return "may not be read (permission denied)"
    if path.stat().st_size == 0:
        return "is empty (0 bytes)"
    return f"is not readable as audio ({getattr(error, 'error_string', None) or error})"
