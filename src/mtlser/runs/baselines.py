"""What prosody alone and words alone tell of the emotion: the cues as drawn, and simple features as measured."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mtlser.corpus.iemocap import ReleaseError
from mtlser.corpus.pocket import CUES
from mtlser.corpus.prosody import PROSODY
from mtlser.corpus.text import normalise

CUE_COLUMNS = {"neither": [], "prosody": ["arousal"], "words": ["valence"], "both": ["arousal", "valence"]}
ALONE = ("prosody", "words", "both")
RUNGS = ("duration", "letters", *ALONE)


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
