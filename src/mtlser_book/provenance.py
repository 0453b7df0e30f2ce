"""What an executed page carries: what ran it in its metadata, and the note at its foot."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

import nbformat
from nbformat import NotebookNode

from mtlser import machine

# Beside what decides a run's result: packages that change what a page shows of it.
SHOWN_BY = ("scipy", "statsmodels", "matplotlib", "seaborn", "papermill", "jupyter-book")


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute, draw and render a page."""
    return machine.versions() | {name: version(name) for name in SHOWN_BY}


def page_record(key: str, seconds: float, source: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """What an executed notebook carries in its metadata under `mtlser`; `key` says what it depends on."""
    made = {"key": key, "seconds": round(seconds, 1), "source": source, "parameters": parameters}
    return made | {"versions": versions(), "hardware": machine.hardware(), "revision": machine.revision()}


def finish(notebook: NotebookNode, record: dict[str, Any]) -> None:
    """Makes an executed notebook a page of the book, with its record and the closing note."""
    notebook.metadata.pop("papermill", None)  # times and paths, which `record` holds without paths
    notebook.metadata["mtlser"] = record
    notebook.cells.append(nbformat.v4.new_markdown_cell(footer(record)))
    hidden = False
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # papermill and nbformat draw random ones
        cell.metadata.pop("papermill", None)
        tags = cell.metadata.get("tags", [])
        replaced = "parameters" in tags and record["parameters"]  # the defaults, by the next cell
        if replaced or (hidden and "injected-parameters" in tags):
            cell.metadata["tags"] = [*tags, "remove-cell"]
        hidden = hidden or (replaced and "remove-input" in tags)
    nbformat.validate(notebook)


def footer(record: dict[str, Any]) -> str:
    """Markdown of the closing note of an executed page."""
    given = ", ".join(f"`{name} = {value!r}`" for name, value in record["parameters"].items())
    return "\n\n".join([
        ":::{admonition} What ran this page\n:class: dropdown mtlser-provenance\n"
        f"`{record['source']}`{given and f' with {given}'}, executed in {record['seconds']:.0f} s.",
        f"Code revision `{record['revision']}`; content `{record['key'][:12]}`.",
        "{processor}, {cores} cores, {memory_gib} GiB, {system}.".format(**record["hardware"]),
        ", ".join(f"{name} {number}" for name, number in record["versions"].items()) + ".\n:::",
    ])  # fmt: skip
