"""Where missing runs execute: this machine, or an existing engine.

On this machine each worker is a Python process with one run at a time: one for each GPU, else one for each core with
one thread (two single-thread processes beat one of two threads). Worker and parent speak JSON lines over the worker's
standard input and output; when the parent dies the input ends, and the worker with it.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryDirectory

from mtlser.config import ConfigError
from mtlser.model.backbone import find_backbone
from mtlser.processes import num_cores
from mtlser.runs.experiments import Plan, PlannedRun
from mtlser.runs.progress import Progress
from mtlser.runs.tasks import execute, make_task
from mtlser.runs.turns import worker_number

WORKER = "from mtlser.runs.engines import work; work()"


def run_missing(plan: Plan, missing: Sequence[PlannedRun]) -> dict[str, str]:
    """Trains the runs on the plan's engine and returns {run id: error} of those that failed."""
    engine = ENGINES.get(plan.settings.engine)
    if engine is None:
        raise ConfigError(f"ENGINE={plan.settings.engine!r} is not known; choose one of {', '.join(ENGINES)}")
    find_backbone(plan.settings.backbone or plan.preset.backbone, plan.preset.backbone_revision)  # or nothing would run
    with Progress(plan, missing) as progress:
        folder = _build_dataset(plan, progress)  # before any worker starts, so that none does it twice
        return engine(plan, [make_task(plan, run, folder) for run in missing], progress)


def _build_dataset(plan: Plan, progress: Progress) -> Path:
    from mtlser.corpus.dataset import build_dataset

    progress.say(f"reading the audio of {len(plan.utterances)} utterances")
    sums = [plan.content.audio[utterance] for utterance in plan.utterances["utterance"]]
    cache = plan.settings.artifacts / "cache"
    return build_dataset(plan.utterances, sums, cache, plan.template.transcript_style).folder


def num_gpus() -> int:
    """GPUs that CUDA shows to this process; 0 without one."""
    import torch

    return torch.cuda.device_count()


def run_local(plan: Plan, tasks: Sequence[dict], progress: Progress) -> dict[str, str]:
    """Runs tasks on this machine's GPUs or cores. One run's failure, or a worker's death, leaves the others alone."""
    gpus = num_gpus()
    num_workers = max(1, plan.settings.workers or gpus or num_cores())
    at_once = min(num_workers, len(tasks))
    waiting: queue.SimpleQueue[dict] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    logs = plan.settings.artifacts / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    progress.say(f"{len(tasks)} runs to train, {at_once} at once")
    with TemporaryDirectory() as own:
        crew = _Crew(waiting, progress, logs, num_workers, gpus, plan.settings.turn or Path(own, "turn"))
        threads = [threading.Thread(target=crew.serve) for _ in range(at_once)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException:  # Ctrl-C: the threads would go on, and Python wait for them
            crew.stop()
            for thread in threads:
                thread.join()
            raise
    return crew.failures


@dataclass
class _Crew:
    """The worker processes, and the threads that feed one each."""

    waiting: queue.SimpleQueue[dict]
    progress: Progress
    logs: Path
    num_workers: int  # at most, of all calls whose turn is beside this one's
    gpus: int
    turn: Path
    failures: dict[str, str] = field(default_factory=dict)
    _workers: dict[Path, subprocess.Popen] = field(default_factory=dict)  # by log
    _stopped: threading.Event = field(default_factory=threading.Event)

    def serve(self) -> None:
        """Feeds one worker until no task waits, once there may be one more."""
        with worker_number(self.turn.parent, self.num_workers, self._is_over) as number:
            if number is not None:
                self._feed(self.logs / f"worker-{number}.log", number % self.gpus if self.gpus else None)

    def _is_over(self) -> bool:
        return self._stopped.is_set() or self.waiting.empty()

    def _feed(self, log: Path, gpu: int | None) -> None:
        """A worker that died is replaced for the next task."""
        worker: subprocess.Popen | None = None
        while not self._stopped.is_set():
            try:
                task = self.waiting.get_nowait()
            except queue.Empty:
                break
            if self.waiting.empty():
                self.turn.touch()
            if worker is not None and worker.poll() is not None:
                end_process(worker)
                worker = None
            try:
                worker = self._workers[log] = worker or _start_worker(log, gpu)
            except OSError as error:  # no memory, or no process left
                self.failures[task["run_id"]] = f"its worker did not start: {error}"
                self.progress.end(task["run_id"], "failed", 0.0)
                continue
            if self._stopped.is_set():  # which did not see this worker
                worker.kill()
            started = time.monotonic()
            status, error = _ask(worker, task, self.progress)
            if self._stopped.is_set():
                break
            if error:
                self.failures[task["run_id"]] = f"{error} (log: {log})"
            self.progress.end(task["run_id"], status, time.monotonic() - started)
        if worker is not None:
            end_process(worker)

    def stop(self) -> None:
        """Ends the workers wherever they are; the next call goes on from their checkpoints."""
        self._stopped.set()
        for worker in list(self._workers.values()):
            with suppress(ProcessLookupError):
                worker.kill()


def _start_worker(log: Path, gpu: int | None) -> subprocess.Popen:
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")])),
    }
    if gpu is not None:
        shown = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        environment["CUDA_VISIBLE_DEVICES"] = shown[gpu] if gpu < len(shown) and shown[0] else str(gpu)
    with log.open("ab") as stream:
        options = {"env": environment, "stdin": PIPE, "stdout": PIPE, "stderr": stream, "encoding": "utf-8"}
        return subprocess.Popen([sys.executable, "-c", WORKER], **options)


