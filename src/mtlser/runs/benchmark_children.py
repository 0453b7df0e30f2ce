"""Processes of a benchmark: each is told what to do and answers, a line of JSON each, until its input ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def children(function: str, given: Sequence[dict]) -> Iterator[list[subprocess.Popen]]:
    """Processes that run a function ("module:name"), each with its dictionary as the first line of its input."""
    module, _, name = function.partition(":")
    code = f"from {module} import {name} as child; child()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    processes = [subprocess.Popen([sys.executable, "-c", code], text=True, **pipes) for _ in given]
    try:
        for process, one in zip(processes, given, strict=True):
            tell(process, one)
        yield processes
    finally:
        for process in processes:
            process.communicate()


def tell(process: subprocess.Popen, line: object) -> None:
    """Sends a line of JSON."""
    process.stdin.write(json.dumps(line) + "\n")
    process.stdin.flush()


def answer(process: subprocess.Popen) -> object:
    """The next line of JSON. Raises RuntimeError where the process ended instead."""
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a process of the benchmark ended with code {process.wait()}; its message is above")
    return json.loads(line)


def all_at_once(processes: Sequence[subprocess.Popen], word: str) -> None:
    """Tells all of them and waits for the last."""
    for process in processes:
        tell(process, word)
    for process in processes:
        answer(process)
