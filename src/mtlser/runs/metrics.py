"""Accuracy as Eq. 4, unweighted accuracy, macro-F1, confusion matrix, word error rate as Eq. 5, character error rate.

Emotions are given as names of `config.EMOTIONS` or as their positions. scikit-learn calls the weighted accuracy of this
field `accuracy_score` and its unweighted accuracy `balanced_accuracy_score`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jiwer
import numpy as np
import pandas as pd

from mtlser.config import EMOTIONS

_POSITION = {emotion: position for position, emotion in enumerate(EMOTIONS)}


def _positions(emotions: Sequence[str | int]) -> np.ndarray:
    """Positions in EMOTIONS, shape (N,). Raises ValueError that lists what is not one of the four."""
    unknown = {emotion for emotion in emotions if emotion not in _POSITION and emotion not in _POSITION.values()}
    if unknown:
        raise ValueError(f"not one of {', '.join(EMOTIONS)} or 0 to 3: {sorted(map(str, unknown))}")
    return np.array([_POSITION.get(emotion, emotion) for emotion in emotions], dtype=int)


def confusion(labels: Sequence[str | int], predictions: Sequence[str | int]) -> np.ndarray:
    """Counts, shape (E, E): row = true emotion, column = predicted, both in the order of EMOTIONS.

    Raises ValueError for no utterances, different numbers of them, or an unknown emotion.
    """
    if len(labels) != len(predictions) or len(labels) == 0:
        raise ValueError(f"{len(labels)} labels and {len(predictions)} predictions: need the same number, at least 1")
    counts = np.zeros((len(EMOTIONS), len(EMOTIONS)), dtype=int)
    np.add.at(counts, (_positions(labels), _positions(predictions)), 1)
    return counts


def weighted_accuracy(
    labels: Sequence[str | int], predictions: Sequence[str | int], num_total: int | None = None
) -> float:
    """Correct utterances / all utterances: Eq. 4, which the field calls WA.

    `num_total` is the denominator where it is not the number of utterances given (Eq. 4 divides by all 5531).
    """
    counts = confusion(labels, predictions)
    if num_total is not None and num_total < counts.sum():
        raise ValueError(f"num_total={num_total} is below the {counts.sum()} utterances given")
    return float(np.trace(counts) / (num_total or counts.sum()))


def unweighted_accuracy(labels: Sequence[str | int], predictions: Sequence[str | int]) -> float:
    """Recall averaged over the emotions that occur among the labels: UA. Not in the paper."""
    counts = confusion(labels, predictions)
    present = counts.sum(axis=1) > 0
    return float(np.mean(np.diag(counts)[present] / counts.sum(axis=1)[present]))


def macro_f1(labels: Sequence[str | int], predictions: Sequence[str | int]) -> float:
    """F1 averaged over the emotions that occur among labels or predictions. Not in the paper."""
    counts = confusion(labels, predictions)
    sizes = counts.sum(axis=0) + counts.sum(axis=1)  # of an emotion: predicted + true = 2 TP + FP + FN
    present = sizes > 0
    return float(np.mean(2 * np.diag(counts)[present] / sizes[present]))


def _with_reference(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[list[str], list[str]]:
    """The pairs whose reference holds a word."""
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses: need the same number")
    pairs = [(r, h) for r, h in zip(references, hypotheses, strict=True) if r.split()]
    return [r for r, _ in pairs], [h for _, h in pairs]


def word_errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """(substitutions + deletions + insertions, words of the reference); (0, 0) where the reference is empty.

    Summed over a fold, errors / words is the fold's WER.
    """
    if not reference.split():
        return 0, 0
    counts = jiwer.process_words(reference, hypothesis)
    return counts.substitutions + counts.deletions + counts.insertions, len(reference.split())


def wer(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Word error rate of a fold: all errors / all reference words, wer^(k) of Eq. 5.

    Empty references are left out (31 of IEMOCAP's 5531, departure "transcripts"); NaN when every one is empty.
    """
    references, hypotheses = _with_reference(references, hypotheses)
    return float(jiwer.wer(references, hypotheses)) if references else float("nan")


def cer(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Character error rate of a fold, spaces included; empty references as in `wer`. Not in the paper."""
    references, hypotheses = _with_reference(references, hypotheses)
    return float(jiwer.cer(references, hypotheses)) if references else float("nan")


def mean_wer(per_fold: Sequence[float]) -> float:
    """Eq. 5: the mean of the folds' WER, each fold counting the same. Raises ValueError if a fold has none."""
    values = np.asarray(per_fold, dtype=float)
    if values.size == 0 or np.isnan(values).any():
        raise ValueError(f"a mean over folds needs a WER from each; got {values.tolist()}")
    return float(values.mean())


def pooled_accuracy(records: Any) -> float:
    """Eq. 4 over folds: all correct / all tested utterances of the finished runs, so each fold weighs by its size.

    `records` is a Records or its `runs` table (columns status, num_correct, num_test). Raises ValueError if no run is
    finished or if more than one alpha or protocol would be pooled.
    """
    runs: pd.DataFrame = getattr(records, "runs", records)
    finished = runs[runs["status"] == "done"]
    if finished.empty:
        raise ValueError("no finished run to pool")
    for column in ("alpha", "protocol"):
        if column in finished and finished[column].nunique() > 1:
            raise ValueError(f"runs of several {column}s would be pooled: {sorted(finished[column].unique())}")
    return float(finished["num_correct"].sum() / finished["num_test"].sum())
