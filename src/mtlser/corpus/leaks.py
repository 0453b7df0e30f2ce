"""The audit of what a protocol leaks from training to test."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mtlser.corpus.folds import Fold, distinct_ids
from mtlser.corpus.text import normalise

# "With five words or more", difference 3 of the audit: shorter texts repeat by themselves ("Yeah.", "I don't know.").
MANY_WORDS = 5


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
    table = utterances.set_index(distinct_ids(utterances))[["dialog", "speaker", "emotion"]]
    table["text"] = [normalise(transcript) for transcript in utterances["transcript"]]
    return pd.DataFrame([_audit_fold(table, fold) for fold in folds])


def _audit_fold(table: pd.DataFrame, fold: Fold) -> dict[str, object]:
    for ids in (fold.train, fold.test):
        if unknown := [utterance for utterance in ids if utterance not in table.index]:
            raise ValueError(
                f"fold {fold.name} names {len(unknown)} utterances that the table lacks, e.g. {unknown[0]}"
            )
    train, test = table.loc[list(fold.train)], table.loc[list(fold.test)]
    named = test["speaker"].str.removeprefix("Ses") == fold.name.removeprefix("Ses")
    with_text = test[test["text"] != ""]
    repeated = with_text["text"].isin(train["text"])
    many_words = with_text["text"].str.count(" ") + 1 >= MANY_WORDS
    return {
        "fold": fold.name,
        "num_train": len(train),
        "num_test": len(test),
        "shared_speakers": len(set(train["speaker"]) & set(test["speaker"])),
        "shared_dialogs": len((set(train["dialog"]) & set(test["dialog"])) - {""}),
        "test_in_train_speaker_share": test["speaker"].isin(train["speaker"]).mean(),
        "named_speaker_share": named.mean() if fold.name[-1:] in ("F", "M") else float("nan"),
        "shared_transcripts": with_text.loc[repeated, "text"].nunique(),
        "num_with_text": len(with_text),
        "num_repeated": int(repeated.sum()),
        "repeated_text_share": repeated.mean(),  # NaN of none
        "num_five_words": int(many_words.sum()),
        "num_repeated_five_words": int((repeated & many_words).sum()),
        "repeated_text_share_five_words": repeated[many_words].mean(),
        "repeated_text_majority_right": _majority_right(train, with_text[repeated]),
    }


def _majority_right(train: pd.DataFrame, repeated: pd.DataFrame) -> float:
    if repeated.empty:
        return float("nan")
    train = train[train["text"].isin(repeated["text"])]
    counts = pd.crosstab(train["text"], train["emotion"])
    is_majority = counts.eq(counts.max(axis=1), axis=0)
    credit = is_majority.div(is_majority.sum(axis=1), axis=0).stack().to_dict()  # (text, emotion) -> 1/k or 0
    pairs = zip(repeated["text"], repeated["emotion"], strict=True)
    return sum(credit.get(pair, 0.0) for pair in pairs) / len(repeated)
