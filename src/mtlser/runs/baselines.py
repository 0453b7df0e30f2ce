"""What prosody alone and words alone tell of the emotion: the cues as drawn, and simple features as measured."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mtlser.config import EMOTIONS
from mtlser.corpus.iemocap import ReleaseError
from mtlser.corpus.pocket import CUES
from mtlser.corpus.prosody import PROSODY
from mtlser.corpus.text import normalise

CUE_COLUMNS = {"neither": [], "prosody": ["arousal"], "words": ["valence"], "both": ["arousal", "valence"]}


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


def feature_accuracy(
    utterances: pd.DataFrame, prosody: pd.DataFrame, tested: Sequence[str] | None = None
) -> dict[str, float]:
    """Accuracy of logistic regression on measured features, each speaker tested by a model of all others.

    "prosody": the three of PROSODY, relative to their speaker; "words": which words occur; "both"; "neither": the
    commonest emotion. A measure of what is easy to find, not a bound. `tested` names the speakers who are tested, all
    unless given.
    """
    features = {"prosody": _relative_to_speaker(utterances, prosody), "words": _word_counts(utterances)}
    features["both"] = np.concatenate(list(features.values()), axis=1)
    return _accuracies(features, utterances, tested)


def ladder(utterances: pd.DataFrame, prosody: pd.DataFrame, tested: Sequence[str] | None = None) -> dict[str, float]:
    """`feature_accuracy`, and what should tell little: the duration alone, and how often each letter occurs."""
    seconds = np.log(prosody[["seconds"]])
    texts = [normalise(transcript) for transcript in utterances["transcript"]]
    features = {
        "duration": ((seconds - seconds.mean()) / seconds.std()).to_numpy(),
        "letters": np.array([[text.count(letter) for letter in string.ascii_uppercase] for text in texts], dtype=float),
    }
    return _accuracies(features, utterances, tested) | feature_accuracy(utterances, prosody, tested)


def _accuracies(
    features: dict[str, np.ndarray], utterances: pd.DataFrame, tested: Sequence[str] | None
) -> dict[str, float]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
    from threadpoolctl import threadpool_limits

    labels, speakers = utterances["emotion"].to_numpy(), utterances["speaker"].to_numpy()
    shown = np.isin(speakers, np.unique(speakers) if tested is None else np.asarray(tested))
    shares = {"neither": float(max((labels[shown] == emotion).mean() for emotion in EMOTIONS))}
    with threadpool_limits(1, "blas"):  # on matrices this small several threads take five times as long
        for name, values in features.items():
            model = LogisticRegression(max_iter=1000)
            predicted = cross_val_predict(model, values, labels, groups=speakers, cv=LeaveOneGroupOut())
            shares[name] = float((predicted == labels)[shown].mean())
    return shares


def _relative_to_speaker(utterances: pd.DataFrame, prosody: pd.DataFrame) -> np.ndarray:
    """(N, 3): log features relative to the speaker's mean and spread; a missing one is the speaker's mean."""
    values = np.log(prosody[list(PROSODY)].clip(lower=1e-3))
    groups = values.groupby(utterances["speaker"].to_numpy())
    return ((values - groups.transform("mean")) / (groups.transform("std") + 1e-6)).fillna(0.0).to_numpy()


def _word_counts(utterances: pd.DataFrame) -> np.ndarray:
    """(N, words) of 0 and 1."""
    words = [frozenset(normalise(transcript).split()) for transcript in utterances["transcript"]]
    vocabulary = sorted(set().union(*words))
    return np.array([[word in said for word in vocabulary] for said in words], dtype=float)
