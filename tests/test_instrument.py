"""The frozen instrument: its name goes with corpus, backbone and recipe, and with nothing else."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fake_records import fake_records
from mtlser.config import PRESETS, ConfigError
from mtlser.model.backbone import backbone_digest
from mtlser.report import claims, display
from mtlser.report import instrument as report
from mtlser.runs import instrument
from mtlser.runs.experiments import CHANGED_ALPHAS, CHANGES, HALF_RATE, changed
from mtlser.runs.pilot import PilotConfig, choose
from mtlser.runs.plan import table4
from mtlser.runs.records import RecordError, Records
from mtlser.runs.settings import Settings
from mtlser_book.readme import committed_note
from sentences import cell, read

POCKET = PRESETS["pocket"]
ROOT = Path(__file__).parents[1]
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
    instrument.freeze("pocket-9", tmp_path / "frozen.json")
    frozen = json.loads((tmp_path / "frozen.json").read_text(encoding="utf-8"))
    assert frozen == {"name": "pocket-9", "description": instrument.frozen()["description"]}


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


def test_changes_stand_beside_table_4():
    found = {name: fake_records(alphas=(0.0, 0.1, 1.0)) for name in (report.AS_IT_IS, *CHANGES)}
    found["mean pooling"] = Records.empty()
    table = report.changes_table(found)
    assert table["what"].value_counts().to_dict() == {report.AS_IT_IS: 3, **{name: 2 for name in CHANGES}}
    assert table[table["what"] == "mean pooling"]["pocket_accuracy"].isna().all()
    assert table[table["what"] != "mean pooling"]["pocket_accuracy"].notna().all()
    differences = report.accuracy_differences(table)
    assert differences == {"random weights": {0: 0, 1: 0}, "mean pooling": {}, HALF_RATE: {0: 0, 0.1: 0}}
    assert "Mean pooling: Not run" in report.changes_source(found)
    rates = report.rate_table(found)
    assert len(rates) == 3 and rates["difference"].nunique() == 1


def test_the_gain_is_told_at_one_rate_for_both_and_at_each_ones_own():
    def at(rate, right):
        found = fake_records(alphas=(0.0, 0.1), accuracy=right)
        return replace(found, runs=found.runs.assign(learning_rate=rate))

    found = {report.AS_IT_IS: at(0.002, {0.0: 0.5, 0.1: 1.0}), HALF_RATE: at(0.001, {0.0: 0.75, 0.1: 0.75})}
    rates = report.rate_table(found)
    assert rates[["rate_zero", "rate_best"]].to_numpy().tolist() == [[0.002] * 2, [0.001] * 2, [0.001, 0.002]]
    zero, best = rates["accuracy_zero"], rates["accuracy_best"]
    assert list(zero) == [zero[0], zero[1], zero[1]] and list(best) == [best[0], best[1], best[0]]
    np.testing.assert_allclose(rates["difference"], best - zero)
    words = report.rate_sentence(rates)
    parts = [
        f"0.002: {display.points(best[0] - zero[0])} points",
        "Both at 0.001: +0.00 points",
        "**at half the rate no",
    ]
    assert all(part in words for part in parts)
    assert f"0.001 for α = 0 and 0.002 for α = 0.1: {display.points(best[0] - zero[1])} points" in words
    alone = report.rate_table(found | {HALF_RATE: found[HALF_RATE].only(alpha=0.0)})
    assert alone[["rate_zero", "rate_best"]].to_numpy().tolist() == [[0.002] * 2, [0.001, 0.002]]
    assert report.rate_sentence(alone).endswith("not run.")


def sentence(page, start, **names):
    """What the cell of a page that begins with `start` shows as Markdown."""
    cells = json.loads((ROOT / "book" / f"{page}.ipynb").read_text(encoding="utf-8"))["cells"]
    [source] = [text for cell in cells if (text := "".join(cell["source"])).startswith(start)]
    *body, last = ast.parse(source).body
    exec(compile(ast.Module(body, []), page, "exec"), names)
    return eval(compile(ast.Expression(last.value), page, "eval"), names)._repr_markdown_()


def test_the_page_counts_records_that_carry_the_name():
    records = fake_records(alphas=(0.0,))
    records.runs["instrument"] = [instrument.frozen()["name"]] + [None] * (len(records.runs) - 1)
    for found, words in ((records, f"1 of {len(records.runs)} records carry the name."), (Records.empty(), "not run.")):
        given = {"table4": lambda preset, found=found: type("Plan", (), {"records": lambda self: found})()}
        shown = sentence("instrument", "runs, name", frozen=instrument.frozen, display=display, **given)
        assert shown.endswith(words) and f"**{instrument.frozen()['name']}**" in shown


def test_the_page_says_what_each_change_does():
    found = {name: fake_records(alphas=(0.0, 0.1, 1.0)) for name in (report.AS_IT_IS, *CHANGES)}
    found["mean pooling"] = Records.empty()
    changes = report.changes_table(found)
    lines = sentence("instrument", "lines = []", instrument=report, display=display, changes=changes).splitlines()
    assert len(lines) == len(CHANGES) and "+0.00 points at α = 0" in lines[0] and lines[1] == "* mean pooling: not run."


@pytest.mark.parametrize("page", ["table4", "instrument"])
def test_pages_say_of_the_learning_rate_what_the_readme_says(page):
    rates = report.rate_table(report.changed_records("pocket", Settings(train=False, artifacts=ROOT / "none")))
    for table, words in ((rates, committed_note(ROOT)), (rates[:1], committed_note(ROOT / "nowhere"))):
        shown = sentence(
            page, "display.Markdown(instrument.rate_sentence", display=display, instrument=report, rates=table
        )
        assert shown == words


def test_the_front_page_answers_in_two_sentences():
    given = {"display": display, "claims": claims, "preset": "pocket", "iemocap": Records.empty(), "pocket": None}
    rates = pd.DataFrame({"difference": [0.25, 0.5, 0.125]})
    text = read("index", "On IEMOCAP", **given, rates=rates)
    assert text.startswith("**On IEMOCAP: not run yet**") and text.count(". ") == 1
    assert "+25.00 points of accuracy** at one learning rate and +50.00 at half of it; +12.50 where" in text
    assert "half" not in read("index", "On IEMOCAP", **given, rates=rates[:1])
    assert "**On synthetic speech: not run.**" in read("index", "On IEMOCAP", **given, rates=pd.DataFrame())
    real = read("index", "On IEMOCAP", **given | {"iemocap": fake_records("iemocap")}, rates=rates)
    assert real.startswith("**On IEMOCAP the words add +33.33 points** (IEMOCAP: speaker folds")


def test_the_committed_pilot_and_backbone_fill_every_table():
    backbone, pilot = report.backbone_record(), report.pilot_record(Settings())
    page = {"pilot": pilot, "grid": report.grid(pilot), "pilot_source": "", "instrument": report, "pd": pd}
    candidates, wanted = (
        cell("instrument", f"display.show({name}", display=display, **page)[name] for name in ("candidates", "wanted")
    )
    for table in (report.learning_curve(backbone), candidates, report.grid(pilot), wanted):
        assert len(table) and not table.isna().any(axis=None)
    assert (report.grid(pilot)["setting"] == "chosen").sum() == 1
    assert set(backbone["purity"]) == {"MFCC clusters", *backbone["probes"]}
    chosen = pilot["chosen"]
    assert (POCKET.run.learning_rate, POCKET.run.epochs, POCKET.corpus.utterances_per_speaker) == (
        chosen["learning_rate"], chosen["epochs"], chosen["utterances_per_speaker"],
    )  # fmt: skip
    accuracy = report.grid(pilot)["accuracy, α = 0"]
    assert accuracy.tolist() == pytest.approx([sum(row["accuracy_alpha_0"].values()) / 2 for row in pilot["grid"]])
    given = {"grid": report.grid(pilot), "pilot": pilot, "instrument": report, "display": display}
    passes = accuracy.max() > report.used_ladder(pilot)["test voices"]["prosody"]
    assert ("it passes what" in sentence("instrument", "accuracy = grid", **given)) is bool(passes)
    for row, met in zip(wanted["met"], chosen["wanted"].values(), strict=True):
        assert (row == "yes") is met


def test_a_corrected_rung_is_told_and_nothing_was_chosen_by_it():
    pilot = report.pilot_record(Settings())
    [correction] = pilot["corrections"]
    for strength, rows in correction["right"].items():
        for who, counted in rows.items():
            right, number = map(int, counted.split(" of "))
            assert pilot["ladder"][strength][who]["letters"] == pytest.approx(right / number, abs=0.6e-4)
    top = report.used_ladder(pilot)["test voices"]["both"]
    assert choose(pilot["grid"], top, PilotConfig(**pilot["pilot"])) == pilot["chosen"]


@pytest.mark.parametrize(
    ("half", "bounds", "words"),
    [
        (0.01, (-0.01, 0.03), "no gain is found"),
        (0.12, (0.08, 0.16), "the sign is the same at both rates"),
        (-0.1, (-0.2, -0.05), "the sign changes with the rate"),
    ],
)
def test_the_verdict_on_the_rate_follows_the_interval(half, bounds, words):
    rows = {
        "difference": [0.15, half, 0.03], "difference_interval": [(0.1, 0.2), bounds, (0.01, 0.05)],
    }  # fmt: skip
    assert words in report.rate_verdict(pd.DataFrame(rows))
    assert report.rate_verdict(pd.DataFrame(rows)[:1]) == report.rate_verdict(pd.DataFrame()) == "not run"


def test_rows_are_named_and_gaps_are_marked():
    values = pd.DataFrame({"a": {"x": 0.5, "y": 0.25}, "b": {"x": 0.125}})
    table = report.named_rows(values, {"y": "why", "x": "ex"}, "letter")
    assert table.to_dict("list") == {"letter": ["why", "ex"], "a": ["0.250", "0.500"], "b": ["–", "0.125"]}
    assert report.named_rows(values, {"x": "ex"}, "letter", display.percent)["a"].tolist() == ["50.00%"]


def test_the_record_of_the_pilot_is_found_whoever_wrote_it(tmp_path):
    with pytest.raises(RecordError, match=r"recipes/pilot\.ipynb"):
        report.pilot_record(Settings(results=tmp_path))
    (tmp_path / "someone").mkdir()
    (tmp_path / "someone" / "pilot.json").write_text('{"grid": []}')
    assert report.pilot_record(Settings(results=tmp_path)) == {"grid": []}
