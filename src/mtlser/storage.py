"""Files that are whole or absent, and names made from content."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd


def digest(*parts: str) -> str:
    """SHA-256 of the parts, each ended by a newline: the project's one way to name things by content."""
    return hashlib.sha256("".join(part + "\n" for part in parts).encode()).hexdigest()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path that takes its name only when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """An empty temporary folder that takes its name only when the block ends without an error.

    A folder of that name which another process finished first is kept, and this one dropped.
    """
    folder = Path(folder)
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if not folder.exists():
            os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Path, value: object) -> None:
    """Writes JSON whole; NaN is an error, since other readers refuse it."""
    with whole_file(path) as partial:
        text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Writes a table whole, as Parquet."""
    with whole_file(path) as partial:
        table.to_parquet(partial, index=False)
