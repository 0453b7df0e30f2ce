"""The teacher's guide: schedules that add up, messages that exist, and nothing that a lab contradicts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mtlser_book import labs, marks, teaching
from mtlser_book.pages import toc_names

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "book" / "workshop" / "teachers-guide.md").read_text(encoding="utf-8")
LABS = {lab.number: lab for lab in labs.find_labs(ROOT)}


def minutes_of(number: int, quiz: bool) -> int:
    """A lab's minutes, added from its headings, with the quiz or without."""
    cells = json.loads((ROOT / LABS[number].source).read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    found = re.findall(r"^## (.*) \((\d+) minutes?\)$", text, flags=re.MULTILINE)
    assert "Quiz" in dict(found)
    return sum(int(minutes) for title, minutes in found if quiz or title != "Quiz")


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


@pytest.mark.parametrize("name", list(teaching.SCHEDULES))
def test_a_schedule_adds_up_and_fits(name):
    *lines, end = rows(teaching.schedule(ROOT, name))
    clock = 0
    for start, what, length in lines:
        assert start == f"{clock // 60}:{clock % 60:02d}"
        clock += sum(map(int, length.split("+")))
        lab = re.search(r"lab (\d+):", what)
        if lab and what.startswith("Slides"):
            own = minutes_of(int(lab[1]), "quiz at home" not in what)
            assert length == f"{teaching.SLIDES_MINUTES} + {own}"
    assert end == [f"{clock // 60}:{clock % 60:02d}", "End", f"{clock} in all"]
    assert clock <= teaching.LONGEST[name]


def test_the_long_schedule_holds_every_lab():
    planned = [item.lab for item in teaching.SCHEDULES["five labs"] if item.lab]
    assert planned == [1, 2, 3, 4, 5] and set(LABS) <= set(planned)


def test_a_lab_that_does_not_exist_is_left_out(monkeypatch):
    only = {2: teaching.about_labs(ROOT)[2]}
    monkeypatch.setattr(teaching, "about_labs", lambda root: only)
    labs = [what for _, what, _ in rows(teaching.schedule(ROOT, "half a day")) if what.startswith("Slides")]
    assert labs == [f"Slides, then lab 2: {only[2].title}"]


def test_the_guide_expands_and_is_listed_before_the_labs():
    text = marks.expand(GUIDE, ROOT)
    assert "<!--" not in text and "<table" in text
    names = toc_names(ROOT)
    assert names.index("book/workshop/teachers-guide") == names.index("book/workshop/index") + 1


def section(title: str) -> str:
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", GUIDE, flags=re.DOTALL | re.MULTILINE)[1]


# Symptoms that Python, pip or Jupyter print; the others have to be words of this project.
OTHERS = {"No matching distribution found", "No module named 'mtlser'", "NameError"}


def test_the_messages_in_the_guide_are_printed_by_the_code():
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "mtlser_book").rglob("*.py"))
    code = re.sub(r"[`\"]|\bf(?=\")", "", code)
    quoted = [
        found for symptom, _ in rows(section("What goes wrong").strip()) for found in re.findall("`(.*?)`", symptom)
    ]
    assert len(quoted) >= 8
    for message in set(quoted) - OTHERS - {"return"}:
        for part in filter(None, (part.strip() for part in message.split("…"))):
            assert part in code, message


def test_every_lab_has_misconceptions():
    labs = [int(number) for number, *_ in rows(section("What people believe").strip())]
    assert all(labs.count(number) >= 3 for number in (1, 2, 3, 4, 5)) and labs == sorted(labs)


def test_the_guide_is_one_page_that_names_the_commands():
    assert len(GUIDE.split()) < 1700
    for command in ("make workshop", "make wheelhouse", "make book", "bootstrap.py workshop", "mtlser_book grades"):
        assert command in GUIDE
