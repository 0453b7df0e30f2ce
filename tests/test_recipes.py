"""The recipes run from end to end, at the smallest size that has every part: a backbone, then a pilot of it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import papermill
import pytest

from mtlser.config import POCKET_BACKBONE
from mtlser.model import MultitaskModel
from mtlser.report import display, instrument
from mtlser.runs.settings import Settings
from sentences import cell

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "book" / "recipes"
RESULTS = ROOT / "book" / "results"


def execute(name: str, executed: Path, **parameters) -> None:
    papermill.execute_notebook(
        RECIPES / f"{name}.ipynb", executed / f"{name}.ipynb", parameters, cwd=ROOT, progress_bar=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes")


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Path:
    changes = {
        "steps": 6,
        "batch_size": 4,
        "num_phone_clusters": 12,
        "num_prosody_clusters": 6,
        "convolution_share": 0.5,
    }
    speech = {"num_training": 12, "num_probe": 4}
    execute(
        "pretrain-pocket-backbone", folder, folder=str(folder / "backbone"), changes=changes, speech=speech, probed=12
    )
    return folder / "backbone"


def shape(value, shipped) -> object:
    """The names in a record, and in what it holds, as far as the shipped one has them."""
    if isinstance(value, dict):
        return {name: shape(part, shipped[name]) for name, part in value.items() if name in shipped}
    return type(value).__name__ if not isinstance(value, list) else [shape(value[0], shipped[0])]


def test_pretraining_leaves_a_backbone_with_what_the_chapter_shows(backbone: Path) -> None:
    record = json.loads((backbone / "record.json").read_text(encoding="utf-8"))
    shipped = json.loads((POCKET_BACKBONE / "record.json").read_text(encoding="utf-8"))
    assert record["config"]["steps"] == record["curve"][-1]["step"] == 6
    for part in ("curve", "probes", "purity", "sha256", "num_parameters"):
        assert shape(record[part], shipped[part]) == shape(shipped[part], shipped[part]), part
    assert {"hours", "num_training_utterances", "num_held_out_utterances"} <= set(record["corpus"])
    assert {"processor", "threads"} <= set(record["hardware"]) and {"steps", "seed"} <= set(record["config"])
    assert MultitaskModel.from_backbone(backbone, seed=0).wav2vec2.config.hidden_size == 128


def test_the_pilot_measures_chooses_and_keeps_a_record(
    backbone: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTLSER_ARTIFACTS", str(folder / "artifacts"))
    monkeypatch.setenv("MTLSER_RESULTS", str(folder / "results"))
    changes = {"sizes": [8], "learning_rates": [0.002], "steps": 9, "folds": ["Ses01F"], "cue_probabilities": [0.95]}
    execute("pilot", folder, contributor="someone", backbones=[str(backbone)], changes=changes)
    record = instrument.pilot_record(Settings(results=folder / "results"))
    shipped = instrument.pilot_record(Settings(results=RESULTS))
    assert [*record, "corrections"] == list(shipped)
    for added in ("training_texts", "ctc_gradient"):  # fields that there were not when the pilot ran
        del record["run"][added]
    for part in ("pilot", "corpus", "run", "read", "ladder", "chosen"):
        assert set(record[part]) <= set(shipped[part]) and len(record[part]), part
    assert record["ladder"]["0.95"].keys() == shipped["ladder"]["0.95"].keys()
    assert [set(row) for row in record["grid"]] == [set(shipped["grid"][0])]
    assert [set(row) for row in record["candidates"]] == [set(shipped["candidates"][0])]
    page = {"pilot": record, "grid": instrument.grid(record), "pilot_source": "", "instrument": instrument, "pd": pd}
    for table in ("candidates", "wanted"):
        assert len(cell("instrument", f"display.show({table}", display=display, **page)[table])
    assert len(page["grid"])
    assert len(list((folder / "artifacts" / "runs").glob("*/run.json"))) == 3  # one of the candidate, two of the grid
