"""A lab's source (`labs`) → the student copy, the book's student view, and the notebook of the solution page."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path

import nbformat
from markdown_it import MarkdownIt
from nbformat import NotebookNode

from mtlser.files import whole_file
from mtlser_book import Stop, labs
from mtlser_book.labs import Lab

# Where the project is published, "owner/name" on GitHub. Set it once, then run: python -m mtlser_book students
REPOSITORY = "OWNER/REPO"
BRANCH = "main"

# The first code cell of a student copy.
SET_UP = """
# In Colab, this installs the project, once; anywhere else it does nothing.
import importlib.util

if importlib.util.find_spec("mtlser") is None:
    %pip install --quiet "mtlser @ git+https://github.com/{}"
"""


def box(summary: str, text: str) -> str:
    """Markdown that opens when its summary, plain text, is clicked; in Jupyter and in the book."""
    return f"<details>\n<summary>{summary}</summary>\n\n{text.strip()}\n\n</details>"


def quiz_box(text: str, question_number: int) -> str:
    """A question whose options open on a click and say whether and why they are right."""
    question, options = labs.read_quiz(text)
    as_html = MarkdownIt().renderInline  # Markdown is not read inside of a summary
    boxes = [
        box(f"{letter}. {as_html(option)}", f"{'**Right.**' if right else '**Not this one.**'} {why}")
        for letter, (option, right, why) in zip("ABCDEF", options, strict=False)
    ]
    return "\n\n".join([f"**Question {question_number}.** {question}", "Choose first, then open your answer.", *boxes])


def remade(notebook: NotebookNode, lab: Lab, solved: bool) -> NotebookNode:
    """A copy without outputs: with solutions and answers, or else with stubs and hints; the quiz in boxes in both.

    Raises Stop that names the cell which is none of a lab.
    """
    made, count = copy.deepcopy(notebook), Counter()
    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    made.metadata = nbformat.from_dict({"kernelspec": python, "language_info": {"name": "python"}})
    for position, cell in enumerate(made.cells, 1):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        try:
            count[name := labs.role(cell)] += 1
            if name == "solution":
                cell.source = labs.with_solution(cell.source) if solved else labs.without_solution(cell.source)
            elif name == "hint":
                cell.source = box(f"Hint {count['hint']}", cell.source)
            elif name == "quiz":
                cell.source = quiz_box(cell.source, count["quiz"])
            elif name == "exercise" or cell.source.startswith("## "):
                count["hint"] = 0
        except Stop as error:
            raise Stop(f"{lab.source}, cell {position}: {error}") from None
    made.cells = [cell for cell in made.cells if labs.role(cell) != ("hint" if solved else "answer")]
    return made


def student_view(notebook: NotebookNode, lab: Lab, more: str) -> NotebookNode:
    """What students see; below the title, how long the lab takes and `more`. Raises Stop."""
    made = remade(notebook, lab, solved=False)
    exercises = sum(labs.role(cell) == "exercise" for cell in made.cells)
    time = f"About {labs.total_minutes(made)} minutes, {exercises} exercises and a quiz; the stretch task is extra."
    made.cells[0].source += f"\n\n{time} {more}"
    return made


def student_notebook(notebook: NotebookNode, lab: Lab) -> NotebookNode:
    """The copy that students open. Raises Stop where the source is no lab."""
    how = f"Write code where a cell says `{labs.YOURS}`, then run the check below it: it says what is wrong. "
    made = student_view(notebook, lab, f"{how}Hints open one by one.")
    made.cells.insert(1, nbformat.v4.new_code_cell(SET_UP.strip().format(REPOSITORY)))
    return made


def student_page(notebook: NotebookNode, lab: Lab) -> NotebookNode:
    """The same as a page of the book, with ways to open it, and the solution. Raises Stop."""
    ways = ["`make workshop` on your machine"]
    if "OWNER" not in REPOSITORY:  # not published yet: links that lead nowhere would be a lie
        ways += [
            f"[Colab](https://colab.research.google.com/github/{REPOSITORY}/blob/{BRANCH}/{lab.student})",
            f"[Binder](https://mybinder.org/v2/gh/{REPOSITORY}/{BRANCH}?urlpath=lab/tree/{lab.student})",
        ]
    return student_view(notebook, lab, f"Open it with {' or '.join(ways)}; [solution](solutions/{lab.stem}.ipynb).")


def solution_notebook(notebook: NotebookNode, lab: Lab) -> NotebookNode:
    """The notebook that is executed for the solution page: no hints, no marks, the quiz with its explanations."""
    made = remade(notebook, lab, solved=True)
    title, _, rest = made.cells[0].source.partition("\n")
    link = f"The solution of [this lab](../{lab.stem}.ipynb). Try it first: a solution read is soon forgotten."
    made.cells[0].source = f"{title}, solved\n\n{link}\n{rest}"
    return made


def student_text(root: Path, lab: Lab) -> str:
    """The bytes, as text, of the committed student copy. Raises Stop."""
    made = student_notebook(nbformat.read(root / lab.source, as_version=4), lab)
    made.nbformat_minor = 5
    for position, cell in enumerate(made.cells):
        cell["id"] = str(position)  # as nbstripout numbers them
    nbformat.validate(made)
    return nbformat.writes(made) + "\n"


def write_students(root: Path) -> list[str]:
    """Writes the student copies that differ and removes those without a source; returns their paths. Stop."""
    changed, texts = [], {root / lab.student: student_text(root, lab) for lab in labs.find_labs(root)}
    for path, text in texts.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            with whole_file(path) as partial:
                partial.write_text(text, encoding="utf-8", newline="\n")
            changed.append(f"{labs.COPIES}/{path.name}")
    for path in sorted(set((root / labs.COPIES).glob("*.ipynb")) - set(texts)):
        path.unlink()
        changed.append(f"{labs.COPIES}/{path.name} (removed: it has no source)")
    return changed
