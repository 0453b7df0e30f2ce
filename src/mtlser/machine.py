"""The machine that runs this: what a record says of it, and what a process that trains asks of it."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

PACKAGES = ("mtlser", "torch", "transformers", "datasets", "numpy", "pandas", "soundfile", "soxr", "jiwer")


@cache
def versions() -> dict[str, str]:
    """Versions of what decides a result."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


@cache
def hardware() -> dict[str, str | int | float]:
    """Processor, cores, memory and system of this machine; the GPU is named by the run that used it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": next(names, platform.processor() or platform.machine()),
        "cores": psutil.cpu_count() or 1,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


@cache
def revision() -> str:
    """The code's commit, with "+changes" when tracked files differ from it; "unknown" outside a git checkout."""

    commit = _git("rev-parse", "--short=12", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":(top)src")
    return commit + ("+changes" if changed else "") or "unknown"


@cache
def last_commit(path: Path) -> str:
    """The commit that last changed a file of the project; "unknown" outside a git checkout."""
    return _git("log", "-1", "--format=%H", "--", str(path)) or "unknown"


def _git(*words: str) -> str:
    """What git says of this checkout; "" outside of one, and without git."""
    command = ["git", "-C", str(Path(__file__).parent), *words]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def library_environment() -> dict[str, str]:
    """This process's environment for a `python -m mtlser…` of this very library, which need not be installed."""
    folders = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, folders))}


def keep_freed_memory() -> None:
    """Asks glibc, where there is one, to keep freed activations for the next step; returning them is 21% of a step."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD, bytes
    mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD, bytes


def use_float32() -> None:
    """float32 means float32 on every GPU: TF32, which newer ones would take for convolutions, is off."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def use_one_thread() -> None:
    """One thread, of torch and of other libraries: two such processes beat one of two threads, and the order of sums
    is always the same."""
    import threadpoolctl
    import torch

    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1)
