"""The whole path on the smoke preset: runs, executed pages, the strict site, and what a second call does."""

from __future__ import annotations

import argparse
import json
import re

import nbformat
import pandas as pd
import pytest

from mtlser.config import ALPHAS, get_preset
from mtlser_book import __main__ as commands
from mtlser_book import checks, labs
from mtlser_book.pages import TEMPLATE, alpha_target, toc_names
from smoke import ROOT

LABS = labs.find_labs(ROOT)
EXECUTED = [alpha_target(alpha) for alpha in ALPHAS] + [
    f"{name}.ipynb"
    for name in toc_names(ROOT)
    if (ROOT / f"{name}.ipynb").exists() and f"{name}.ipynb" not in (TEMPLATE, *(lab.source for lab in LABS))
]


@pytest.mark.parametrize("target", EXECUTED)
def test_every_page_was_executed_whole(smoke_book, target):
    notebook = nbformat.read(smoke_book.build / "notebooks" / target, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    assert code and all(cell.execution_count for cell in code)
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert notebook.metadata.mtlser.parameters["preset"] == "smoke"


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.stem)
def test_a_lab_is_shown_as_it_is_and_its_solution_as_it_ran(smoke_book, lab):
    view = nbformat.read(smoke_book.build / "notebooks" / lab.source, as_version=4)
    solution = nbformat.read(smoke_book.build / "notebooks" / lab.solution, as_version=4)
    assert not [cell for cell in view.cells if cell.cell_type == "code" and cell.outputs]
    code = [cell for cell in solution.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    pages = [
        (smoke_book.site / name).with_suffix(".html").read_text(encoding="utf-8") for name in (lab.source, lab.solution)
    ]
    assert "your code here" in pages[0] and "✔ passed" not in pages[0]
    assert "your code here" not in pages[1] and "✔ passed" in pages[1] and "✘" not in pages[1]
    assert not any(labs.BEGIN in page for page in pages)


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.stem)
def test_the_solution_passed_every_check_in_five_minutes(smoke_book, lab):
    """Executed in an empty folder, as students do; rendering the book did it."""
    solution = nbformat.read(smoke_book.build / "notebooks" / lab.solution, as_version=4)
    assert solution.metadata.mtlser.seconds < 300
    found = json.loads((smoke_book.build / "workshop" / f"lab-{lab.number}.json").read_text(encoding="utf-8"))
    assert {name: entry["status"] for name, entry in found["exercises"].items()} == {
        made.exercise: checks.PASSED for made in checks.checks_of(lab.number)
    }
    assert found["passed"] == found["of"] > 0


def test_the_runs_just_happened(smoke_book):
    preset = get_preset("smoke")
    runs = [json.loads(path.read_text()) for path in (smoke_book.artifacts / "runs").glob("*/run.json")]
    assert len(runs) == len(ALPHAS) * preset.num_folds
    assert {run["status"] for run in runs} <= {"done", "diverged"}


def test_the_site_has_every_page_and_asks_no_other_site(smoke_book):
    for name in toc_names(ROOT):
        text = (smoke_book.site / f"{name}.html").read_text(encoding="utf-8")
        tags = re.findall(r"<(?:script|img|iframe|source|audio)\b[^>]*>", text)
        tags += re.findall(r"<link\b[^>]*rel=[\"'](?:stylesheet|preload|icon)[^>]*>", text)
        loaded = [tag for tag in tags if re.search(r"(?:src|href)=[\"'](?:https?:)?//", tag)]
        assert not loaded and "unpkg.com" not in text and "jsdelivr" not in text, name


def test_synthetic_results_say_so(smoke_book):
    for name in ("book/index", "book/table4", "book/training/alpha-0.1"):
        assert "synthetic" in (smoke_book.site / f"{name}.html").read_text(encoding="utf-8"), name


def test_no_transcript_of_the_corpus_but_its_own_reaches_the_site(smoke_book):
    """The training pages show no reference text: with IEMOCAP they may not, and the code is the same."""
    tables = [pd.read_parquet(path) for path in (smoke_book.artifacts / "runs").glob("*/predictions.parquet")]
    texts = {text for table in tables for text in table["reference"] if len(str(text).split()) > 3}
    assert texts
    for page in (smoke_book.site / "book").rglob("*.html"):
        content = page.read_text(encoding="utf-8")
        assert not [text for text in texts if text in content], page


def test_a_second_call_does_nothing(smoke_book):
    result = smoke_book.call("reproduce")
    assert result.returncode == 0, result.stderr
    assert "Nothing changed" in result.stdout and "executing" not in result.stdout


def test_failing_pages_are_listed_and_the_site_stays(smoke_book):
    before = (smoke_book.site / "book" / "index.html").read_bytes()
    result = smoke_book.call("book", MTLSER_ALPHAS="0.5")
    assert result.returncode == 1 and "0.5" in result.stderr and "Traceback" not in result.stderr
    assert (smoke_book.site / "book" / "index.html").read_bytes() == before


def test_two_calls_at_once_are_refused(tmp_path):
    with commands.only_one(tmp_path), pytest.raises(commands.Stop, match="another call is rendering"):
        with commands.only_one(tmp_path):
            pass


def test_progress_of_workers_reaches_the_terminal(tmp_path, capsys):
    path = tmp_path / "progress.log"
    with commands.shown_progress(path):
        for number in range(3):
            with path.open("a") as stream:
                stream.write(f"run {number}\n")
    assert capsys.readouterr().out == "run 0\nrun 1\nrun 2\n"


def test_serving_needs_a_site(tmp_path):
    options = argparse.Namespace(build=str(tmp_path), port=0)
    with pytest.raises(commands.Stop, match="make reproduce"):
        commands.serve(options)
