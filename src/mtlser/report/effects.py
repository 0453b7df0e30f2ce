"""What each difference does to the accuracy, where both sides were run on the same utterances with all else equal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from mtlser.report import statistics
from mtlser.report.display import completed_folds
from mtlser.runs.experiments import HALF_RATE, plans
from mtlser.runs.plan import Plan, table4
from mtlser.runs.records import Records
from mtlser.runs.settings import Settings

# Title of a plan → the departure that it turns (`paper.DEPARTURES`), and what is then done, in words.
TURNED = {
    "protocol released": ("folds", "folds as released"),
    "protocol session": ("folds", "a session left out"),
    "protocol random": ("folds", "random folds"),
    "protocol text": ("repeated-text", "no sentence of the test in training"),
    "Table 4, mean pooling": ("pooling", "mean pooling"),
    "variant: mean pooling": ("pooling", "mean pooling"),
    f"Table 4, {HALF_RATE}": ("learning-rate", HALF_RATE),
    "variant: convolutions trained": ("convolutions", "convolutions trained"),
    "variant: no SpecAugment": ("specaugment", "no SpecAugment"),
    "variant: transcripts as released": ("transcripts", "transcripts as released"),
    "variant: no warm-up": ("warm-up", "no warm-up"),
    "variant: no clipping": ("optimiser", "no clipping of gradients"),
    "variant: padding as released, batches of two": ("padding", "padding as released, batches of two"),
}
EXPERIMENTS = ("released", "session", "random", "text", "changes", "variants")


def turned_plans(preset: str, settings: Settings | None = None) -> Iterator[tuple[str, str, Plan]]:
    """Departure, words and plan of each experiment that turns one."""
    for experiment in EXPERIMENTS:
        for title, plan in plans(experiment, preset, settings).items():
            if title in TURNED:
                yield *TURNED[title], plan


def effects(preset: str = "pocket", settings: Settings | None = None) -> pd.DataFrame:
    """One row a departure and alpha: accuracy with it turned minus accuracy as the book does it, paired.

    Columns: departure, what, alpha, folds, accuracy (turned), difference, difference_interval, permutation. Where one
    of the two was not run, difference is NaN. Each utterance is compared with itself, though other folds may have
    tested it; the interval draws speakers.
    """
    usual, rows = table4(preset, settings).records(), []
    for departure, what, plan in turned_plans(preset, settings):
        turned = plan.records()
        for alpha in plan.alphas:
            row = {"departure": departure, "what": what, "alpha": alpha}
            rows.append(row | effect(usual.only(alpha=alpha), turned.only(alpha=alpha)))
    table = pd.DataFrame(rows).drop_duplicates(["what", "alpha", "folds", "difference"])
    return table.sort_values("difference", key=abs, ascending=False, kind="stable", ignore_index=True)


def effect(usual: Records, turned: Records) -> dict[str, Any]:
    """`effects` of two sets of records of one alpha; only seeds that both have are compared."""
    seeds = sorted(set(usual.runs["seed"]) & set(turned.runs["seed"]))
    usual, turned = (records.only(status="done", seed=seeds) for records in (usual, turned))
    folds = completed_folds(turned.runs) if len(turned.runs) else "not run"
    if usual.runs.empty or turned.runs.empty:
        nothing = {
            "difference": float("nan"),
            "difference_interval": statistics.NO_INTERVAL,
            "permutation": float("nan"),
        }
        return {"folds": folds, "accuracy": float("nan")} | nothing
    both = pd.concat([usual.predictions.assign(alpha=0.0), turned.predictions.assign(alpha=1.0)])
    found = statistics.compare(both, 0.0, 1.0)
    right = turned.predictions["label"] == turned.predictions["prediction"]
    kept = {name: found[name] for name in ("difference", "difference_interval", "permutation")}
    return {"folds": folds, "accuracy": float(right.mean())} | kept


def optimism(records: Records) -> pd.DataFrame:
    """What choosing the best epoch by the test itself would add: alpha, last, best (accuracy, mean of folds), optimism.

    The last epoch is the result of this book; the released code of one row of Table 3 keeps the best.
    """
    done = records.only(status="done").history
    by_run = done.sort_values("epoch").groupby(["alpha", "run_id"])["accuracy"].agg(["last", "max"])
    table = by_run.groupby("alpha").mean().rename(columns={"max": "best"}).reset_index()
    return table.assign(optimism=table["best"] - table["last"])
