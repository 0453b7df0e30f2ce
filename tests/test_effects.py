"""What turning a departure does, over invented records: paired, named, and not run where one side is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from fake_records import SPEAKERS, fake_records
from mtlser import paper
from mtlser.config import get_preset
from mtlser.report import effects
from mtlser.runs import experiments
from mtlser.runs.plan import Plan, table4
from mtlser.runs.records import Records
from mtlser.runs.settings import Settings


def test_every_plan_that_turns_a_difference_names_one_that_is_audited(tmp_path):
    settings = Settings(artifacts=tmp_path, results=tmp_path)
    names = {departure.name for departure in paper.DEPARTURES}
    assert {departure for departure, _ in effects.TURNED.values()} <= names
    titles = {title for name in effects.EXPERIMENTS for title in experiments.plans(name, "pocket", settings)}
    assert set(effects.TURNED) == titles - {"Table 4, random weights"}  # which no paper differs in


def test_a_difference_is_of_the_same_utterances_whatever_fold_tested_them():
    usual = fake_records(alphas=(0.1,), accuracy={0.1: 0.5})
    turned = fake_records(alphas=(0.1,), accuracy={0.1: 0.75})
    for table in (turned.runs, turned.history, turned.predictions):  # three utterances of twelve more are right
        table["fold"], table["protocol"] = "another", "random"
    found = effects.effect(usual, turned)
    assert found["difference"] == pytest.approx(0.25) and found["accuracy"] == pytest.approx(0.75, abs=0.01)
    low, high = found["difference_interval"]
    assert low == pytest.approx(0.25) == high and found["permutation"] == pytest.approx(2 / 2**10)


def test_only_seeds_that_both_have_are_compared():
    usual = fake_records(alphas=(0.1,), accuracy={0.1: 0.5})
    two = fake_records(alphas=(0.1,), accuracy={0.1: 0.75}, seeds=(0, 1))
    assert effects.effect(usual, two)["difference"] == pytest.approx(0.25)
    assert effects.effect(usual, two)["folds"] == "10 of 10 folds"
    assert pd.isna(effects.effect(usual, two.only(seed=1))["difference"])


def test_what_was_not_run_says_so_and_the_largest_effect_comes_first(tmp_path, monkeypatch):
    preset = get_preset("pocket")
    turned = replace(preset.run, pooling="mean")

    def records(plan: Plan) -> Records:
        mean = plan.template.pooling == "mean"
        other = plan.template != (turned if mean else preset.run)
        accuracy = {0.0: 0.25, 0.1: 0.5, 1.0: 0.75} if mean else dict.fromkeys((0.0, 0.1, 1.0), 0.5)
        return Records.empty() if other else fake_records(alphas=tuple(accuracy), accuracy=accuracy)

    monkeypatch.setattr(Plan, "records", records)
    table = effects.effects("pocket", Settings(artifacts=tmp_path, results=tmp_path))
    ran = table.dropna(subset="difference")
    assert ran[["what", "alpha"]].to_numpy().tolist() == [
        ["mean pooling", 0.0],
        ["mean pooling", 1.0],
        ["mean pooling", 0.1],
    ]
    assert ran["difference"].tolist() == [pytest.approx(-0.25), pytest.approx(0.25), 0]
    assert set(table["folds"][table["difference"].isna()]) == {"not run"}
    assert not table.duplicated(["what", "alpha"]).any()


def test_optimism_is_best_epoch_minus_last_run_by_run():
    records = fake_records(alphas=(0.0,), folds=SPEAKERS[:2], epochs=3)
    records.history["accuracy"] = [0.5, 0.75, 0.25, 0.25, 0.5, 0.5]
    [row] = effects.optimism(records).itertuples()
    assert (row.last, row.best, row.optimism) == (0.375, 0.625, 0.25)
    assert effects.optimism(Records.empty()).empty


def test_committed_effects_are_recomputed_from_committed_records():
    """Mean pooling at the ends of Table 4, by hand from the committed predictions."""
    results = Path(__file__).parents[1] / "book" / "results"
    settings = Settings(results=results, artifacts=results / "nothing")
    table = effects.effects("pocket", settings).set_index(["what", "alpha"])["difference"]
    predictions = pd.read_parquet(results / "maintainers" / "predictions.parquet")
    runs = pd.read_parquet(results / "maintainers" / "runs.parquet").set_index("run_id")
    assert json.loads((results / "maintainers" / "about.json").read_text())["contributor"] == "maintainers"
    right = predictions["label"] == predictions["prediction"]
    of = runs.loc[predictions["run_id"], ["pooling", "initialisation", "learning_rate", "protocol"]].reset_index(
        drop=True
    )
    usual = (of["initialisation"] == "pretrained") & (of["learning_rate"] == 2e-3) & (of["protocol"] == "speaker")
    for alpha in (0.0, 1.0):
        of_alpha = usual & (predictions["alpha"] == alpha)
        mean, own = (right[of_alpha & (of["pooling"] == pooling)].mean() for pooling in ("mean", "sum"))
        assert table["mean pooling", alpha] == pytest.approx(mean - own)
    assert table4("pocket", settings).records().runs["alpha"].nunique() == 5
