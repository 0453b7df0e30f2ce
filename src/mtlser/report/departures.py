"""The audited differences as a page shows them: each a section that leads to the code in which this book decides."""

from __future__ import annotations

import ast
import re
from functools import cache
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mtlser import paper
from mtlser.report.display import Html


def sections() -> Html:
    """Every difference of `paper.DEPARTURES` as a section with an anchor, `#departure-<name>`."""
    shown = "".join(_departure(departure) for departure in paper.DEPARTURES)
    return Html(f'<div class="mtlser-departures">{shown}</div>', f"{len(paper.DEPARTURES)} differences")


def _departure(departure: paper.Departure) -> str:
    """A section: what is written, released, done here; the API page's entry of the code, its file and line."""
    rows = {"As written": departure.paper, "As released": departure.released, "This book": departure.ours}
    rows = {term: escape(text) for term, text in (rows | {"The other side": departure.measured}).items()}
    (module, _, name), (file, line) = departure.code.partition(":"), source_line(departure.code)
    entry = f"api.html#{api_anchor(module, name)}"
    rows["Decided in"] = f'<a href="{entry}"><code>{departure.code}</code></a>, <code>{file}:{line}</code>'
    heading = f"<h3>{departure.number}. {escape(departure.topic)}</h3>"
    terms = "".join(f"<dt>{term}</dt><dd>{text}</dd>" for term, text in rows.items())
    return f'<section id="departure-{departure.name}">{heading}<dl>{terms}</dl></section>\n'


def api_anchor(module: str, name: str) -> str:
    """The anchor of an object on the book's API page: in the characters that Sphinx leaves in an anchor."""
    return re.sub(r"[^a-z0-9]+", "-", f"api-{module}.{name}".lower()).strip("-")


@cache
def source_line(code: str) -> tuple[str, int]:
    """Where "module:object" begins: path in the repository and line. Read from the source, so nothing is imported.

    Raises LookupError for an object that the module does not define.
    """
    module, _, path = code.partition(":")
    file = Path(find_spec(module).origin)
    node: Any = ast.parse(file.read_text(encoding="utf-8"))
    for name in path.split("."):
        found = [child for child in node.body if name in _defined(child)]
        if not found:
            raise LookupError(f"{module} defines no {path}; correct the entry of mtlser.paper.DEPARTURES")
        node = found[0]
    parts = module.split(".")
    return "/".join(["src", *parts[: -1 if file.stem == parts[-1] else None], file.name]), node.lineno


def _defined(node: ast.stmt) -> set[Any]:
    """The names that a statement of a module or class defines."""
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    return {getattr(node, "name", None), *(target.id for target in targets if isinstance(target, ast.Name))}
