"""What a process that trains asks of its machine: one thread, and memory that stays."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

INTERRUPTED = "Interrupted. What was finished is kept; the same command goes on from there."  # what Ctrl-C prints


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def library_environment() -> dict[str, str]:
    """This process's environment for a `python -m mtlser…` of this very library, which need not be installed."""
    folders = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, folders))}


def keep_freed_memory() -> None:
    """Asks glibc to keep freed activations for the next step instead of returning them to the system; 21% of a step.

    Elsewhere there is nothing to ask, and nothing else changes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD, bytes
    mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD, bytes


def use_one_thread() -> None:
    """One thread, of torch and of other libraries: two such processes beat one of two threads, and the order of sums
    is always the same."""
    import threadpoolctl
    import torch

    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1)
