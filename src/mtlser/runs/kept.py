"""The trained models whose weights runs kept (`Preset.kept_weights`), newest first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mtlser.config import ConfigError
from mtlser.runs import records
from mtlser.runs.records import RecordError


@dataclass(frozen=True)
class KeptModel:
    """A trained model and the record of the run that left it."""

    folder: Path  # for Recognizer.from_pretrained
    run: dict  # run.json

    @property
    def description(self) -> str:
        """In words: what it was trained on, and who was left out."""
        config = self.run["config"]
        corpus = records.CORPUS_NAMES.get(config["preset"], config["preset"])
        return f"α = {config['alpha']:g}, trained on the {corpus} without {config['fold']}"


def kept_models(artifacts: Path, preset: str | None = None) -> list[KeptModel]:
    """Models of finished runs under `artifacts`, of one preset or of any, newest first. A damaged record is skipped."""
    found = []
    for weights in sorted((Path(artifacts) / "runs").glob("*/model/model.safetensors")):
        try:
            run = records.read_run(weights.parents[1])
        except RecordError:
            continue
        whole = (weights.parent / "config.json").is_file() and run["status"] == "done"
        if whole and preset in (None, run["config"]["preset"]):
            found.append(KeptModel(weights.parent, run))
    return sorted(found, key=lambda model: str(model.run.get("finished")), reverse=True)


def description_of(folder: Path) -> str:
    """What the model in a folder was trained on, by its run's record beside it; "not recorded" without one."""
    try:
        return KeptModel(folder, records.read_run(folder.parent)).description
    except (RecordError, KeyError):
        return "not recorded"


def kept_model(artifacts: Path, preset: str) -> KeptModel:
    """The newest model of the preset, else of any. Raises ConfigError that says how to get one."""
    models = kept_models(artifacts, preset) or kept_models(artifacts)
    if not models:
        raise ConfigError("no trained model is here: run `make reproduce` first, or give one with --model FOLDER")
    return models[0]
