"""The API reference: signatures and docstrings of public modules, read from their source, as MyST Markdown."""

from __future__ import annotations

import ast
import inspect
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mtlser.report.departures import api_anchor, source_line


def module_reference(module: str) -> str:
    """A heading, the module's docstring, and its public functions and classes as a definition list.

    Raises LookupError for a module that is not there.
    """
    spec = find_spec(module)
    if spec is None:
        raise LookupError(f"{module} does not exist")
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    entries = [entry for node in tree.body if _is_public(node) for entry in _entries(module, node)]
    return "\n\n".join([f"### {module}", plain(ast.get_docstring(tree) or ""), *entries])


def _is_public(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")


def _entries(module: str, node: Any, inside: str = "") -> list[str]:
    """The entry of a function, or of a class and those of its public methods that say something."""
    name = f"{inside}{node.name}"
    if isinstance(node, ast.FunctionDef):
        return [_entry(module, name, signature(node, name), node)]
    methods = [child for child in node.body if _is_public(child) and ast.get_docstring(child)]
    fields = [child for child in node.body if isinstance(child, ast.AnnAssign)]
    entries = [_entry(module, name, f"class {name}", node, [child.target.id for child in fields])]
    return entries + [entry for method in methods for entry in _entries(module, method, f"{name}.")]


def _entry(module: str, name: str, shown: str, node: Any, fields: list[str] | None = None) -> str:
    """One definition: the signature with its anchor, the docstring, and where the code is."""
    file, line = source_line(f"{module}:{name}")
    body = [plain(inspect.cleandoc(ast.get_docstring(node) or "")), f"`{file}:{line}`"]
    if fields:
        body.insert(1, "Fields: " + ", ".join(f"`{field}`" for field in fields) + ".")
    lines = "\n\n".join(part for part in body if part).splitlines()
    definition = "\n".join([f": {lines[0]}", *(f"  {line}" if line else "" for line in lines[1:])])
    return f"[`{shown}`]{{#{api_anchor(module, name)}}}\n{definition}"


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
    parts = re.split(r"(`+[^`]+`+)", docstring)
    escaped = [re.sub(r"([\\<>$*_\[\]{}|#~])", r"\\\1", part) for part in parts]
    return "".join(parts[n] if n % 2 else escaped[n] for n in range(len(parts)))
