"""The chapter on people: its tables from invented records, its words by the rules, "not run" where there is none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fake_records import fake_records
from mtlser.config import RunConfig, get_preset
from mtlser.report import display, people
from mtlser.runs.records import Records
from mtlser.runs.settings import Settings
from mtlser_book import readme

ROOT = Path(__file__).parents[1]
GROUPS = tuple(f"group-{n}" for n in range(1, 7))


def records(right: dict[float, float], folds: tuple[str, ...] = GROUPS, **changes) -> Records:
    found = fake_records("ravdess", alphas=tuple(right), folds=folds, accuracy=right)
    return replace(found, runs=found.runs.assign(backbone="openai/whisper-tiny.en", **changes))


@pytest.fixture
def given(monkeypatch) -> dict:
    """(experiment, corpus) → records that the page finds instead of committed ones."""
    found: dict = {}
    monkeypatch.setattr(people, "records_of", lambda *key: found.get(key[:2], Records.empty()))
    return found


def test_without_a_record_everything_says_so(tmp_path):
    settings = Settings(artifacts=tmp_path, results=tmp_path)
    assert people.coverage(settings).drop(columns="corpus").eq("not run").all(axis=None)
    assert people.development("nemo", settings).empty and people.references(settings).empty
    assert people.others(settings) == {} and people.others_table({}).empty
    table = people.contrasts(settings)
    assert table["verdict"].eq("not run").all() and table["holm"].isna().all()
    assert people.contrast_table(table)["gain, points"].eq("not run").all()
    protocols = people.protocols("ravdess", settings)
    assert protocols["folds"].eq("not run").all() and people.leak(protocols) == {}
    controls = people.controls("nemo", settings)
    assert controls["folds"].eq("not run").all() and controls["run"].is_unique and len(controls) == 4
    assert people.table4({"emodb": people.records_of("table4", "emodb", settings)})["folds"].eq("not run").all()


def test_table_4_of_a_corpus_and_how_much_of_it_there_is():
    table = people.table4({"ravdess": records({0.0: 0.5, 0.1: 0.75}, GROUPS[:5])}).set_index("alpha")
    assert table.loc[0.1, "accuracy"] == 0.75 and table.loc[0.1, "folds"] == "partial (5 of 6 folds)"
    assert table.loc[0.01, "folds"] == "not run" and np.isnan(table.loc[0.01, "accuracy"])
    caption = display.provenance(records({0.0: 0.5}))
    assert "RAVDESS: groups folds" in caption and caption.endswith("6 of 6 folds")
    assert "openai/whisper-tiny.en (trained to transcribe; not the paper's encoder)" in caption


@pytest.mark.parametrize(
    ("preset", "protocol", "count"),
    [("nemo", "speaker", 9), ("emodb", "text", 10), ("ravdess", "groups", 6), ("ravdess", "speaker", 24),
     ("crema-d", "groups", 6), ("crema-d", "random", 5), ("iemocap", "session", 5), ("own", "speaker", 3)],
)  # fmt: skip
def test_the_number_of_folds_of_a_corpus(preset, protocol, count):
    assert display.num_folds(preset, protocol, 3) == count


def test_the_primary_comparison_leaves_the_development_speakers_out():
    """Its unit is the fold, its value the mean over the seeds that both alphas ran."""
    found = fake_records("ravdess", alphas=(0.0, 0.1), folds=GROUPS, seeds=(0, 1))
    runs = found.runs.set_index(["alpha", "fold", "seed"])
    runs["accuracy"] = 0.5
    for fold, gain in zip(GROUPS, (0.9, 0.1, 0.2, 0.3, 0.4, 0.5), strict=True):
        runs.loc[(0.1, fold, 0), "accuracy"] = 0.5 + gain
        runs.loc[(0.1, fold, 1), "accuracy"] = 0.5 + gain / 2
    found = replace(found, runs=runs.reset_index()).only(run_id=[i for i in runs["run_id"] if i != "0.1-group-6-1"])
    gained = people.gains(found, "ravdess")
    assert list(gained.index) == list(GROUPS[1:])
    np.testing.assert_allclose(gained, [0.075, 0.15, 0.225, 0.3, 0.5])  # of the last, the second seed lacks one alpha
    assert list(people.gains(found, "ravdess", primary=False).index) == list(GROUPS)
    row = people.contrast(gained)
    assert row["folds"] == 5 and row["difference"] == pytest.approx(0.25) and row["floor"] == 1 / 16
    assert row["permutation"] == pytest.approx(1 / 16)  # all signs alike: the floor
    low, high = row["difference_interval"]
    half = 2.776 * np.std(gained, ddof=1) / np.sqrt(5)  # Student's t, 4 degrees of freedom
    assert (low, high) == pytest.approx((0.25 - half, 0.25 + half), abs=1e-3)


@pytest.mark.parametrize(
    ("interval", "holm", "complete", "word"),
    [
        ((0.01, 0.05), 0.01, "gate", "second task not learnt: inconclusive"),
        ((0.01, 0.05), 0.01, True, "gain"),
        ((0.01, 0.09), 0.2, True, "inconclusive"),
        ((0.01, 0.05), 0.2, True, "less than the paper's gain"),
        ((-0.09, -0.01), 0.01, True, "loss"),
        ((-0.03, 0.02), 0.5, True, "less than the paper's gain"),
        ((-0.03, 0.08), 0.5, True, "inconclusive"),
        ((0.01, 0.05), 0.01, False, "partial"),
    ],
)
def test_the_words_of_a_verdict(interval, holm, complete, word):
    row = {"folds": 5, "difference_interval": interval, "holm": holm, "complete": complete}
    row["gate"] = 0.99 if complete == "gate" else 0.1
    assert people.verdict(row) == word


def test_holm_counts_the_corpora_that_are_complete(given, tmp_path):
    given["table4", "ravdess"] = records({0.0: 0.5, 0.1: 0.75})
    table = people.contrasts(Settings(results=tmp_path)).set_index("corpus")
    assert table["complete"].to_dict() == {"nEMO": False, "EmoDB": False, "RAVDESS (speech)": True}
    assert table.loc["RAVDESS (speech)", "holm"] == table.loc["RAVDESS (speech)", "permutation"]


def test_what_the_leak_is_worth_is_said_of_whole_experiments_alone(given):
    given["table4", "ravdess"] = records({0.0: 0.5, 0.1: 0.5})
    folds = tuple(f"random-{n}" for n in range(1, 6))
    leaked = records({0.0: 0.75, 0.1: 0.75}, folds, protocol="random")
    given["random", "ravdess"] = leaked.only(run_id=[i for i in leaked.runs["run_id"] if i != "0.1-random-5-0"])
    table = people.protocols("ravdess")
    assert table["folds"].tolist() == [
        "6 of 6 folds", "6 of 6 folds", "5 of 5 folds", "partial (4 of 5 folds)", "not run", "not run"
    ]  # fmt: skip
    assert people.leak(table) == {0.0: pytest.approx(0.25)}


def test_where_there_are_dialogs_the_released_folds_leak(given):
    given["table4", "pocket"] = fake_records(alphas=(0.0, 0.1), accuracy={0.0: 0.5, 0.1: 0.5})
    folds = tuple(f"0{n}{sex}" for n in range(1, 6) for sex in "FM")
    leaked = fake_records(alphas=(0.0,), folds=folds, accuracy={0.0: 0.75})
    given["released", "pocket"] = replace(leaked, runs=leaked.runs.assign(protocol="released"))
    table = people.protocols("pocket")
    assert list(table["protocol"].unique()) == ["speaker", "released", "session"]
    assert table["folds"].tolist()[:4] == ["10 of 10 folds"] * 3 + ["not run"]
    gain = people.leak(table)
    assert list(gain) == [0.0] and gain[0.0] == pytest.approx(0.25)


def test_other_corpora_of_this_machine_stand_apart(tmp_path, monkeypatch):
    known, other = records({0.0: 0.5}, corpus_id="known-1"), records({0.0: 0.75}, corpus_id="ravdess-other")
    both = Records(*(pd.concat(parts, ignore_index=True) for parts in (
        (known.runs, other.runs.assign(run_id=other.runs["run_id"] + "x", corpus="RAVDESS (a copy that differs)")),
        (known.history, other.history),
        (known.predictions, other.predictions.assign(run_id=other.predictions["run_id"] + "x")),
    )))  # fmt: skip
    monkeypatch.setattr(people, "read_records", lambda folders: both)
    identity = type("Corpus", (), {"identity": "known-1"})
    monkeypatch.setattr(people, "corpus_of", lambda preset, settings: identity)
    (table,) = [people.others_table(people.others(Settings(artifacts=tmp_path)))]
    assert table["corpus"].str.startswith("RAVDESS (a copy that differs), ravdess-other, groups folds").all()
    assert table["accuracy"].tolist() == [0.75]


def test_references_weigh_folds_by_their_utterances(tmp_path):
    rows = [{"classifier": "majority", "fold": fold, "num_test": count, "accuracy": accuracy, "uar": 0.25}
            for fold, count, accuracy in (("a", 10, 0.5), ("b", 30, 0.1))]  # fmt: skip
    record = {"corpus": "EmoDB", "backbone": "an encoder", "protocol": "speaker", "rows": rows}
    folder = tmp_path / "me-emodb" / "reference"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text(json.dumps(record))
    table = people.references(Settings(results=tmp_path))
    assert table["accuracy"].tolist() == [pytest.approx(0.2)] and table["folds"].tolist() == [2]


def test_presets_of_people_share_what_is_not_tuned():
    runs = [get_preset(name).run for name in ("nemo", "emodb", "ravdess", "crema-d", "own")]
    tuned = ("preset", "protocol", "epochs", "learning_rate", "learning_rate_alpha_zero")
    rest = [{k: v for k, v in run.to_dict().items() if k not in tuned} for run in runs]
    assert all(values == rest[0] for values in rest)
    assert isinstance(runs[0], RunConfig) and {run.protocol for run in runs} == {"speaker", "groups"}


def test_the_gate_is_the_longest_run_at_alpha_one(tmp_path):
    settings = Settings(results=tmp_path)
    assert np.isnan(people.gate("ravdess", settings))
    for epochs, wer in ((6, 0.2), (3, 0.9)):
        found = records({1.0: 0.5, 0.1: 0.5}, ("group-1",))
        runs = found.runs.assign(run_id=[f"{run_id}-{epochs}" for run_id in found.runs["run_id"]], epochs=epochs)
        runs.loc[runs["alpha"] == 1.0, "wer"] = wer
        (tmp_path / f"me-{epochs}").mkdir()
        shared = Records(
            runs, found.history.iloc[:0], found.predictions.iloc[:0].drop(columns=["reference", "hypothesis"])
        )
        for name in ("runs", "history", "predictions"):
            getattr(shared, name).to_parquet(tmp_path / f"me-{epochs}" / f"{name}.parquet")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("mtlser.runs.records.problems", lambda *tables: [])
        assert people.gate("ravdess", settings) == 0.2


def test_readme_gives_a_number_of_whole_comparisons_alone(given):
    given["table4", "ravdess"] = records({0.0: 0.5, 0.1: 0.75}, GROUPS[:3])
    assert "RAVDESS (speech) partial." in readme.people_note(ROOT)
    given["table4", "ravdess"] = records({0.0: 0.5, 0.1: 0.75})
    assert "(+25.00 points, 95% interval" in readme.people_note(ROOT)


def test_gaps_by_hand():
    """Actors 01 and 03 are men, 02 is a woman."""
    found = records({0.1: 0.5})
    table = found.predictions.iloc[:6].assign(
        speaker=["01", "01", "02", "02", "03", "03"],
        label="sad",
        prediction=["sad", "sad", "sad", "angry", "angry", "angry"],
    )
    given = Records(found.runs, found.history, table)
    [row] = people.gaps(given.only(run_id=list(table["run_id"])), "ravdess").to_dict("records")
    assert (row["women"], row["men"], row["gap"]) == (0.5, 0.5, 0.0) and (row["worst"], row["best"]) == (0.0, 1.0)
    assert people.gaps(Records.empty(), "ravdess").empty
