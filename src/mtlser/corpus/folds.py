"""Protocols, which divide a corpus into training and test."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from importlib import import_module

import pandas as pd

from mtlser.config import PROTOCOLS, ConfigError, Protocol
from mtlser.corpus.text import normalise
from mtlser.files import digest

NUM_GROUPS = 6  # of speakers, where there are more than MANY_SPEAKERS and the corpus has no division of its own
MANY_SPEAKERS = 12
NUM_RANDOM = 5  # folds of utterances
NUM_TEXT_PARTS = 5  # of a corpus's sentences, or as many as there are


@dataclass(frozen=True)
class Fold:
    """One division of the corpus: utterance ids of training and test.

    Raises ValueError when one of them is empty, or an id occurs twice.
    """

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.train or not self.test:
            raise ValueError(f"fold {self.name}: {'train' if not self.train else 'test'} holds no utterance")
        repeated = [utterance for utterance, count in Counter((*self.train, *self.test)).items() if count > 1]
        if repeated:
            some = ", ".join(repeated[:3])
            raise ValueError(f"fold {self.name}: {len(repeated)} utterances occur twice or in two parts, e.g. {some}")


def make_folds(utterances: pd.DataFrame, protocol: Protocol) -> list[Fold]:
    """The folds of a table of utterances, sorted by name; what each tests, by protocol:

    - `speaker`: one speaker, who is in no training (section 4.1, as written): "Ses01F".
    - `released`: by the dialog's session and the actor with motion-capture markers (departure "folds"): "01F".
    - `session`: both speakers of one session: "Ses01".
    - `groups`: speakers, each alone up to twelve; above, six groups, or the corpus's own (a column `group`).
    - `random`: a fifth of the utterances, whoever speaks: "random-1".
    - `text`: as `groups`, of a fifth of the sentences: training has neither these speakers nor these.

    Each utterance is in exactly one test set, but with `text`, which tests a fifth of what each speaker says. Raises
    ConfigError for an unknown protocol and for one that the corpus has no sessions for, ValueError for repeated ids, or
    a table that gives fewer than two folds.
    """
    ids = distinct_ids(utterances)
    names = fold_names(utterances, protocol)
    if names.nunique() < 2:
        found = ", ".join(names.unique()) or "no utterance"
        raise ValueError(f"protocol {protocol!r} needs at least two groups of utterances; the table has {found}")
    if protocol == "text":
        return _text_folds(utterances, ids, names)
    return [Fold(name, tuple(ids[names != name]), tuple(ids[names == name])) for name in sorted(names.unique())]


def fold_names(utterances: pd.DataFrame, protocol: Protocol) -> pd.Series:
    """For each row, the name of the fold that tests it, if any does. Raises ConfigError as `make_folds`."""
    if protocol not in PROTOCOLS:
        raise ConfigError(f"unknown protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}")
    if protocol in ("groups", "text"):
        return _speaker_groups(utterances)
    if protocol == "random":
        rank = utterances["utterance"].map(digest).rank().astype(int)  # the same for every order of the rows
        return "random-" + (rank % NUM_RANDOM + 1).astype("str")
    column = "dialog" if protocol == "released" else protocol
    if (utterances[column] == "").any():
        raise ConfigError(f"protocol {protocol!r} needs a corpus of dialogs in sessions; this one has none")
    if protocol == "released":
        return utterances["dialog"].str[3:6]  # Ses01F_impro01 -> 01F
    return utterances[protocol]


def _speaker_groups(utterances: pd.DataFrame) -> pd.Series:
    if "group" in utterances:
        return utterances["group"]
    sex = utterances["sex"] if "sex" in utterances else pd.Series("", index=utterances.index)
    speakers = [speaker for _, speaker in sorted(set(zip(sex, utterances["speaker"], strict=True)))]
    if len(speakers) <= MANY_SPEAKERS:
        return utterances["speaker"]
    group_of = {speaker: f"group-{number % NUM_GROUPS + 1}" for number, speaker in enumerate(speakers)}
    return utterances["speaker"].map(group_of)


def _text_folds(utterances: pd.DataFrame, ids: pd.Series, names: pd.Series) -> list[Fold]:
    texts = utterances["transcript"].map(normalise)
    sentences = sorted(set(texts) - {""}, key=digest)
    num_parts = min(NUM_TEXT_PARTS, len(sentences))
    if num_parts < 2:
        raise ConfigError("protocol 'text' needs at least two different sentences")
    part = texts.map({text: number % num_parts for number, text in enumerate(sentences)})  # NaN: no words
    folds = []
    for number, name in enumerate(sorted(names.unique())):
        heard, said = names == name, part == number % num_parts
        folds.append(Fold(name, tuple(ids[~heard & ~said]), tuple(ids[heard & said])))
    return folds


def distinct_ids(utterances: pd.DataFrame) -> pd.Series:
    """The utterances' ids. Raises ValueError for one that occurs twice."""
    ids = utterances["utterance"]
    if ids.duplicated().any():
        raise ValueError(f"utterance {ids[ids.duplicated()].iat[0]} occurs twice in the table")
    return ids


def __getattr__(name: str):
    """`audit`, which training needs nothing of, is `mtlser.corpus.leaks.audit`."""
    if name != "audit":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("mtlser.corpus.leaks").audit
