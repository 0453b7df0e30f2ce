"""What a run leaves on disk; reading, checking, merging and sharing it.

A run's folder `artifacts/runs/<run id>/` holds `run.json`, and once it has ended `history.parquet` (one row an epoch)
and `predictions.parquet` (one row a test utterance). A contributor's shared form, `book/results/<contributor>/`, is the
same three tables over all runs, without transcripts.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from mtlser.config import RunConfig
from mtlser.storage import whole_folder, write_json, write_table

STATUSES = ("running", "done", "failed", "diverged")
ENDED = ("done", "diverged")  # not to be trained again: a diverged run would diverge again
RUN_KEYS = ("run_id", "preset", "alpha", "protocol", "fold", "seed", "pooling")  # repeated in every table of Records
HISTORY_COLUMNS = (
    "epoch", "loss", "loss_ce", "loss_ctc", "accuracy", "uar", "wer", "learning_rate", "seconds",
    "gradient_norm_ce", "gradient_norm_ctc", "gradient_cosine",
)  # fmt: skip
PREDICTION_COLUMNS = (
    "utterance", "speaker", "label", "prediction", "logits", "reference", "hypothesis", "word_errors", "words",
)  # fmt: skip
TRANSCRIPT_COLUMNS = ("reference", "hypothesis")  # never shared: IEMOCAP's transcripts may not be redistributed
RUN_COLUMNS = (
    "run_id", "status", *(f.name for f in fields(RunConfig)), "accuracy", "uar", "macro_f1", "wer", "cer",
    "num_train", "num_test", "num_correct", "num_infeasible", "collapsed", "corpus", "seconds", "device", "error",
    "launched_by", "revision", "started", "finished", "recipe_version", "instrument",
)  # fmt: skip

CORPUS_NAMES = {
    "iemocap": "IEMOCAP",
    "pocket": "pocket corpus (synthetic)",
    "smoke": "smoke corpus (synthetic)",
    "pilot": "pilot corpus (synthetic)",
}


class RecordError(ValueError):
    """A record on disk can't be used; the message names the file and what to do."""


@dataclass(frozen=True)
class Records:
    """Tidy tables over runs.

    `runs`: one row a run (RUN_COLUMNS). `history`: one row a run and epoch. `predictions`: one row a run and test
    utterance. The last two repeat RUN_KEYS. `source` says where they came from, in words.
    """

    runs: pd.DataFrame
    history: pd.DataFrame
    predictions: pd.DataFrame
    source: str = ""

    @classmethod
    def empty(cls, source: str = "not run") -> Records:
        """No run at all, with every column."""
        return cls(
            pd.DataFrame(columns=list(RUN_COLUMNS)),
            pd.DataFrame(columns=[*RUN_KEYS, *HISTORY_COLUMNS]),
            pd.DataFrame(columns=[*RUN_KEYS, *PREDICTION_COLUMNS]),
            source,
        )

    @property
    def provenance(self) -> str:
        """The corpus in words: "IEMOCAP", "pocket corpus (synthetic)", or "not run"."""
        corpora = list(dict.fromkeys(self.runs["corpus"]))
        return " and ".join(corpora) if corpora else "not run"

    def only(self, **columns) -> Records:
        """The runs whose columns have those values, e.g. `only(alpha=0.1, status="done")`; a list means any of them.

        Raises KeyError for an unknown column.
        """
        chosen = pd.Series(True, index=self.runs.index)
        for name, value in columns.items():
            if name not in self.runs:
                raise KeyError(f"runs have no column {name!r}; they have {', '.join(self.runs)}")
            values = value if isinstance(value, (list, tuple, set)) else [value]
            chosen &= self.runs[name].isin(values)
        ids = set(self.runs.loc[chosen, "run_id"])
        tables = [
            table[table["run_id"].isin(ids)].reset_index(drop=True)
            for table in (self.runs, self.history, self.predictions)
        ]
        return Records(*tables, source=self.source)

    def digest(self) -> str:
        """Changes when any run, history or prediction does: what a page that shows them depends on."""
        tables = (self.runs, self.history, self.predictions.drop(columns=["logits"], errors="ignore"))
        sums = [int(pd.util.hash_pandas_object(t.astype(str), index=False).sum()) for t in tables]
        return "-".join(f"{value & 0xFFFFFFFFFFFF:012x}" for value in sums)


def read_run(folder: Path) -> dict:
    """The `run.json` of a run. Raises RecordError if it is absent, damaged or not a run."""
    path = Path(folder) / "run.json"
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordError(f"{path} is missing: not a run; delete the folder to run it again") from None
    except ValueError as error:
        raise RecordError(f"{path} is not JSON ({error}); delete the folder to run it again") from error
    if run.get("status") not in STATUSES or "config" not in run:
        raise RecordError(f"{path}: status {run.get('status')!r} is none of {', '.join(STATUSES)}, or no config")
    return run


