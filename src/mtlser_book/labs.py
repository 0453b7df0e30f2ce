"""What a lab's source is: one notebook with its solutions, of which `students` makes the copies.

A source is `book/workshop/lab-<number>-<name>.ipynb`. Cells carry at most one of these tags:

    goals     markdown, the first cell after the title
    exercise  markdown, the task; its section needs a solution, a check and two hints or more
    hint      markdown, what a hint says; each becomes a box that opens by itself
    solution  code; what is between "### BEGIN SOLUTION" and "### END SOLUTION" becomes "# your code here" and `...`.
              Comment lines after "### STUB" replace `...`:  "# answer = ..." is shown as `answer = ...`
    check     code, one call of a check of `mtlser_book.checks.lab<number>`
    answer    markdown, only on the solution page
    stretch   markdown, the task of the last section before the quiz
    quiz      markdown, three cells, one question each:

        What does the blank do?

        - [ ] An option. Code and *emphasis* only, no math.
          > Why it is wrong.
        - [x] Another.
          > Why it is right.

The title is a heading "# Lab <number>: …"; every section a heading "## … (<n> minutes)", or "(<n> more minutes)" for
the stretch, which does not count in the total. `problems` lists what a source lacks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from mtlser_book import Stop

SOURCES = "book/workshop"
COPIES = "workshop"  # student copies, committed, so that Colab and Binder can open them
SOLUTIONS = "book/workshop/solutions"
TAGS = ("goals", "exercise", "hint", "solution", "check", "answer", "stretch", "quiz")

BEGIN, STUB, END = "### BEGIN SOLUTION", "### STUB", "### END SOLUTION"
YOURS = "# your code here"
REGION = re.compile(rf"^([ \t]*){BEGIN}\n(.*?)^[ \t]*{END}[ \t]*$", flags=re.DOTALL | re.MULTILINE)
MINUTES = re.compile(r"^## (.+) \((\d+)( more)? minutes?\)$")
OPTION = re.compile(r"^- \[([ x])\] (.+)$")


class LabError(Stop, ValueError):
    """A source is not a lab; the message names the file, and each cell with what it lacks."""


@dataclass(frozen=True)
class Lab:
    """A lab's source, and where what is made of it goes; paths are relative to the project."""

    number: int
    stem: str  # "lab-2-ctc-by-hand"

    @property
    def source(self) -> str:
        """The notebook with solutions; the book shows the student view under this name."""
        return f"{SOURCES}/{self.stem}.ipynb"

    @property
    def student(self) -> str:
        """The committed student copy."""
        return f"{COPIES}/{self.stem}.ipynb"

    @property
    def solution(self) -> str:
        """The executed solution page."""
        return f"{SOLUTIONS}/{self.stem}.ipynb"


@dataclass(frozen=True)
class Option:
    """One answer of a quiz question."""

    text: str
    right: bool
    why: str


def find_labs(root: Path) -> list[Lab]:
    """The labs there are, by number. Raises LabError for a name without a number."""
    found = []
    for path in (root / SOURCES).glob("*.ipynb"):
        match = re.fullmatch(r"lab-(\d+)-[a-z0-9-]+", path.stem)
        if not match:
            raise LabError(f"{SOURCES}/{path.name}: a lab is called lab-<number>-<name>.ipynb, in small letters")
        found.append(Lab(int(match[1]), path.stem))
    return sorted(found, key=lambda lab: lab.number)


def lab_at(root: Path, source: str) -> Lab | None:
    """The lab whose source this is, None for any other notebook."""
    return next((lab for lab in find_labs(root) if lab.source == source), None)


def role(cell: NotebookNode) -> str:
    """The cell's tag among TAGS, "" for none. Raises LabError for two, or for a tag that is not known."""
    tags = cell.metadata.get("tags", [])
    unknown = [tag for tag in tags if tag not in TAGS and not tag.startswith(("hide-", "remove-"))]
    roles = [tag for tag in tags if tag in TAGS]
    if unknown or len(roles) > 1:
        raise LabError(f"tags {tags}: one of {', '.join(TAGS)}, or none")
    return roles[0] if roles else ""


def sections(notebook: NotebookNode) -> list[tuple[str, int, bool, list[NotebookNode]]]:
    """(title, minutes, beyond the total, cells) for each heading of level two; minutes is 0 where none are given."""
    found: list[tuple[str, int, bool, list[NotebookNode]]] = []
    for cell in notebook.cells:
        headings = [line for line in cell.source.splitlines() if line.startswith("## ")]
        if cell.cell_type == "markdown" and headings:
            match = MINUTES.match(headings[0])
            found.append((match[1], int(match[2]), bool(match[3]), []) if match else (headings[0][3:], 0, False, []))
        if found:
            found[-1][3].append(cell)
    return found


def total_minutes(notebook: NotebookNode) -> int:
    """Minutes of all sections but the stretch."""
    return sum(minutes for _, minutes, beyond, _ in sections(notebook) if not beyond)


