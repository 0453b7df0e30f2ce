"""The pilot reads ceilings only, chooses by what was wanted, and has voices of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fake_records import fake_records
from mtlser.config import PRESETS
from mtlser.corpus.pocket_plan import PILOT_VOICES, VOICES, plan_corpus
from mtlser.model.pretraining_speech import HELD_OUT_VARIANTS, TRAINING_VARIANTS
from mtlser.runs import pilot
from mtlser.runs.pilot import PILOT
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
    assert not variants & {*TRAINING_VARIANTS, *HELD_OUT_VARIANTS}
    assert not variants & {voice.partition("+")[2] for voice in VOICES.values()}
    corpus = replace(pilot.pilot_preset(PILOT, 120).corpus, utterances_per_speaker=8)
    assert set(plan_corpus(corpus)["voice"]) == set(PILOT_VOICES.values())
    assert corpus.seed != PRESETS["pocket"].corpus.seed


def test_the_accuracy_of_no_alpha_above_zero_is_read():
    assert pilot.READ == {0.0: ("accuracy", "wer"), 1.0: ("wer",)}
    records = fake_records(alphas=(0.0, 1.0), folds=PILOT.folds)
    read = pilot.read_ceilings(records)
    assert set(read) == {"collapsed", "seconds_per_run", "accuracy_alpha_0", "wer_alpha_0", "wer_alpha_1"}
    assert list(read["wer_alpha_1"]) == list(PILOT.folds)
    records.runs.loc[records.runs["alpha"] == 1.0, ["accuracy", "uar", "macro_f1", "num_correct"]] = 0
    assert pilot.read_ceilings(records) == read


def test_only_the_ends_are_planned():
    plan = pilot.pilot_plan(PILOT, Settings(), 120, learning_rate=3e-3, learning_rate_alpha_zero=3e-3)
    assert plan.alphas == (0.0, 1.0) and plan.preset.name == plan.template.preset == "pilot"
    assert plan.template.learning_rate == plan.template.learning_rate_alpha_zero == 3e-3
    assert plan.fold_names == PILOT.folds
    unchanged = pilot.pilot_plan(PILOT, Settings(), 120, (1.0,))
    assert unchanged.alphas == (1.0,)
    assert unchanged.template == replace(PRESETS["pocket"].run, preset="pilot", epochs=plan.template.epochs)
    weaker = pilot.pilot_preset(PILOT, 120, 0.9).corpus
    assert (weaker.arousal_cue_probability, weaker.valence_cue_probability) == (0.9, 0.9)


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
    for steps, size, epochs in ((950, 120, 7), (10, 160, 1)):  # 7 of 135 steps
        assert pilot.pilot_plan(replace(PILOT, steps=steps), Settings(), size).template.epochs == epochs
