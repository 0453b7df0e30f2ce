"""Any audio file becomes mono 16 kHz samples, checked.

Legend of shapes: S samples.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr

from mtlser.config import SAMPLE_RATE_HZ

# How many files of a long list an error names; the rest is counted.
NUM_NAMED = 20

# transformers' feature extractor adds it to the variance, and wav2vec 2.0 was published with it.
VARIANCE_EPSILON = 1e-7

# A RIFF header may count itself or a pad byte; audio that lacks less than this is not cut short in a way that matters.
RIFF_SLACK_BYTES = 64

# A file of more bytes holds something besides its header.
HEADER_BYTES = 1000

# libsndfile's number for a length that the header leaves open.
UNKNOWN_FRAMES = 2**62
BLOCK_FRAMES = 2**18  # read at once

# A float file may hold samples in the range of 16-bit integers; what is louder is no sound.
LOUDEST = 32768

# Channels whose mean has less than this share of their standard deviation are the same sound, inverted.
OPPOSITE = 0.1

# What stands once, at a recording's start, by libsndfile's names of formats: of several it hears the first alone.
STARTS = {
    "WAV": rb"WAVEfmt ",
    "WAVEX": rb"WAVEfmt ",
    "FLAC": rb"fLaC\x00\x00\x00\x22",
    "OGG": rb"OggS\x00\x02\x00{8}",
    "MP3": rb"(?s)\xff[\xe0-\xff]..\x00{9,32}(?:Xing|Info)",
}

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

    Raises AudioError for a file that is missing, not audio, empty, or shorter than its header says.
    """
    size = os.path.getsize(path) if os.path.isfile(path) else 0  # a pipe would be waited for
    try:
        info = soundfile.info(_name(path)) if size else None
    except (soundfile.SoundFileError, OSError, TypeError) as error:  # TypeError: .raw, which has no header
        raise AudioError(path, _why_unreadable(path, error)) from error
    if info is None:
        raise AudioError(path, _why_unreadable(path, "not a file"))
    if info.frames == 0:
        why = f" by its header, though it has {size} bytes: it was cut short, or streamed; convert it anew"
        raise AudioError(path, "holds no samples" + (why if size > HEADER_BYTES else ""))
    with open(path, "rb") as file:
        header = file.read(8)
    promised = 8 + int.from_bytes(header[4:], "little")
    is_known = header[:4] == b"RIFF" and promised < 2**31  # writers to a pipe leave a huge size
    if is_known and size + RIFF_SLACK_BYTES < promised:
        raise AudioError(path, f"is cut short: {size} of {promised} bytes")
    return info


def audio_seconds(path: str | Path) -> float:
    """Duration by the header, or of what is there where (in streamed flac) it leaves that open. Raises AudioError."""
    info = audio_info(path)
    return info.duration if info.frames < UNKNOWN_FRAMES else len(read_source(path)[0]) / info.samplerate


def read_audio(path: str | Path) -> np.ndarray:
    """float32 (S,) in [-1, 1], mono, 16 kHz: channels are averaged, other rates resampled (soxr, high quality).

    Raises AudioError for a file that is missing, not audio, empty, or holds NaN or infinite samples.
    """
    return at_16_khz(path, *read_source(path))


