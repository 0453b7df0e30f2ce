"""What prosody alone and words alone tell of the emotion: the cues as drawn, and simple features as measured."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mtlser.config import EMOTIONS, SAMPLE_RATE_HZ
from mtlser.corpus.audio import read_audio
from mtlser.corpus.iemocap import ReleaseError
from mtlser.corpus.pocket import CUES
from mtlser.corpus.text import normalise

PROSODY = ("pitch_hz", "pitch_range_semitones", "letters_per_second")
CUE_COLUMNS = {"neither": [], "prosody": ["arousal"], "words": ["valence"], "both": ["arousal", "valence"]}

_FRAME_STRIDE = 640  # samples, 40 ms: enough for a median


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
        counts = cues.groupby([*columns, "emotion"] if columns else "emotion").size()
        best = counts.groupby(level=columns).max().sum() if columns else counts.max()
        shares[name] = float(best / len(cues))
    return shares


def measure_prosody(utterances: pd.DataFrame) -> pd.DataFrame:
    """One row an utterance, from its audio and the length of its transcript; columns PROSODY, and utterance, seconds.

    `pitch_hz` is the median of voiced frames, `pitch_range_semitones` the span from their 10th to their 90th
    percentile; both NaN where fewer than five frames are voiced. `letters_per_second` is NaN without words.
    """
    rows = [_measure(row.utterance, row.wav, row.transcript) for row in utterances.itertuples()]
    return pd.DataFrame(rows, columns=["utterance", "seconds", *PROSODY])


def _measure(utterance: str, wav: str, transcript: str) -> dict[str, object]:
    samples = read_audio(wav)  # (S,)
    seconds, letters = len(samples) / SAMPLE_RATE_HZ, len(normalise(transcript).replace(" ", ""))
    pitch = pitch_contour(samples)
    voiced = pitch[np.isfinite(pitch)]
    row = {"utterance": utterance, "seconds": seconds, **dict.fromkeys(PROSODY, float("nan"))}
    if len(voiced) >= 5:
        low, high = np.percentile(voiced, [10, 90])
        row |= {"pitch_hz": float(np.median(voiced)), "pitch_range_semitones": float(12 * np.log2(high / low))}
    if letters:
        row["letters_per_second"] = letters / seconds
    return row


def pitch_contour(samples: np.ndarray, stride: int = _FRAME_STRIDE) -> np.ndarray:
    """(S,) → F0 in Hz (T,), one value for every `stride` samples, NaN where unvoiced."""
    from mtlser.model.pretraining_targets import pitch_and_energy  # late: it waits for transformers

    return np.exp(pitch_and_energy(samples, max(1, len(samples) // stride), stride)[0])


def feature_accuracy(
    utterances: pd.DataFrame, prosody: pd.DataFrame, tested: Sequence[str] | None = None
) -> dict[str, float]:
    """Accuracy of logistic regression on measured features, each speaker tested by a model of all others.

    "prosody": the three of PROSODY; "words": which words occur; "both"; "neither": the commonest emotion. A measure of
    what is easy to find, not a bound. `tested` names the speakers who are tested, all unless given.
    """
    features = {"prosody": _standardised(utterances, prosody), "words": _word_counts(utterances)}
    features["both"] = np.concatenate(list(features.values()), axis=1)
    return _accuracies(features, utterances, tested)


def ladder(utterances: pd.DataFrame, prosody: pd.DataFrame, tested: Sequence[str] | None = None) -> dict[str, float]:
    """`feature_accuracy`, and what should tell little: the duration alone, and how often each letter occurs."""
    seconds = np.log(prosody[["seconds"]])
    texts = [normalise(transcript) for transcript in utterances["transcript"]]
    features = {
        "duration": ((seconds - seconds.mean()) / seconds.std()).to_numpy(),
        "letters": np.array([[text.count(letter) for letter in string.ascii_lowercase] for text in texts], dtype=float),
    }
    return _accuracies(features, utterances, tested) | feature_accuracy(utterances, prosody, tested)


def _accuracies(
    features: dict[str, np.ndarray], utterances: pd.DataFrame, tested: Sequence[str] | None
) -> dict[str, float]:
    labels, speakers = utterances["emotion"].to_numpy(), utterances["speaker"].to_numpy()
    chosen = np.unique(speakers) if tested is None else np.asarray(tested)
    shown = labels[np.isin(speakers, chosen)]
    shares = {"neither": float(max((shown == emotion).mean() for emotion in EMOTIONS))}
    return shares | {name: _speakers_out(values, labels, speakers, chosen) for name, values in features.items()}


def _standardised(utterances: pd.DataFrame, prosody: pd.DataFrame) -> np.ndarray:
    """(N, 3): log features relative to the speaker's mean and spread; a missing one is the speaker's mean."""
    values = np.log(prosody[list(PROSODY)].clip(lower=1e-3))
    groups = values.groupby(utterances["speaker"].to_numpy())
    return ((values - groups.transform("mean")) / (groups.transform("std") + 1e-6)).fillna(0.0).to_numpy()


def _word_counts(utterances: pd.DataFrame) -> np.ndarray:
    """(N, words) of 0 and 1."""
    words = [frozenset(normalise(transcript).split()) for transcript in utterances["transcript"]]
    vocabulary = sorted(set().union(*words))
    return np.array([[word in said for word in vocabulary] for said in words], dtype=float)


def _speakers_out(features: np.ndarray, labels: np.ndarray, speakers: np.ndarray, tested: np.ndarray) -> float:
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    right = total = 0
    with threadpool_limits(1, "blas"):  # on matrices this small several threads take five times as long
        for speaker in tested:
            test = speakers == speaker
            model = LogisticRegression(max_iter=1000).fit(features[~test], labels[~test])
            right += int((model.predict(features[test]) == labels[test]).sum())
            total += int(test.sum())
    return right / total
