"""Benchmarks of what surrounds training: reading utterances from the store, `make reproduce`, `make test`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from torch.utils.benchmark import Timer

from mtlser.corpus.dataset import build_dataset
from mtlser.runs.benchmark import Measured, Options
from mtlser.runs.benchmark_step import iemocap_lengths, noise_utterances


def loader(options: Options) -> Measured:
    """Utterances a second from a store of noise of IEMOCAP's lengths, in random order; and what making it takes."""
    seconds = iemocap_lengths(20 if options.small else 1000)
    with TemporaryDirectory() as name:
        utterances = noise_utterances(seconds, Path(name))
        started = time.perf_counter()
        dataset = build_dataset(utterances, Path(name) / "store")
        made = len(seconds) / (time.perf_counter() - started)
        order = np.random.default_rng(0).permutation(len(seconds))
        timer = Timer("for row in order: dataset.waveform(row)", globals={"dataset": dataset, "order": order})
        read = median(len(order) / timer.blocked_autorange().median for _ in range(options.repeats))
    found = {"utterances_per_second": read, "stored_utterances_per_second": made}
    return found, {"utterances": len(seconds), "audio_seconds": round(float(seconds.sum()), 1)}


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
        seconds = time.perf_counter() - started
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in project.glob("artifacts/runs/**/run.json")]
    done = [run["seconds"] for run in runs if run["status"] == "done"]
    found = {"seconds": seconds, "runs_seconds": sum(done), "longest_run_seconds": max(done)}
    return found, {"preset": preset, "runs": len(done)}


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
