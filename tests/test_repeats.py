"""Repeated runs, invented: what is compared, what is left out, and what the page says."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from fake_records import SPEAKERS, fake_records
from mtlser import machine
from mtlser.config import MAINTAINERS, RECIPE_VERSION, get_preset
from mtlser.report import display, repeats, statistics
from mtlser.runs import plan
from mtlser.runs.metrics import macro_f1, unweighted_accuracy
from mtlser.runs.records import Records, merge
from mtlser.runs.settings import Settings
from mtlser.runs.share import share
from sentences import read

EPOCHS = get_preset("pocket").run.epochs


def shared(folder, name: str, records: Records) -> None:
    records.runs["recipe_version"] = RECIPE_VERSION
    share(records, folder / name, {"contributor": name, "remarks": f"the machine of {name}"})


@pytest.fixture
def settings(tmp_path):
    """Ten folds of two alphas; another contributor ran three of them, with two answers turned, and has other runs."""
    shared(tmp_path, MAINTAINERS, fake_records(alphas=(0.0, 0.1), epochs=EPOCHS))
    theirs = fake_records(alphas=(0.0, 0.1), folds=SPEAKERS[:3], epochs=EPOCHS)
    first = theirs.predictions["run_id"] == f"0.1-{SPEAKERS[0]}-0"
    wrong = theirs.predictions.index[first & (theirs.predictions["label"] == theirs.predictions["prediction"])][:2]
    label = theirs.predictions.loc[wrong, "label"]
    theirs.predictions.loc[wrong, "prediction"] = ["sad" if one != "sad" else "happy" for one in label]
    changed = theirs.runs["run_id"] == f"0.1-{SPEAKERS[0]}-0"
    answers = theirs.predictions[first]
    scores = [measure(answers["label"], answers["prediction"]) for measure in (unweighted_accuracy, macro_f1)]
    theirs.runs.loc[changed, ["num_correct", "accuracy"]] -= [2, 2 / 12]
    theirs.runs.loc[changed, ["uar", "macro_f1"]] = scores
    for table in (theirs.runs, theirs.history, theirs.predictions):  # the ids of another time
        table["run_id"] = "old-" + table["run_id"]
    other = fake_records(alphas=(0.0,), folds=SPEAKERS[3:4], epochs=EPOCHS)
    for table in (other.runs, other.history, other.predictions):
        table["pooling"] = "mean"
    shared(tmp_path, "someone", merge([theirs, other]))
    return Settings(results=tmp_path, artifacts=tmp_path / "artifacts")


def test_only_runs_of_table_4_that_both_finished_are_compared(settings):
    [repeat] = repeats.read_repeats("pocket", settings)
    assert (repeat.contributor, repeat.remarks) == ("someone", "the machine of someone")
    assert set(repeat.here.runs["fold"]) == set(SPEAKERS[:3]) == set(repeat.there.runs["fold"])
    assert set(repeat.here.runs["pooling"]) == {"sum"}


def reading(repeated) -> str:
    return read("certainty", "repeats.paper_gains", repeated=repeated, repeats=repeats, display=display)


def conclusions(gains: pd.DataFrame) -> str:
    return read("certainty", "repeats.LEVEL", gains=gains, repeats=repeats, display=display)


def test_the_table_says_how_far_numbers_travelled(settings):
    [repeat] = repeats.read_repeats("pocket", settings)
    table = repeats.compared([repeat]).set_index("alpha")
    assert table["runs"].tolist() == [3, 3]
    same, other = table.loc[0.0], table.loc[0.1]
    assert same["accuracy_here"] == same["accuracy_there"] and same["apart"] == 0
    assert same["alike"] == 1 and other["alike"] == pytest.approx(34 / 36)  # two of 36
    assert other["apart"] == pytest.approx(2 / 12) and other["wer_here"] == other["wer_there"]
    assert other["accuracy_here"] - other["accuracy_there"] == pytest.approx(2 / 36)
    assert repeats.machines([repeat]).endswith("3 of 10 folds: partial. By someone: the machine of someone")
    shown = display.show(repeats.compared([repeat]), "A title", "Invented").html
    assert "<td>94.44%</td>" in shown and "<td>16.7 points</td>" in shown and ">largest difference of a fold<" in shown


def test_the_reading_has_both_gains(settings):
    [repeat] = repeats.read_repeats("pocket", settings)
    text = reading([repeat])
    assert "changes 0.00% of the answers at α = 0, and 5.56% at α = 0.1." in text
    assert "From α = 0 to 0.1" in text and "in those of someone" in text
    gains = [part.split(" points")[0] for part in text.split("**")[1::2]]
    assert float(gains[0]) - float(gains[1]) == pytest.approx(100 * 2 / 36, abs=0.02)
    half = repeats.Repeat("x", "", "", repeat.here.only(alpha=0.1), repeat.there.only(alpha=0.1))
    assert "No other machine" in reading([half]) == reading([])


def test_the_tests_of_both_machines_stand_side_by_side(settings):
    [repeat] = repeats.read_repeats("pocket", settings)
    table = repeats.gains([repeat])
    assert table[["by", "alpha"]].values.tolist() == [["someone", 0.1]]
    assert table["difference_here"][0] - table["difference_there"][0] == pytest.approx(2 / 36)
    tested = statistics.paired_tests(repeat.there)
    assert table["holm_there"][0] == tested["holm"][0]
    assert table["difference_interval_there"][0] == tested["difference_interval"][0]
    shown = display.show(table, "A title", "Invented").html
    assert display.interval_points(tested["difference_interval"][0]) in shown and ">Holm p there<" in shown
    assert "lead to the same conclusions" in conclusions(table)


def test_conclusions_that_differ_are_named():
    gains = pd.DataFrame({"by": "someone", "alpha": [0.001, 0.1, 1], "holm_here": [0.01, 0.2, 0.04],
                          "holm_there": [0.02, 0.3, 0.05]})  # fmt: skip
    text = conclusions(pd.concat([gains, gains.assign(by="other", holm_there=gains["holm_here"])]))
    assert text.count("At **α = ") == 1 and "At **α = 1**" in text
    assert "p is 0.040 in the maintainers' records and 0.050 in those of someone" in text
    assert text.endswith("The tests on the runs of other lead to the same conclusions as on the maintainers'.")


def test_where_only_one_alpha_was_repeated_nothing_is_tested(settings):
    [repeat] = repeats.read_repeats("pocket", settings)
    half = repeats.Repeat("x", "", "", repeat.here.only(alpha=0.1), repeat.there.only(alpha=0.1))
    assert repeats.gains([half]).empty and repeats.gains([]).empty
    assert "No other machine" in conclusions(repeats.gains([half])) == conclusions(repeats.gains([]))


def test_other_packages_are_no_rounding(settings):
    shared(settings.results, "later", fake_records(alphas=(0.0, 0.1), epochs=EPOCHS))
    path = settings.results / "later" / "about.json"
    about = json.loads(path.read_text())
    ours = about["versions"]["jiwer"]
    about["versions"] |= {"jiwer": "99.0", "another": "1.0"}  # of which the maintainers' records know nothing
    path.write_text(json.dumps(about))
    later, someone = repeats.read_repeats("pocket", settings)
    assert (later.packages, someone.packages) == (f"jiwer 99.0 instead of {ours}", "")
    text = reading([later])
    assert f"Another processor and other packages (jiwer 99.0 instead of {ours}) change 0.00% of" in text
    assert "Rounding alone" not in text and "Rounding alone changes" in reading([someone])


def test_without_records_of_both_there_is_nothing(tmp_path):
    settings = Settings(results=tmp_path, artifacts=tmp_path / "artifacts")
    assert repeats.compared([]).empty and repeats.machines([]) == "Not run"
    assert repeats.read_repeats("pocket", settings) == []
    shared(tmp_path, "someone", fake_records(epochs=EPOCHS))
    assert repeats.read_repeats("pocket", settings) == []
    shared(tmp_path, MAINTAINERS, fake_records(folds=SPEAKERS[:1], seeds=(7,), epochs=EPOCHS))
    assert repeats.read_repeats("pocket", settings) == []


def test_this_machines_runs_stand_beside_the_published_ones(settings, monkeypatch):
    """Three folds trained here, one of them with two other answers; its packages are named where they differ."""
    [someone] = repeats.read_repeats("pocket", settings)
    (settings.results / MAINTAINERS / "about.json").write_text(
        json.dumps({"versions": {"torch": "1.0", "accelerate": "1.15.0"}}), encoding="utf-8"
    )
    monkeypatch.setattr(plan.Plan, "own_records", lambda self: someone.there)
    monkeypatch.setattr(machine, "versions", lambda: {"torch": "2.0"})
    own = repeats.read_own("pocket", settings)
    assert (own.contributor, own.packages) == (repeats.THIS_MACHINE, "torch 2.0 instead of 1.0")
    assert own.remarks == machine.hardware()["processor"]
    assert repeats.same_digits(own).to_dict() == {0.0: 1.0, 0.1: pytest.approx(2 / 3)}
    pd.testing.assert_frame_equal(
        repeats.compared([own]).drop(columns="by"), repeats.compared([someone]).drop(columns="by")
    )
    names = {"repeats": repeats, "display": display, "shown": "pocket", "preset": "pocket", "own": own}
    text = read("your-run", "same_digits", **names, others=[])
    assert "**6 runs were trained here" in text
    assert "100.00% of the runs at α = 0, 66.67% of the runs at α = 0.1" in text
    far = read("your-run", "was seen before", repeats=repeats, display=display, mine=[own], others=[])
    assert "differs by up to 16.7 points; no other machine has run it." in far
    within = read("your-run", "was seen before", repeats=repeats, display=display, mine=[own], others=[someone])
    assert within.count("**within** what was seen") == 2


def test_a_machine_that_trained_nothing_has_nothing_to_compare(settings, monkeypatch):
    monkeypatch.setattr(plan.Plan, "own_records", lambda self: Records.empty())
    assert repeats.read_own("pocket", settings) is None
    names = {"repeats": repeats, "display": display, "shown": "pocket", "preset": "pocket", "own": None}
    assert "No run of Table 4 was trained" in read("your-run", "same_digits", **names, others=[])
    assert read("your-run", "was seen before", repeats=repeats, display=display, mine=[], others=[]) == "Not run."
    other_seed = fake_records(alphas=(0.0,), seeds=(1,), epochs=EPOCHS)
    monkeypatch.setattr(plan.Plan, "own_records", lambda self: other_seed)
    assert repeats.read_own("pocket", settings) is None
