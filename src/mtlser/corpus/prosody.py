"""Pitch, energy and speaking rate, measured from samples; what they alone, and words alone, tell of the emotion.

Legend of shapes: S samples, T frames, W samples of a frame's window.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mtlser.config import SAMPLE_RATE_HZ
from mtlser.corpus.audio import read_audio
from mtlser.corpus.iemocap import ReleaseError
from mtlser.corpus.pocket import CUES
from mtlser.corpus.text import normalise

PROSODY = ("pitch_hz", "pitch_range_semitones", "letters_per_second")
CUE_COLUMNS = {"neither": [], "prosody": ["arousal"], "words": ["valence"], "both": ["arousal", "valence"]}
ALONE = ("prosody", "words", "both")
RUNGS = ("duration", "letters", *ALONE)

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


def read_cues(utterances: pd.DataFrame) -> pd.DataFrame:
    """Which cues each utterance of a pocket corpus shows, as its generator drew them, in the order of `utterances`.

    Raises ReleaseError for a release that has no such file, as IEMOCAP has none.
    """
    release = Path(utterances["wav"].iloc[0]).parents[4]  # <release>/Session1/sentences/wav/<dialog>/<utterance>.wav
    path = release / CUES
    if not path.is_file():
        raise ReleaseError(f"{release} has no {CUES}: only a pocket corpus says which cues were drawn")
    cues = pd.read_csv(path, keep_default_na=False)
    return cues.set_index("utterance").loc[utterances["utterance"]].reset_index()


def cue_accuracy(cues: pd.DataFrame) -> dict[str, float]:
    """The share of utterances of the commonest emotion among those that show the same cues, for each set of cues."""
    shares = {}
    for name, columns in CUE_COLUMNS.items():
        counts = cues[[*columns, "emotion"]].value_counts()
        best = counts.groupby(columns).max().sum() if columns else counts.max()
        shares[name] = float(best / len(cues))
    return shares


def feature_accuracy(
    utterances: pd.DataFrame, prosody: pd.DataFrame, tested: Sequence[str] | None = None, rungs: Sequence[str] = ALONE
) -> dict[str, float]:
    """Accuracy of logistic regression on measured features, each speaker tested by a model of all others.

    "neither": the commonest emotion; "prosody": the three of PROSODY, relative to their speaker; "words": which words
    occur; "both"; of all `RUNGS` also what should tell little, "duration" and "letters": how often each occurs. A
    measure of what is easy to find, not a bound. `tested` names the speakers who are tested, all unless given.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
    from threadpoolctl import threadpool_limits

    labels, speakers = utterances["emotion"], utterances["speaker"]
    shown = speakers.isin(speakers if tested is None else list(tested))
    features = _features(utterances, prosody)
    shares = {"neither": float(labels[shown].value_counts(normalize=True).max())}
    with threadpool_limits(1, "blas"):  # on matrices this small several threads take five times as long
        for name in rungs:
            model = LogisticRegression(max_iter=1000)
            predicted = cross_val_predict(model, features[name], labels, groups=speakers, cv=LeaveOneGroupOut())
            shares[name] = float((predicted == labels)[shown].mean())
    return shares


def _features(utterances: pd.DataFrame, prosody: pd.DataFrame) -> dict[str, np.ndarray]:
    """(N, …) of each of RUNGS. Prosody is in logs, relative to the speaker's mean and spread, which a gap becomes."""
    from sklearn.feature_extraction.text import CountVectorizer

    texts = utterances["transcript"].map(normalise)
    letters = CountVectorizer(analyzer="char", lowercase=False, vocabulary=list(string.ascii_uppercase))
    words = CountVectorizer(token_pattern=r"\S+", lowercase=False, binary=True)
    seconds = np.log(prosody[["seconds"]])
    logs = np.log(prosody[list(PROSODY)].clip(lower=1e-3))
    voices = logs.groupby(utterances["speaker"].to_numpy())
    features = {
        "duration": ((seconds - seconds.mean()) / seconds.std()).to_numpy(),
        "letters": letters.fit_transform(texts).toarray().astype(float),
        "prosody": ((logs - voices.transform("mean")) / (voices.transform("std") + 1e-6)).fillna(0.0).to_numpy(),
        "words": words.fit_transform(texts).toarray().astype(float),
    }
    return features | {"both": np.concatenate([features["prosody"], features["words"]], axis=1)}
