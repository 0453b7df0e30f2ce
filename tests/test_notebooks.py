"""What every committed notebook of the book must be: thin, without outputs, explained, and without typed results."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

BOOK = Path(__file__).parents[1] / "book"
NOTEBOOKS = sorted(
    path for path in BOOK.rglob("*.ipynb") if not {"workshop", ".ipynb_checkpoints"} & set(path.relative_to(BOOK).parts)
)
MAX_LINES = 15
MAX_COLUMNS = 76  # what a page shows of a line of code without scrolling, at 1280 pixels


def load(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def code(path: Path) -> list[dict]:
    return [cell for cell in load(path) if cell["cell_type"] == "code"]


pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.relative_to(BOOK).as_posix())


def test_no_outputs_are_committed(path):
    for cell in code(path):
        assert cell["outputs"] == [] and cell["execution_count"] is None, "strip it: nbstripout " + str(path)


def test_papermill_can_run_it(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    tagged = [cell for cell in code(path) if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    names = {node.targets[0].id for node in ast.parse(source(tagged[0])).body}
    if path.parent.name != "recipes":  # which have what is theirs
        assert names == ({"preset", "alpha"} if path.name == "template.ipynb" else {"preset"})


def test_substance_is_imported(path):
    for cell in code(path):
        text = source(cell)
        assert len(text.splitlines()) <= MAX_LINES, text
        for node in ast.walk(ast.parse(text)):
            assert not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.While)), (
                text
            )
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not node.value.startswith(("/", "~")), f"absolute path {node.value!r}"


def test_code_that_a_reader_sees_fits_its_column(path):
    """What does not, and every plotting cell, is folded: a reader opens it."""
    if path.parent.name == "recipes":  # not part of the site
        return
    for cell in code(path):
        if {"remove-input", "hide-input"} & set(cell["metadata"].get("tags", [])):
            continue
        assert max(map(len, source(cell).splitlines())) <= MAX_COLUMNS, source(cell)
        assert not source(cell).startswith("figures.show("), "tag it hide-input"


def test_prose_comes_before_every_code_cell(path):
    cells = load(path)
    assert cells[0]["cell_type"] == "markdown" and source(cells[0]).startswith("# ")
    for before, cell in zip(cells, cells[1:], strict=False):
        if cell["cell_type"] == "code" and "parameters" not in cell["metadata"].get("tags", []):
            is_parameters = "parameters" in before["metadata"].get("tags", [])
            assert before["cell_type"] == "markdown" or is_parameters, source(cell)


def test_the_paper_is_quoted_with_its_section(path):
    quotes = [source(cell) for cell in load(path) if re.search(r"^> ", source(cell), flags=re.MULTILINE)]
    assert quotes, "no block quote of the paper"
    assert all(re.search(r"^> — ", quote, flags=re.MULTILINE) for quote in quotes)


# Numbers of the paper, of its released code and of other published work that the prose may quote.
PUBLISHED = {"78.15", "71.66", "50.3", "22.1", "22.0", "79.58", "73.01", "80.77", "0.001", "0.01", "0.1"}


def test_no_result_of_ours_is_typed(path):
    for cell in load(path):
        prose = cell["cell_type"] == "markdown"
        text = re.sub(r"\$[^$]*\$|`[^`]*`|wav2vec[- ]2\.0|(section|Eq\.) [\d.]+", "", source(cell))
        decimals = set(re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", text)) - PUBLISHED
        assert not decimals, f"{'prose' if prose else 'code'} with typed numbers {decimals}; compute them from records"


def test_only_the_template_and_the_pilot_train(path):
    calls = [
        node.func.id
        for cell in code(path)
        for node in ast.walk(ast.parse(source(cell)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    assert calls.count("complete") == {"template.ipynb": 1, "pilot.ipynb": 2}.get(path.name, 0)


def test_no_machine_is_named(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|tmp|Users)/|C:\\\\", text)
