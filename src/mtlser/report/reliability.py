"""What `make faults` and `make test-cluster` recorded: calls that were ended and went on, damage that was noticed."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from mtlser.runs.settings import Settings

FOLDER = "reliability"
JOBS = ("submitted", "cancelled", "preempted", "requeued", "timed_out", "lost")
SURVIVED = ("survived", "equal")


def read(name: str, settings: Settings | None = None) -> pd.DataFrame:
    """The first contributor's table `name` (kills, damages); without one no rows."""
    for path in sorted((settings or Settings.from_environment()).results.glob(f"*/{FOLDER}/{name}.csv")):
        return pd.read_csv(path, dtype=str)
    return pd.DataFrame(columns=["what", "call", "corpus", "outcome"])


def kills(tried: pd.DataFrame) -> pd.DataFrame:
    """One row for what was done to which call: tried, survived. Limits that no file reached are left out."""
    reached = tried[tried["outcome"] != "not reached"]
    counted = reached.assign(survived=reached["outcome"].isin(SURVIVED)).groupby(["what", "call"], sort=False)
    return counted["survived"].agg(tried="size", survived="sum").reset_index()


def damages(tried: pd.DataFrame) -> pd.DataFrame:
    """One row a corpus: damages made; noticed by an error that names the file; harmless, since the right data came out;
    and other data of a corpus of which nothing is known, which gives a run another name; silent: none of these.
    """
    table = pd.crosstab(tried["corpus"], tried["outcome"])
    table = table.reindex(columns=["caught", "right", "other data", "silent"], fill_value=0)
    table.insert(0, "made", table.sum(axis=1))
    return table.rename_axis(columns=None).reset_index()


def cluster(settings: Settings | None = None) -> pd.DataFrame:
    """What happened to the jobs of a real Slurm: columns what, jobs; no rows where nobody tried."""
    for path in sorted((settings or Settings.from_environment()).results.glob(f"*/{FOLDER}/cluster.json")):
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        counts = [(name.replace("_", " "), found[name]) for name in JOBS if name in found]
        return pd.DataFrame(counts, columns=["what", "jobs"])
    return pd.DataFrame(columns=["what", "jobs"])
