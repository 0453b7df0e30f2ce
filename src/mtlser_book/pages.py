"""Which pages the book executes, in which order, and what each depends on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from nbformat import NotebookNode
from sphinx_external_toc.parsing import parse_toc_yaml

from mtlser.config import ALPHAS
from mtlser.files import digest, file_digest
from mtlser.runs.plan import Plan, table4
from mtlser.runs.settings import Settings
from mtlser_book import Stop, labs, students
from mtlser_book.execute import Page

TEMPLATE = "book/training/template.ipynb"
RUN_FILES = ("run.json", "history.parquet", "predictions.parquet")


def alpha_target(alpha: float) -> str:
    """Where the page that trains this alpha goes."""
    return f"book/training/alpha-{alpha:g}.ipynb"


def toc_names(root: Path) -> list[str]:
    """Page names of `_toc.yml` in reading order."""
    return list(parse_toc_yaml(root / "_toc.yml"))


def book_pages(root: Path, preset: str, settings: Settings) -> list[Page]:
    """The executed pages: one per alpha first, since they train what the others read, then `_toc.yml`'s notebooks."""
    plan = table4(preset, settings)
    pages = [alpha_page(alpha, plan) for alpha in ALPHAS]
    everything = records_digest(plan, "*")
    found = {lab.source: lab for lab in labs.find_labs(root)}
    for source in (f"{name}.ipynb" for name in toc_names(root)):
        if source in found:
            pages += lab_pages(found[source])
        elif (root / source).exists() and source != TEMPLATE:
            pages.append(Page(source, source, {"preset": preset}, inputs_digest=everything))
    return pages


def lab_pages(lab: labs.Lab) -> list[Page]:
    """A lab's two pages: the student view, which is not executed, and the solution."""
    names = ("checks/__init__.py", f"checks/lab{lab.number}.py", "lab_data.py")
    used = [Path(__file__).parent / name for name in names]
    view = Page(lab.source, lab.source, make=partial(students.student_page, lab=lab), executed=False)
    solved = partial(students.solution_notebook, lab=lab)
    given = {"make": solved, "inputs_digest": lambda: digest(*map(file_digest, used)), "alone": True}
    return [view, Page(lab.source, lab.solution, **given)]


def alpha_page(alpha: float, plan: Plan) -> Page:
    """The page of one alpha, executed from the template. Outside of the plan it shows what records there are."""
    outside = alpha not in plan.alphas
    reads = table4(plan.preset.name, replace(plan.settings, train=False, alphas=None)) if outside else plan
    return Page(
        source=TEMPLATE,
        target=alpha_target(alpha),
        parameters={"preset": plan.preset.name, "alpha": alpha},
        make=partial(titled, alpha=alpha),
        environment={"MTLSER_TRAIN": "0", "MTLSER_ALPHAS": ""} if outside else {},
        inputs_digest=records_digest(reads.only(alpha=alpha), f"*-alpha-{alpha:g}-*"),
    )


def titled(notebook: NotebookNode, alpha: float) -> NotebookNode:
    """The template under a heading of its own, with a link to itself. Raises Stop where it has no heading."""
    note = f"This page is [the template]({Path(TEMPLATE).name}), executed with alpha = {alpha:g}."
    for cell in notebook.cells[:1]:
        cell.source, found = re.subn(r"^# .*$", f"# α = {alpha:g}\n\n{note}", cell.source, count=1, flags=re.M)
        if found:
            return notebook
    raise Stop(f"{TEMPLATE}: no `# ` heading to replace")


def records_digest(plan: Plan, pattern: str) -> Callable[[], str]:
    """A digest of what a page reads: the plan's run ids, the runs whose folder matches, and the shared results.

    While runs are missing that the page would train, it equals nothing: the page has to be executed.
    """

    def current() -> str:
        if plan.settings.train and (not plan.corpus.exists or plan.missing()):
            return "missing"
        parts = [run.run_id for run in plan.runs] if plan.corpus.exists else []
        folders = sorted((plan.settings.artifacts / "runs").glob(pattern))
        files = [folder / name for folder in folders for name in RUN_FILES]
        for path in filter(Path.is_file, [*files, *sorted(plan.settings.results.rglob("*"))]):
            parts += [path.as_posix(), file_digest(path)]
        return digest(*parts)

    return current
