"""Processes of a benchmark: each is told what to do and answers, a line of JSON each, until its input ends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from subprocess import PIPE

from mtlser.forkserver import Process, end_process, start_process
from mtlser.runs.engines import PRELOADED


@contextmanager
def children(function: str, given: Sequence[dict], *, fork: bool) -> Iterator[list[Process]]:
    """Processes that run a function ("module:name"), each with its dictionary as the first line of its input.

    `fork`: they start as workers do, and not each as a new Python.
    """
    options = {"preload": PRELOADED, "environment": os.environ, "fork": fork, "stdin": PIPE, "stdout": PIPE}
    processes = [start_process(function, **options) for _ in given]
    try:
        for process, one in zip(processes, given, strict=True):
            tell(process, one)
        yield processes
    finally:
        for process in processes:
            end_process(process)


def tell(process: Process, line: object) -> None:
    """Sends a line of JSON."""
    process.stdin.write(json.dumps(line) + "\n")
    process.stdin.flush()


def answer(process: Process) -> object:
    """The next line of JSON. Raises RuntimeError where the process ended instead."""
    line = process.stdout.readline()
    if not line:
        code = process.wait()
        cause = "its message is above" if code >= 0 else "memory may have run out"
        raise RuntimeError(f"a process of the benchmark ended with code {code}; {cause}")
    return json.loads(line)


def all_at_once(processes: Sequence[Process], word: str) -> None:
    """Tells all of them and waits for the last."""
    for process in processes:
        tell(process, word)
    for process in processes:
        answer(process)
