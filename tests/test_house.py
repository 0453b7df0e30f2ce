"""The house stays small, and its imports point one way: what a newcomer relies on to find the paper in it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}
ROOMS = {"corpus": 1, "model": 2, "runs": 3, "report": 4, "__main__": 5}  # what else there is, is below them all
CELL = ("mtlser.runs.engines", "mtlser.runs.plan", "mtlser.runs.work")  # `complete(table4().only(alpha=0.1))`

MOST_LINES = 15_998  # lower it with every deletion
MOST_LINES_OF_A_CELL = 4_800
MOST_LINES_OF_A_MODULE = 300


def num_lines(name: str) -> int:
    return len(MODULES[name].read_text(encoding="utf-8").splitlines())


@cache
def imports(name: str) -> frozenset[str]:
    """The modules of the project that a module imports, anywhere in it and in any form of the statement."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inside & set(MODULES) or {node.module}
    return frozenset(found & set(MODULES) - {name})


def reached(names: tuple[str, ...]) -> set[str]:
    """What importing these modules, and all that they import at any time, reads, packages included."""
    seen, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += imports(name)
            waiting += [parent for parent in MODULES if name.startswith(f"{parent}.")]
    return seen


def circles(graph: dict[str, frozenset[str]]) -> list[list[str]]:
    """Groups of modules each of which reaches itself through the others."""

    def beyond(name: str) -> set[str]:
        seen, waiting = set(), list(graph[name])
        while waiting:
            if (other := waiting.pop()) not in seen:
                seen.add(other)
                waiting += graph[other]
        return seen

    after = {name: beyond(name) for name in graph}
    groups = {frozenset(o for o in after[name] if name in after[o]) for name in graph if name in after[name]}
    return sorted(sorted(group) for group in groups)


def test_no_module_imports_itself_through_others():
    """Inside a room, too, and also where an import waits inside a function."""
    assert circles({name: imports(name) for name in MODULES}) == []


def test_a_circle_is_seen():
    graph = {"a": frozenset({"b"}), "b": frozenset({"c"}), "c": frozenset({"b"}), "d": frozenset({"a"})}
    assert circles(graph) == [["b", "c"]]


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("mtlser.")])
def test_imports_point_one_way(name):
    """config, paper, files ← corpus ← model ← runs ← report, and never back to the publishing side."""
    room = ROOMS.get(name.split(".")[1], 0)
    for other in imports(name):
        assert other.split(".")[0] == "mtlser", f"{name} imports {other}"
        parts = other.split(".")
        assert len(parts) == 1 or ROOMS.get(parts[1], 0) <= room, f"{name} imports {other}"


def test_the_house_is_small():
    lines = {name: num_lines(name) for name in MODULES}
    assert sum(lines.values()) <= MOST_LINES
    assert {name: n for name, n in lines.items() if n > MOST_LINES_OF_A_MODULE} == {}


def test_one_cell_of_table_4_reaches_few_lines():
    """What stands behind one cell: the corpus, its folds, the model, its loss, the loop, the records."""
    assert sum(num_lines(name) for name in reached(CELL)) <= MOST_LINES_OF_A_CELL
