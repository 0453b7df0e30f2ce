"""The pilot reads ceilings only, chooses by what was wanted, and has voices of its own."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest

from mtlser.config import PILOT, PRESETS
from mtlser.corpus.pocket_plan import PILOT_VOICES, VOICES, plan_corpus
from mtlser.model.pretraining_corpus import PROBE_VARIANTS, TRAINING_VARIANTS
from mtlser.runs import pilot
from mtlser.runs.records import Records
from mtlser.runs.settings import Settings


def setting(accuracy: float, wer: float, *, wer_zero: float = 1.0, collapsed: int = 0, rate: float = 1e-3) -> dict:
    return {
        "utterances_per_speaker": 120, "learning_rate": rate, "epochs": 7, "seconds_per_run": 40.0,
        "accuracy_alpha_0": {"Ses01F": accuracy - 0.01, "Ses02M": accuracy + 0.01},
        "wer_alpha_0": {"Ses01F": wer_zero, "Ses02M": wer_zero}, "wer_alpha_1": {"Ses01F": wer, "Ses02M": wer},
        "collapsed": {"0": collapsed, "1": 0},
    }  # fmt: skip


def test_voices_are_in_neither_set():
    variants = {voice.partition("+")[2] for voice in PILOT_VOICES.values()}
    assert len(variants) == 10
    assert not variants & {*TRAINING_VARIANTS, *PROBE_VARIANTS}
    assert not variants & {voice.partition("+")[2] for voice in VOICES.values()}
    corpus = replace(pilot.pilot_preset(PILOT, 120).corpus, utterances_per_speaker=8)
    assert set(plan_corpus(corpus)["voice"]) == set(PILOT_VOICES.values())
    assert corpus.seed != PRESETS["pocket"].corpus.seed


def test_the_accuracy_of_no_alpha_above_zero_is_read(monkeypatch):
    assert pilot.READ == {0.0: ("accuracy", "wer"), 1.0: ("wer",)}
    rows = [
        {"run_id": f"{alpha}-{fold}", "alpha": alpha, "fold": fold, "accuracy": 0.123, "wer": 0.5, "collapsed": False,
         "seconds": 40.0}
        for alpha in (0.0, 1.0) for fold in PILOT.folds
    ]  # fmt: skip
    found = Records(pd.DataFrame(rows), pd.DataFrame(), pd.DataFrame())
    monkeypatch.setattr(pilot.records, "read_records", lambda folders: found)
    plan = type("Plan", (), {"runs": (), "alphas": (0.0, 1.0)})
    read = pilot.read_ceilings(plan)
    assert set(read) == {"collapsed", "seconds_per_run", "accuracy_alpha_0", "wer_alpha_0", "wer_alpha_1"}
    rows[2]["accuracy"] = rows[3]["accuracy"] = 0.987  # at alpha 1
    monkeypatch.setattr(pilot.records, "read_records", lambda folders: replace(found, runs=pd.DataFrame(rows)))
    assert pilot.read_ceilings(plan) == read


def test_only_the_ends_are_planned():
    plan = pilot.pilot_plan(PILOT, Settings(), 120, (0.0, 1.0), learning_rate=3e-3)
    assert plan.alphas == (0.0, 1.0) and plan.template.learning_rate == 3e-3 and plan.preset.name == "pilot"
    assert plan.template.preset == "pilot" and plan.fold_names == PILOT.folds


@pytest.mark.parametrize(
    ("row", "missed"),
    [
        (setting(0.6, 0.2), None),
        (setting(0.4, 0.2), "accuracy at alpha 0 in range"),
        (setting(0.84, 0.2), "accuracy at alpha 0 under the ladder's top"),
        (setting(0.6, 0.2, wer_zero=0.8), "WER at alpha 0 high"),
        (setting(0.6, 0.3), "WER at alpha 1 low"),
        (setting(0.6, 0.2, collapsed=1), "no run collapsed"),
    ],
)
def test_each_wanted_property_can_be_missed(row, missed):
    met = pilot.judge(row, 0.9, PILOT)
    assert [name for name, value in met.items() if not value] == ([missed] if missed else [])


def test_most_wanted_properties_win_then_the_lower_wer():
    rows = [setting(0.6, 0.30, rate=1e-3), setting(0.6, 0.24, rate=2e-3), setting(0.6, 0.20, rate=3e-3)]
    chosen = pilot.choose(rows, 0.9, PILOT)
    assert chosen["learning_rate"] == 3e-3 and all(chosen["wanted"].values())
    assert pilot.choose([setting(0.4, 0.1), rows[1]], 0.9, PILOT)["learning_rate"] == 2e-3


def test_epochs_come_nearest_to_the_steps():
    run = PRESETS["pocket"].run
    assert pilot.epochs_for(replace(PILOT, steps=950), 120, run) == 7  # of 135 steps
    assert pilot.epochs_for(replace(PILOT, steps=10), 160, run) == 1


def test_the_record_is_found_whoever_wrote_it(tmp_path):
    assert pilot.read_pilot(tmp_path) is None
    (tmp_path / "someone").mkdir()
    (tmp_path / "someone" / pilot.RECORD).write_text(json.dumps({"grid": [setting(0.6, 0.2)]}))
    table = pilot.grid_table(pilot.read_pilot(tmp_path))
    assert table["accuracy, α = 0"].tolist() == pytest.approx([0.6]) and table["collapsed"].tolist() == [0]
