"""Benchmark of several runs that share a machine."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from transformers.utils.logging import disable_progress_bar

from mtlser.config import get_preset
from mtlser.model.backbone import init_random_backbone
from mtlser.processes import keep_freed_memory
from mtlser.runs.benchmark import Measured, Options, num_threads
from mtlser.runs.benchmark_children import all_at_once, children
from mtlser.runs.benchmark_inputs import (
    SEED,
    base_architecture,
    iemocap_lengths,
    make_trainer,
    noise_dataset,
    own_config,
    own_precisions,
    timed,
)
from mtlser.runs.benchmark_step import table4_seconds

RUNS_ON_A_GPU = 4  # at once


def several_runs(options: Options) -> Measured:
    """Audio-seconds a second of runs that share the machine, each in a process of its own, all together.

    On a CPU one of one thread for each core, as `make reproduce` has them. In the last of `own_precisions`.
    """
    count = RUNS_ON_A_GPU if options.device == "cuda" else num_threads(options)
    size = get_preset("iemocap").run.batch_size
    seconds = iemocap_lengths(size * options.repeats) / (4 if options.small else 1)
    with TemporaryDirectory() as name:
        backbone = str(init_random_backbone(Path(name) / "backbone", base_architecture(options.small), SEED))
        precision = own_precisions()[-1]
        given = {"seconds": seconds.tolist(), "backbone": backbone, "size": size, "precision": precision}
        with children("mtlser.runs.benchmark_runs:run_child", [given] * count, fork=True) as runs:
            for work in ("train", "evaluate"):  # the state of a long run, as in `training_step`
                all_at_once(runs, work)
            rates = {}
            for work in ("train", "evaluate"):
                taken = [timed(lambda work=work: all_at_once(runs, work)) for _ in range(options.repeats)]
                rates[work] = count * float(seconds.sum()) / statistics.median(taken)
                options.say(f"  {count} runs at once, {work}: {rates[work]:.3g} audio-seconds a second")
    hours = table4_seconds(rates["train"], rates["evaluate"]) / 3600
    found = {"rate_aggregate": rates["train"], "rate_evaluation": rates["evaluate"], "table4_hours": hours}
    details = {"runs": count, "audio_seconds": round(float(seconds.sum()), 1), "precision": precision}
    return Measured(found, details)


def run_child() -> None:
    """Words in, "train" or "evaluate"; does it with all utterances and says so, a line each, until the input ends."""
    given = json.loads(sys.stdin.readline())
    disable_progress_bar()
    torch.set_num_threads(1)
    keep_freed_memory()
    with TemporaryDirectory() as name:
        dataset = noise_dataset(given["seconds"], Path(name))
        trainer = make_trainer(own_config(given["precision"]), dataset, given["backbone"], Path(name))
        batches = np.arange(len(dataset.table)).reshape(-1, given["size"])
        for line in sys.stdin:
            work = json.loads(line)
            trainer.model.train()
            if work == "train":
                for batch in batches:
                    trainer._step(batch, 1)
            else:
                trainer.evaluate()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            print(json.dumps(work), flush=True)
