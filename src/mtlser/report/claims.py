"""The paper's claims, decided: Table 4's by its paired test, Figure 2's in each fold by the histories of training."""

from __future__ import annotations

from typing import Any

import pandas as pd

from mtlser.paper import BASELINE, BEST, FIGURE2_ALPHAS, FIGURE2_CLAIMS, claimed_gain
from mtlser.report import statistics, tables
from mtlser.report.display import NOT_RUN, interval_points, points

HELD, NOT_HELD, UNDECIDABLE = "held", "not held", "undecidable"
_NAMES = [claim.name for claim in FIGURE2_CLAIMS]


def first_epochs(wer: pd.DataFrame) -> pd.Series:
    """Index alpha > 0: the first epoch whose WER is low in one fold, infinite where there is none.

    Low is at or below the level halfway from the first epoch's highest to the lowest of all (alpha > 0 only).
    """
    reached = wer <= (wer.iloc[0].max() + wer.min().min()) / 2
    return reached.idxmax().astype(float).where(reached.any(), float("inf"))


def decide_fold(history: pd.DataFrame) -> dict[str, str]:
    """Claim name → held, not held or undecidable, from one fold's and one seed's history of all alphas.

    Undecidable without a finished run of each of Figure 2's alphas, with runs of different length, or with one epoch.
    """
    history = history[history["alpha"].isin(FIGURE2_ALPHAS)]
    accuracy, wer = (history.pivot(index="epoch", columns="alpha", values=name) for name in ("accuracy", "wer"))
    if set(accuracy) != set(FIGURE2_ALPHAS) or len(accuracy) < 2 or accuracy.isna().any(axis=None):
        return dict.fromkeys(_NAMES, UNDECIDABLE)
    reached = first_epochs(wer.drop(columns=0.0))  # ascending alpha
    before, last = accuracy[accuracy.index < reached.iloc[-1]].mean(), accuracy.iloc[-1]
    held = {
        "earlier-wer": reached.is_monotonic_decreasing,
        "slower-start": (before.iloc[-1] < before.iloc[:-1]).all(),
        "overtakes": (last.iloc[-1] > last.iloc[:-1]).all(),
    }
    verdicts = {name: HELD if held[name] else NOT_HELD for name in _NAMES}
    if reached.nunique() == 1:  # all in the same epoch: the history is too coarse to tell
        verdicts["earlier-wer"] = UNDECIDABLE
    if before.isna().all():  # no epoch before
        verdicts["slower-start"] = UNDECIDABLE
    return verdicts


def decide(records: Any) -> pd.DataFrame:
    """One row per fold and seed: a verdict on each claim, undecidable where one of the alphas did not finish."""
    done = records.only(status="done").history
    rows = [
        {"fold": fold, "seed": seed} | decide_fold(done[(done["fold"] == fold) & (done["seed"] == seed)])
        for fold, seed in sorted(set(zip(records.runs["fold"], records.runs["seed"], strict=True)))
    ]
    return pd.DataFrame(rows, columns=["fold", "seed", *_NAMES])


def summary(records: Any) -> pd.DataFrame:
    """One row per claim: its quotation, what is measured, and in how many folds it held, did not, was undecidable."""
    verdicts = decide(records)
    return pd.DataFrame(
        {"claim": f"“{claim.quote}” ({claim.section})", "measured": claim.test}
        | {name.replace(" ", "_"): int((verdicts[claim.name] == name).sum()) for name in (HELD, NOT_HELD, UNDECIDABLE)}
        for claim in FIGURE2_CLAIMS
    )


def main_claim(records: Any) -> dict[str, Any] | None:
    """The paper's gain of BEST over BASELINE (Table 4) on one corpus; None where either alpha has no finished run.

    The alpha's row of `statistics.paired_tests`, with `verdict` ("held", "contradicted" or "undecided", as the 95%
    interval lies above zero, below it, or neither) and `best`, the row of `tables.scores` with the highest accuracy.
    """
    if records is None or not {BASELINE, BEST} <= set(records.only(status="done").predictions["alpha"]):
        return None
    tests, scores = statistics.paired_tests(records.only(status="done")), tables.scores(records)
    found = tests.set_index("alpha").loc[BEST].to_dict()
    low, high = found["difference_interval"]
    verdict = HELD if low > 0 else "contradicted" if high < 0 else "undecided"
    return found | {"verdict": verdict, "best": scores.loc[scores["accuracy"].idxmax()].to_dict()}


def judgement(records: Any) -> str:
    """`main_claim` in short: "held (+5.10 points, 95% interval +1.2 to +9.0)", or "not run"."""
    if (found := main_claim(records)) is None:
        return NOT_RUN
    words = interval_points(found["difference_interval"])
    interval = "no interval" if words == "–" else f"95% interval {words}"
    return f"{found['verdict']} ({points(found['difference'])} points, {interval})"


def verdicts(pocket: Any, iemocap: Any | None = None) -> pd.DataFrame:
    """The paper's claims, what it reports for each, and what each corpus says so far."""
    main = (f"α = {BEST:g} recognises emotions better than α = 0 (Table 4)", f"{points(claimed_gain())} points")
    drawn = [(f"“{claim.quote}” (Figure 2)", "one run drawn") for claim in FIGURE2_CLAIMS]
    table = pd.DataFrame([main, *drawn], columns=["claim", "paper_reported"])
    return table.assign(iemocap_verdict=_verdicts(iemocap), pocket_verdict=_verdicts(pocket))


def _verdicts(records: Any | None) -> list[str]:
    """One corpus's column of `verdicts`: `judgement`, then such as "held in 7 of 9 folds, 1 undecidable"."""
    if records is None or records.only(status="done").runs.empty:
        return [NOT_RUN] * (1 + len(FIGURE2_CLAIMS))
    main = judgement(records)
    partial = any(tables.completeness(records, alpha).startswith("partial") for alpha in (BASELINE, BEST))
    found = [main + ("; partial" if partial and main != NOT_RUN else "")]
    for row in summary(records).itertuples():
        undecidable = f", {row.undecidable} undecidable" if row.undecidable else ""
        decided = row.held + row.not_held
        found.append(f"held in {row.held} of {decided} folds{undecidable}" if decided else UNDECIDABLE)
    return found