def run_status(folder: Path) -> str:
    """`missing`, `running`, `done`, `failed` or `diverged`; a done run without its tables is `missing`."""
    folder = Path(folder)
    if not (folder / "run.json").exists():
        return "missing"
    status = read_run(folder)["status"]
    if status == "done" and not all((folder / f"{name}.parquet").exists() for name in ("history", "predictions")):
        return "missing"
    return status


def read_records(folders: Iterable[Path], source: str = "this machine") -> Records:
    """The records of run folders, in their order. Runs that never ended are left out; failed and diverged ones stay."""
    runs, histories, predictions = [], [], []
    for folder in map(Path, folders):
        if run_status(folder) in ("missing", "running"):
            continue
        run = read_run(folder)
        row = {"run_id": run["run_id"], "status": run["status"], **run["config"], **(run.get("final") or {})}
        row |= {name: run.get(name) for name in RUN_COLUMNS if name not in row}
        runs.append({name: row.get(name) for name in RUN_COLUMNS})
        keys = {name: row[name] for name in RUN_KEYS}
        for name, tables in (("history", histories), ("predictions", predictions)):
            path = folder / f"{name}.parquet"
            if path.exists():
                tables.append(_read_table(path).assign(**keys))
    if not runs:
        return Records.empty()
    blank = Records.empty()
    return Records(
        pd.DataFrame(runs),
        pd.concat(histories, ignore_index=True)[list(blank.history)] if histories else blank.history,
        pd.concat(predictions, ignore_index=True)[list(blank.predictions)] if predictions else blank.predictions,
        source,
    )


def _read_table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except Exception as error:  # pyarrow raises several unrelated types for a damaged file
        raise RecordError(f"{path} can't be read ({error}); delete its folder to run it again") from error


def share(records: Records, folder: Path, about: dict) -> Path:
    """Writes the shared form of ended runs, without transcripts. An existing folder of the contributor is replaced.

    `about` says who ran it: name, contact or page, remarks. Raises RecordError when there is nothing to share.
    """
    if records.runs.empty:
        raise RecordError("no ended run to share; `make plan` lists what is missing")
    folder = Path(folder)
    predictions = records.predictions.drop(columns=list(TRANSCRIPT_COLUMNS))
    predictions["logits"] = [np.asarray(row, dtype=np.float32) for row in predictions["logits"]]
    with whole_folder(folder.with_name(folder.name + ".new")) as new:
        write_table(new / "runs.parquet", records.runs)
        write_table(new / "history.parquet", records.history)
        write_table(new / "predictions.parquet", predictions)
        write_json(new / "about.json", about | {"versions": versions(), "hardware": hardware()})
    fresh = folder.with_name(folder.name + ".new")
    folder.mkdir(parents=True, exist_ok=True)
    for path in fresh.iterdir():
        path.replace(folder / path.name)
    fresh.rmdir()
    return folder


def read_shared(folder: Path) -> Records:
    """The shared records of one contributor. Raises RecordError that names a missing or damaged file."""
    folder = Path(folder)
    tables = []
    for name in ("runs", "history", "predictions"):
        if not (folder / f"{name}.parquet").exists():
            raise RecordError(f"{folder / name}.parquet is missing; `python -m mtlser share` writes it")
        tables.append(_read_table(folder / f"{name}.parquet"))
    runs, history, predictions = tables
    forbidden = set(TRANSCRIPT_COLUMNS) & set(predictions)
    if forbidden:
        raise RecordError(
            f"{folder}/predictions.parquet holds {', '.join(sorted(forbidden))}: transcripts are not shared"
        )
    runs = runs.reindex(columns=list(RUN_COLUMNS))  # a field newer than the records is unknown, and matches none
    return Records(runs, history, predictions, source=f"shared by {folder.name}")


def merge(parts: Iterable[Records]) -> Records:
    """All runs of several records; of two with one run id the first is kept."""
    parts = [part for part in parts if not part.runs.empty]
    if not parts:
        return Records.empty()
    seen: set[str] = set()
    kept = []
    for part in parts:
        kept.append(part.only(run_id=[i for i in part.runs["run_id"] if i not in seen]))
        seen |= set(part.runs["run_id"])
    kept = [part for part in kept if not part.runs.empty]
    tables = (
        pd.concat([getattr(part, name) for part in kept], ignore_index=True)
        for name in ("runs", "history", "predictions")
    )
    return Records(*tables, source=", ".join(dict.fromkeys(part.source for part in kept)))


@cache
def versions() -> dict[str, str]:
    """Versions of what decides a result."""
    found = {"python": platform.python_version()}
    for package in ("mtlser", "torch", "transformers", "accelerate", "numpy", "pandas", "soundfile", "soxr", "jiwer"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


@cache
def hardware() -> dict[str, str | int | float]:
    """Processor, cores, memory and system of this machine; the GPU is named by the run that used it."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": psutil.cpu_count() or 1,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@cache
def revision() -> str:
    """The code's commit, with "+changes" when tracked files differ from it; "unknown" outside a git checkout."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "--short=12", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no", "--", ":(top)src")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+changes" if changed else "")


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
