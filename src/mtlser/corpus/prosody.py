"""Pitch, energy and speaking rate, measured from samples.

Legend of shapes: S samples, T frames, W samples of a frame's window.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mtlser.config import SAMPLE_RATE_HZ
from mtlser.corpus.audio import read_audio
from mtlser.corpus.text import normalise

PROSODY = ("pitch_hz", "pitch_range_semitones", "letters_per_second")

FRAME_STRIDE = 640  # samples, 40 ms: enough for a median
PITCH_WINDOW = 960  # samples, 60 ms: three periods of the lowest pitch that is looked for
LOWEST_PITCH_HZ = 55.0
HIGHEST_PITCH_HZ = 500.0
VOICED_CORRELATION = 0.55  # autocorrelation above which a frame counts as voiced
SILENT_DB = -35.0  # below the utterance's loudest frames


def pitch_and_energy(samples: np.ndarray, num_frames: int, frame_stride: int) -> tuple[np.ndarray, np.ndarray]:
    """(S,) → log of F0 in Hz (T,), NaN where unvoiced; energy (T,) in dB relative to its 95th percentile.

    F0 is the shortest lag whose normalised autocorrelation comes within 12% of the highest (else octaves below win).
    """
    padded = np.pad(samples, (0, max(0, (num_frames - 1) * frame_stride + PITCH_WINDOW - len(samples))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, PITCH_WINDOW)[::frame_stride][:num_frames]
    windows = windows.astype(np.float64)
    energy = 10 * np.log10(np.mean(windows**2, axis=1) + 1e-9)
    energy -= np.percentile(energy, 95)
    correlation = _normalised_autocorrelation(windows - windows.mean(axis=1, keepdims=True))
    shortest, longest = int(SAMPLE_RATE_HZ / HIGHEST_PITCH_HZ), int(SAMPLE_RATE_HZ / LOWEST_PITCH_HZ)
    inside = correlation[:, shortest : longest + 1]  # (T, lags)
    is_peak = np.zeros_like(inside, dtype=bool)
    is_peak[:, 1:-1] = (inside[:, 1:-1] >= inside[:, :-2]) & (inside[:, 1:-1] > inside[:, 2:])
    peaks = np.where(is_peak, inside, -1.0)
    best = peaks.max(axis=1)
    lag = shortest + np.argmax(peaks >= 0.88 * best[:, None], axis=1)
    voiced = (best > VOICED_CORRELATION) & (energy > SILENT_DB)
    return np.where(voiced, np.log(SAMPLE_RATE_HZ / lag), np.nan), energy


def _normalised_autocorrelation(windows: np.ndarray) -> np.ndarray:
    """(T, W) zero-mean windows → (T, W // 2) autocorrelation, each lag divided by the energies of its two parts."""
    length = windows.shape[1]
    spectrum = np.fft.rfft(windows, n=2 * length, axis=1)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, : length // 2]
    power = np.cumsum(windows**2, axis=1)
    total = power[:, -1:]
    lags = np.arange(1, length // 2)
    head, tail = power[:, length - 1 - lags], total - power[:, lags - 1]
    return correlation / (np.concatenate([total, np.sqrt(head * tail)], axis=1) + 1e-9)


def pitch_contour(samples: np.ndarray, stride: int = FRAME_STRIDE) -> np.ndarray:
    """(S,) → F0 in Hz (T,), one value for every `stride` samples, NaN where unvoiced."""
    return np.exp(pitch_and_energy(samples, max(1, len(samples) // stride), stride)[0])


def measure_prosody(utterances: pd.DataFrame) -> pd.DataFrame:
    """One row an utterance, from its audio and the length of its transcript; columns PROSODY, and utterance, seconds.

    `pitch_hz` is the median of voiced frames, `pitch_range_semitones` the span from their 10th to their 90th
    percentile; both NaN where fewer than five frames are voiced. `letters_per_second` is NaN without words.
    """
    rows = []
    for row in utterances.itertuples():
        samples = read_audio(row.wav)  # (S,)
        seconds, letters = len(samples) / SAMPLE_RATE_HZ, len(normalise(row.transcript).replace(" ", ""))
        pitch = pitch_contour(samples)
        voiced = pitch[np.isfinite(pitch)] if np.isfinite(pitch).sum() >= 5 else np.array([np.nan])
        low, high = np.percentile(voiced, [10, 90])
        span = 12 * np.log2(high / low)
        rows.append((row.utterance, seconds, np.median(voiced), span, (letters or np.nan) / seconds))
    return pd.DataFrame(rows, columns=["utterance", "seconds", *PROSODY])
