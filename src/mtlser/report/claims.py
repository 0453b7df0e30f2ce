"""The paper's sentences about Figure 2, decided for each fold from the histories of training."""

from __future__ import annotations

from typing import Any

import pandas as pd

from mtlser.paper import FIGURE2_ALPHAS, FIGURE2_CLAIMS

HELD, NOT_HELD, UNDECIDABLE = "held", "not held", "undecidable"
LARGEST = max(FIGURE2_ALPHAS)


def _wide(history: pd.DataFrame, column: str) -> pd.DataFrame:
    """One fold's history: index epoch, one column per alpha in ascending order."""
    return history.pivot(index="epoch", columns="alpha", values=column).sort_index(axis=1)


def wer_level(wer: pd.DataFrame) -> float:
    """The WER called low in one fold: halfway from the first epoch's highest to the lowest of all (alpha > 0 only)."""
    return float((wer.iloc[0].max() + wer.min().min()) / 2)


def first_epochs(wer: pd.DataFrame) -> pd.Series:
    """Index alpha > 0: the first epoch with a WER at or below the level, infinite where there is none."""
    reached = wer <= wer_level(wer)
    return reached.idxmax().astype(float).where(reached.any(), float("inf"))


def _verdict(held: bool) -> str:
    return HELD if held else NOT_HELD


def _earlier_wer(accuracy: pd.DataFrame, reached: pd.Series) -> str:
    epochs = reached.tolist()  # ascending alpha
    if len(set(epochs)) == 1:
        return UNDECIDABLE  # all in the same epoch: the history is too coarse to tell
    return _verdict(epochs == sorted(epochs, reverse=True))


def _slower_start(accuracy: pd.DataFrame, reached: pd.Series) -> str:
    before = accuracy[accuracy.index < reached[LARGEST]].mean()
    if before.isna().all():
        return UNDECIDABLE  # no epoch before
    return _verdict(bool((before[LARGEST] < before.drop(LARGEST)).all()))


def _overtakes(accuracy: pd.DataFrame, reached: pd.Series) -> str:
    last = accuracy.iloc[-1]
    return _verdict(bool((last[LARGEST] > last.drop(LARGEST)).all()))


_TESTS = {"earlier-wer": _earlier_wer, "slower-start": _slower_start, "overtakes": _overtakes}


def decide_fold(history: pd.DataFrame) -> dict[str, str]:
    """Claim name → held, not held or undecidable, from one fold's and one seed's history of all alphas.

    Undecidable without a finished run of each of Figure 2's alphas, with runs of different length, or with one epoch.
    """
    history = history[history["alpha"].isin(FIGURE2_ALPHAS)]
    accuracy, wer = _wide(history, "accuracy"), _wide(history, "wer")
    if set(accuracy) != set(FIGURE2_ALPHAS) or len(accuracy) < 2 or accuracy.isna().any(axis=None):
        return dict.fromkeys(_TESTS, UNDECIDABLE)
    reached = first_epochs(wer.drop(columns=0.0))
    return {name: test(accuracy, reached) for name, test in _TESTS.items()}


def decide(records: Any) -> pd.DataFrame:
    """One row per fold and seed that has a run: fold, seed, and a verdict in one column per claim.

    Only finished runs count, so a fold in which one of the alphas diverged is undecidable.
    """
    done = records.only(status="done").history
    rows = []
    for fold, seed in sorted(set(zip(records.runs["fold"], records.runs["seed"], strict=True))):
        history = done[(done["fold"] == fold) & (done["seed"] == seed)]
        rows.append({"fold": fold, "seed": seed, **decide_fold(history)})
    return pd.DataFrame(rows, columns=["fold", "seed", *_TESTS])


def summary(records: Any) -> pd.DataFrame:
    """One row per claim: its quotation, what is measured, and in how many folds it held, did not, was undecidable."""
    verdicts = decide(records)
    rows = []
    for claim in FIGURE2_CLAIMS:
        counts = verdicts[claim.name].value_counts()
        row = {"claim": f"“{claim.quote}” ({claim.section})", "measured": claim.test}
        row |= {verdict.replace(" ", "_"): int(counts.get(verdict, 0)) for verdict in (HELD, NOT_HELD, UNDECIDABLE)}
        rows.append(row)
    return pd.DataFrame(rows)
