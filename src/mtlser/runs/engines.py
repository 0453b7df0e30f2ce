"""Completing a plan: missing runs are trained on this machine, or by a cluster's scheduler.

On this machine each worker is a process of `python -m mtlser run --order …` that trains one run after the other: one
worker for each GPU, else one for each core with one thread (two single-thread processes beat one of two threads).
Slurm's jobs and shards start the same command.
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from mtlser.config import ConfigError
from mtlser.machine import library_environment, num_cores
from mtlser.model.backbone import find_backbone, frame_window, read_config
from mtlser.runs.plan import Plan, PlannedRun
from mtlser.runs.progress import Progress
from mtlser.runs.records import ENDED, Records
from mtlser.runs.work import work, write_order

MOST_TIMEOUTS = 100  # how often a job goes on after its time limit
FEWER = "if memory ran out, set WORKERS to fewer"


class RunsFailed(RuntimeError):
    """Some runs failed; the others finished. The message lists each with its error and where its log is."""


def complete(plan: Plan, shard: tuple[int, int] = (1, 1)) -> Records:
    """Trains what the plan (or its shard, k of n) is missing, several runs at once, and returns the plan's records.

    With `Settings.train` off it only reads. Raises RunsFailed when runs failed, after the others finished, and
    ConfigError for an unknown engine.
    """
    engine = ENGINES.get(plan.settings.engine)
    if engine is None:
        raise ConfigError(f"ENGINE={plan.settings.engine!r} is not known; choose one of {', '.join(ENGINES)}")
    number, count = shard
    missing = [run for run in plan.runs[number - 1 :: count] if run.status not in ENDED]
    if missing and plan.settings.train:
        progress = Progress(plan, missing)
        architecture = read_config(find_backbone(plan.backbone, plan.backbone_revision).config)
        progress.say(f"reading the audio of {len(plan.corpus.utterances)} utterances")
        plan.corpus.check(plan.template.transcript_style, frame_window(architecture))
        if failures := engine(plan, missing, write_order(plan, missing), progress):
            lines = [f"  {run_id}: {error}" for run_id, error in failures.items()]
            raise RunsFailed(
                f"{len(failures)} of {len(missing)} runs failed; the others finished and are kept. Logs are in "
                f"{plan.settings.artifacts / 'logs'}.\n" + "\n".join(lines)
            )
    return plan.records()


def num_gpus() -> int:
    """GPUs that CUDA shows to this process; 0 without one."""
    import torch

    return torch.cuda.device_count()


def order_command(order: Path, *words: str) -> list[str]:
    """The command that works on an order."""
    return [sys.executable, "-m", "mtlser", "run", "--order", str(order.absolute()), *words]


def run_local(plan: Plan, missing: Sequence[PlannedRun], order: Path, progress: Progress) -> dict[str, str]:
    """Trains on this machine's GPUs or cores; {run id: error} of what failed. A worker that dies is replaced."""
    gpus = num_gpus() if plan.device == "any" else 0
    at_once = min(max(1, plan.settings.workers or gpus or num_cores()), len(missing))
    logs = plan.settings.artifacts / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    progress.say(f"{len(missing)} runs to train, {at_once} at once")
    crew = _Crew(order, progress, logs, gpus)
    with ThreadPoolExecutor(at_once) as pool:
        try:
            for future in [pool.submit(crew.serve, number) for number in range(at_once)]:
                future.result()
        finally:  # Ctrl-C: the threads would go on, and Python wait for them
            crew.stop()
            order.unlink()
    for run in missing:
        if run.run_id not in crew.failures and run.status not in ENDED:
            crew.failures[run.run_id] = f"its worker did not start (logs: {logs})"
    return crew.failures


@dataclass
class _Crew:
    """The workers of one call, each followed by a thread."""

    order: Path
    progress: Progress
    logs: Path
    gpus: int
    failures: dict[str, str] = field(default_factory=dict)
    _workers: dict[int, subprocess.Popen] = field(default_factory=dict)
    _stopped: bool = False

    def serve(self, number: int) -> None:
        """Follows workers until one finds nothing more to do; after one that died in a run, another goes on."""
        log = self.logs / f"worker-{number}.log"
        died = True
        while died and not self._stopped:
            try:
                worker = self._workers[number] = self._start(number, log)
            except OSError as error:  # no memory, or no process left
                self.progress.say(f"a worker did not start: {error}")
                return
            if self._stopped:  # which did not see this worker
                worker.kill()
            died = self._follow(worker, log)

    def _follow(self, worker: subprocess.Popen, log: Path) -> bool:
        """Hears a worker to its end; whether it died in a run."""
        run_id, started = None, time.monotonic()
        for line in worker.stdout:
            event = json.loads(line)
            if "run" in event:
                run_id, started = event["run"], time.monotonic()
            elif "epoch" in event:
                self.progress.epoch(run_id, event["epoch"])
            elif "note" in event:
                self.progress.say_once(event["note"])
            else:
                if event["error"]:
                    self.failures[run_id] = f"{event['error']} (log: {log})"
                self.progress.end(run_id, event["end"], time.monotonic() - started)
                run_id = None
        code = worker.wait()
        worker.stdin.close()
        worker.stdout.close()
        if run_id is None or self._stopped:
            return False
        cause = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        self.failures[run_id] = f"its worker process ended ({cause}); {FEWER} (log: {log})"
        self.progress.end(run_id, "failed", time.monotonic() - started)
        return True

    def _start(self, number: int, log: Path) -> subprocess.Popen:
        environment = library_environment() | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        if not self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ""  # the preset's device is the CPU, or there is no GPU
        else:
            gpu, shown = number % self.gpus, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
            environment["CUDA_VISIBLE_DEVICES"] = shown[gpu] if gpu < len(shown) and shown[0] else str(gpu)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with log.open("ab") as stream:
            return subprocess.Popen(order_command(self.order, "--worker"), stderr=stream, env=environment, **pipes)

    def stop(self) -> None:
        """Ends the workers wherever they are; the next call goes on from their checkpoints."""
        self._stopped = True
        for worker in list(self._workers.values()):
            worker.kill()


