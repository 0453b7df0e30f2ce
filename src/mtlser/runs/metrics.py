"""Accuracy as Eq. 4, unweighted accuracy, macro-F1, confusion matrix, word error rate of a fold, character error rate.

Emotions are given as names of `config.EMOTIONS` or as their positions. scikit-learn, imported when first asked, calls
the weighted accuracy of this field `accuracy_score` and its unweighted accuracy `balanced_accuracy_score`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jiwer
import numpy as np

from mtlser.config import EMOTIONS

_POSITION = {given: position for position, emotion in enumerate(EMOTIONS) for given in (emotion, position)}


def _positions(labels: Sequence[str | int], predictions: Sequence[str | int]) -> tuple[np.ndarray, np.ndarray]:
    """Positions in EMOTIONS of both, each (N,).

    Raises ValueError for no utterances, different numbers of them, or an unknown emotion, which it names.
    """
    if len(labels) != len(predictions) or len(labels) == 0:
        raise ValueError(f"{len(labels)} labels and {len(predictions)} predictions: need the same number, at least 1")
    if unknown := {emotion for emotion in (*labels, *predictions) if emotion not in _POSITION}:
        raise ValueError(f"not one of {', '.join(EMOTIONS)} or 0 to 3: {sorted(map(str, unknown))}")
    return np.array([_POSITION[e] for e in labels]), np.array([_POSITION[e] for e in predictions])


def confusion(labels: Sequence[str | int], predictions: Sequence[str | int]) -> np.ndarray:
    """Counts, shape (E, E): row = true emotion, column = predicted, both in the order of EMOTIONS.

    Raises ValueError, as all of these, for no utterances, different numbers of them, or an unknown emotion.
    """
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(*_positions(labels, predictions), labels=range(len(EMOTIONS)))


def weighted_accuracy(labels: Sequence[str | int], predictions: Sequence[str | int]) -> float:
    """Correct utterances / all utterances: Eq. 4, which the field calls WA."""
    true, predicted = _positions(labels, predictions)
    return float((true == predicted).mean())


def unweighted_accuracy(labels: Sequence[str | int], predictions: Sequence[str | int]) -> float:
    """Recall averaged over the emotions that occur among the labels: UA. Not in the paper."""
    from sklearn.metrics import recall_score

    true, predicted = _positions(labels, predictions)
    return float(recall_score(true, predicted, labels=np.unique(true), average="macro", zero_division=0))


def macro_f1(labels: Sequence[str | int], predictions: Sequence[str | int]) -> float:
    """F1 averaged over the emotions that occur among labels or predictions. Not in the paper."""
    from sklearn.metrics import f1_score

    return float(f1_score(*_positions(labels, predictions), average="macro", zero_division=0))


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
    return _rate(jiwer.wer, references, hypotheses)


def cer(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Character error rate of a fold, spaces included; empty references as in `wer`. Not in the paper."""
    return _rate(jiwer.cer, references, hypotheses)


def _rate(rate: Callable, references: Sequence[str], hypotheses: Sequence[str]) -> float:
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses: need the same number")
    pairs = [pair for pair in zip(references, hypotheses, strict=True) if pair[0].split()]
    return float(rate(*map(list, zip(*pairs, strict=True)))) if pairs else float("nan")
