"""Executes one cell of a page over invented values: the sentences that read a result are in the notebooks."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

BOOK = Path(__file__).parents[1] / "book"


def cell(page: str, *parts: str, **names: Any) -> dict[str, Any]:
    """The names after the only code cell of `book/<page>.ipynb` with all `parts` in its code ran, given `names`.

    A name that is given is not assigned again, so that a cell which reads records gets invented ones. What the cell
    shows has the name "shown".
    """
    cells = json.loads((BOOK / f"{page}.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    [source] = [source for source in sources if all(part in source for part in parts)]
    body = [node for node in ast.parse(source).body if ast.unparse(node).split(" = ")[0] not in names]
    if isinstance(body[-1], ast.Expr):
        body[-1] = ast.Assign([ast.Name("shown", ast.Store())], body[-1].value)
    exec(compile(ast.fix_missing_locations(ast.Module(body, [])), page, "exec"), names)
    return names


def read(page: str, part: str, **names: Any) -> str:
    """The Markdown that such a cell shows."""
    return cell(page, part, "display.Markdown(", **names)["shown"]