def read_source(path: str | Path) -> tuple[np.ndarray, int]:
    """float32 (S, channels) in [-1, 1], and the sampling rate in Hz: what the file holds, a louder float file scaled.

    Raises AudioError as `read_audio`, also for a file that is cut short, or several in one.
    """
    info, blocks = audio_info(path), []
    try:
        with _InOrder(_name(path)) as file:
            left = info.frames  # what may follow is no sound
            while left and len(block := file.read(min(left, BLOCK_FRAMES), dtype="float32", always_2d=True)):
                blocks.append(block)
                left -= len(block)
        content = Path(path).read_bytes()
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(path, _why_unreadable(path, error)) from error
    samples = np.concatenate(blocks) if blocks else np.zeros((0, info.channels), np.float32)
    last_page = content.rfind(b"OggS")
    if info.frames < UNKNOWN_FRAMES and len(samples) < 0.98 * info.frames:  # of mp3 it may be an estimate
        raise AudioError(path, f"is cut short: {len(samples)} of {info.frames} samples")
    if info.format == "OGG" and not content[last_page + 5] & 4:  # no end of stream
        raise AudioError(path, "is cut short: its last page is missing")
    if info.format in STARTS and len(re.findall(STARTS[info.format], content)) > 1:
        raise AudioError(path, "is several recordings in one file, of which the first alone would be heard: cut it")
    if not np.isfinite(samples).all():
        raise AudioError(path, "holds NaN or infinite samples")
    if (peak := np.abs(samples).max(initial=0.0)) > LOUDEST:
        raise AudioError(path, f"reaches {peak:g}, where full scale is 1, or {LOUDEST} of integers: scale it")
    return samples / max(peak, np.float32(1)), info.samplerate


def at_16_khz(path: str | Path, samples: np.ndarray, rate: int) -> np.ndarray:
    """What `read_source` read, as `read_audio` gives it.

    Raises AudioError where there are no samples, or channels that cancel each other.
    """
    loudest = samples.std(axis=0).max() if len(samples) else 0.0
    samples = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]  # (S,)
    if len(samples) and samples.std() < OPPOSITE * loudest:
        raise AudioError(path, "has channels that cancel each other (opposite phase): invert one, or give one alone")
    if rate != SAMPLE_RATE_HZ and len(samples):
        samples = soxr.resample(samples, rate, SAMPLE_RATE_HZ)
    if len(samples) == 0:
        raise AudioError(path, "holds no samples")
    # The resampler goes slightly beyond full scale around a full-scale edge.
    return np.clip(samples, -1.0, 1.0, dtype=np.float32)


class _InOrder(soundfile.SoundFile):
    """Read from start to end, so that neither seeking nor what a header says of the length is needed."""

    def seekable(self) -> bool:
        return False


def _name(path: str | Path) -> str | bytes:
    """A name need not be UTF-8, except on Windows."""
    return os.fsencode(path) if os.name == "posix" else str(path)


def normalise_waveform(samples: np.ndarray) -> np.ndarray:
    """float32 (S,) with zero mean and unit variance, as wav2vec 2.0 was pretrained; a constant waveform gives zeros.

    Source: transformers' Wav2Vec2FeatureExtractor, epsilon 1e-7 on the variance. Raises ValueError when S is 0.
    """
    samples = np.asarray(samples, dtype=np.float64)
    if samples.size == 0:
        raise ValueError("an empty waveform can't be normalised")
    centred = samples - samples.mean()
    return (centred / np.sqrt(centred.var() + VARIANCE_EPSILON)).astype(np.float32)


def audio_problems(paths: Iterable[str | Path]) -> list[AudioError]:
    """One AudioError for each file that isn't readable, non-empty, mono 16 kHz audio by its header, in order."""
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return [problem for problem in pool.map(_header_problem, paths) if problem is not None]


def _header_problem(path: str | Path) -> AudioError | None:
    try:
        info = audio_info(path)
    except AudioError as error:
        return error
    if (info.samplerate, info.channels) != (SAMPLE_RATE_HZ, 1):
        found = f"{info.samplerate} Hz with {info.channels} channel(s)"
        return AudioError(path, f"is {found}; the release has {SAMPLE_RATE_HZ} Hz mono")
    return None


def _why_unreadable(path: str | Path, error: object) -> str:
    """libsndfile calls a missing file a "System error": say what is wrong with it instead."""
    if os.path.isdir(path):
        return "is a folder, not an audio file"
    if not os.path.exists(path):
        return "does not exist"
    if not os.path.isfile(path):
        return "is a pipe or device, not a file"
    if not os.access(path, os.R_OK):
        return "may not be read (permission denied)"
    if os.path.getsize(path) == 0:
        return "is empty (0 bytes)"
    reason = getattr(error, "error_string", None) or str(error)
    return f"is not readable as audio: cut short, damaged, or something else ({reason})"
