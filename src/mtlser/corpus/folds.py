"""Protocols `speaker`, `released` and `session`, and the audit of what each leaks from training to test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mtlser.config import PROTOCOLS, Protocol
from mtlser.corpus.text import normalise

# "With five words or more", difference 3 of the audit: shorter texts repeat by themselves ("Yeah.", "I don't know.").
MANY_WORDS = 5


@dataclass(frozen=True)
class Fold:
    """One division of the corpus: utterance ids of training, test and, where a reader sets one aside, validation.

    Raises ValueError when training or test is empty, an id repeats, or parts overlap.
    """

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    validation: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in ("train", "test", "validation"):
            object.__setattr__(self, part, tuple(getattr(self, part)))
        if not self.train or not self.test:
            raise ValueError(f"fold {self.name}: {'train' if not self.train else 'test'} holds no utterance")
        counts = Counter((*self.train, *self.test, *self.validation))
        repeated = [utterance for utterance, count in counts.items() if count > 1]
        if repeated:
            some = ", ".join(repeated[:3])
            raise ValueError(f"fold {self.name}: {len(repeated)} utterances occur twice or in two parts, e.g. {some}")


def make_folds(utterances: pd.DataFrame, protocol: Protocol) -> list[Fold]:
    """The folds of a table from `load_release`, sorted by name; each utterance is in exactly one test set.

    `speaker`: as written (section 4.1), one true speaker is tested: "Ses01F". `released`: as run (departure "folds"),
    by the dialog's session and the actor with motion-capture markers: "01F". `session`: both speakers of one: "Ses01".
    Raises ValueError for an unknown protocol, repeated ids, or a table that gives fewer than two folds.
    """
    ids = _distinct_ids(utterances)
    names = fold_names(utterances, protocol)
    if names.nunique() < 2:
        found = ", ".join(names.unique()) or "no utterance"
        raise ValueError(f"protocol {protocol!r} needs at least two groups of utterances; the table has {found}")
    return [Fold(name, tuple(ids[names != name]), tuple(ids[names == name])) for name in sorted(names.unique())]


def fold_names(utterances: pd.DataFrame, protocol: Protocol) -> pd.Series:
    """For each row, the name of the fold that tests it. Raises ValueError for an unknown protocol."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}")
    if protocol == "released":
        return utterances["dialog"].str[3:6]  # Ses01F_impro01 -> 01F
    return utterances[protocol]


def audit(utterances: pd.DataFrame, folds: Sequence[Fold]) -> pd.DataFrame:
    """What train and test of each fold share; one row per fold.

    - `fold`, `num_train`, `num_test`: name and number of utterances.
    - `shared_speakers`, `shared_dialogs`: how many are on both sides.
    - `test_in_train_speaker_share`: of the test utterances, those whose speaker is also in training.
    - `named_speaker_share`: of the test utterances, those spoken by the actor the fold is named after; NaN where a fold
      is named after no actor.
    - `shared_transcripts`: distinct normalised, non-empty transcripts on both sides.
    - `num_with_text`, `num_repeated`, `repeated_text_share`: test utterances with a non-empty normalised transcript,
      those of them whose transcript occurs verbatim in training, and the second over the first.
    - `num_five_words`, `num_repeated_five_words`, `repeated_text_share_five_words`: the same among transcripts of five
      words or more.
    - `repeated_text_majority_right`: of the `num_repeated`, those whose emotion is the most frequent one that training
      gives the same text; among k equally frequent ones it counts 1/k. NaN without repeated text.

    Raises ValueError for repeated ids, and when a fold names an utterance that is not in the table.
    """
    table = utterances.set_index(_distinct_ids(utterances))[["dialog", "speaker", "emotion"]]
    table["text"] = [normalise(transcript) for transcript in utterances["transcript"]]
    return pd.DataFrame([_audit_fold(table, fold) for fold in folds])


def _distinct_ids(utterances: pd.DataFrame) -> pd.Series:
    ids = utterances["utterance"]
    if ids.duplicated().any():
        raise ValueError(f"utterance {ids[ids.duplicated()].iat[0]} occurs twice in the table")
    return ids


def _audit_fold(table: pd.DataFrame, fold: Fold) -> dict[str, object]:
    train, test = (_rows(table, part, fold.name) for part in (fold.train, fold.test))
    named = test["speaker"].str.removeprefix("Ses") == fold.name.removeprefix("Ses")
    return {
        "fold": fold.name,
        "num_train": len(train),
        "num_test": len(test),
        "shared_speakers": len(set(train["speaker"]) & set(test["speaker"])),
        "shared_dialogs": len(set(train["dialog"]) & set(test["dialog"])),
        "test_in_train_speaker_share": test["speaker"].isin(train["speaker"]).mean(),
        "named_speaker_share": named.mean() if fold.name[-1:] in ("F", "M") else float("nan"),
        **_repeated_text(train, test),
    }


def _rows(table: pd.DataFrame, ids: Sequence[str], fold: str) -> pd.DataFrame:
    unknown = [utterance for utterance in ids if utterance not in table.index]
    if unknown:
        raise ValueError(f"fold {fold} names {len(unknown)} utterances that the table lacks, e.g. {unknown[0]}")
    return table.loc[list(ids)]


def _repeated_text(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, object]:
    test = test[test["text"] != ""]
    repeated = test["text"].isin(train["text"])
    many_words = test["text"].str.count(" ") + 1 >= MANY_WORDS
    return {
        "shared_transcripts": test.loc[repeated, "text"].nunique(),
        "num_with_text": len(test),
        "num_repeated": int(repeated.sum()),
        "repeated_text_share": _share(repeated.sum(), len(test)),
        "num_five_words": int(many_words.sum()),
        "num_repeated_five_words": int((repeated & many_words).sum()),
        "repeated_text_share_five_words": _share((repeated & many_words).sum(), many_words.sum()),
        "repeated_text_majority_right": _majority_right(train, test[repeated]),
    }


def _majority_right(train: pd.DataFrame, repeated: pd.DataFrame) -> float:
    if repeated.empty:
        return float("nan")
    train = train[train["text"].isin(repeated["text"])]
    counts = pd.crosstab(train["text"], train["emotion"])
    is_majority = counts.eq(counts.max(axis=1), axis=0)
    credit = is_majority.div(is_majority.sum(axis=1), axis=0).stack().to_dict()  # (text, emotion) -> 1/k or 0
    pairs = zip(repeated["text"], repeated["emotion"], strict=True)
    return _share(sum(credit.get(pair, 0.0) for pair in pairs), len(repeated))


def _share(part: float, whole: int) -> float:
    return float(part) / float(whole) if whole else float("nan")
