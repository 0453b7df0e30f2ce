"""Every lab: its source has what a lab needs, and its student copy fails each check as not written.

Its solution is executed with the book, so `test_book.py` tests that it passes every check. Wrong answers are in
`workshop_lab<number>.py`, one module for each lab.
"""

from __future__ import annotations

import importlib
import json
import os
import re
from pathlib import Path
from unittest.mock import patch

import nbformat
import pytest
from nbclient import NotebookClient

from lab_form import problems
from mtlser_book import checks, labs, students
from mtlser_book.execute import kernel_environment
from mtlser_book.pages import toc_names

ROOT = Path(__file__).parents[1]
LABS = labs.find_labs(ROOT)
SECONDS = 300  # the longest that a cell may take
each_lab = pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.stem)


def wrong_answers() -> list:
    """One parameter for each wrong answer of each check."""
    return [
        pytest.param(made, work, says, id=f"lab{made.lab}-{made.exercise}-{n}")
        for made in checks.all_checks()
        for n, (work, says) in enumerate(answers(made.lab).get(made.exercise, []))
    ]


def answers(lab: int) -> dict:
    return importlib.import_module(f"workshop_lab{lab}").WRONG


def execute(notebook, folder: Path) -> nbformat.NotebookNode:
    """The notebook, run from top to bottom in an empty folder. A cell that raises fails."""
    own = {checks.RESULTS: str(folder / "results"), checks.STUDENT: ""}
    with kernel_environment(folder / "kernel"), patch.dict(os.environ, own):
        client = NotebookClient(
            notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        )
        return client.execute()


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def summary(folder: Path, lab: labs.Lab) -> dict:
    return json.loads((folder / "results" / f"lab-{lab.number}.json").read_text(encoding="utf-8"))


def assert_ran_whole(notebook) -> None:
    assert all(cell.execution_count == n for n, cell in enumerate(code_cells(notebook), 1))
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]


def test_there_are_labs():
    assert LABS and [lab.number for lab in LABS] == sorted({lab.number for lab in LABS})


@each_lab
def test_a_source_has_what_a_lab_needs(lab):
    assert problems(nbformat.read(ROOT / lab.source, as_version=4), lab.number) == []


@each_lab
def test_the_student_copy_is_what_its_source_makes(lab):
    made = students.student_text(ROOT, lab)
    assert (ROOT / lab.student).read_text(encoding="utf-8") == made, "run: python -m mtlser_book students"
    assert not re.search("BEGIN SOLUTION|END SOLUTION|### STUB", made)


def test_no_student_copy_without_a_source():
    assert {f"workshop/{path.name}" for path in (ROOT / "workshop").glob("*.ipynb")} == {lab.student for lab in LABS}


@each_lab
def test_the_book_lists_the_lab_before_its_solution_and_both_before_the_reference(lab):
    names = toc_names(ROOT)
    view = names.index(lab.source.removesuffix(".ipynb"))
    assert names.index("book/workshop/index") < view < names.index("book/api")
    assert names[view + 1] == lab.solution.removesuffix(".ipynb")
    assert f"({lab.stem}.ipynb)" in (ROOT / "book" / "workshop" / "index.md").read_text(encoding="utf-8")


@each_lab
def test_the_student_copy_runs_and_each_check_says_not_written(lab, tmp_path):
    executed = execute(nbformat.read(ROOT / lab.student, as_version=4), tmp_path)
    assert_ran_whole(executed)
    exercises = summary(tmp_path, lab)["exercises"]
    assert set(exercises) == {made.exercise for made in checks.checks_of(lab.number)}
    for name, entry in exercises.items():
        assert entry["status"] == checks.MISSING and checks.NOT_WRITTEN in entry["message"], (name, entry)
    printed = [output.text for cell in code_cells(executed) if "check" in cell.metadata.get("tags", [])
               for output in cell.outputs]  # fmt: skip
    assert sum(text.count(checks.NOT_WRITTEN) for text in printed) == len(exercises)


@each_lab
def test_the_student_copy_shows_hints_answers_and_minutes_and_sets_itself_up(lab):
    notebook = nbformat.read(ROOT / lab.student, as_version=4)
    assert code_cells(notebook)[0] is notebook.cells[1] and "%pip install" in notebook.cells[1].source
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert text.count("<details>") == text.count("</details>") > 0 and "Hint 2" in text
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings and all(re.search(r"\(\d+ (more )?minutes?\)$", line) for line in headings)
    quiz = [cell.source for cell in notebook.cells if "quiz" in cell.metadata.get("tags", [])]
    assert len(quiz) == 3
    for question in quiz:
        assert question.count("**Right.**") == 1 and question.count("**Not this one.**") >= 1
    solutions = [cell for cell in notebook.cells if "solution" in cell.metadata.get("tags", [])]
    assert solutions and all(labs.YOURS in cell.source for cell in solutions)


@pytest.mark.parametrize("made", checks.all_checks(), ids=lambda made: f"lab{made.lab}-{made.exercise}")
def test_a_check_has_three_wrong_answers_with_three_messages(made):
    known = answers(made.lab)
    assert set(known) <= {other.exercise for other in checks.checks_of(made.lab)}
    assert len(known.get(made.exercise, [])) >= 3
    assert len({made.judge(*work).message for work, _ in known[made.exercise]}) >= 3
    assert made.__doc__


@pytest.mark.parametrize(("made", "work", "says"), wrong_answers())
def test_a_wrong_answer_is_told_what_is_wrong(made, work, says):
    verdict = made.judge(*work)
    assert verdict.status == checks.WRONG and re.search(says, verdict.message), verdict


@pytest.mark.parametrize("made", checks.all_checks(), ids=lambda made: f"lab{made.lab}-{made.exercise}")
@pytest.mark.parametrize("strange", [3, "text", [], {}, object()], ids=lambda value: type(value).__name__)
def test_strange_work_is_judged_without_an_error(made, strange):
    count = made.function.__code__.co_argcount
    assert not made.judge(*[strange] * count)
    assert made.judge(*[...] * count).status == checks.MISSING
    assert made.judge(*[None] * count).status == checks.MISSING
