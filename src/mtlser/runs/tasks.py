"""A run as plain values, and completing it in whatever process they reach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock

from mtlser.config import RunConfig
from mtlser.corpus.text import transcript_text
from mtlser.processes import keep_freed_memory, use_one_thread
from mtlser.runs import records
from mtlser.runs.experiments import Plan, PlannedRun
from mtlser.runs.instrument import instrument_name


def make_task(plan: Plan, run: PlannedRun, store: Path) -> dict:
    """A run as plain values that any process on any machine with the same artifacts folder can execute."""
    texts = [transcript_text(transcript, run.config.transcript_style) for transcript in plan.utterances["transcript"]]
    table = plan.utterances[["utterance", "speaker", "emotion"]].assign(text=texts)
    return {
        "run_id": run.run_id,
        "config": run.config.to_dict(),
        "store": str(store),
        "table": table.to_dict("list"),
        "train": list(run.fold.train),
        "test": list(run.fold.test),
        "backbone": plan.settings.backbone or plan.preset.backbone,
        "backbone_revision": plan.preset.backbone_revision,
        "record": {
            "inputs": run.digests,
            "corpus": plan.corpus_name,
            "instrument": instrument_name(run.config, plan.preset.corpus, run.digests["backbone"]),
            "launched_by": f"engine {plan.settings.engine}",
        },
        "folder": str(run.folder),
        "keep_weights": run.keep_weights,
    }


def execute(task: dict, progress=None) -> str:
    """Completes one task in this process, under its folder's lock; a run that another worker ended is left alone."""
    from mtlser.corpus.dataset import SpeechDataset
    from mtlser.corpus.store import open_store
    from mtlser.runs.training import RunInputs, train

    use_one_thread()
    keep_freed_memory()
    folder = Path(task["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        status = records.run_status(folder)
        if status in records.ENDED:
            return status
        dataset = SpeechDataset(open_store(Path(task["store"])), pd.DataFrame(task["table"]))
        inputs = RunInputs(
            run_id=task["run_id"],
            dataset=dataset,
            train=np.sort(dataset.indices(task["train"])),
            test=np.sort(dataset.indices(task["test"])),
            backbone=task["backbone"],
            backbone_revision=task["backbone_revision"],
            record=task["record"],
        )
        config = RunConfig.from_dict(task["config"])
        return train(config, inputs, folder, keep_weights=task["keep_weights"], progress=progress)
