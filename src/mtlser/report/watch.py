"""A table of runs that is drawn again until all have ended, whoever trains them: it reads what they leave on disk."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from typing import TextIO

import pandas as pd

from mtlser.report.display import duration
from mtlser.runs.plan import Plan, PlannedRun
from mtlser.runs.records import EPOCH

POLL_SECONDS = 3.0
SILENT_SECONDS = 300.0  # without a word for so long, and for five of its epochs, a run has probably been killed
FIRST_EPOCH_SECONDS = 720.0  # taken for one while nothing is known of a run
# In the order of the table; the first two go on, the others are an end until somebody calls again.
STATES = ("running", "waiting", "silent", "failed", "diverged", "done")


def states(plans: Mapping[str, Plan], now: float) -> pd.DataFrame:
    """A row for each run: plan, run, state (STATES), epoch, epochs, host, left_seconds, whole_seconds; NaN unknown.

    `now`: seconds as `time.time` gives them.
    """
    rows = [(title, *_row(run, now)) for title, plan in plans.items() for run in plan.runs]
    names = ["plan", "run", "state", "epoch", "epochs", "host", "left_seconds", "whole_seconds"]
    table = pd.DataFrame(rows, columns=names)
    typical = table["whole_seconds"].mean()
    table["left_seconds"] = table["left_seconds"].fillna(typical).where(table["state"].isin(STATES[:2]), 0.0)
    return table


def _row(run: PlannedRun, now: float) -> tuple:
    status, epochs = run.status, run.config.epochs
    name = f"α={run.config.alpha:g} {run.config.fold} seed {run.config.seed}"
    if status != "running":
        state = "waiting" if status == "missing" else status
        whole = None if run.is_shared or status != "done" else json.loads(_read(run, "run.json")).get("seconds")
        return name, state, epochs if status == "done" else 0, epochs, "", None, whole
    said = _read(run, EPOCH)
    epoch, seconds, host = json.loads(said) if said else (0, FIRST_EPOCH_SECONDS, "")
    age = now - (run.folder / (EPOCH if said else "run.json")).stat().st_mtime
    state = "silent" if age > max(SILENT_SECONDS, 5 * seconds) else "running"
    if not said:
        return name, state, 0, epochs, "", None, None
    return name, state, epoch, epochs, host, max(0.0, (epochs - epoch) * seconds - age), epochs * seconds


def _read(run: PlannedRun, name: str) -> str:
    path = run.folder / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


def drawn(table: pd.DataFrame, lines: int) -> str:
    """The table as text of at most so many lines: a summary, then the runs in the order of STATES, the rest counted."""
    counts = table["state"].value_counts()
    summary = ", ".join(f"{counts[state]} {state}" for state in STATES if state in counts)
    at_once = max(1, counts.get("running", 0))
    left = table["left_seconds"].sum() / at_once
    several = table["plan"].nunique() > 1
    text = [f"{len(table)} runs: {summary}" + (f" · {duration(left)} left" if counts.get("running") else "")]
    ordered = table.sort_values("state", key=lambda states: states.map(STATES.index), kind="stable")
    room = len(ordered) if len(ordered) <= lines - 2 else max(0, lines - 3)  # the cursor has a line of its own
    for row in ordered.head(room).itertuples():
        left = duration(row.left_seconds) if row.state == "running" else ""
        epoch = f"{row.epoch}/{row.epochs}" if row.epoch else ""
        name = f"{row.plan}: {row.run}" if several else row.run
        text.append(f"{row.state:<9}{epoch:>9}  {left:>8}  {row.host:<12}  {name}".rstrip())
    if room < len(ordered):
        rest = ordered["state"].iloc[room:].value_counts(sort=False)
        text.append("and " + ", ".join(f"{count} {state}" for state, count in rest.items()))
    return "\n".join(text)


def watch(plans: Mapping[str, Plan], to: TextIO | None = None, sleep: Callable[[float], None] = time.sleep) -> int:
    """Draws the table every few seconds until no run trains or waits; the number of runs that are not done.

    A terminal shows the last one alone, anything else each that differs.
    """
    to, before = to or sys.stdout, None
    while True:
        table = states(plans, time.time())
        text = drawn(table, shutil.get_terminal_size().lines if to.isatty() else len(table) + 2)
        if text != before:
            to.write(("\x1b[H\x1b[J" if to.isatty() else "") + text + "\n")
            to.flush()
            before = text
        if not table["state"].isin(STATES[:2]).any():
            return int((table["state"] != "done").sum())
        sleep(POLL_SECONDS)
