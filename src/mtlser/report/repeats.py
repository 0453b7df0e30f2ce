"""The same runs on another machine: how far their numbers travel.

A run's identity is its configuration and what it reads, not its machine. Two processors add in another order, rounding
differs in the last bits, and training carries the difference on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from mtlser.config import MAINTAINERS
from mtlser.report import statistics
from mtlser.report.display import Markdown, interval_points, p_value, percent, points, provenance
from mtlser.runs import metrics
from mtlser.runs.experiments import table4
from mtlser.runs.records import Records, merge, read_shared
from mtlser.runs.settings import Settings

COLUMNS = (
    "by", "α", "runs", "accuracy here", "accuracy there", "largest difference of a fold", "answered alike",
    "word errors here", "word errors there",
)  # fmt: skip

GAIN_COLUMNS = (
    "by", "α", "gain here, points", "95% interval here", "Holm-corrected p here", "gain there, points",
    "95% interval there", "Holm-corrected p there",
)  # fmt: skip
LEVEL = 0.05  # of p, below which a table of results would say that there is a difference


@dataclass(frozen=True)
class Repeat:
    """The runs that the maintainers and one contributor both finished, in the same order."""

    contributor: str
    remarks: str  # the contributor's, on the machine
    packages: str  # of another version there, in words; empty where all are the same
    here: Records
    there: Records

    @cached_property
    def tests(self) -> list[pd.DataFrame]:
        """`statistics.paired_tests` of the maintainers' runs and of the contributor's, by alpha; empty without 0."""
        found = [statistics.paired_tests(records) for records in (self.here, self.there)]
        return [tests.set_index("alpha") for tests in found if len(tests)]


def read_repeats(preset: str = "pocket", settings: Settings | None = None) -> list[Repeat]:
    """Every contributor's runs of Table 4 that the maintainers finished too; none without the maintainers' records."""
    plan = table4(preset, settings)
    folders = sorted(path.parent for path in plan.settings.results.glob("*/runs.parquet"))
    if plan.settings.results / MAINTAINERS not in folders:
        return []
    ours = plan.matching(read_shared(plan.settings.results / MAINTAINERS)).only(status="done")
    found, own = [], _about(plan.settings.results / MAINTAINERS)
    for folder in folders:
        theirs = plan.matching(read_shared(folder)).only(status="done")
        both = sorted(set(ours.runs["run_id"]) & set(theirs.runs["run_id"]))
        if folder.name != MAINTAINERS and both:
            about = _about(folder)
            packages = other_versions(own.get("versions", {}), about.get("versions", {}))
            here, there = (records.only(run_id=both) for records in (ours, theirs))
            found.append(Repeat(folder.name, about.get("remarks", ""), packages, here, there))
    return found


def _about(folder: Path) -> dict:
    return json.loads((folder / "about.json").read_text(encoding="utf-8"))


def other_versions(here: Mapping[str, str], there: Mapping[str, str]) -> str:
    """Packages that both name, in different versions: "torch 2.12.0 instead of 2.13.0"; empty where there are none."""
    both = [name for name in here if name in there and here[name] != there[name]]
    return ", ".join(f"{name} {there[name]} instead of {here[name]}" for name in both)


def table(repeats: Sequence[Repeat]) -> pd.DataFrame:
    """One row for each repeat and alpha, columns COLUMNS, as the book shows them."""
    rows = []
    for repeat in repeats:
        for alpha in sorted(repeat.here.runs["alpha"].unique()):
            both = [records.only(alpha=alpha) for records in (repeat.here, repeat.there)]
            here, there = (records.runs.set_index("run_id")["accuracy"] for records in both)
            accuracies = [percent(metrics.pooled_accuracy(records)) for records in both]
            errors = [percent(metrics.mean_wer(records.runs["wer"])) for records in both]
            apart = f"{100 * (here - there).abs().max():.1f} points"
            values = (f"{alpha:g}", str(len(here)), *accuracies, apart, percent(_alike(*both)), *errors)
            rows.append(dict(zip(COLUMNS, (repeat.contributor, *values), strict=True)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def source(repeats: Sequence[Repeat]) -> str:
    """What the table's numbers come from: the corpus, and what each contributor says of the machine."""
    if not repeats:
        return "Not run"
    machines = "; ".join(f"{repeat.contributor}: {repeat.remarks or 'no remarks'}" for repeat in repeats)
    return f"{provenance(merge(repeat.here for repeat in repeats))}. By {machines}"


