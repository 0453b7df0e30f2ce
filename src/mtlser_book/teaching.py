"""What the teacher's guide and the slides say of the labs: their titles, goals and minutes, and schedules of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mtlser_book import labs

SLIDES_MINUTES = 5  # to introduce a lab


@dataclass(frozen=True)
class Item:
    """A line of a schedule: a lab by its number, which brings its own minutes, or anything else."""

    words: str = ""
    minutes: int = 0
    lab: int = 0
    quiz: bool = True  # with the lab's quiz; in a short time it is for later


_BREAK = Item("Break", 15)
SCHEDULES: dict[str, tuple[Item, ...]] = {
    "half a day": (
        Item("Opening slides; every laptop opens lab 1", 15), Item(lab=1), Item(lab=2), _BREAK,
        Item(lab=4), Item(lab=5), Item("What to take home; collect the results", 10),
    ),
    "five labs": (
        Item("Opening slides; every laptop opens lab 1", 15), Item(lab=1), Item(lab=2), _BREAK,
        Item(lab=3), Item(lab=4), _BREAK, Item(lab=5), Item("What to take home; collect the results", 10),
    ),
    "90 minutes, evaluation": (
        Item("The first three slides; every laptop opens lab 4", 3), Item(lab=4, quiz=False), Item(lab=5, quiz=False),
        Item("What to take home", 3),
    ),
    "90 minutes, speech": (
        Item("The first three slides; every laptop opens lab 1", 3), Item(lab=1, quiz=False), Item(lab=2, quiz=False),
        Item("What to take home", 3),
    ),
}  # fmt: skip
LONGEST = {"half a day": 240, "five labs": 285, "90 minutes, evaluation": 90, "90 minutes, speech": 90}  # minutes


@dataclass(frozen=True)
class About:
    """A lab as its source describes it."""

    lab: labs.Lab
    title: str  # "CTC by hand"
    goals: str  # Markdown
    minutes: int  # without the stretch
    quiz_minutes: int


def about_labs(root: Path) -> dict[int, About]:
    """The labs there are, by number. Raises LabError where a source lacks something."""
    found = {}
    for lab in labs.find_labs(root):
        notebook = labs.read_lab(root, lab)
        title = notebook.cells[0].source.splitlines()[0].removeprefix(f"# Lab {lab.number}: ")
        quiz = sum(minutes for title, minutes, _, _ in labs.sections(notebook) if title == "Quiz")
        found[lab.number] = About(lab, title, notebook.cells[1].source, labs.total_minutes(notebook), quiz)
    return found


def lab_fact(root: Path, number: int, detail: str) -> str:
    """The title, minutes or goals of a lab. Raises LookupError for another lab or detail."""
    found = about_labs(root).get(number)
    if found is None or detail not in ("title", "minutes", "goals"):
        raise LookupError(f"lab {number}: {detail}: no such lab, or neither title, minutes nor goals")
    return str(getattr(found, detail))


def labs_table(root: Path) -> str:
    """A table of the labs with their minutes."""
    rows = [f"| {number}: {about.title} | {about.minutes} |" for number, about in about_labs(root).items()]
    return "\n".join(["| lab | minutes |", "|---|---|", *rows])


def schedule(root: Path, name: str) -> str:
    """A schedule as a table whose times begin at 0:00; a lab that does not exist is left out. KeyError."""
    known, clock = about_labs(root), 0
    lines = ["| from | what | minutes |", "|---|---|---|"]
    for item in SCHEDULES[name]:
        if item.lab and item.lab not in known:
            continue
        words, parts = (item.words, [item.minutes]) if not item.lab else lab_line(known[item.lab], item.quiz)
        lines.append(f"| {clock_time(clock)} | {words} | {' + '.join(map(str, parts))} |")
        clock += sum(parts)
    return "\n".join([*lines, f"| {clock_time(clock)} | End | {clock} in all |"])


def lab_line(about: About, quiz: bool) -> tuple[str, list[int]]:
    """A lab in a schedule: words, and the minutes of its slides and its own."""
    words = f"Slides, then lab {about.lab.number}: {about.title}" + ("" if quiz else " (quiz at home)")
    return words, [SLIDES_MINUTES, about.minutes - (0 if quiz else about.quiz_minutes)]


def clock_time(minutes: int) -> str:
    """75 → "1:15"."""
    return f"{minutes // 60}:{minutes % 60:02d}"