def end_process(worker: subprocess.Popen) -> int:
    """Closes what a worker reads, waits until it ends, and returns its exit code."""
    with suppress(BrokenPipeError):
        worker.stdin.close()
    code = worker.wait()
    worker.stdout.close()
    return code


def _ask(worker: subprocess.Popen, task: dict, progress: Progress) -> tuple[str, str | None]:
    """Sends one task and follows it to its end: (status, error or None)."""
    with suppress(BrokenPipeError):
        worker.stdin.write(json.dumps(task) + "\n")
        worker.stdin.flush()
    for line in worker.stdout:
        message = json.loads(line)
        if "epoch" in message:
            progress.event(task["run_id"], message)
        elif "note" in message:
            progress.say_once(message["note"])
        else:
            return message["status"], message.get("error")
    code = worker.wait()
    cause = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return "failed", f"its worker process ended ({cause}); if memory ran out, set WORKERS to fewer"


def work() -> None:
    """A worker's life: tasks in, events and statuses out, until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    channel = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to the log
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            tasks.put(line)
        os._exit(0)  # the parent closed the pipe or died: nothing half-done would be used

    def tell(event: dict) -> None:
        channel.write(json.dumps({key: event[key] for key in ("epoch", "note") if key in event}) + "\n")

    threading.Thread(target=listen, daemon=True).start()
    while True:
        task = json.loads(tasks.get())
        try:
            status = execute(task, tell)
            message = {"status": status}
        except Exception as error:  # reported to the parent, which goes on with the other runs
            traceback.print_exc()
            message = {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        channel.write(json.dumps(message) + "\n")


def run_slurm(plan: Plan, tasks: Sequence[dict], progress: Progress) -> dict[str, str]:
    """Submits tasks as one Slurm array through submitit, one GPU each, and waits for them.

    The artifacts folder must be on a disk that the nodes share. MTLSER_SLURM holds further parameters of
    submitit's executor as JSON, such as {"slurm_partition": "gpu", "timeout_min": 600}; {"cluster": "local"} runs the
    same path without Slurm. When this process ends the jobs go on; a later call waits for a job's lock, then finds it
    done.
    """
    import submitit

    parameters = {"gpus_per_node": 1, "cpus_per_task": 2, "timeout_min": 24 * 60, "name": "mtlser"}
    parameters |= json.loads(os.environ.get("MTLSER_SLURM") or "{}")
    executor = submitit.AutoExecutor(plan.settings.artifacts / "logs" / "slurm", parameters.pop("cluster", None))
    executor.update_parameters(**parameters)
    started = time.monotonic()
    jobs = dict(zip((task["run_id"] for task in tasks), executor.map_array(execute, tasks), strict=True))
    progress.say(f"{len(jobs)} runs submitted to {executor.cluster}")
    failures = {}
    for run_id, job in _as_completed(jobs):
        try:
            status = job.result()
        except Exception as error:  # a node's failure, whatever it was, leaves the other jobs alone
            status = "failed"
            reason = str(error).strip().splitlines()[-1]
            failures[run_id] = f"{type(error).__name__}: {reason} (log: {job.paths.stderr})"
        progress.end(run_id, status, time.monotonic() - started)
    return failures


def _as_completed(jobs: dict, poll_seconds: float = 1.0):
    """(run id, job) as the jobs end."""
    waiting = dict(jobs)
    while waiting:
        for run_id, job in list(waiting.items()):
            if job.done():
                yield run_id, waiting.pop(run_id)
        time.sleep(poll_seconds if waiting else 0)


ENGINES = {"local": run_local, "slurm": run_slurm}
