"""What a check prints and records, whoever wrote it."""

from __future__ import annotations

import io
import json
import sys

import pytest

from mtlser.files import write_json
from mtlser_book import checks
from mtlser_book.checks import Check, Wrong, ask, lab2, number


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(checks.RESULTS, str(tmp_path / "results"))
    monkeypatch.delenv(checks.STUDENT, raising=False)
    for made in checks.all_checks():
        monkeypatch.setattr(made, "last", None)
    return tmp_path / "results"


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def right(path):
    from workshop_lab2 import spelled

    return spelled(path)


def test_a_call_prints_one_line_and_is_recorded(folder, capsys):
    assert not lab2.collapse(lambda path: ...)
    assert not lab2.collapse(lambda path: path)
    assert lab2.collapse(right)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" · ")[0] for line in lines] == ["… to do", "✘ not yet", "✔ passed"]
    found = read(folder / "lab-2.json")
    assert (found["lab"], found["passed"], found["of"]) == (2, 1, len(checks.checks_of(2)))
    assert found["exercises"]["collapse"]["attempts"] == 3 and "first_passed" in found["exercises"]["collapse"]
    assert found["exercises"]["forward"] == {"status": checks.NOT_TRIED, "attempts": 0}
    assert [path.name for path in folder.iterdir()] == ["lab-2.json"]


def test_the_last_verdict_counts(folder):
    lab2.collapse(right)
    lab2.collapse(lambda path: path)
    found = read(folder / "lab-2.json")
    assert found["passed"] == 0 and found["exercises"]["collapse"]["first_passed"]


def test_a_name_is_in_the_file_and_its_name(folder, monkeypatch):
    monkeypatch.setenv(checks.STUDENT, "")
    checks.student("Ada Lovelace / 7")
    lab2.collapse(right)
    assert read(folder / "lab-2-ada-lovelace-7.json")["student"] == "Ada Lovelace / 7"


def test_half_a_summary_is_begun_again(folder):
    folder.mkdir()
    (folder / "lab-2.json").write_text('{"lab": 2, "exer')
    assert lab2.collapse(right)
    assert read(folder / "lab-2.json")["passed"] == 1


def test_a_folder_that_cannot_be_written_does_not_end_the_notebook(folder, capsys):
    folder.write_text("a file where the folder should be")
    assert lab2.collapse(right)
    assert "not recorded" in capsys.readouterr().out


def test_a_cell_waits_until_the_exercise_is_passed(capsys):
    assert not lab2.collapse.ready()
    assert "waits for the exercise collapse" in capsys.readouterr().out
    lab2.collapse(right)
    assert lab2.collapse.ready()


def test_grades_has_a_row_for_each_summary(folder):
    lab2.collapse(right)
    checks.student("Ada")
    lab2.collapse(lambda path: path)
    (folder / "lab-9.json").write_text("[]")
    rows = checks.grades(folder.parent)
    assert [(row["file"], row["student"], row["passed"], row["attempts"]) for row in rows] == [
        ("results/lab-2-ada.json", "Ada", 0, 1),
        ("results/lab-2.json", "", 1, 1),
    ]


def test_arguments_are_copies():
    given = [1, 2]
    ask(lambda values: values.append(3) or values, given)
    assert given == [1, 2]


@pytest.mark.parametrize("value", [None, "one", [1, 2], float("nan")])
def test_what_is_no_number_is_named(value):
    with pytest.raises(Wrong, match="the loss|not a number"):
        number(value, "the loss")


def test_a_stub_that_raises_is_not_written():
    def stub(path):
        raise NotImplementedError

    assert lab2.collapse.judge(stub).status == checks.MISSING


def test_a_second_check_of_one_name_is_refused():
    def collapse(work):
        return "fine"

    collapse.__module__ = "mtlser_book.checks.lab2"
    with pytest.raises(ValueError, match="already"):
        checks.check(collapse)
    assert isinstance(lab2.collapse, Check)


def test_of_several_answers_the_one_that_is_missing_is_named():
    assert "likeliest_text is still" in lab2.greedy.judge([{"_": 1.0}], "A", ...).message
    assert "its value is still" in lab2.collapse.judge(...).message


@pytest.mark.parametrize(
    "content",
    ["[]", "{", "[" * 200_000, '{"lab": 1, "passed": 1, "of": 5}', '{"lab": 1, "passed": 1, "of": 5, "exercises": [1]}',
     '{"lab": 1, "passed": 1, "of": 5, "exercises": {"a": null}}',
     '{"lab": 1, "passed": 1, "of": 5, "exercises": {"a": {"attempts": "2"}}}'],
    ids=range(7),
)  # fmt: skip
def test_one_odd_summary_is_named_and_the_others_are_listed(folder, capsys, content):
    good = {"lab": 1, "student": "=HYPERLINK(1)", "passed": 1, "of": 5, "exercises": {"a": {"attempts": 2}}}
    for name in ("lab-1-ada.json", ".ipynb_checkpoints/lab-1-ada-checkpoint.json"):
        write_json(folder / name, good)
    (folder / "lab-1-bob.json").write_text(content)
    [row] = checks.grades(folder)
    assert (row["file"], row["student"], row["attempts"]) == ("lab-1-ada.json", "'=HYPERLINK(1)", 2)
    assert capsys.readouterr().err == f"left out: {folder / 'lab-1-bob.json'} is no summary of a lab\n"


def test_whatever_a_function_does_the_sentence_is_short_and_the_notebook_goes_on(folder):
    assert len(lab2.collapse.judge(lambda path: "A" * 100_000).message) <= checks.LONGEST_MESSAGE
    assert "raises SystemExit" in lab2.collapse.judge(lambda path: sys.exit(1)).message


def test_a_console_without_the_marks_shows_the_rest(folder, monkeypatch):
    console = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", newline="\n")
    monkeypatch.setattr(sys, "stdout", console)
    lab2.collapse(lambda path: "Ł")
    console.flush()
    assert console.buffer.getvalue().startswith(b"? not yet \xb7 collapse: ")
