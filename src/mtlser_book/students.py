"""A lab's source (`labs`) → the student copy, the book's student view, and the notebook of the solution page."""

from __future__ import annotations

import copy
import html
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from mtlser.files import whole_file
from mtlser_book.labs import (
    COPIES,
    YOURS,
    Lab,
    checked,
    find_labs,
    read_lab,
    read_quiz,
    role,
    total_minutes,
    with_solution,
    without_solution,
)

# Where the project is published, "owner/name" on GitHub. Set it once, then run: python -m mtlser_book students
REPOSITORY = "OWNER/REPO"
BRANCH = "main"


def box(summary: str, text: str) -> str:
    """Markdown that opens when its summary, plain text, is clicked; in Jupyter and in the book."""
    return f"<details>\n<summary>{summary}</summary>\n\n{text.strip()}\n\n</details>"


def inline(text: str) -> str:
    """Plain text with `code` and *emphasis* as HTML: Markdown is not read inside of a summary."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", text)


def quiz_box(text: str, question_number: int) -> str:
    """A question whose options open on a click and say whether and why they are right."""
    question, options = read_quiz(text)
    boxes = [
        box(f"{letter}. {inline(option.text)}", ("**Right.** " if option.right else "**Not this one.** ") + option.why)
        for letter, option in zip("ABCDEF", options, strict=False)
    ]
    return "\n\n".join([f"**Question {question_number}.** {question}", "Choose first, then open your answer.", *boxes])


def set_up_cell() -> NotebookNode:
    """First code cell of a student copy: installs the project in Colab; does nothing where it is installed."""
    lines = [
        "# In Colab, this installs the project, once; anywhere else it does nothing.",
        "import importlib.util",
        "",
        'if importlib.util.find_spec("mtlser") is None:',
        f'    %pip install --quiet "mtlser @ git+https://github.com/{REPOSITORY}"',
    ]
    cell = nbformat.v4.new_code_cell("\n".join(lines))
    cell["id"] = "set-up"
    return cell


def time_line(notebook: NotebookNode) -> str:
    """How long the lab takes."""
    exercises = sum("exercise" in cell.metadata.get("tags", []) for cell in notebook.cells)
    return f"About {total_minutes(notebook)} minutes, {exercises} exercises and a quiz; the stretch task is extra."


def colab_address(lab: Lab) -> str:
    """Where Colab opens the student copy."""
    return f"https://colab.research.google.com/github/{REPOSITORY}/blob/{BRANCH}/{lab.student}"


def binder_address(lab: Lab) -> str:
    """Where Binder opens the student copy."""
    return f"https://mybinder.org/v2/gh/{REPOSITORY}/{BRANCH}?urlpath=lab/tree/{lab.student}"


# What is made of a source.


def student_notebook(notebook: NotebookNode, lab: Lab) -> NotebookNode:
    """The copy that students open. Raises LabError where the source is no lab."""
    made = student_cells(checked(notebook, lab))
    how = f"Write code where a cell says `{YOURS}`, then run the check below it: it says what is wrong. "
    how += "Hints open one by one."
    made.cells[0].source += f"\n\n{time_line(notebook)} {how}"
    made.cells.insert(1, set_up_cell())
    return made


def student_page(notebook: NotebookNode, lab: Lab) -> NotebookNode:
    """The same as a page of the book, with ways to open it, and the solution."""
    made = student_cells(checked(notebook, lab))
    ways = ["`make workshop` on your machine", f"[Colab]({colab_address(lab)})", f"[Binder]({binder_address(lab)})"]
    if "OWNER" in REPOSITORY:  # not published yet: links that lead nowhere would be a lie
        ways = ways[:1]
    link = f"Open it with {' or '.join(ways)}; [solution](solutions/{lab.stem}.ipynb)."
    made.cells[0].source += f"\n\n{time_line(notebook)} {link}"
    return made


def student_cells(notebook: NotebookNode) -> NotebookNode:
    """The notebook with stubs, boxes for hints and answers, and without the answers."""
    made = without_outputs(notebook)
    made.cells = [cell for cell in made.cells if role(cell) != "answer"]
    number_of_hint = number_of_question = 0
    for cell in made.cells:
        name = role(cell)
        if name == "solution":
            cell.source = without_solution(cell.source)
        elif name == "hint":
            number_of_hint += 1
            cell.source = box(f"Hint {number_of_hint}", cell.source)
        elif name == "quiz":
            number_of_question += 1
            cell.source = quiz_box(cell.source, number_of_question)
        elif cell.source.startswith("## ") or name == "exercise":
            number_of_hint = 0
    return made


def solution_notebook(notebook: NotebookNode, lab: Lab) -> NotebookNode:
    """The notebook that is executed for the solution page: no hints, no marks, the quiz with its explanations."""
    made = without_outputs(checked(notebook, lab))
    made.cells = [cell for cell in made.cells if role(cell) != "hint"]
    number_of_question = 0
    for cell in made.cells:
        if role(cell) == "solution":
            cell.source = with_solution(cell.source)
        elif role(cell) == "quiz":
            number_of_question += 1
            cell.source = quiz_box(cell.source, number_of_question)
    title, _, rest = made.cells[0].source.partition("\n")
    link = f"The solution of [this lab](../{lab.stem}.ipynb). Try it first: a solution read is soon forgotten."
    made.cells[0].source = f"{title}, solved\n\n{link}\n{rest}"
    return made


def without_outputs(notebook: NotebookNode) -> NotebookNode:
    """A copy of the notebook as it would be committed."""
    made = copy.deepcopy(notebook)
    made.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return made


def student_text(root: Path, lab: Lab) -> str:
    """The bytes, as text, of the committed student copy. Raises LabError."""
    made = student_notebook(read_lab(root, lab), lab)
    made.nbformat_minor = 5
    for position, cell in enumerate(made.cells):
        cell["id"] = str(position)  # as nbstripout numbers them
    nbformat.validate(made)
    return nbformat.writes(made) + "\n"


def write_students(root: Path) -> list[str]:
    """Writes the student copies that differ and removes those without a source; returns their paths. LabError."""
    texts = {lab.student: student_text(root, lab) for lab in find_labs(root)}
    changed = [name for name, text in texts.items() if read_text(root / name) != text]
    for name in changed:
        with whole_file(root / name) as partial:
            partial.write_text(texts[name], encoding="utf-8", newline="\n")
    for path in sorted((root / COPIES).glob("*.ipynb")):
        if f"{COPIES}/{path.name}" not in texts:
            path.unlink()
            changed.append(f"{COPIES}/{path.name} (removed: it has no source)")
    return changed


def read_text(path: Path) -> str | None:
    """The file's text, None where there is no file."""
    return path.read_text(encoding="utf-8") if path.exists() else None