def run_slurm(plan: Plan, missing: Sequence[PlannedRun], order: Path, progress: Progress) -> dict[str, str]:
    """Submits the runs as one Slurm array through submitit, one GPU each, and waits for them.

    The artifacts folder must be on a disk that the nodes share. MTLSER_SLURM holds further parameters of
    submitit's executor as JSON, such as {"slurm_partition": "gpu", "timeout_min": 600}; {"cluster": "local"} runs the
    same path without Slurm. When this process ends the jobs go on; what they ended a later call finds done. A job that
    is preempted, or ended at its time limit, is queued again and goes on from its run's checkpoint.
    """
    import submitit

    parameters = {"name": "mtlser", "gpus_per_node": int(plan.device == "any"), "cpus_per_task": 2, "timeout_min": 1440}
    given = os.environ.get("MTLSER_SLURM") or "{}"
    try:
        parameters |= json.loads(given)
        cluster = parameters.pop("cluster", "slurm")
        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise ConfigError("ENGINE=slurm: there is no Slurm (sbatch) here; leave ENGINE= out to train here")
        logs = plan.settings.artifacts / "logs" / "slurm"
        executor = submitit.AutoExecutor(logs, cluster, slurm_max_num_timeout=MOST_TIMEOUTS)
        executor.update_parameters(**parameters)
    except ConfigError:
        raise
    except Exception as error:  # of JSON and of submitit, whatever it says of a parameter
        raise ConfigError(f"MTLSER_SLURM={given!r} is no JSON object of submitit's parameters: {error}") from error
    started, count = time.monotonic(), len(missing)
    with executor.batch():
        jobs = [executor.submit(SlurmJob(order.absolute(), (number, count))) for number in range(1, count + 1)]
    progress.say(f"{count} runs submitted to {executor.cluster}")
    waiting, absent, failures = dict(zip(jobs, missing, strict=True)), set(), {}
    while waiting:
        queued = _queued() if executor.cluster == "slurm" else {job.job_id for job in jobs if not job.done()}
        gone = set() if queued is None else {job for job in waiting if job.job_id not in queued}
        for job in [job for job in waiting if job in absent & gone or job.paths.result_pickle.exists()]:
            run, reason = waiting.pop(job), _end_of(job)
            if run.status not in ENDED:
                failures[run.run_id] = f"{reason} (log: {job.paths.stderr})"
            progress.end(run.run_id, run.status, time.monotonic() - started)
        absent = gone  # twice: a shared disk may show the result later than the queue shows the end
        time.sleep(5.0 if executor.cluster == "slurm" else 1.0)
    return failures


@dataclass(frozen=True)
class SlurmJob:
    """What a job of the array does: its share of an order. It has `checkpoint`, so that submitit queues it again."""

    order: Path
    shard: tuple[int, int]

    def __call__(self) -> None:
        if failures := work(self.order, self.shard):
            raise RuntimeError("; ".join(failures.values()))

    def checkpoint(self) -> object:
        """The same again: the run itself goes on from what training saved."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _queued() -> set[str] | None:
    """This user's jobs that Slurm has not ended, or None where it does not answer. Accounting may be off: no sacct."""
    words = ["squeue", "--noheader", "--array", "--format=%i", f"--user={getpass.getuser()}"]
    answer = subprocess.run(words, capture_output=True, text=True)
    return None if answer.returncode else set(answer.stdout.split())


def _end_of(job: object) -> str:
    """Why a job's run is not done, in a line."""
    if not job.paths.result_pickle.exists():
        return "its job ended without a result: cancelled, or its node was lost"
    try:
        job.result()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"
    return "its job ended without a record"


ENGINES = {"local": run_local, "slurm": run_slurm}
