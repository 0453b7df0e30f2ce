"""The rules of measuring on people: what they choose, and that they were there before the runs."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from mtlser.config import PEOPLE, PEOPLE_RULES, PRESETS, RULES, ConfigError, get_preset
from mtlser.corpus import OPEN_CORPORA, reader
from mtlser.machine import last_commit
from mtlser.runs import experiments
from mtlser.runs.people import best_rates, beyond_the_edge, choose, grid_runs
from mtlser.runs.plan import table4
from mtlser.runs.records import read_results
from mtlser.runs.settings import Settings

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "book" / "results"


def grid(*rows: tuple[int, float, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["epochs", "alpha", "rate", "accuracy"])


def test_each_alpha_has_its_own_rate_and_both_one_length():
    runs = grid(
        (3, 0.0, 1e-4, 0.6), (3, 0.0, 2e-4, 0.7), (3, 0.1, 1e-4, 0.5), (3, 0.1, 2e-4, 0.5),
        (6, 0.0, 1e-4, 0.8), (6, 0.0, 2e-4, 0.1), (6, 0.1, 1e-4, 0.3), (6, 0.1, 2e-4, 0.4),
    )  # fmt: skip
    # Of length 3: 0.7, and of two equal ones the lower rate, 0.5; of length 6: 0.8 and 0.4. An equal sum: the shorter.
    assert choose(runs) == {"epochs": 3, "learning_rate": 1e-4, "learning_rate_alpha_zero": 2e-4}
    runs.loc[7, "accuracy"] = 0.41
    assert choose(runs) == {"epochs": 6, "learning_rate": 2e-4, "learning_rate_alpha_zero": 1e-4}
    assert len(best_rates(runs)) == 4


def test_a_best_rate_at_the_edge_adds_the_next():
    rates = (1e-4, 2e-4, 4e-4)
    inside = [(3, 0.0, rate, 0.9 - abs(rate - 2e-4)) for rate in rates]
    rising = [(3, 0.1, rate, rate) for rate in rates]
    assert beyond_the_edge(grid(*inside)) == []
    assert beyond_the_edge(grid(*inside, *rising)) == [(3, 8e-4)]
    many = [(3, 0.1, 1e-4 * 2**n, float(n)) for n in range(len(PEOPLE_RULES["grid"]["learning_rates"]) + 3)]
    assert beyond_the_edge(grid(*many)) == []  # three were added, and no more are


def test_the_rules_name_folds_that_there_are():
    for name, folds in PEOPLE_RULES["development"].items():
        card, protocol = reader(name).CARD, PRESETS[name].run.protocol
        names = {f"group-{n}" for n in range(1, len(card.groups) + 1)} if protocol == "groups" else None
        assert names is None or set(folds) <= names
    assert len(PEOPLE_RULES["grid"]["learning_rates"]) >= 4
    assert all(len(lengths) >= 2 for lengths in PEOPLE_RULES["grid"]["epochs"].values())


@pytest.mark.parametrize("name", PEOPLE_RULES["development"])
def test_the_presets_have_what_the_rules_chose(name):
    """From committed records of the whole grid; without them nothing is chosen."""
    runs = grid_runs(read_results(RESULTS).runs, name)
    lengths, rates = PEOPLE_RULES["grid"]["epochs"][name], PEOPLE_RULES["grid"]["learning_rates"]
    wanted = {(e, rate, alpha) for e in lengths for rate in rates for alpha in PEOPLE_RULES["grid"]["alphas"]}
    if name not in PEOPLE:
        pytest.skip(f"NOT RUN: nothing is chosen for {name} yet")
    assert wanted <= set(runs[["epochs", "rate", "alpha"]].itertuples(index=False, name=None))
    assert beyond_the_edge(runs) == [] and PEOPLE[name] == choose(runs)


def test_every_record_on_people_was_started_under_committed_rules():
    runs = read_results(RESULTS).runs
    runs = runs[runs["preset"].isin(OPEN_CORPORA)]
    if runs.empty:
        pytest.skip("NOT RUN: no record on people is committed")
    for commit, started in runs.groupby("rules")["started"].min().items():
        words = ["git", "-C", str(ROOT), "show", "-s", "--format=%cI", commit]
        found = subprocess.run(words, capture_output=True, text=True)
        if found.returncode:
            pytest.skip(f"NOT RUN: this checkout has no history ({found.stderr.strip()})")
        assert datetime.fromisoformat(found.stdout.strip()) <= datetime.fromisoformat(started)
    assert runs["rules"].notna().all()


def test_records_under_a_licence_of_the_corpus_lie_apart():
    """Records of nEMO and RAVDESS are adapted material: CC BY-NC-SA 4.0, in folders that say so."""
    for folder in RESULTS.iterdir():
        if (folder / "runs.parquet").exists():
            presets = set(pd.read_parquet(folder / "runs.parquet")["preset"])
            alike = {name for name in presets & set(OPEN_CORPORA) if reader(name).CARD.share_alike}
            assert not alike or (presets == alike and len(alike) == 1), folder
            assert not alike or reader(*alike).CARD.licence in (folder / "LICENSE.md").read_text(), folder


def test_experiments_are_named(tmp_path):
    settings = Settings(artifacts=tmp_path, results=tmp_path)
    with pytest.raises(ConfigError, match="EXPERIMENT='tabel4' is not known; choose one of table4, changes, grid"):
        experiments.plans("tabel4", "pocket", settings)
    with pytest.raises(ConfigError, match="EXPERIMENT=grid: .* no development speakers of 'pocket'"):
        experiments.plans("grid", "pocket", settings)
    with pytest.raises(ConfigError, match="EXPERIMENT=first-look: there are no dialogs in 'emodb'"):
        experiments.plans("first-look", "emodb", settings)
    given = replace(settings, epochs=2, learning_rate=1e-3)  # as another experiment, of a preset without a grid
    assert not any(plan.fold_names for plan in experiments.every_plan("crema-d", given))
    plans = experiments.plans("grid", "emodb", settings)
    assert len(plans) == 8 and all(plan.fold_names == ("03",) and plan.alphas == (0.0, 0.1) for plan in plans.values())
    assert all(plan.template.learning_rate == plan.template.learning_rate_alpha_zero for plan in plans.values())
    one = experiments.plans("grid", "emodb", replace(settings, epochs=5, learning_rate=3e-4))
    assert [(plan.template.epochs, plan.template.learning_rate) for plan in one.values()] == [(5, 3e-4)]
    assert experiments.plans("gate", "emodb", settings).popitem()[1].alphas == (1.0,)
    assert {plan.template.protocol for plan in experiments.plans("text", "nemo", settings).values()} == {"text"}
    [released] = experiments.plans("released", "pocket", settings).values()
    assert released.template.protocol == "released" and released.alphas == (0.0, 0.1)
    with pytest.raises(ConfigError, match="EXPERIMENT=session: there are no dialogs in 'emodb'"):
        experiments.plans("session", "emodb", settings)
    assert "session" not in {plan.template.protocol for plan in experiments.every_plan("emodb", settings)}
    assert experiments.plans("equal-rate", "nemo", settings).popitem()[1].alphas == (0.0,)


def test_experiments_of_the_fine_print(tmp_path):
    """Each turns what it names and nothing else, and no two of all have a run in common but by design."""
    settings = Settings(artifacts=tmp_path, results=tmp_path)
    preset = get_preset("pocket")
    variants = experiments.plans("variants", "pocket", settings)
    assert len(variants) == len(experiments.VARIANTS)
    for title, plan in variants.items():
        changes = experiments.VARIANTS[title.removeprefix("variant: ")]
        assert plan.template == replace(preset.run, **changes) and plan.alphas == (0.1,) and plan.fold_names is None
    on_people = experiments.plans("variants", "emodb", settings)
    assert {"variant: mean pooling", "variant: convolutions trained"}.isdisjoint(on_people)  # as they are anyway
    [seeds] = experiments.plans("seeds", "pocket", settings).values()
    assert seeds.preset.seeds == (0, 1, 2) and seeds.alphas == preset.alphas
    cues = experiments.plans("cues", "pocket", settings)
    assert [plan.preset.corpus.valence_cue_probability for plan in cues.values()] == [0.5, 0.75, 0.9]
    assert len({plan.corpus.identity for plan in cues.values()} | {table4("pocket", settings).corpus.identity}) == 4
    rates = experiments.plans("learning-rate", "pocket", settings)
    assert [plan.template.learning_rate for plan in rates.values()] == [2.5e-4, 5e-4, 1e-3, 2e-3]
    assert all(plan.template.learning_rate == plan.template.learning_rate_alpha_zero for plan in rates.values())
    assert {plan.preset.corpus.voices for plan in rates.values()} == {"pilot"}  # whom Table 4 does not test
    assert {plan.alphas for plan in (*cues.values(), *rates.values())} == {(0.0, 0.1)}
    everything = experiments.plans("all", "pocket", settings)
    assert {*variants, *cues, *rates, "Table 4", "protocol released"} <= set(everything)
    with pytest.raises(ConfigError, match="EXPERIMENT=cues: only a synthetic corpus"):
        experiments.plans("cues", "emodb", settings)
    with pytest.raises(ConfigError, match="rates are listed for pocket and iemocap"):
        experiments.plans("learning-rate", "nemo", settings)


def test_the_rules_have_a_commit():
    assert last_commit(RULES) == "unknown" or len(last_commit(RULES)) == 40
