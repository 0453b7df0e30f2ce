"""The frozen instrument: its name goes with corpus, backbone and recipe, and with nothing else."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from fake_records import fake_records
from mtlser.config import PRESETS, ConfigError
from mtlser.model.backbone import backbone_digest
from mtlser.report import instrument as report
from mtlser.runs import instrument
from mtlser.runs.experiments import CHANGED_ALPHAS, CHANGES, HALF_RATE, changed, table4
from mtlser.runs.records import Records
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


def test_changes_change_one_thing():
    whole = table4("pocket", Settings())
    expected = {name: replace(whole.template, **fields) for name, fields in CHANGES.items()}
    rate = whole.template.learning_rate
    expected[HALF_RATE] = replace(whole.template, learning_rate=rate / 2, learning_rate_alpha_zero=rate / 2)
    for name, template in expected.items():
        plan = changed(name, "pocket", Settings())
        assert plan.alphas == CHANGED_ALPHAS[name] and plan.template == template != whole.template
    with pytest.raises(ConfigError, match=r"no change 'x': random weights"):
        changed("x")


def test_changes_stand_beside_table_4(monkeypatch):
    found = {name: fake_records(alphas=(0.0, 0.1, 1.0)) for name in (report.AS_IT_IS, *CHANGES)}
    found["mean pooling"] = Records.empty()
    template = PRESETS["pocket"].run

    def plans(preset, settings):
        return {name: SimpleNamespace(records=lambda r=r: r, template=template) for name, r in found.items()}

    monkeypatch.setattr(report, "_plans", plans)
    table = report.changes_table()
    assert table["what"].value_counts().to_dict() == {report.AS_IT_IS: 3, **{name: 2 for name in CHANGES}}
    assert table[table["what"] == "mean pooling"]["pocket_accuracy"].isna().all()
    assert table[table["what"] != "mean pooling"]["pocket_accuracy"].notna().all()
    lines = report.reading_of_changes().text.splitlines()
    assert len(lines) == len(CHANGES) and "+0.00 points at α = 0" in lines[0] and lines[1] == "* mean pooling: not run."
    assert "Mean pooling: Not run" in report.changes_source()
    rates = report.rate_table()
    assert list(rates["comparison"]) == ["0 → 0.1"] * 2 and rates["difference"].nunique() == 1


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
    best = max(sum(row["accuracy_alpha_0"].values()) / len(row["accuracy_alpha_0"]) for row in pilot["grid"])
    passes = best > report.used_ladder(pilot)["test voices"]["prosody"]
    assert ("it passes what" in report.reading_of_grid(pilot).text) is passes
    for row, met in zip(report.wanted(pilot)["met"], chosen["wanted"].values(), strict=True):
        assert (row == "yes") is met


@pytest.mark.parametrize(
    ("half", "bounds", "words"),
    [
        (0.01, (-0.01, 0.03), "effect of α at this learning rate"),
        (0.12, (0.08, 0.16), "the sign is the same at both rates"),
        (-0.1, (-0.2, -0.05), "the sign changes with the rate"),
    ],
)
def test_the_verdict_on_the_rate_follows_the_interval(monkeypatch, half, bounds, words):
    rows = {
        "learning rate": ["0.002", "0.001"], "comparison": ["0 → 0.1"] * 2, "difference": [0.15, half],
        "difference_interval": [(0.1, 0.2), bounds], "permutation": [0.01, 0.5],
    }  # fmt: skip
    monkeypatch.setattr(report, "rate_table", lambda preset, settings: pd.DataFrame(rows))
    assert words in report.reading_of_rates().text
    monkeypatch.setattr(report, "rate_table", lambda preset, settings: pd.DataFrame(rows).iloc[:1])
    assert report.reading_of_rates().text.endswith("not run.")
