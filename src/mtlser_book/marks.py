"""What pages and slides take from the code, the labs, the paper and the records: each computed, none typed.

They hold marks, HTML comments such as `<!-- lab 2: minutes -->`; `expand` replaces each by what it names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import nbformat

from mtlser.corpus.pocket_plan import AROUSAL, VALENCE
from mtlser.paper import table4
from mtlser.report.display import percent
from mtlser_book import Stop, bootstrap, labs, readme

PAGES = ("book/notices", "book/workshop/teachers-guide")
MARK = re.compile(r"<!-- (.+?) -->")


def expand(text: str, root: Path) -> str:
    """The page with each mark replaced by what it names, as Markdown. Raises Stop for one that names nothing."""

    def fact(mark: re.Match) -> str:
        name, *given = mark[1].split(": ", 1)
        if number := re.fullmatch(r"lab (\d+)", name):
            name, given = "lab", [int(number[1]), *(given or [""])]
        try:
            if name not in MARKS:
                raise LookupError(f"unknown; there are {', '.join(MARKS)}")
            return MARKS[name](root, *given)
        except LookupError as error:
            raise Stop(f"{mark[0]}: {error}") from None

    return MARK.sub(fact, text)


def about_labs(root: Path) -> dict[int, dict[str, str]]:
    """The labs there are: title, goals (Markdown) and minutes (without the stretch) by number."""
    found = {}
    for lab in labs.find_labs(root):
        notebook = nbformat.read(root / lab.source, as_version=4)
        title = notebook.cells[0].source.splitlines()[0].removeprefix(f"# Lab {lab.number}: ")
        minutes = str(labs.total_minutes(notebook))
        found[lab.number] = {"title": title, "goals": notebook.cells[1].source, "minutes": minutes}
    return found


def lab_fact(root: Path, number: int, detail: str) -> str:
    """The title, minutes or goals of a lab. Raises LookupError for another lab or detail."""
    about = about_labs(root).get(number, {})
    if detail not in about:
        raise LookupError("no such lab, or neither title, minutes nor goals")
    return about[detail]


def labs_table(root: Path) -> str:
    """A table of the labs with their minutes."""
    rows = ((f"{number}: {about['title']}", about["minutes"]) for number, about in about_labs(root).items())
    return readme.table(("lab", "minutes"), *rows)


def paper_accuracy(root: Path, alpha: str) -> str:
    """The accuracy that Table 4 prints for an alpha. Raises LookupError for another alpha."""
    rows = table4().set_index("alpha")["accuracy"]
    if float(alpha) not in rows.index:
        raise LookupError("Table 4 has no such alpha")
    return percent(rows[float(alpha)])


def cues(root: Path) -> str:
    """Which arousal and valence the pocket corpus gives each emotion."""
    head = ("emotion", "arousal, mostly in the voice", "valence, mostly in the words")
    return readme.table(head, *((emotion, AROUSAL[emotion], VALENCE[emotion]) for emotion in AROUSAL))


def licences(root: Path) -> str:
    """A Markdown table of the directly used packages: name, pinned version, and the licence that each states."""
    direct = (root / "requirements.txt").read_text(encoding="utf-8").split("# What they need")[0]
    pins = re.findall(r"^([\w.-]+)==(\S+)", direct, re.MULTILINE)
    rows = ((name, version, stated_licence(name)) for name, version in pins)
    return readme.table(("package", "version", "licence, as it states"), *rows)


def stated_licence(package: str) -> str:
    """The licence in a package's metadata, in a few words; "not stated" where there is none."""
    try:
        about = metadata(package)
    except PackageNotFoundError:
        return "not installed here"
    classifiers = [c.split(" :: ")[-1] for c in about.get_all("Classifier") or () if c.startswith("License ::")]
    short = (about.get("License") or "").strip()
    given = about.get("License-Expression") or ", ".join(classifiers) or (short if len(short) < 60 else "")
    return given.replace("|", "/") or "not stated"


def wheelhouse(root: Path) -> str:
    """What a stick takes, as `.ci/rehearse-wheelhouse` measured."""
    entry = json.loads((root / "book/results/maintainers/workshop/wheelhouse.json").read_text(encoding="utf-8"))
    return (
        "Rehearsed on {date} ({hardware[processor]}, {hardware[cores]} cores, {hardware[system]}, Python {python}, "
        "torch {torch}): {packages} packages, {stick_gb} GB on the stick, {installed_gb} GB once installed, "
        "{install_minutes} minutes to install without any index; lab 2's student copy then ran from top to bottom."
    ).format(**entry)


MARKS: dict[str, Callable[..., str]] = {
    "licences": licences,
    "lab": lab_fact,
    "labs": labs_table,
    "paper accuracy": paper_accuracy,
    "results": readme.table4_block,
    "rates": readme.committed_note,
    "cues": cues,
    "disk": lambda root, torch: f"{bootstrap.FREE_GIGABYTES[torch]} GB",  # free, for torch's build "cpu" or "default"
    "wheelhouse": wheelhouse,
}
