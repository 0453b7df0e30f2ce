"""What the teacher's guide and the slides say of the labs, the paper and the records: each computed, none typed.

Both pages hold marks, HTML comments such as `<!-- lab 2: minutes -->`; `expand` replaces each by what it names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mtlser.corpus.pocket_plan import AROUSAL, VALENCE
from mtlser.paper import table4
from mtlser.report.display import percent
from mtlser_book import Stop, bootstrap, readme, rehearsal, students

PAGES = ("book/workshop/teachers-guide",)
MARK = re.compile(r"<!-- (.+?) -->")
SLIDES_MINUTES = 5  # to introduce a lab


class MarkError(Stop, LookupError):
    """A mark names nothing; the message says what there is."""


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


def expand(text: str, root: Path) -> str:
    """The page with each mark replaced. Raises MarkError for a mark that names nothing."""
    return MARK.sub(lambda mark: fact(mark[1], root), text)


def fact(mark: str, root: Path) -> str:
    """What a mark names, as Markdown. Raises MarkError that lists the marks there are."""
    name, _, detail = mark.partition(": ")
    about_lab = re.fullmatch(r"lab (\d+)", name)
    if about_lab:
        return lab_fact(int(about_lab[1]), detail, root)
    if name not in MARKS:
        raise MarkError(f"<!-- {mark} -->: unknown; there are {', '.join(MARKS)} and lab <number>")
    return MARKS[name](root, detail) if detail else MARKS[name](root)


# The labs.


@dataclass(frozen=True)
class About:
    """A lab as its source describes it."""

    lab: students.Lab
    title: str  # "CTC by hand"
    goals: str  # Markdown
    minutes: int  # without the stretch
    quiz_minutes: int


def about_labs(root: Path) -> dict[int, About]:
    """The labs there are, by number. Raises LabError where a source lacks something."""
    found = {}
    for lab in students.labs(root):
        notebook = students.read_lab(root, lab)
        title = notebook.cells[0].source.splitlines()[0].removeprefix(f"# Lab {lab.number}: ")
        quiz = sum(minutes for title, minutes, _, _ in students.sections(notebook) if title == "Quiz")
        found[lab.number] = About(lab, title, notebook.cells[1].source, students.total_minutes(notebook), quiz)
    return found


def lab_fact(number: int, detail: str, root: Path) -> str:
    """The title, minutes or goals of a lab. Raises MarkError for another lab or detail."""
    found = about_labs(root).get(number)
    if found is None or detail not in ("title", "minutes", "goals"):
        raise MarkError(f"lab {number}: {detail}: no such lab, or neither title, minutes nor goals")
    return str(getattr(found, detail))


def labs_table(root: Path) -> str:
    """A table of the labs with their minutes."""
    rows = [f"| {number}: {about.title} | {about.minutes} |" for number, about in about_labs(root).items()]
    return "\n".join(["| lab | minutes |", "|---|---|", *rows])


def schedule(root: Path, name: str) -> str:
    """A schedule as a table whose times begin at 0:00; a lab that does not exist is left out. KeyError."""
    labs, clock = about_labs(root), 0
    lines = ["| from | what | minutes |", "|---|---|---|"]
    for item in SCHEDULES[name]:
        if item.lab and item.lab not in labs:
            continue
        words, parts = (item.words, [item.minutes]) if not item.lab else lab_line(labs[item.lab], item.quiz)
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


# The paper, the corpus and the records.


def paper_accuracy(root: Path, alpha: str) -> str:
    """The accuracy that Table 4 prints for an alpha. Raises MarkError for another alpha."""
    rows = table4().set_index("alpha")["accuracy"]
    if float(alpha) not in rows.index:
        raise MarkError(f"paper accuracy: {alpha}: Table 4 has no such alpha")
    return percent(rows[float(alpha)])


def results(root: Path) -> str:
    """Table 4 beside the committed records, as README.md shows it."""
    records = [readme.committed_records(root, preset) for preset in ("pocket", "iemocap")]
    block = readme.results_block(*records)
    return block.replace(readme.START, "").replace(readme.END, "").strip()


def rates(root: Path) -> str:
    """Whether the pocket gain of Table 4 hangs on the learning rate, as README.md says it."""
    return readme.committed_note(root)


def cues(root: Path) -> str:
    """Which arousal and valence the pocket corpus gives each emotion."""
    rows = [f"| {emotion} | {AROUSAL[emotion]} | {VALENCE[emotion]} |" for emotion in AROUSAL]
    return "\n".join(
        ["| emotion | arousal, mostly in the voice | valence, mostly in the words |", "|---|---|---|", *rows]
    )


def disk(root: Path, torch: str) -> str:
    """Free gigabytes that an installation asks for, with torch's build "cpu" or "default"."""
    return f"{bootstrap.FREE_GIGABYTES[torch]} GB"


MARKS: dict[str, Callable[..., str]] = {
    "labs": labs_table,
    "schedule": schedule,
    "paper accuracy": paper_accuracy,
    "results": results,
    "rates": rates,
    "cues": cues,
    "disk": disk,
    "rehearsal": lambda root: rehearsal.labs_table(root).html,
    "wheelhouse": lambda root: rehearsal.wheelhouse_sentence(root),
}
