"""The frozen instrument: its name goes with corpus, backbone and recipe, and with nothing else."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from fake_records import fake_records
from mtlser.config import PRESETS, ConfigError, PilotConfig
from mtlser.model.backbone import backbone_digest
from mtlser.report import display
from mtlser.report import instrument as report
from mtlser.runs import instrument
from mtlser.runs.pilot import choose
from mtlser.runs.plan import CHANGED_ALPHAS, CHANGES, HALF_RATE, changed, table4
from mtlser.runs.records import RecordError, Records
from mtlser.runs.settings import Settings
from mtlser_book.readme import committed_note
from sentences import cell

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
    assert list(rates["comparison"]) == ["0 → 0.1"] * 2 and rates["difference"].nunique() == 1
    assert list(rates["learning rate"]) == [f"{POCKET.run.learning_rate:g}"] * 2


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


@pytest.mark.parametrize("page", ["index", "table4", "instrument"])
def test_pages_say_of_the_learning_rate_what_the_readme_says(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    rates = report.rate_table(report.changed_records("pocket", Settings(train=False, artifacts=ROOT / "none")))
    start = "from mtlser.report import instrument" if page == "index" else "gains = ["
    given = {"display": display, "instrument": report, "rates": rates, "preset": "pocket"}
    monkeypatch.setattr(report, "changed_records", lambda preset: {})
    for table, words in ((rates, committed_note(ROOT)), (rates[:1], committed_note(ROOT / "nowhere"))):
        monkeypatch.setattr(report, "rate_table", lambda found, table=table: table)
        assert sentence(page, start, **given | {"rates": table}) == words


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
        (0.01, (-0.01, 0.03), "effect of α at this learning rate"),
        (0.12, (0.08, 0.16), "the sign is the same at both rates"),
        (-0.1, (-0.2, -0.05), "the sign changes with the rate"),
    ],
)
def test_the_verdict_on_the_rate_follows_the_interval(half, bounds, words):
    rows = {
        "learning rate": ["0.002", "0.001"], "comparison": ["0 → 0.1"] * 2, "difference": [0.15, half],
        "difference_interval": [(0.1, 0.2), bounds], "permutation": [0.01, 0.5],
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
