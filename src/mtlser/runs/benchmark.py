"""The speed measurements: which there are, how they are run, the records that they write; and those of `make`.

`python -m mtlser bench` leaves `book/results/<contributor>/benchmarks/<name>-<device>.json`, a file for each benchmark,
which the cost chapter reads. A record carries the code's revision, the machine, the packages and the day it is of.
"""

from __future__ import annotations

import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from mtlser import machine
from mtlser.config import ConfigError
from mtlser.files import write_json
from mtlser.runs.records import RecordError

FOLDER = "benchmarks"  # under a contributor's folder of the results
RECORD_KEYS = "benchmark title device threads repeats measured details finished versions hardware revision".split()

Measured = tuple[dict[str, float], dict]  # a number for each figure, and whatever else a reader should know


@dataclass(frozen=True)
class Options:
    """What a benchmark is given. `small` is a try of seconds on tiny shapes: its numbers mean nothing."""

    repeats: int = 3
    threads: int = 1  # of torch
    device: str = "cpu"  # or "cuda"
    precisions: tuple[str, ...] = ("float32",)  # and "bf16", where the device has instructions for it
    small: bool = False
    root: Path = Path(".")  # the project, for the benchmarks of its commands
    say: Callable[[str], None] = partial(print, flush=True)


BENCHMARKS = {  # title, and "module:name" of a function from `Options` to `Measured`
    "training-step": ("Training step of wav2vec2-base", "mtlser.runs.benchmark_step:training_step"),
    "memory": ("Memory of a step with the longest utterance", "mtlser.runs.benchmark_step:memory"),
    "several-runs": ("Several runs on one device", "mtlser.runs.benchmark_step:several_runs"),
    "loader": ("Reading utterances from the store", "mtlser.runs.benchmark_step:loader"),
    "reproduce": ("The pocket book from nothing", "mtlser.runs.benchmark:reproduce"),
    "tests": ("The test suite", "mtlser.runs.benchmark:tests"),
}
# Minutes long, or meant for a GPU: measured only when they are named.
ONLY_NAMED = ("several-runs", "reproduce", "tests")


def run_benchmarks(names: Sequence[str], folder: Path, options: Options, again: bool = False) -> list[str]:
    """Measures the benchmarks that have no record in the folder, or all `again`; returns the names that failed.

    Without names all but ONLY_NAMED. A `small` try leaves no record. Raises ConfigError that lists the names for an
    unknown one, and RecordError for a damaged record, which `again` replaces.
    """
    if unknown := [name for name in names if name not in BENCHMARKS]:
        raise ConfigError(f"no benchmark {', '.join(unknown)}; choose from {', '.join(BENCHMARKS)}")
    failed = []
    for name in names or [name for name in BENCHMARKS if name not in ONLY_NAMED]:
        title, function = BENCHMARKS[name]
        path = folder / f"{name}-{options.device}.json"
        if path.exists() and not (again or options.small):
            old = read_record(path)
            options.say(f"{name}: {path} is of {old['finished']}, code {old['revision']}; --again replaces it")
            continue
        options.say(f"{name}: {title}")
        started = time.monotonic()
        try:
            measured, details = pkgutil.resolve_name(function)(options)
        except Exception as error:  # the others are still measured, and the command fails at its end
            options.say(f"{name}: FAILED: {type(error).__name__}: {error}")
            failed.append(name)
            continue
        seconds = round(time.monotonic() - started, 1)
        record = {"benchmark": name, "title": title, "measured": measured, "details": details, "seconds": seconds}
        if not options.small:
            write_json(path, record | _circumstances(options))
        options.say(f"{name}: {', '.join(f'{figure} {value:.3g}' for figure, value in measured.items())} ({seconds} s)")
    return failed


def _circumstances(options: Options) -> dict:
    import torch  # here, since a page that shows records needs none

    gpu = {"gpu": torch.cuda.get_device_name()} if options.device == "cuda" else {}
    return {
        **{name: getattr(options, name) for name in ("device", "threads", "repeats")},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": machine.versions(),
        "hardware": machine.hardware() | {"instructions": torch.backends.cpu.get_cpu_capability()} | gpu,
        "revision": machine.revision(),
    }


def read_record(path: Path) -> dict:
    """A benchmark's record. Raises RecordError that names a damaged file."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if missing := [name for name in RECORD_KEYS if name not in record]:
            raise ValueError(f"it lacks {', '.join(missing)}")
    except (OSError, ValueError, TypeError) as error:
        raise RecordError(f"{path} can't be read ({error}); delete it and run `make bench` again") from error
    return record


def reproduce(options: Options) -> Measured:
    """Seconds of `make reproduce` from nothing but installed packages: corpus, all runs of the pocket preset, site."""
    preset = "smoke" if options.small else "pocket"
    with TemporaryDirectory() as name:
        project = Path(name) / "project"  # a copy, so that nothing here changes what is being worked on
        not_cloned = shutil.ignore_patterns(".git", ".venv", "artifacts", "build")
        shutil.copytree(options.root, project, ignore=not_cloned)
        (project / ".venv").symlink_to(sys.prefix, target_is_directory=True)
        started = time.perf_counter()
        make(project, "reproduce", f"PRESET={preset}", "FRESH=1", "PYTHON=true")  # no check that packages are installed
        return {"seconds": time.perf_counter() - started}, {"preset": preset}


def tests(options: Options) -> Measured:
    """Seconds of `make test` after set-up: pytest's own closing line."""
    printed = make(options.root, "test", "ARGS=-p no:cacheprovider" + (" --collect-only" if options.small else ""))
    closing = printed.strip().splitlines()[-1]
    return {"seconds": float(re.search(r"in ([\d.]+)s", closing)[1])}, {"closing": closing.strip("= ")}


def make(project: Path, *words: str) -> str:
    """What a target of the project's Makefile prints. Raises RuntimeError with its last lines where it fails."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("MTLSER_", "MAKE")) and k != "MFLAGS"}
    environment = own | {"PYTHONPATH": str(project.resolve() / "src")}  # the copy's library, not the installed one
    result = subprocess.run(["make", *words], cwd=project, env=environment, capture_output=True, text=True)
    if result.returncode:
        lines = (result.stdout + result.stderr).splitlines()
        failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
        raise RuntimeError("\n".join([f"make {words[0]} failed:", *failed, *lines[-8:]]))
    return result.stdout
