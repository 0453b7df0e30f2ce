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
the stretch, which does not count in the total. `tests/test_workshop.py` lists what a source lacks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from mtlser_book import Stop

SOURCES = "book/workshop"
COPIES = "workshop"  # student copies, committed, so that Colab and Binder can open them
SOLUTIONS = "book/workshop/solutions"
TAGS = ("goals", "exercise", "hint", "solution", "check", "answer", "stretch", "quiz")

BEGIN, STUB, END = "### BEGIN SOLUTION", "### STUB", "### END SOLUTION"
YOURS = "# your code here"
REGION = re.compile(  # indentation, solution, stub
    rf"^([ \t]*){BEGIN}\n(.*?)(?:^\1{STUB}\n(.*?)\n)?^[ \t]*{END}[ \t]*$", flags=re.DOTALL | re.MULTILINE
)
HEADING = re.compile(r"^## (.+?)(?: \((\d+)( more)? minutes?\))?$", flags=re.MULTILINE)
OPTION = re.compile(r"^- \[([ x])\] (.+)$", flags=re.MULTILINE)


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


def find_labs(root: Path) -> list[Lab]:
    """The labs there are, by number. Raises Stop for a name without a number."""
    found = []
    for path in (root / SOURCES).glob("*.ipynb"):
        match = re.fullmatch(r"lab-(\d+)-[a-z0-9-]+", path.stem)
        if not match:
            raise Stop(f"{SOURCES}/{path.name}: a lab is called lab-<number>-<name>.ipynb, in small letters")
        found.append(Lab(int(match[1]), path.stem))
    return sorted(found, key=lambda lab: lab.number)


def role(cell: NotebookNode) -> str:
    """The cell's tag among TAGS, "" for none. Raises Stop for two, or for a tag that is not known."""
    tags = cell.metadata.get("tags", [])
    roles = [tag for tag in tags if not tag.startswith(("hide-", "remove-"))]
    if len(roles) > 1 or not set(roles) <= set(TAGS):
        raise Stop(f"tags {tags}: one of {', '.join(TAGS)}, or none")
    return roles[0] if roles else ""


def total_minutes(notebook: NotebookNode) -> int:
    """Minutes of all sections but the stretch."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return sum(int(minutes) for _, minutes, beyond in HEADING.findall(text) if minutes and not beyond)


def read_quiz(text: str) -> tuple[str, list[tuple[str, bool, str]]]:
    """The question and its options, each (text, whether it is right, why).

    Raises Stop where the form is another, or an option has no explanation.
    """
    asked, *parts = OPTION.split(text.strip())
    name, options = f'quiz "{asked.strip()[:40]}"', []
    for mark, option, below in zip(parts[0::3], parts[1::3], parts[2::3], strict=True):
        lines = [line for line in below.splitlines() if line.strip()]
        for line in lines:
            if not line.strip().startswith(">"):
                raise Stop(f'quiz: "{line}" is neither an option "- [ ] …" nor an explanation "  > …"')
        options.append((option, mark == "x", " ".join(line.strip()[1:].strip() for line in lines)))
    if not asked.strip() or len(options) < 2 or sum(right for _, right, _ in options) != 1:
        raise Stop(f"{name}: a question, two options or more, exactly one of them right")
    if silent := [option for option, _, why in options if not why]:
        raise Stop(f"{name}: no explanation of {silent}")
    if any("$" in option for option, _, _ in options):
        raise Stop(f"{name}: no math in an option, which is shown as HTML")
    return asked.strip(), options


def without_solution(code: str) -> str:
    """The code with each solution replaced by its stub. Raises Stop where no solution is marked."""

    def stub(match: re.Match) -> str:
        indent, own = match[1], match[3]
        lines = re.sub(r"^(\s*)# ?", r"\1", own, flags=re.MULTILINE) if own else f"{indent}..."
        return f"{indent}{YOURS}\n{lines}"

    stubbed, count = REGION.subn(stub, code)
    if not count or any(mark in stubbed for mark in (BEGIN, STUB, END)):
        raise Stop(f'a solution stands between lines "{BEGIN}" and "{END}", with "{STUB}" inside if at all')
    return stubbed


def with_solution(code: str) -> str:
    """The code without the marks and the stub."""
    return REGION.sub(lambda match: match[2].rstrip("\n"), code)
