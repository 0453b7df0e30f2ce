"""What a run leaves on disk; reading, checking, merging and sharing it.

A run's folder `artifacts/runs/<run id>/` holds `run.json`, and once it has ended `history.parquet` (one row an epoch)
and `predictions.parquet` (one row a test utterance). A contributor's shared form, `book/results/<contributor>/`, is the
same three tables over all runs, without transcripts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from pathlib import Path

import pandas as pd

from mtlser.config import MAINTAINERS, RunConfig
from mtlser.files import file_state
from mtlser.runs.sharing_rules import problems

STATUSES = ("running", "done", "failed", "diverged")
EPOCH = "epoch.json"  # in a run's folder while it trains: its last epoch, the seconds that took, and the host
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
    "launched_by", "revision", "started", "finished", "recipe_version", "instrument", "system", "corpus_id", "backbone",
    "backbone_digest", "backbone_checked", "audio_digest", "labels_digest", "transcripts_digest", "split_digest",
    "processor", "rules",
)  # fmt: skip
# What a record that lacks a field of the configuration was trained with: a published default never changes.
DEFAULTS = {f.name: f.default for f in fields(RunConfig) if f.default is not MISSING}

CORPUS_NAMES = {
    "iemocap": "IEMOCAP",
    "pocket": "pocket corpus (synthetic)",
    "smoke": "smoke corpus (synthetic)",
    "pilot": "pilot corpus (synthetic)",
    "nemo": "nEMO",
    "emodb": "EmoDB",
    "ravdess": "RAVDESS",
    "crema-d": "CREMA-D",
    "own": "corpus of one's own",
}

COLUMNS = {
    "runs": RUN_COLUMNS,
    "history": (*RUN_KEYS, *HISTORY_COLUMNS),
    "predictions": (*RUN_KEYS, *PREDICTION_COLUMNS),
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
    def empty(cls) -> Records:
        """No run at all, with every column."""
        return cls(*(pd.DataFrame(columns=list(columns)) for columns in COLUMNS.values()), source="not run")

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
        tables = (getattr(self, name) for name in COLUMNS)
        return Records(*(t[t["run_id"].isin(ids)].reset_index(drop=True) for t in tables), source=self.source)


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


def read_records(folders: Iterable[Path]) -> Records:
    """The records of run folders, in their order. Runs that never ended are left out; failed and diverged ones stay."""
    runs, tables = [], {"history": [], "predictions": []}
    for folder in map(Path, folders):
        if run_status(folder) in ("missing", "running"):
            continue
        run = read_run(folder)
        row = run | DEFAULTS | run["config"] | (run.get("final") or {})
        row |= {f"{name}_digest": value for name, value in (run.get("inputs") or {}).items()}
        row["processor"] = (run.get("hardware") or {}).get("processor")
        runs.append({name: row.get(name) for name in RUN_COLUMNS})
        keys = {name: row[name] for name in RUN_KEYS}
        for name, parts in tables.items():
            if (path := folder / f"{name}.parquet").exists():
                parts.append(_read_table(path).assign(**keys)[list(COLUMNS[name])])
    found = {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items() if parts}
    blank = Records.empty()
    return replace(blank, runs=pd.DataFrame(runs), **found, source="this machine") if runs else blank


def _read_table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except Exception as error:  # pyarrow raises several unrelated types for a damaged file
        raise RecordError(f"{path} can't be read ({error}); delete its folder to run it again") from error


def read_shared(folder: Path) -> Records:
    """The shared records of one contributor, read and checked once for as long as their files stay as they are.

    Raises RecordError that names a file which is missing, damaged, or holds what is not shared (`runs.sharing_rules`).
    """
    return _read_shared(Path(folder), tuple(file_state(Path(folder) / f"{name}.parquet") for name in COLUMNS))


@cache
def _read_shared(folder: Path, states: tuple[str, ...]) -> Records:
    tables = {}
    for name, columns in COLUMNS.items():
        path = folder / f"{name}.parquet"
        if not path.exists():
            raise RecordError(f"{path} is missing; `python -m mtlser share` writes it")
        tables[name] = _read_table(path)
        shared = set(columns) - set(TRANSCRIPT_COLUMNS)
        if unknown := sorted(set(tables[name]) - shared):
            raise RecordError(f"{path} holds {', '.join(unknown)}: transcripts are not shared, nor unknown columns")
        needed = {"run_id", "status", *RUN_KEYS} if name == "runs" else shared
        if lacking := sorted(needed - set(tables[name])):
            raise RecordError(f"{path} lacks {', '.join(lacking)}; share it again")
    lacking = {name: value for name, value in DEFAULTS.items() if name not in tables["runs"]}
    tables["runs"] = tables["runs"].assign(**lacking).reindex(columns=list(RUN_COLUMNS))
    return checked(Records(**tables, source=f"shared by {folder.name}"), folder)


def checked(found: Records, where: Path | str) -> Records:
    """The records, of ended runs history and of done ones predictions: other rows are what a killed `share` left.

    Raises RecordError for what is not shared.
    """
    runs = found.runs
    for name, statuses in (("history", ENDED), ("predictions", ("done",))):
        table, ids = getattr(found, name), runs["run_id"][runs["status"].isin(statuses)]
        found = replace(found, **{name: table[table["run_id"].isin(ids)].reset_index(drop=True)})
    if wrong := problems(runs, found.history, found.predictions, tuple(CORPUS_NAMES.values())):
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise RecordError(f"{where} can't be shared: {'; '.join(wrong[:3])}{more}")
    return found


def read_results(folder: Path) -> Records:
    """All records committed under the results folder, the maintainers' first; of two with one run id the first."""
    return merge(read_shared(path) for path in _contributors(folder))


def ended_runs(folder: Path) -> dict[str, str]:
    """Run id → status, of every committed record of a run that ended."""
    tables = [_read_table(path / "runs.parquet")[["run_id", "status"]] for path in _contributors(folder)]
    found = pd.concat(tables) if tables else Records.empty().runs
    ended = found[found["status"].isin(ENDED)]
    return dict(zip(ended["run_id"], ended["status"], strict=True))


def _contributors(folder: Path) -> list[Path]:
    found = sorted(path.parent for path in Path(folder).glob("*/runs.parquet"))
    return sorted(found, key=lambda path: path.name != MAINTAINERS)


def first_of_each(records: Records) -> Records:
    """Of several records of one alpha, fold and seed the first that ended, else the first."""
    runs = records.runs.sort_values("status", key=lambda status: ~status.isin(ENDED), kind="stable")
    return records.only(run_id=list(runs.drop_duplicates(["alpha", "fold", "seed"])["run_id"]))


def merge(parts: Iterable[Records]) -> Records:
    """All runs of several records; of two with one run id the first is kept."""
    parts = [part for part in parts if not part.runs.empty]
    if not parts:
        return Records.empty()
    seen: set[str] = set()
    kept = []
    for part in parts:
        new = set(part.runs["run_id"]) - seen
        seen |= new
        kept += [part.only(run_id=new)] if new else []
    tables = (pd.concat([getattr(part, name) for part in kept], ignore_index=True) for name in COLUMNS)
    return Records(*tables, source=", ".join(dict.fromkeys(part.source for part in kept)))
