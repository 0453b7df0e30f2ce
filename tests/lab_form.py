"""What a lab's source has to have, beyond what its copies are made from: tasks, hints, checks, a quiz and minutes."""

from __future__ import annotations

from collections import Counter

from nbformat import NotebookNode

from mtlser_book import Stop, labs

COUNTS = (
    ("exercise", 3, 5, "exercises; a lab has 3 to 5"),
    ("quiz", 3, 3, "quiz questions; a lab has 3, one cell each"),
    ("stretch", 1, 1, "stretch tasks; a lab has 1"),
)


def sections(notebook: NotebookNode) -> list[tuple[str, int, bool, list[NotebookNode]]]:
    """(title, minutes, beyond the total, cells) for each heading of level two; minutes is 0 where none are given."""
    found: list[tuple[str, int, bool, list[NotebookNode]]] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (match := labs.HEADING.search(cell.source)):
            found.append((match[1], int(match[2] or 0), bool(match[3]), []))
        if found:
            found[-1][3].append(cell)
    return found


def problems(notebook: NotebookNode, number: int) -> list[str]:
    """What keeps the notebook from being lab `number`, each in a sentence; empty for a good one."""
    cells, found = notebook.cells, []
    for position, cell in enumerate(cells, 1):
        try:
            name = labs.role(cell)
            if name and (name in ("solution", "check")) != (cell.cell_type == "code"):
                found.append(f"cell {position}: a {name} cell of type {cell.cell_type}")
            {"quiz": labs.read_quiz, "solution": labs.without_solution}.get(name, str)(cell.source)
        except Stop as error:
            found.append(f"cell {position}: {error}")
    if not cells or not cells[0].source.startswith(f"# Lab {number}: "):
        found.append(f'cell 1: the title begins with "# Lab {number}: "')
    if len(cells) < 2 or cells[1].metadata.get("tags") != ["goals"]:
        found.append("cell 2: tagged `goals`, what the student can do afterwards")
    tagged: Counter[str] = Counter()
    for title, minutes, beyond, inside in sections(notebook):
        names = Counter(tag for cell in inside for tag in cell.metadata.get("tags", []))
        tagged += names
        if not minutes:
            found.append(f'section "{title}": its heading ends with "(<n> minutes)"')
        if names["stretch"] and not beyond:
            found.append(f'section "{title}": a stretch says "(<n> more minutes)"')
        for kind in ("exercise", "stretch"):
            if names[kind] and not (names["solution"] and names["check"]):
                found.append(f'section "{title}": the {kind} needs a cell tagged `solution` and one tagged `check`')
        if names["exercise"] and names["hint"] < 2:
            found.append(f'section "{title}": two hints or more')
    for name, least, most, says in COUNTS:
        if not least <= tagged[name] <= most:
            found.append(f"{tagged[name]} {says}")
    if not 25 <= labs.total_minutes(notebook) <= 40:
        found.append(f"{labs.total_minutes(notebook)} minutes in all; a lab takes 25 to 40")
    return found