def _changed(repeat: Repeat, alpha: float) -> str:
    return percent(1 - _alike(repeat.here.only(alpha=alpha), repeat.there.only(alpha=alpha)))


def _cause(repeat: Repeat) -> str:
    others = f"Another processor and other packages ({repeat.packages}) change"
    return others if repeat.packages else "Rounding alone changes"


def _alike(here: Records, there: Records) -> float:
    keys = ["run_id", "utterance"]
    both = here.predictions[[*keys, "prediction"]].merge(there.predictions[[*keys, "prediction"]], on=keys)
    return float((both["prediction_x"] == both["prediction_y"]).mean())


def reading(repeats: Sequence[Repeat], baseline: float = 0.0, alpha: float = 0.1) -> Markdown:
    """What another processor moves: the gain from `baseline` to `alpha`, and answers, for each repeat that has both."""
    lines = []
    for repeat in repeats:
        gains = [statistics.compare(records.predictions, baseline, alpha) for records in (repeat.here, repeat.there)]
        if any(np.isnan(gain["difference"]) for gain in gains):
            continue
        here, there = (
            f"**{points(gain['difference'])} points** (95% interval {interval_points(gain['difference_interval'])})"
            for gain in gains
        )
        lines.append(
            f"From α = {baseline:g} to {alpha:g} the accuracy changes by {here} in the maintainers' records, and by "
            f"{there} in those of {repeat.contributor}. {_cause(repeat)} {_changed(repeat, baseline)} of the "
            f"answers at α = {baseline:g}, and {_changed(repeat, alpha)} at α = {alpha:g}."
        )
    return Markdown("\n\n".join(lines) or "No other machine has repeated both α = 0 and α = 0.1.")


def gains(repeats: Sequence[Repeat]) -> pd.DataFrame:
    """Each alpha against 0, tested on either machine: a row for each repeat and alpha, columns GAIN_COLUMNS."""
    rows = []
    for repeat in repeats:
        for alpha in repeat.tests[0].index if repeat.tests else ():
            values = [repeat.contributor, f"{alpha:g}"]
            for row in (tests.loc[alpha] for tests in repeat.tests):
                values += [points(row["difference"]), interval_points(row["difference_interval"]), p_value(row["holm"])]
            rows.append(dict(zip(GAIN_COLUMNS, values, strict=True)))
    return pd.DataFrame(rows, columns=list(GAIN_COLUMNS))


def conclusions(repeats: Sequence[Repeat]) -> Markdown:
    """Where the two machines' tests would lead to different sentences, by `LEVEL`, for each repeat."""
    lines = []
    for repeat in repeats:
        if not repeat.tests:
            continue
        here, there = (tests["holm"] for tests in repeat.tests)
        apart = [alpha for alpha in here.index if (here[alpha] < LEVEL) != (there[alpha] < LEVEL)]
        lines += [
            f"At **α = {alpha:g}** the same test on the same experiment finds a difference from α = 0 in one "
            f"machine's runs and not in the other's: p is {p_value(here[alpha])} in the maintainers' records and "
            f"{p_value(there[alpha])} in those of {repeat.contributor}."
            for alpha in apart
        ] or [f"The tests on the runs of {repeat.contributor} lead to the same conclusions as on the maintainers'."]
    return Markdown("\n\n".join(lines) or "No other machine has repeated α = 0 and another α.")
