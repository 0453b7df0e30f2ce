"""What a run needs to go on as if it had never stopped: its state and that of every generator of random numbers."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from mtlser.files import whole_file
from mtlser.runs.records import RecordError


def save_checkpoint(path: Path, run_id: str, state: dict) -> None:
    """Writes a run's state, with the generators of torch, CUDA, numpy and Python, readable as weights only."""
    with whole_file(path) as partial:
        torch.save({"run_id": run_id, "state": state, "generators": _generators()}, partial)


def load_checkpoint(path: Path, run_id: str) -> dict:
    """The state that `save_checkpoint` wrote; the generators are set to theirs.

    Raises RecordError for a damaged file or one of another run, naming it.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises several unrelated types for a damaged file
        raise RecordError(f"{path} can't be read ({error}); delete it to train this run from its start") from error
    if content["run_id"] != run_id:
        raise RecordError(f"{path} belongs to run {content['run_id']}; delete it to train this run from its start")
    _set_generators(content["generators"])
    return content["state"]


def _generators() -> dict:
    version, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [version, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
        "python": list(random.getstate()[1]),
    }


def _set_generators(states: dict) -> None:
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
    version, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((version, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    random.setstate((3, tuple(states["python"]), None))
