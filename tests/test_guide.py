"""The teacher's guide: schedules that add up, messages that exist, and nothing that a lab contradicts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mtlser_book import labs, marks
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


def section(title: str) -> str:
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", GUIDE, flags=re.DOTALL | re.MULTILINE)[1]


LONGEST = {"half a day": 240, "all five": 285, "on evaluation": 90, "on speech": 90}  # minutes
TABLES = re.findall(r"(?:^\|.*\n)+", section("Schedules"), flags=re.MULTILINE)
SLIDES_MINUTES = 5  # to introduce a lab


@pytest.mark.parametrize("name", LONGEST)
def test_a_schedule_adds_up_and_fits(name):
    table = dict(zip(LONGEST, TABLES, strict=True))[name]
    *lines, end = rows(table)
    clock = 0
    for start, what, length in lines:
        assert start == f"{clock // 60}:{clock % 60:02d}"
        clock += sum(map(int, length.split("+")))
        lab = re.match(r"Slides, then lab (\d+): (.+?)(?: \(quiz at home\))?$", what)
        if lab:
            own = minutes_of(int(lab[1]), "quiz at home" not in what)
            assert length == f"{SLIDES_MINUTES} + {own}"
            assert lab[2] == marks.about_labs(ROOT)[int(lab[1])]["title"]
    assert end == [f"{clock // 60}:{clock % 60:02d}", "End", f"{clock} in all"]
    assert clock <= LONGEST[name]


def test_the_long_schedule_holds_every_lab():
    assert re.findall(r"then lab (\d+):", TABLES[1]) == [str(number) for number in LABS]


def test_the_guide_expands_and_is_listed_before_the_labs():
    text = marks.expand(GUIDE, ROOT)
    assert "<!--" not in text and "GB on the stick" in text
    names = toc_names(ROOT)
    assert names.index("book/workshop/teachers-guide") == names.index("book/workshop/index") + 1


# Symptoms that Python, pip or Jupyter print; the others have to be words of this project.
OTHERS = {"No matching distribution found", "No module named 'mtlser'", "NameError"}


def test_the_messages_in_the_guide_are_printed_by_the_code():
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "mtlser_book").rglob("*.py"))
    code = re.sub(r"[`\"]|\bf(?=\")", "", code)
    quoted = [
        found for symptom, _ in rows(section("What goes wrong").strip()) for found in re.findall("`(.*?)`", symptom)
    ]
    assert len(quoted) >= 7
    for message in set(quoted) - OTHERS - {"return"}:
        for part in filter(None, (part.strip() for part in message.split("…"))):
            assert part in code, message


def test_every_lab_has_misconceptions():
    labs = [int(number) for number, *_ in rows(section("What people believe").strip())]
    assert all(labs.count(number) >= 3 for number in (1, 2, 3, 4, 5)) and labs == sorted(labs)


def test_the_guide_is_one_page_that_names_the_commands():
    assert len(re.sub("(?m)^\\| \\d.*$", "", GUIDE).split()) < 1700
    for command in ("make workshop", "make wheelhouse", "make book", "bootstrap.py workshop", "mtlser_book grades"):
        assert command in GUIDE
