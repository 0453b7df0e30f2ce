"""What ran a page: the note at the foot of each executed page, from the record in its metadata."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

# Beside what decides a run's result: packages that change what a page shows of it.
SHOWN_BY = ("scipy", "statsmodels", "matplotlib", "seaborn", "papermill", "jupyter-book")


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute, draw and render a page."""
    return machine.versions() | {name: version(name) for name in SHOWN_BY}


def page_record(key: str, seconds: float, source: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """What an executed notebook carries in its metadata under `mtlser`; `key` says what it depends on."""
    return {
        "key": key,
        "seconds": round(seconds, 1),
        "versions": versions(),
        "hardware": machine.hardware(),
        "revision": machine.revision(),
        "source": source,
        "parameters": parameters,
    }


def footer(record: dict[str, Any]) -> str:
    """Markdown of the closing note of an executed page."""
    given = ", ".join(f"`{name} = {value!r}`" for name, value in record["parameters"].items())
    machine = record["hardware"]
    return "\n".join(
        [
            ":::{admonition} What ran this page",
            ":class: dropdown mtlser-provenance",
            f"`{record['source']}`" + (f" with {given}" if given else "") + f", executed in {record['seconds']:.0f} s.",
            "",
            f"Code revision `{record['revision']}`; content `{record['key'][:12]}`.",
            "",
            f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}.",
            "",
            ", ".join(f"{name} {number}" for name, number in record["versions"].items()) + ".",
            ":::",
        ]
    )
