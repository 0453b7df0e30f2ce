"""What `make faults` and `make test-cluster` leave for the book: a line for each thing that was tried."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from tempfile import gettempdir

from filelock import FileLock

from mtlser.files import whole_file


def _read(path: Path) -> list[list[str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def keep(name: str, columns: tuple[str, ...], *words: object) -> None:
    """Adds a row to the table `name` in RELIABILITY's folder, or replaces the one that tried the same."""
    if folder := os.environ.get("RELIABILITY"):
        path, row = Path(folder) / name, [str(word) for word in words]
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(Path(gettempdir()) / f"mtlser-{name}.lock"):  # pytest may be several processes
            rows = [other for other in _read(path)[1:] if other[:-1] != row[:-1]]
            with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([columns, *rows, row])


def is_kept(name: str, *words: object) -> bool:
    """Whether this was tried before and went well, so that an hour of trying can be interrupted."""
    if not (folder := os.environ.get("RELIABILITY")):
        return False
    rows = [row[:-1] for row in _read(Path(folder) / name) if row[-1] != "lost"]
    return [str(word) for word in words] in rows
