"""What one process does of an order: it trains the runs that nobody has ended, one after the other.

An order is a file of plain values, so that any process on any machine with the same artifacts folder can work on it:
the workers of this machine, a job of a cluster, a container.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from mtlser.config import RULES, RunConfig
from mtlser.corpus import OPEN_CORPORA
from mtlser.corpus.text import transcript_text
from mtlser.files import write_json
from mtlser.machine import keep_freed_memory, last_commit, use_float32, use_one_thread
from mtlser.model.backbone import published_name
from mtlser.runs import records
from mtlser.runs.instrument import instrument_name
from mtlser.runs.plan import SYSTEM, Plan, PlannedRun

ATTEMPT = "attempt"  # in a run's folder: the last order whose worker tried it


def write_order(plan: Plan, runs: Sequence[PlannedRun]) -> Path:
    """The order for these runs of a plan. The corpus's audio is decoded first, so that no worker has to."""
    utterances, style = plan.corpus.utterances, plan.template.transcript_style
    table = utterances[["utterance", "speaker", "emotion"]].assign(
        text=[transcript_text(transcript, style) for transcript in utterances["transcript"]]
    )
    order = {
        "name": uuid4().hex,
        "store": str(plan.corpus.store.folder.absolute()),
        "utterances": table.to_dict("list"),
        "folds": {run.fold.name: {"train": run.fold.train, "test": run.fold.test} for run in runs},
        "runs": [_task(plan, run) for run in runs],
    }
    path = plan.settings.artifacts / "orders" / f"{order['name']}.json"
    write_json(path, order)
    return path


def _task(plan: Plan, run: PlannedRun) -> dict:
    """A run as plain values; `record` is what its record says of what it was trained on."""
    return {
        "run_id": run.run_id,
        "config": run.config.to_dict(),
        "backbone": plan.backbone,
        "backbone_revision": plan.backbone_revision,
        "record": {
            "inputs": run.digests,
            "system": SYSTEM,
            "corpus": plan.corpus.name,
            "corpus_id": plan.corpus.identity,
            "backbone": plan.backbone_name,
            "backbone_checked": published_name(plan.backbone_digest) is not None,
            "instrument": instrument_name(run.config, plan.preset.corpus, run.digests["backbone"]),
            "rules": last_commit(RULES) if plan.preset.reads in OPEN_CORPORA else None,
            "launched_by": f"engine {plan.settings.engine}",
        },
        "folder": str(run.folder.absolute()),
        "keep_weights": run.keep_weights,
    }


def work(
    order: Path,
    shard: tuple[int, int] = (1, 1),
    *,
    once: bool = False,
    tell: Callable[[dict], None] = lambda event: None,
) -> dict[str, str]:
    """Trains the runs of an order's shard (k of n) that are neither ended nor locked by another process.

    Returns {run id: error} of those that failed; one failure leaves the others alone. `once`: a run that a worker of
    the same order has tried is left, whatever became of it. `tell` hears of each run's start, epochs and end.
    """
    from mtlser.corpus.dataset import SpeechDataset
    from mtlser.corpus.store import open_store

    use_one_thread()
    use_float32()
    keep_freed_memory()
    content = json.loads(order.read_text(encoding="utf-8"))
    dataset = SpeechDataset(open_store(Path(content["store"])), pd.DataFrame(content["utterances"]))
    failures: dict[str, str] = {}
    number, count = shard
    tasks = content["runs"][number - 1 :: count]
    for blocking in (False, True):  # what another process trains is waited for last: if it dies, this one goes on
        for task in [task for task in tasks if task["run_id"] not in failures]:
            folder = Path(task["folder"])
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(Timeout), FileLock(folder / ".lock", blocking=blocking):
                if records.run_status(folder) in records.ENDED or (once and _tried(folder, content["name"])):
                    continue
                tell({"run": task["run_id"]})
                try:
                    status = _train(task, content["folds"][task["config"]["fold"]], dataset, tell)
                except Exception as error:  # reported, and the next run is trained
                    traceback.print_exc()
                    status, failures[task["run_id"]] = "failed", f"{type(error).__name__}: {error}"
                tell({"end": status, "error": failures.get(task["run_id"])})
    return failures


def _tried(folder: Path, order: str) -> bool:
    """Whether a worker of this order tried the run; the next that asks is told so."""
    path = folder / ATTEMPT
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(order, encoding="utf-8")
    return before == order


def _train(task: dict, fold: dict, dataset, tell: Callable[[dict], None]) -> str:
    from mtlser.runs.training import RunInputs, train

    rows = {part: np.sort(dataset.indices(names)) for part, names in fold.items()}
    given = {name: task[name] for name in ("run_id", "backbone", "backbone_revision", "record")}
    inputs = RunInputs(dataset=dataset, **rows, **given)
    config = RunConfig.from_dict(task["config"])
    return train(config, inputs, Path(task["folder"]), keep_weights=task["keep_weights"], progress=tell)


def be_a_worker(order: Path) -> int:
    """The life of a worker of this machine: events as JSON lines on standard output, until its parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    channel = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to the log

    def end_with_parent() -> None:
        sys.stdin.buffer.read()
        os._exit(1)  # the parent closed the pipe or died: nothing half-done would be used

    def tell(event: dict) -> None:
        channel.write(json.dumps({k: event[k] for k in ("run", "epoch", "note", "end", "error") if k in event}) + "\n")

    threading.Thread(target=end_with_parent, daemon=True).start()
    work(order, once=True, tell=tell)
    return 0
