"""What labs 4 and 5 look at is what they say it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from fake_records import fake_records
from mtlser.config import RECIPE_VERSION, ConfigError, get_preset
from mtlser.report import statistics
from mtlser.runs.share import share
from mtlser_book import lab_data


def test_voices_that_differ_more_say_the_same_texts_with_other_prosody():
    alike, unlike = lab_data.planned_utterances(), lab_data.planned_utterances(1.0)
    same = ["utterance", "speaker", "emotion", "text"]
    assert alike[same].equals(unlike[same])
    spread = [table.groupby("speaker")["pitch"].mean().std() for table in (alike, unlike)]
    assert spread[1] > 1.5 * spread[0] > 0
    with pytest.raises(ConfigError, match="speaker_deviation"):
        lab_data.planned_utterances(9.0)


def test_features_are_words_and_prosody_and_each_voices_own_where_wanted():
    utterances = lab_data.planned_utterances().iloc[::10]
    plain, voices = (lab_data.features(utterances, voices=wanted) for wanted in (False, True))
    assert list(plain.index) == list(voices.index) == list(utterances["utterance"])
    first = utterances.iloc[0]
    said = plain.iloc[0].drop(lab_data.PROSODY)
    assert set(said[said == 1].index) == set(first["text"].lower().split())
    assert plain["pitch"].mean() == pytest.approx(0, abs=1e-9) and plain["pitch"].std() == pytest.approx(1)
    own = voices.drop(columns=plain.columns)
    assert own.shape[1] == 4 * 10
    assert own.iloc[0][first["speaker"]] == 1 and own.iloc[0][f"{first['speaker']} pitch"] == plain["pitch"].iloc[0]
    others = [name for name in own if not name.startswith(first["speaker"])]
    assert (own.iloc[0][others] == 0).all()


def committed(root: Path, **kind) -> pd.DataFrame:
    """Invented records, written as the project's own under `root`; returns their predictions."""
    made = fake_records(epochs=get_preset("pocket").run.epochs, **kind)
    made = replace(made, runs=made.runs.assign(recipe_version=RECIPE_VERSION))
    share(made, root / "book" / "results" / "somebody", {"contributor": "somebody"})
    return made.predictions


def test_the_predictions_are_those_of_the_committed_runs(tmp_path):
    made = committed(tmp_path, seeds=(0, 1))
    found, source = lab_data.finished_predictions(tmp_path)
    assert source == "pocket corpus (synthetic), shared by somebody"
    expected = made[made["seed"] == 0].reset_index(drop=True)
    assert found.equals(expected[["utterance", "speaker", "alpha", "label", "prediction"]])


@pytest.mark.parametrize("kind", [{"alphas": (0.0,)}, {"alphas": (0.1, 1.0)}, {"folds": ("Ses01F", "Ses01M")}], ids=str)
def test_numbers_are_invented_and_say_so_where_too_little_was_run(tmp_path, kind):
    committed(tmp_path, **kind)
    for root in (tmp_path, tmp_path / "no project"):
        found, source = lab_data.finished_predictions(root)
        assert source == lab_data.INVENTED and found.equals(lab_data.invented_predictions())
    assert found.groupby("alpha")["speaker"].nunique().eq(10).all() and 0.0 in set(found["alpha"])


def test_other_trainings_are_of_other_machines_and_rates(tmp_path):
    committed(tmp_path)
    assert lab_data.trained_again(tmp_path) == {}
    here, again = lab_data.finished_predictions()[0], lab_data.trained_again()
    machine, half, own = again.values()
    assert list(again) == ["the same on another machine", "half the learning rate", "each α at its own rate"]
    assert set(machine["alpha"]) == set(here["alpha"]) and set(half["alpha"]) == set(own["alpha"]) == {0.0, 0.1}
    for table in again.values():
        assert table.groupby("alpha")["speaker"].nunique().eq(10).all() and not table.equals(here)
    rows = {
        name: found.set_index(["alpha", "utterance"])["prediction"] for name, found in (("here", here), ("own", own))
    }
    assert rows["own"][0.1].equals(rows["here"][0.1]) and not rows["own"][0.0].equals(rows["here"][0.0])


def test_the_claims_are_what_their_verdicts_say():
    pairs = lab_data.invented_claims()
    gains = {name: (p["second"] - p["first"]).groupby(p["speaker"]).sum() for name, p in pairs.items()}
    over_speakers = {name: statistics.permutation_test(gain.to_numpy()) for name, gain in gains.items()}
    utterances = {name: statistics.mcnemar_test(p["first"], p["second"]) for name, p in pairs.items()}
    assert utterances["A, model 2"] < 0.05 < over_speakers["A, model 2"]  # one voice
    assert over_speakers["B, model 2"] < 0.05 and (gains["B, model 2"] > 0).all()
    best_of_four = {name: p for name, p in over_speakers.items() if name.startswith("C")}
    assert len(best_of_four) == 4 and min(best_of_four, key=best_of_four.get) == "C, model 4"
    assert best_of_four["C, model 4"] < 0.05 < 4 * best_of_four["C, model 4"]
    assert all(len(table) == 1000 and not table.index.has_duplicates for table in pairs.values())
