"""What a run needs to go on as if it had never stopped: its state and that of torch's generators of random numbers."""

from __future__ import annotations

from pathlib import Path

import torch

from mtlser.files import whole_file
from mtlser.runs.records import RecordError


def save_checkpoint(path: Path, run_id: str, state: dict) -> None:
    """Writes a run's state, and those of the generators of the CPU and the GPU, readable as weights only."""
    generators = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        generators["cuda"] = torch.cuda.get_rng_state()
    with whole_file(path) as partial:
        torch.save({"run_id": run_id, "state": state, "generators": generators}, partial)


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
    torch.set_rng_state(content["generators"]["cpu"])
    if "cuda" in content["generators"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(content["generators"]["cuda"])
    return content["state"]
