"""Benchmarks of a step's memory, and of where a pocket step goes."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from mtlser.config import get_preset
from mtlser.model.backbone import init_random_backbone
from mtlser.processes import keep_freed_memory
from mtlser.runs.benchmark import STEP_PARTS, Measured, Options, num_threads
from mtlser.runs.benchmark_children import answer, children
from mtlser.runs.benchmark_inputs import (
    SEED,
    base_architecture,
    iemocap_lengths,
    longest_seconds,
    make_trainer,
    noise_dataset,
    own_config,
    own_precisions,
    timed,
)
from mtlser.runs.training import _Trainer


def memory(options: Options) -> Measured:
    """Peak memory of a process that takes two steps with IEMOCAP's longest utterance among seven of median length."""
    found: dict[str, float] = {}
    given = {"threads": num_threads(options), "small": options.small}
    for precision in [own_config(name).precision for name in reversed(own_precisions())]:
        one = given | {"precision": precision}
        with children("mtlser.runs.benchmark_parts:memory_child", [one], fork=options.small) as [child]:
            peak = answer(child)
        name = "float32" if precision == "fp32" else precision
        found[f"peak_gib_{name}"] = peak / 2**30
        options.say(f"  {name}: {found[f'peak_gib_{name}']:.2f} GiB")
    return Measured(found, {"longest_seconds": longest_seconds(), "batch": get_preset("iemocap").run.batch_size})


def memory_child() -> None:
    """Two steps in this process; prints its peak memory in bytes, the GPU's where there is one."""
    given = json.loads(sys.stdin.readline())
    torch.set_num_threads(given["threads"])
    config = replace(get_preset("iemocap").run, precision=given["precision"])
    seconds = np.full(config.batch_size, iemocap_lengths(1001).mean())
    seconds[3] = longest_seconds() / (4 if given["small"] else 1)
    with TemporaryDirectory() as name:
        dataset = noise_dataset(seconds, Path(name))
        backbone = str(init_random_backbone(Path(name) / "backbone", base_architecture(given["small"]), SEED))
        trainer = make_trainer(config, dataset, backbone, Path(name))
        trainer.model.train()
        for _ in range(2):
            trainer._step(np.arange(len(seconds)), 1)
    print(torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_memory())


def peak_memory() -> int:
    """Bytes that this process held at most, by the system's count."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes there, KiB on Linux


def pocket_step(options: Options) -> Measured:
    """Milliseconds of the parts of a pocket step, before and after what was done for it, in turns, on one thread."""
    torch.set_num_threads(1)  # as each of the workers that train several runs at once
    keep_freed_memory()
    config = get_preset("pocket").run
    generator = np.random.default_rng(SEED)
    seconds = generator.uniform(1.5, 3.5, 2 * config.batch_size if options.small else 8 * config.batch_size)
    backbone = get_preset("pocket").backbone
    before = replace(config, freeze_convolutions=False, dropout=0.1, layerdrop=None)
    samples: dict[str, dict[str, list[float]]] = {"before": defaultdict(list), "after": defaultdict(list)}
    found: dict[str, float] = {}
    with TemporaryDirectory() as name:
        dataset = noise_dataset(seconds, Path(name))
        trainers = {"before": make_trainer(before, dataset, backbone, Path(name))}
        trainers["before"].model.freeze_convolutions()  # frozen as they are now, and computed in every step
        trainers["before"].packed = False
        trainers["after"] = make_trainer(config, dataset, backbone, Path(name))
        batches = np.arange(len(seconds)).reshape(-1, config.batch_size)
        for trainer in trainers.values():
            trainer.model.train()
            trainer._step(batches[0], 1)
        for _ in range(options.repeats):
            for batch in batches:
                for when, trainer in trainers.items():
                    for part, value in step_parts(trainer, batch).items():
                        samples[when][part].append(1000 * value)
        trainer = trainers["after"]
        trainer.model.eval()
        found["evaluation_ms"] = 1000 * statistics.median(timed(trainer.evaluate) for _ in range(options.repeats))
        probes = [timed(trainer._probe_gradients) for _ in range(options.repeats)]
        found["probe_ms"] = 1000 * statistics.median(probes)
    for when, parts in samples.items():
        found |= {f"{part}_ms_{when}": statistics.median(values) for part, values in parts.items()}
        found[f"step_ms_{when}"] = statistics.median(np.sum(list(parts.values()), axis=0))
    ratios = np.sum(list(samples["before"].values()), axis=0) / np.sum(list(samples["after"].values()), axis=0)
    found["step_ratio"] = float(np.median(ratios))
    return Measured(found, {"utterances": len(seconds), "mean_seconds": round(float(seconds.mean()), 2)})


def step_parts(trainer: _Trainer, batch: np.ndarray) -> dict[str, float]:
    """Seconds of the parts of one step: the trainer's own step, with a clock around its methods."""
    spent = dict.fromkeys(("_batch", "_masks", "_forward", "_loss", "step"), 0.0)

    def clocked(owner: object, name: str) -> None:
        original = getattr(owner, name)

        def call(*arguments):
            started = time.perf_counter()
            result = original(*arguments)
            spent[name] += time.perf_counter() - started
            return result

        setattr(owner, name, call)

    clocks = [*((trainer, name) for name in ("_batch", "_masks", "_forward", "_loss")), (trainer.optimizer, "step")]
    for owner, name in clocks:
        clocked(owner, name)
    try:
        whole = timed(lambda: trainer._step(batch, 1))
    finally:
        for owner, name in clocks:
            delattr(owner, name)
    prepared = spent["_batch"] + spent["_masks"]
    rest = whole - prepared - spent["_loss"] - spent["step"]
    values = (prepared, spent["_forward"], spent["_loss"] - spent["_forward"], rest, spent["step"])
    return dict(zip(STEP_PARTS, values, strict=True))
