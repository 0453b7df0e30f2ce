"""What is made of a lab's source, and what is said of a source that lacks something."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from lab_form import problems
from mtlser_book import Stop, labs, students
from mtlser_book.labs import Lab

ROOT = Path(__file__).parents[1]
LAB = Lab(2, "lab-2-ctc-by-hand")
QUIZ = "Which?\n\n- [ ] `a` < *b*\n  > Not\n  > that.\n- [x] c\n  > That."
SOLVED = "def f(x):\n    ### BEGIN SOLUTION\n    return x + 1\n    ### END SOLUTION"


def cell(text: str, tag: str = "", code: bool = False):
    made = (nbformat.v4.new_code_cell if code else nbformat.v4.new_markdown_cell)(text)
    made.metadata = nbformat.from_dict({"tags": [tag] if tag else []})
    return made


def source() -> nbformat.NotebookNode:
    """A lab of three exercises, with everything that a lab needs."""
    cells = [cell("# Lab 2: Small"), cell("**Goals.** Add.", "goals")]
    for n in range(3):
        cells += [cell(f"## Exercise {n} (10 minutes)\n\nAdd.", "exercise"), cell("Try.", "hint"), cell("`+`", "hint")]
        cells += [cell(SOLVED, "solution", True), cell("lab2.collapse(f)", "check", True), cell("It adds.", "answer")]
    cells += [cell("## Stretch (10 more minutes)", "stretch"), cell(SOLVED, "solution", True)]
    cells += [cell("lab2.forward(f)", "check", True), cell("## Quiz (4 minutes)")]
    cells += [cell(QUIZ, "quiz") for _ in range(3)]
    return nbformat.v4.new_notebook(cells=cells)


def test_a_whole_source_has_no_problems():
    assert problems(source(), 2) == []
    assert labs.total_minutes(source()) == 34


def drop(tag):
    def change(notebook):
        first = next(n for n, c in enumerate(notebook.cells) if tag in c.metadata.get("tags", []))
        del notebook.cells[first]

    return change


def edit(position, text, tag=None):
    def change(notebook):
        notebook.cells[position].source = text
        if tag:
            notebook.cells[position].metadata["tags"] = [tag]

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (drop("goals"), "tagged `goals`"),
        (drop("hint"), "two hints"),
        (drop("solution"), "needs a cell tagged `solution`"),
        (drop("check"), "one tagged `check`"),
        (drop("exercise"), "2 exercises"),
        (drop("stretch"), "0 stretch tasks"),
        (drop("quiz"), "2 quiz questions"),
        (edit(0, "# CTC"), "the title begins"),
        (edit(2, "## Exercise (90 minutes)"), "minutes in all"),
        (edit(2, "## Exercise"), r'ends with "\(<n> minutes\)"'),
        (edit(3, "Try.", "hnit"), "cell 4: tags"),
        (edit(5, "def f(x):\n    return x + 1"), "cell 6: a solution stands between"),
        (edit(5, "def f(x):\n    ### BEGIN SOLUTION\n    return x + 1"), "cell 6: a solution stands between"),
        (edit(5, SOLVED, "hint"), "cell 6: a hint cell of type code"),
        (edit(-1, "Which?\n\n- [ ] a\n- [x] c\n  > That."), "no explanation of"),
        (edit(-1, "Which?\n\n- [x] a\n  > So.\n- [x] c\n  > That."), "exactly one of them right"),
        (edit(-1, "Which?\n\n- [ ] $a$\n  > So.\n- [x] c\n  > That."), "no math"),
        (edit(-1, "Which?\n\n- [ ] a\n  > So.\n- (x) c\n  > That."), "neither an option"),
    ],
)
def test_what_a_source_lacks_is_said(change, says):
    notebook = source()
    change(notebook)
    assert re.search(says, "\n".join(problems(notebook, 2)))


def test_a_cell_that_no_copy_can_be_made_from_is_named():
    notebook = source()
    notebook.cells[5].source = "def f(x):\n    return x + 1"
    with pytest.raises(Stop, match=r"lab-2-ctc-by-hand\.ipynb, cell 6: a solution stands between"):
        students.student_notebook(notebook, LAB)


def test_a_solution_becomes_a_stub():
    assert labs.without_solution(SOLVED) == "def f(x):\n    # your code here\n    ..."
    assert labs.with_solution(SOLVED) == "def f(x):\n    return x + 1"


def test_an_authored_stub_takes_its_place():
    code = "### BEGIN SOLUTION\na = 1\nb = 2\n### STUB\n# a = ...\n# b = ...\n### END SOLUTION\nprint(a)"
    assert labs.without_solution(code) == "# your code here\na = ...\nb = ...\nprint(a)"
    assert labs.with_solution(code) == "a = 1\nb = 2\nprint(a)"


def test_the_student_copy():
    notebook = source()
    made = students.student_notebook(notebook, LAB)
    text = "\n".join(c.source for c in made.cells)
    assert "x + 1" not in text and "It adds." not in text and text.count("your code here") == 5  # four, and the title
    assert text.count("<summary>Hint 1</summary>") == text.count("<summary>Hint 2</summary>") == 3
    assert "About 34 minutes, 3 exercises" in made.cells[0].source
    assert "x + 1" in "\n".join(c.source for c in notebook.cells), "the source itself is not changed"


def test_a_quiz_opens_answer_by_answer():
    text = students.quiz_box(QUIZ, 1)
    assert "<summary>A. <code>a</code> &lt; <em>b</em></summary>\n\n**Not this one.** Not that." in text
    assert "<summary>B. c</summary>\n\n**Right.** That." in text


def test_the_solution_page():
    made = students.solution_notebook(source(), LAB)
    text = "\n".join(c.source for c in made.cells)
    assert "x + 1" in text and "It adds." in text and "BEGIN" not in text and "Hint" not in text
    assert made.cells[0].source.startswith("# Lab 2: Small, solved\n\n") and "(../lab-2-ctc-by-hand.ipynb)" in text


def test_the_page_links_to_where_the_project_is_published(monkeypatch):
    link = "https://colab.research.google.com/github/ada/book/blob/main/workshop/lab-2-ctc-by-hand.ipynb"
    assert "colab" not in students.student_page(source(), LAB).cells[0].source, "it is not published yet"
    monkeypatch.setattr(students, "REPOSITORY", "ada/book")
    title = students.student_page(source(), LAB).cells[0].source
    assert link in title and "https://mybinder.org/v2/gh/ada/book/main?urlpath=lab/tree/workshop/" in title
    assert "git+https://github.com/ada/book" in students.student_notebook(source(), LAB).cells[1].source


def test_copies_are_written_once_and_those_without_a_source_go(tmp_path):
    (tmp_path / "book" / "workshop").mkdir(parents=True)
    (tmp_path / "workshop").mkdir()
    (tmp_path / "workshop" / "lab-1-old.ipynb").write_text("{}")
    nbformat.write(source(), tmp_path / LAB.source)
    changed = students.write_students(tmp_path)
    assert changed[0] == LAB.student and "lab-1-old" in changed[1] and len(changed) == 2
    assert students.write_students(tmp_path) == []
    nbformat.validate(nbformat.read(tmp_path / LAB.student, as_version=4))


def test_a_name_without_a_number_is_refused(tmp_path):
    (tmp_path / "book" / "workshop").mkdir(parents=True)
    (tmp_path / "book" / "workshop" / "ctc.ipynb").write_text("{}")
    with pytest.raises(Stop, match="lab-<number>-<name>"):
        labs.find_labs(tmp_path)
