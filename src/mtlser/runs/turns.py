"""Calls that train on one machine at the same time, as two pages of the book do while one's last runs go on.

Together they run no more workers at once than one call would alone: each worker has a number that no other has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

POLL_SECONDS = 0.1


@contextmanager
def worker_number(folder: Path, below: int, give_up: Callable[[], bool]) -> Iterator[int | None]:
    """A number from 0 that is free among all who name this folder, held while the block runs.

    Waits for one; None once `give_up` says so. A number is free again when its holder ends, however that ends.
    """
    locks = [FileLock(folder / f"worker-{number}.lock", timeout=0) for number in range(below)]
    while not give_up():
        for number, lock in enumerate(locks):
            if _acquired(lock):
                try:
                    yield number
                finally:
                    lock.release()
                return
        time.sleep(POLL_SECONDS)
    yield None


def _acquired(lock: FileLock) -> bool:
    try:
        lock.acquire()
    except Timeout:
        return False
    return True
