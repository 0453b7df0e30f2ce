"""A live table of an experiment's runs: which are done, which are training now, here or elsewhere on the same disk."""

from __future__ import annotations

import sys
import time
from typing import TextIO

import pandas as pd
from filelock import FileLock, Timeout

from mtlser.runs.plan import Plan, PlannedRun
from mtlser.runs.records import ENDED

SECONDS = 5.0  # between two looks


def state(run: PlannedRun) -> str:
    """`PlannedRun.status`, but "stopped" for a run that was begun and that no process trains."""
    if run.status != "running":
        return run.status
    try:
        with FileLock(run.folder / ".lock", blocking=False):
            return "stopped"
    except Timeout:
        return "running"


def grid(plan: Plan) -> pd.DataFrame:
    """The state of every run: a row for each alpha and seed, a column for each fold."""
    rows = [(run.config.alpha, run.config.seed, run.config.fold, state(run)) for run in plan.runs]
    table = pd.DataFrame(rows, columns=["alpha", "seed", "fold", "state"])
    return table.pivot(index=["alpha", "seed"], columns="fold", values="state").rename_axis(columns=None)


def watch(plan: Plan, stream: TextIO = sys.stdout, seconds: float = SECONDS) -> None:
    """Writes the grid again and again, until every run has ended or Ctrl-C."""
    while True:
        table = grid(plan)
        counts = table.stack().value_counts()
        words = ", ".join(f"{count} {name}" for name, count in counts.items())
        clear = "\x1b[H\x1b[J" if stream.isatty() else ""
        print(
            f"{clear}{plan.preset.name}, {time.strftime('%H:%M:%S')}: {words}\n{table.to_string()}",
            file=stream,
            flush=True,
        )
        if set(counts.index) <= {*ENDED, "failed"}:
            return
        time.sleep(seconds)
