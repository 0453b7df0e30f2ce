"""The publishing of the book: execute the notebooks, stage the pages, build the site."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class Stop(Exception):
    """An expected end with an error; the message says what to do."""


def named_digests(paths: Iterable[Path], folder: Path) -> list[str]:
    """The name in `folder` and the SHA-256 of each file in turn, as parts of a `digest`."""
    from mtlser.files import file_digest

    return [part for path in paths for part in (path.relative_to(folder).as_posix(), file_digest(path))]
