"""The same runs on another machine: how far their numbers travel.

A run's identity is its configuration and what it reads, not its machine. Two processors add in another order, rounding
differs in the last bits, and training carries the difference on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mtlser import machine
from mtlser.config import MAINTAINERS
from mtlser.paper import BASELINE, BEST
from mtlser.report import averages, statistics
from mtlser.report.display import provenance
from mtlser.runs.plan import table4
from mtlser.runs.records import Records, first_of_each, merge, read_shared
from mtlser.runs.settings import Settings

THIS_MACHINE = "this machine"
LEVEL = 0.05  # of p, below which a table of results would say that there is a difference

RUN = ["alpha", "fold", "seed"]  # what makes two runs of Table 4 the same: their ids may be of different times


@dataclass(frozen=True)
class Repeat:
    """The runs that the maintainers and one contributor both finished."""

    contributor: str
    remarks: str  # the contributor's, on the machine
    packages: str  # of another version there, in words; empty where all are the same
    here: Records
    there: Records


def read_repeats(preset: str = "pocket", settings: Settings | None = None) -> list[Repeat]:
    """Every contributor's runs of Table 4 that the maintainers finished too; none without the maintainers' records."""
    plan = table4(preset, settings)
    folders = sorted(path.parent for path in plan.settings.results.glob("*/runs.parquet"))
    home = plan.settings.results / MAINTAINERS
    if home not in folders:
        return []
    about = {path: json.loads((path / "about.json").read_text(encoding="utf-8")) for path in folders}
    done = {path: plan.matching(read_shared(path)) for path in folders}
    found = [
        _repeat(path.name, about[path].get("remarks", ""), done[home], done[path], about[home], about[path])
        for path in folders
        if path != home
    ]
    return [repeat for repeat in found if len(repeat.here.runs)]


def read_own(preset: str = "pocket", settings: Settings | None = None) -> Repeat | None:
    """This machine's finished runs of Table 4 beside the maintainers' of the same; None where there are none."""
    plan = table4(preset, settings)
    home, own = plan.settings.results / MAINTAINERS, plan.own_records()
    if own.runs.empty or not (home / "runs.parquet").exists():
        return None
    theirs = json.loads((home / "about.json").read_text(encoding="utf-8"))
    mine = {"versions": machine.versions()}
    processor = machine.hardware()["processor"]
    repeat = _repeat(THIS_MACHINE, processor, plan.matching(read_shared(home)), own, theirs, mine)
    return repeat if len(repeat.here.runs) else None


def same_digits(repeat: Repeat) -> pd.Series:
    """Index alpha: the share of runs whose answers and transcripts' errors are the published ones, every one."""
    columns = ["prediction", "word_errors", "words"]
    both = repeat.here.predictions.merge(repeat.there.predictions, on=[*RUN, "utterance"], suffixes=("", "_there"))
    same = pd.Series(True, index=both.index)
    for name in columns:
        same &= both[name] == both[f"{name}_there"]
    return same.groupby([both[name] for name in RUN]).all().groupby("alpha").mean()


def _repeat(name: str, remarks: str, here: Records, there: Records, published: dict, other: dict) -> Repeat:
    """The runs that both have finished; `published` and `other` say with which packages."""
    packages = ", ".join(
        f"{package} {there_version} instead of {version}"
        for package, version in published.get("versions", {}).items()
        if (there_version := other.get("versions", {}).get(package, version)) != version
    )
    here, there = first_of_each(here.only(status="done")), first_of_each(there.only(status="done"))
    both = here.runs.merge(there.runs, on=RUN)
    here, there = here.only(run_id=list(both["run_id_x"])), there.only(run_id=list(both["run_id_y"]))
    return Repeat(name, remarks, packages, here, there)


def machines(repeats: Sequence[Repeat]) -> str:
    """Where the numbers of the tables come from: the corpus, and what each contributor says of the machine."""
    if not repeats:
        return "Not run"
    said = "; ".join(f"{repeat.contributor}: {repeat.remarks or 'no remarks'}" for repeat in repeats)
    return f"{provenance(merge(repeat.here for repeat in repeats))}. By {said}"


def compared(repeats: Sequence[Repeat]) -> pd.DataFrame:
    """One row for each repeat and alpha: accuracy and WER on either machine, and how much changed from one to other.

    Columns: by, alpha, runs, accuracy_here, accuracy_there, apart (the largest difference of a fold's accuracy), alike
    (the share of equal answers), wer_here, wer_there.
    """
    rows = []
    for repeat in repeats:
        for alpha in sorted(repeat.here.runs["alpha"].unique()):
            here, there = repeat.here.only(alpha=alpha), repeat.there.only(alpha=alpha)
            both = here.runs.merge(there.runs, on=RUN)
            answers = here.predictions.merge(there.predictions, on=[*RUN, "utterance"])
            rows.append({
                "by": repeat.contributor, "alpha": alpha, "runs": len(here.runs),
                "accuracy_here": averages.pooled_accuracy(here), "accuracy_there": averages.pooled_accuracy(there),
                "apart": (both["accuracy_x"] - both["accuracy_y"]).abs().max(),
                "alike": float((answers["prediction_x"] == answers["prediction_y"]).mean()),
                "wer_here": averages.mean_wer(here.runs["wer"]), "wer_there": averages.mean_wer(there.runs["wer"]),
            })  # fmt: skip
    return pd.DataFrame(rows)


def gains(repeats: Sequence[Repeat]) -> pd.DataFrame:
    """Each alpha against 0, tested on either machine: a row for each repeat and alpha.

    Columns: by, alpha, then difference, difference_interval, holm of `paired_tests`, each with `_here` and `_there`.
    """
    tables, columns = [], ["alpha", "difference", "difference_interval", "holm"]
    for repeat in repeats:
        here, there = statistics.paired_tests(repeat.here), statistics.paired_tests(repeat.there)
        if len(here) and len(there):
            found = here[columns].merge(there[columns], how="left", on="alpha", suffixes=("_here", "_there"))
            found.insert(0, "by", repeat.contributor)
            tables.append(found)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["by", "holm_here", "holm_there"])


def paper_gains(repeats: Sequence[Repeat]) -> pd.DataFrame:
    """BEST's row of `gains`, with packages and the shares of answers changed_baseline and changed_best."""
    found, alike = gains(repeats), compared(repeats)
    if found.empty:
        return found
    changed = (1 - alike.set_index(["by", "alpha"])["alike"]).unstack().reindex(columns=[BASELINE, BEST])
    changed.columns = ["changed_baseline", "changed_best"]
    packages = pd.Series({repeat.contributor: repeat.packages for repeat in repeats}, name="packages")
    return found[found["alpha"] == BEST].join(changed, on="by").join(packages, on="by")
