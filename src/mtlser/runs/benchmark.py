"""The speed measurements: which there are, what was predicted of each, and the records that they write.

A benchmark runs in a process of its own and leaves `book/results/<contributor>/benchmarks/<name>-<device>.json`, which
the cost chapter reads. What is compared is measured in turns within one run, and the median of the repeats is taken.
"""

from __future__ import annotations

import importlib
import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mtlser.config import ConfigError
from mtlser.runs import records
from mtlser.runs.records import RecordError
from mtlser.files import digest, write_json

FOLDER = "benchmarks"  # under a contributor's folder of the results
RECORD_KEYS = ("benchmark", "device", "key", "threads", "repeats", "measured", "details", "versions", "hardware")
STEP_PARTS = ("batch", "forward", "losses", "backward", "optimiser")  # of a training step, in `pocket-step`

Say = Callable[[str], None]


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
    threads: int | None = None  # None: one for each core
    device: str = "cpu"  # or "cuda"
    small: bool = False
    root: Path = Path(".")  # the project, for the benchmarks of its commands
    say: Say = print


@dataclass
class Measured:
    """What a benchmark found: a number for each of its figures, and whatever else a reader should know."""

    measured: dict[str, float] = field(default_factory=dict)
    details: dict = field(default_factory=dict)


BENCHMARKS = (
    Benchmark("training-step", "Training step of wav2vec2-base", "mtlser.runs.benchmark_step:training_step"),
    Benchmark("several-runs", "Several runs that share the machine", "mtlser.runs.benchmark_runs:several_runs"),
    Benchmark("memory", "Memory of a step with the longest utterance", "mtlser.runs.benchmark_parts:memory"),
    Benchmark("pocket-step", "Where a step of the pocket model goes", "mtlser.runs.benchmark_parts:pocket_step"),
    Benchmark("loader", "Reading a release of full size", "mtlser.runs.benchmark_project:loader"),
    Benchmark("book", "Rendering the book again", "mtlser.runs.benchmark_project:book"),
    Benchmark("reproduce", "The pocket book from nothing", "mtlser.runs.benchmark_project:reproduce", by_default=False),
    Benchmark("tests", "The test suite", "mtlser.runs.benchmark_project:tests", by_default=False),
)


@dataclass(frozen=True)
class Figure:
    """A number that the project promised, with what was predicted before it was measured, and from what."""

    benchmark: str
    name: str  # key of the record's `measured`
    title: str
    unit: str
    target: float | None = None
    at_most: bool = False  # whether the target is a ceiling
    predicted: float | None = None
    why: str = ""  # what the prediction came from
    device: str = "cpu"

    def met(self, value: float) -> bool:
        """Whether a value reaches the target. Raises ValueError where there is none."""
        if self.target is None:
            raise ValueError(f"{self.benchmark}: {self.name} has no target")
        return value <= self.target if self.at_most else value >= self.target


_TRIAL = "an earlier trial on two cores, one run"
_GPU = "operations and launches of a step, counted"

# Predictions were written down before the benchmark existed. A GPU's numbers come from a GPU or not at all.
FIGURES = (
    Figure("training-step", "ratio_float32", "training step in float32, against the released code's", "times",
           2.25, predicted=2.26, why=_TRIAL),
    Figure("training-step", "ratio_bf16", "training step in bf16, against the released code's in float32", "times",
           4.0, predicted=4.1, why=f"{_TRIAL}, 3.78 times, and weights rounded once a step"),
    Figure("training-step", "packed_ratio", "the packed step, against the same batch with padding", "times",
           predicted=1.9, why="trials of the parts: no padding, one product for all utterances, cheaper masks"),
    Figure("training-step", "product_ratio", "training step in float32, against the same with torch's own product",
           "times", predicted=1.48, why="trial of one layer: oneDNN's product takes half of the time of torch's own"),
    Figure("training-step", "convolution_ratio",
           "training step in float32, against the same with torch's own convolutions", "times", predicted=1.19,
           why="trials of the layers: a third less for the strided ones, two thirds for the positional one"),
    Figure("training-step", "utilisation_float32", "share of the fastest matrix product in float32", "share",
           0.65, predicted=0.65, why=f"{_TRIAL}: 2.35 audio-seconds a second of 42 GFLOP each, at 151 GFLOP/s"),
    Figure("training-step", "gradient_difference", "gradient of a packed batch of 8 against 8 batches of one",
           "relative", 1e-4, at_most=True, predicted=1e-5, why="rounding of float32 over some thousand terms"),
    Figure("several-runs", "rate_aggregate", "runs on all cores at once, a thread each",
           "audio-seconds per second", predicted=12.0,
           why="a trial of one run on two threads, 10.6, and no waiting of threads for each other"),
    Figure("memory", "peak_gib_bf16", "peak memory in bf16 with the longest utterance", "GiB", predicted=8.0,
           why="weights, gradients, two moments: 1.4 GiB; attention weights of 1,700 frames kept for 12 layers"),
    Figure("memory", "peak_gib_float32", "peak memory in float32 with the longest utterance", "GiB", predicted=11.0,
           why="as in bf16, with activations twice as wide"),
    Figure("pocket-step", "step_ratio", "pocket step, as configured against without the cached features", "times",
           predicted=2.0, why="profile of a prototype: convolutions and dropout were about half"),
    Figure("loader", "cold_seconds", "release of full size, indexed and checked, nothing in memory", "s",
           20.0, at_most=True, predicted=10.0, why="10,039 lines, 151 folders and 5,531 headers at 1 ms each"),
    Figure("book", "prose_seconds", "book after a change of prose", "s", 10.0, at_most=True, predicted=8.0,
           why="Sphinx reads one page and writes those that link to it; 4 s with nothing changed"),
    Figure("book", "second_seconds", "second `make reproduce`", "s", 5.0, at_most=True, predicted=4.0,
           why="imports, digests of the corpus and of the staged files"),
    Figure("reproduce", "seconds", "`make reproduce` of the pocket preset, after set-up", "s", 1200.0, at_most=True,
           predicted=1140.0, why="fifty runs two at once 15.5 minutes, the site 3.5, the corpus and the start"),
    Figure("tests", "seconds", "`make test`", "s", 360.0, at_most=True, predicted=350.0,
           why="470 s before, and two processes on two cores"),
    Figure("training-step", "ratio_bf16", "training step in bf16, against the released code's in fp16", "times",
           10.0, device="cuda", predicted=10.0, why=_GPU),
    Figure("training-step", "rate_bf16", "one run in bf16", "audio-seconds per second", 4000.0, device="cuda",
           predicted=4000.0, why=_GPU),
    Figure("several-runs", "rate_aggregate", "four runs at once on one GPU", "audio-seconds per second", 6000.0,
           device="cuda", predicted=6000.0, why=_GPU),
    Figure("several-runs", "table4_hours", "Table 4 in full, evaluation included, projected", "hours of one H100",
           5.5, at_most=True, device="cuda", predicted=5.0, why=_GPU),
)  # fmt: skip