def read_quiz(text: str) -> tuple[str, list[Option]]:
    """The question and its options. Raises LabError where the form is another, or an option has no explanation."""
    question, options = [], []
    for line in text.strip().splitlines():
        match = OPTION.match(line)
        if match:
            options.append(Option(match[2], match[1] == "x", ""))
        elif options and line.strip().startswith(">"):
            last = options.pop()
            options.append(Option(last.text, last.right, f"{last.why} {line.strip()[1:].strip()}".strip()))
        elif options and line.strip():
            raise LabError(f'quiz: "{line}" is neither an option "- [ ] …" nor an explanation "  > …"')
        elif not options:
            question.append(line)
    asked = "\n".join(question).strip()
    if not asked or len(options) < 2 or sum(option.right for option in options) != 1:
        raise LabError(f'quiz "{asked[:40]}": a question, two options or more, exactly one of them right')
    silent = [option.text for option in options if not option.why]
    if silent:
        raise LabError(f'quiz "{asked[:40]}": no explanation of {silent}')
    if any("$" in option.text for option in options):
        raise LabError(f'quiz "{asked[:40]}": no math in an option, which is shown as HTML')
    return asked, options


def problems(notebook: NotebookNode, number: int) -> list[str]:
    """What keeps the notebook from being lab `number`, each in a sentence; empty for a good one."""
    cells, found = notebook.cells, []
    for position, cell in enumerate(cells, 1):
        try:
            name = role(cell)
            if (name in ("solution", "check")) != (cell.cell_type == "code") and name:
                found.append(f"cell {position}: a {name} cell of type {cell.cell_type}")
            if name == "quiz":
                read_quiz(cell.source)
            if name == "solution":
                without_solution(cell.source)
        except LabError as error:
            found.append(f"cell {position}: {error}")
    if not cells or not cells[0].source.startswith(f"# Lab {number}: "):
        found.append(f'cell 1: the title begins with "# Lab {number}: "')
    if len(cells) < 2 or cells[1].metadata.get("tags") != ["goals"]:
        found.append("cell 2: tagged `goals`, what the student can do afterwards")
    return found + section_problems(notebook)


def section_problems(notebook: NotebookNode) -> list[str]:
    """What the sections of a source lack."""
    found, tagged = [], {name: 0 for name in TAGS}
    for title, minutes, beyond, cells in sections(notebook):
        names = [tag for cell in cells for tag in cell.metadata.get("tags", []) if tag in TAGS]
        for name in names:
            tagged[name] += 1
        if not minutes:
            found.append(f'section "{title}": its heading ends with "(<n> minutes)"')
        if "stretch" in names and not beyond:
            found.append(f'section "{title}": a stretch says "(<n> more minutes)"')
        for kind in ("exercise", "stretch"):
            if kind in names and not {"solution", "check"} <= set(names):
                found.append(f'section "{title}": the {kind} needs a cell tagged `solution` and one tagged `check`')
        if "exercise" in names and names.count("hint") < 2:
            found.append(f'section "{title}": two hints or more')
    if not 3 <= tagged["exercise"] <= 5:
        found.append(f"{tagged['exercise']} exercises; a lab has 3 to 5")
    if tagged["quiz"] != 3:
        found.append(f"{tagged['quiz']} quiz questions; a lab has 3, one cell each")
    if tagged["stretch"] != 1:
        found.append(f"{tagged['stretch']} stretch tasks; a lab has 1")
    if not 25 <= total_minutes(notebook) <= 40:
        found.append(f"{total_minutes(notebook)} minutes in all; a lab takes 25 to 40")
    return found


def read_lab(root: Path, lab: Lab) -> NotebookNode:
    """The source of a lab. Raises LabError with everything that it lacks."""
    notebook = nbformat.read(root / lab.source, as_version=4)
    return checked(notebook, lab)


def checked(notebook: NotebookNode, lab: Lab) -> NotebookNode:
    """The notebook itself. Raises LabError where it is no lab."""
    found = problems(notebook, lab.number)
    if found:
        raise LabError("\n  ".join([f"{lab.source}:", *found]))
    return notebook


def without_solution(code: str) -> str:
    """The code with each solution replaced by its stub. Raises LabError where no solution is marked."""

    def stub(match: re.Match) -> str:
        indent, (_, _, own) = match[1], match[2].partition(f"{match[1]}{STUB}\n")
        lines = [re.sub(r"^(\s*)# ?", r"\1", line) for line in own.splitlines()] or [f"{indent}..."]
        return "\n".join([indent + YOURS, *lines])

    stubbed, count = REGION.subn(stub, code)
    if not count or any(mark in stubbed for mark in (BEGIN, STUB, END)):
        raise LabError(f'a solution stands between lines "{BEGIN}" and "{END}", with "{STUB}" inside if at all')
    return stubbed


def with_solution(code: str) -> str:
    """The code without the marks and the stub."""
    return REGION.sub(lambda match: match[2].partition(f"{match[1]}{STUB}\n")[0].rstrip("\n"), code)
