"""The speed measurements: which there are, how they are run, and the records that they write.

`python -m mtlser bench` leaves `book/results/<contributor>/benchmarks/<name>-<device>.json`, a file for each benchmark,
which the cost chapter reads. A record carries the code's revision, the machine, the packages and the day it is of.
"""

from __future__ import annotations

import json
import pkgutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from mtlser.config import ConfigError
from mtlser.runs import records
from mtlser.runs.records import RecordError
from mtlser.storage import write_json

FOLDER = "benchmarks"  # under a contributor's folder of the results
RECORD_KEYS = (
    "benchmark", "title", "device", "threads", "repeats", "measured", "details", "finished", "versions", "hardware",
    "revision",
)  # fmt: skip

Measured = tuple[dict[str, float], dict]  # a number for each figure, and whatever else a reader should know


@dataclass(frozen=True)
class Benchmark:
    """One measurement. `function` is "module:name" of a function from `Options` to `Measured`."""

    name: str
    title: str
    function: str
    by_default: bool = True  # False: minutes long, measured only when it is named


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


BENCHMARKS = (
    Benchmark("training-step", "Training step of wav2vec2-base", "mtlser.runs.benchmark_step:training_step"),
    Benchmark("memory", "Memory of a step with the longest utterance", "mtlser.runs.benchmark_step:memory"),
    Benchmark("loader", "Reading utterances from the store", "mtlser.runs.benchmark_project:loader"),
    Benchmark("reproduce", "The pocket book from nothing", "mtlser.runs.benchmark_project:reproduce", by_default=False),
    Benchmark("tests", "The test suite", "mtlser.runs.benchmark_project:tests", by_default=False),
)


def find_benchmarks(names: Sequence[str]) -> list[Benchmark]:
    """The benchmarks of those names, or all that run by default. Raises ConfigError that lists the names."""
    known = {benchmark.name: benchmark for benchmark in BENCHMARKS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"no benchmark {', '.join(unknown)}; choose from {', '.join(known)}")
    return [known[name] for name in names] or [one for one in BENCHMARKS if one.by_default]


def run_benchmarks(chosen: Iterable[Benchmark], folder: Path, options: Options, again: bool = False) -> list[str]:
    """Measures what has no record in the folder, or all `again`; writes records and returns the names that failed.

    A try on tiny shapes counts as no record. Raises RecordError for a damaged one, which `again` replaces.
    """
    failed = []
    for benchmark in chosen:
        path = record_path(folder, benchmark.name, options.device)
        old = read_record(path) if path.exists() and not again else None
        if old and (options.small or not old.get("small")):
            options.say(
                f"{benchmark.name}: {path} is of {old['finished']}, code {old['revision']}; --again replaces it"
            )
            continue
        options.say(f"{benchmark.name}: {benchmark.title}")
        started = time.monotonic()
        try:
            measured, details = pkgutil.resolve_name(benchmark.function)(options)
        except Exception as error:  # the others are still measured, and the command fails at its end
            options.say(f"{benchmark.name}: FAILED: {type(error).__name__}: {error}")
            failed.append(benchmark.name)
            continue
        seconds = time.monotonic() - started
        write_json(path, _record(benchmark, options, measured, details, seconds))
        found = ", ".join(f"{name} {value:.3g}" for name, value in measured.items())
        options.say(f"{benchmark.name}: {found} ({seconds:.0f} s)")
    return failed


def record_path(folder: Path, name: str, device: str) -> Path:
    """Where the record of a benchmark is."""
    return Path(folder) / f"{name}-{device}.json"


def _record(benchmark: Benchmark, options: Options, measured: dict, details: dict, seconds: float) -> dict:
    import torch  # here, since a page that shows records needs none

    gpu = {"gpu": torch.cuda.get_device_name()} if options.device == "cuda" else {}
    return {
        "benchmark": benchmark.name,
        "title": benchmark.title,
        "device": options.device,
        "threads": options.threads,
        "repeats": options.repeats,
        "small": options.small,
        "measured": {name: float(f"{value:.6g}") for name, value in measured.items()},
        "details": details,
        "seconds": round(seconds, 1),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": records.versions(),
        "hardware": records.hardware() | {"instructions": torch.backends.cpu.get_cpu_capability()} | gpu,
        "revision": records.revision(),
    }


def read_record(path: Path) -> dict:
    """A benchmark's record. Raises RecordError that names a damaged file."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        missing = [name for name in RECORD_KEYS if name not in record]
    except (OSError, ValueError, TypeError) as error:
        raise RecordError(f"{path} can't be read ({error}); delete it and run `make bench` again") from error
    if missing:
        raise RecordError(f"{path} lacks {', '.join(missing)}; delete it and run `make bench` again")
    return record


def read_benchmarks(results: Path) -> list[dict]:
    """All records of all contributors, each with `contributor`; tries on tiny shapes are left out."""
    paths = sorted(Path(results).glob(f"*/{FOLDER}/*.json"))
    found = [read_record(path) | {"contributor": path.parts[-3]} for path in paths]
    return [record for record in found if not record.get("small")]