def find_benchmarks(names: Sequence[str]) -> list[Benchmark]:
    """The benchmarks of those names, or all that run by default. Raises ConfigError that lists the names."""
    known = {benchmark.name: benchmark for benchmark in BENCHMARKS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"no benchmark {', '.join(unknown)}; choose from {', '.join(known)}")
    return [known[name] for name in names] or [one for one in BENCHMARKS if one.by_default]


def run_benchmarks(chosen: Iterable[Benchmark], folder: Path, options: Options, again: bool = False) -> list[str]:
    """Measures what has no record of this code and machine yet, writes records, and returns the names that failed."""
    failed = []
    for benchmark in chosen:
        path = record_path(folder, benchmark.name, options.device)
        key = record_key(benchmark, options)
        if not again and path.exists() and read_record(path)["key"] == key:
            options.say(f"{benchmark.name}: {path} is of this code and machine; AGAIN=1 measures again")
            continue
        options.say(f"{benchmark.name}: {benchmark.title}")
        started = time.monotonic()
        try:
            found = _function(benchmark)(options)
        except Exception as error:  # the others are still measured, and the command fails at its end
            options.say(f"{benchmark.name}: FAILED: {type(error).__name__}: {error}")
            failed.append(benchmark.name)
            continue
        seconds = time.monotonic() - started
        write_json(path, make_record(benchmark, options, key, found, seconds))
        options.say(f"{benchmark.name}: {summary(benchmark, options.device, found)} ({seconds:.0f} s)")
    return failed


def _function(benchmark: Benchmark) -> Callable[[Options], Measured]:
    module, _, name = benchmark.function.partition(":")
    return getattr(importlib.import_module(module), name)


def record_path(folder: Path, name: str, device: str) -> Path:
    """Where the record of a benchmark is."""
    return Path(folder) / f"{name}-{device}.json"


def record_key(benchmark: Benchmark, options: Options) -> str:
    """Changes with the code that is measured, the machine, the packages and the options: an old record is stale."""
    given = [benchmark.name, options.repeats, options.threads, options.device, options.small]
    return digest(json.dumps([given, code_digest(), machine.versions(), machine.hardware()], sort_keys=True))[:16]


def code_digest() -> str:
    """SHA-256 over the library without its report, whose changes move no measurement."""
    source = Path(__file__).parents[1]
    files = sorted(path for path in source.rglob("*.py") if path.relative_to(source).parts[0] != "report")
    return digest(*(f"{p.relative_to(source).as_posix()} {digest(p.read_text(encoding='utf-8'))}" for p in files))


def make_record(benchmark: Benchmark, options: Options, key: str, found: Measured, seconds: float) -> dict:
    """What is written: the numbers, and all that they depend on."""
    return {
        "benchmark": benchmark.name,
        "title": benchmark.title,
        "device": options.device,
        "key": key,
        "threads": num_threads(options),
        "repeats": options.repeats,
        "small": options.small,
        "measured": {name: float(f"{value:.6g}") for name, value in found.measured.items()},
        "details": found.details,
        "seconds": round(seconds, 1),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": machine.versions(),
        "hardware": machine.hardware() | instructions() | gpu(options),
        "revision": machine.revision(),
    }


def instructions() -> dict[str, str]:
    """The widest instructions that torch uses on this CPU: AVX512, AVX2, or DEFAULT elsewhere."""
    import torch

    return {"instructions": torch.backends.cpu.get_cpu_capability()}


def gpu(options: Options) -> dict[str, str]:
    """The GPU's name where one is measured."""
    if options.device == "cpu":
        return {}
    import torch

    return {"gpu": torch.cuda.get_device_name()}


def num_threads(options: Options) -> int:
    """Threads of torch in what is measured."""
    return options.threads or int(machine.hardware()["cores"])


def summary(benchmark: Benchmark, device: str, found: Measured) -> str:
    """The promised figures of a benchmark in one line."""
    figures = [f for f in FIGURES if (f.benchmark, f.device) == (benchmark.name, device) and f.name in found.measured]
    return "; ".join(f"{figure.title} {found.measured[figure.name]:.3g} {figure.unit}" for figure in figures)


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


def median_ratios(samples: dict[str, list[float]], base: str) -> dict[str, float]:
    """For each variant the median over repeats of its rate against `base` in the same repeat."""
    return {
        name: statistics.median(a / b for a, b in zip(values, samples[base], strict=True))
        for name, values in samples.items()
        if name != base
    }
