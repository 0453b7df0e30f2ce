"""The API reference: signatures and docstrings of public modules, read from their source, as MyST Markdown."""

from __future__ import annotations

import ast
import re
from importlib.util import find_spec
from pathlib import Path
from textwrap import indent

from mtlser.report.departures import api_anchor, source_line


def module_reference(module: str) -> str:
    """A module's docstring, and its public functions and classes as a definition list. Raises LookupError for none."""
    spec = find_spec(module)
    if spec is None:
        raise LookupError(f"{module} does not exist")
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    return "\n\n".join([f"### {module}", plain(ast.get_docstring(tree) or ""), *_entries(module, tree)])


def _entries(module: str, parent: ast.Module | ast.ClassDef, inside: str = "") -> list[str]:
    """The definitions of what is public in a module, or of those public methods of a class that say something."""
    entries = []
    for node in parent.body:
        about = ast.get_docstring(node) if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else None
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name.startswith("_") or (inside and not about):
            continue
        name, body, methods = f"{inside}{node.name}", [plain(about or "")], []
        shown = f"class {name}"
        if isinstance(node, ast.FunctionDef):
            shown = signature(node, name)
        else:
            fields = ", ".join(f"`{child.target.id}`" for child in node.body if isinstance(child, ast.AnnAssign))
            body += [f"Fields: {fields}."] if fields else []
            methods = _entries(module, node, f"{name}.")
        file, line = source_line(f"{module}:{name}")
        text = indent("\n\n".join(filter(None, [*body, f"`{file}:{line}`"])), "  ")
        entries += [f"[`{shown}`]{{#{api_anchor(module, name)}}}\n: {text.lstrip()}", *methods]
    return entries


def signature(node: ast.FunctionDef, name: str) -> str:
    """`name(arguments) -> result` as written; `self` and `cls` are left out, a property has no arguments."""
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    if any(ast.unparse(decorator).endswith("property") for decorator in node.decorator_list):
        return name + result
    return f"{name}({re.sub(r'^(self|cls)(, |$)', '', ast.unparse(node.args))}){result}"


def plain(docstring: str) -> str:
    """A docstring as Markdown: what is between backticks stays code, and nothing else is taken as markup.

    Words such as `<run id>`, `$` or `*` would otherwise become HTML, mathematics or emphasis.
    """
    return re.sub(r"(`+[^`]+`+)|([\\<>$*_\[\]{}|#~])", lambda found: found[1] or f"\\{found[2]}", docstring)
