"""Files that are whole or absent, and names made from content."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import psutil
from filelock import FileLock


def digest(*parts: str) -> str:
    """SHA-256 of the parts, each ended by a newline: the project's one way to name things by content."""
    return hashlib.sha256("".join(part + "\n" for part in parts).encode()).hexdigest()


def file_state(path: Path) -> str:
    """Its place, size and times of change: while these stay, so does the content, and nobody has to read it again."""
    path = Path(path).resolve()
    try:
        found = os.stat(path)
    except OSError:
        return f"{path} missing"
    # A replaced file may be given the size and the mtime of the old one, but nobody can set back its ctime.
    return f"{path} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes. Raises OSError where it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _partial(path: Path) -> Path:
    """This process's temporary name for a path; what processes of this machine that died left of it is removed."""
    host = platform.node()
    for left in path.parent.glob(f"{path.name}.{host}.*.partial"):
        pid = left.name.split(".")[-2]
        if pid == str(os.getpid()) or not (pid.isdigit() and psutil.pid_exists(int(pid))):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    return path.with_name(f"{path.name}.{host}.{os.getpid()}.partial")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path that takes its name only when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
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
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(folder)
    partial.mkdir()
    try:
        yield partial
        if not folder.exists():
            os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def make_once(folder: Path, fill: Callable[[Path], None]) -> None:
    """Has `fill` write a folder that is not there yet; of several processes one does, and the others wait for it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            with whole_folder(folder) as partial:
                fill(partial)


def write_json(path: Path, value: object) -> None:
    """Writes JSON whole; NaN is an error, since other readers refuse it."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Writes a table whole, as Parquet."""
    with whole_file(path) as partial:
        table.to_parquet(partial, index=False)
