"""Executes one cell of a page over invented values: the sentences that read a result are in the notebooks."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

BOOK = Path(__file__).parents[1] / "book"


def read(page: str, part: str, **names: Any) -> str:
    """What the only code cell of `book/<page>.ipynb` with `part` in its code shows as Markdown, given `names`.

    A name that is given is not assigned again, so that a cell which reads records gets invented ones.
    """
    cells = json.loads((BOOK / f"{page}.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    [source] = [source for source in sources if part in source and "display.Markdown(" in source]
    *statements, last = ast.parse(source).body
    kept = [node for node in statements if ast.unparse(node).split(" = ")[0] not in names]
    exec(compile(ast.Module(kept, []), page, "exec"), names)
    return eval(compile(ast.Expression(last.value), page, "eval"), names).text
