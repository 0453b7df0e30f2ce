"""The frozen instrument: its name goes with corpus, backbone and recipe, and with nothing else."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from fake_records import fake_records
from mtlser.config import PRESETS
from mtlser.model.backbone import backbone_digest
from mtlser.report import instrument as report
from mtlser.runs import instrument
from mtlser.runs.experiments import ENDS, ends, table4
from mtlser.runs.settings import Settings

POCKET = PRESETS["pocket"]
WEIGHTS = backbone_digest(POCKET.backbone)


def name(run=POCKET.run, corpus=POCKET.corpus, weights=WEIGHTS):
    return instrument.instrument_name(run, corpus, weights)


def test_code_and_data_are_what_was_frozen():
    found = instrument.describe(POCKET.run, POCKET.corpus, WEIGHTS)
    assert found == instrument.frozen()["description"], (
        "corpus, backbone or recipe changed: freeze another instrument (python -m mtlser.runs.instrument NAME), "
        "and measure Table 4 with it"
    )
    assert name() == instrument.frozen()["name"]


def test_what_experiments_vary_keeps_the_name():
    for change in ({"alpha": 1.0}, {"fold": "Ses02M"}, {"seed": 3}, {"pooling": "mean"}, {"protocol": "released"},
                   {"initialisation": "random"}):  # fmt: skip
        assert name(run=replace(POCKET.run, **change)) == name()


@pytest.mark.parametrize(
    "change",
    [
        {"run": replace(POCKET.run, learning_rate=1e-5)},
        {"run": replace(POCKET.run, epochs=POCKET.run.epochs + 1)},
        {"corpus": replace(POCKET.corpus, valence_cue_probability=0.8)},
        {"corpus": None},
        {"weights": "0" * 64},
    ],
)
def test_anything_else_loses_it(change):
    assert name(**change) is None


def test_freezing_gives_a_name_to_what_is_there(tmp_path):
    frozen = instrument.freeze("pocket-9", POCKET, tmp_path / "frozen.json")
    assert frozen == {"name": "pocket-9", "description": instrument.frozen()["description"]}
    assert (tmp_path / "frozen.json").exists()


def test_ends_change_one_thing_on_the_outer_alphas():
    whole = table4("pocket", Settings())
    for change, fields in ENDS.items():
        plan = ends(change, "pocket", Settings())
        assert plan.alphas == (0.0, 1.0)
        assert plan.template == replace(whole.template, **fields) != whole.template


def test_ends_stand_beside_table_4(monkeypatch):
    found = {"as in Table 4": fake_records(alphas=(0.0, 1.0)), "random weights": fake_records(alphas=(0.0, 1.0))}
    found["mean pooling"] = type(found["random weights"]).empty()

    def plans(preset, settings):
        return {key: SimpleNamespace(alphas=(0.0, 1.0), records=lambda r=r: r) for key, r in found.items()}

    monkeypatch.setattr(report, "_end_plans", plans)
    table = report.ends_table()
    assert table["what"].tolist() == [key for key in found for _ in range(2)]
    assert table["alpha"].tolist() == [0.0, 1.0] * 3
    assert table["pocket_accuracy"].isna().tolist() == [False] * 4 + [True] * 2
    lines = report.reading_of_ends().text.splitlines()
    assert len(lines) == len(ENDS) and "+0.00 points at α = 0" in lines[0] and lines[1].endswith("not run.")
    assert "not run" in report.ends_source().lower()


def test_the_sentence_counts_records_that_carry_the_name():
    records = fake_records(alphas=(0.0,))
    records.runs["instrument"] = [instrument.frozen()["name"]] + [None] * (len(records.runs) - 1)
    assert f"1 of {len(records.runs)} records" in report.frozen_name(records).text
    empty = replace(records, runs=pd.DataFrame(columns=["instrument"]))
    assert "not run" in report.frozen_name(empty).text


def test_the_committed_pilot_and_backbone_fill_every_table():
    backbone, pilot = report.backbone_record(), report.pilot_record(Settings())
    tables = [report.probes(backbone), report.purity(backbone), report.learning_curve(backbone)]
    tables += [part(pilot) for part in (report.candidates, report.ladder, report.grid, report.wanted)]
    for table in tables:
        assert len(table) and not table.isna().any(axis=None)
    assert (report.grid(pilot)["setting"] == "chosen").sum() == 1
    chosen = pilot["chosen"]
    assert (POCKET.run.learning_rate, POCKET.run.epochs, POCKET.corpus.utterances_per_speaker) == (
        chosen["learning_rate"], chosen["epochs"], chosen["utterances_per_speaker"],
    )  # fmt: skip
    for row, met in zip(report.wanted(pilot)["met"], chosen["wanted"].values(), strict=True):
        assert (row == "yes") is met
