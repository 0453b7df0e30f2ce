"""What a contributor shares of finished runs: the three tables of records without transcripts, and who ran them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mtlser.files import write_json, write_table
from mtlser.machine import hardware, versions
from mtlser.runs.records import COLUMNS, ENDED, TRANSCRIPT_COLUMNS, RecordError, Records, checked, merge, read_shared


def share(records: Records, folder: Path, about: dict) -> Path:
    """Adds ended runs to what a contributor shared, without transcripts; of what is there, a failed run is replaced.

    `about` says who ran it: name, contact or page, remarks. Of an error only its kind is written, since messages quote
    transcripts and paths. Raises RecordError when there is nothing to share, or for records that may not be shared.
    """
    folder = Path(folder)
    if records.runs.empty:
        raise RecordError("no ended run to share; `make plan` lists what is missing")
    runs = records.runs.assign(error=[kind_of_error(error) for error in records.runs["error"]])
    predictions = records.predictions.drop(columns=list(TRANSCRIPT_COLUMNS), errors="ignore")
    predictions["logits"] = [np.asarray(row, dtype=np.float32) for row in predictions["logits"]]
    added = checked(Records(runs, records.history, predictions), "this machine's records")
    if (folder / "runs.parquet").exists():
        there = read_shared(folder)
        added = merge([there.only(status=ENDED), added, there])
    write_json(folder / "about.json", about | {"versions": versions(), "hardware": hardware()})
    for name in reversed(COLUMNS):  # the runs last: rows of the others without a run that ended are not read
        write_table(folder / f"{name}.parquet", getattr(added, name))
    return folder


def kind_of_error(error: str | None) -> str | None:
    """The exception's name at the front of a run's error; "error" where there is none."""
    if not isinstance(error, str):
        return None
    name = error.partition(":")[0]
    return name if name.isidentifier() else "error"
