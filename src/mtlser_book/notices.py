"""What the pages on citing and on licences take from the repository and from the installed packages."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import yaml

from mtlser_book.readme import table


def citation(path: Path) -> str:
    """The repository's CITATION.cff as BibTeX: this book, and the paper that it reproduces."""
    book = yaml.safe_load(path.read_text(encoding="utf-8"))
    paper = book["references"][0]
    entries = {
        "misc{mtlser": {
            "author": _names(book["authors"]), "title": "{" + book["title"] + "}", "note": f"Version {book['version']}",
        },
        "inproceedings{cai2021": {
            "author": _names(paper["authors"]), "title": paper["title"], "booktitle": paper["collection-title"],
            "year": paper["year"], "pages": f"{paper['start']}--{paper['end']}", "doi": paper["doi"],
        },
    }  # fmt: skip
    texts = [
        "\n".join([f"@{head},", *(f"  {name} = {{{value}}}," for name, value in fields.items()), "}"])
        for head, fields in entries.items()
    ]
    return "```bibtex\n" + "\n\n".join(texts) + "\n```"


def _names(authors: list[dict]) -> str:
    return " and ".join(
        f"{a['family-names']}, {a['given-names']}" if "family-names" in a else "{" + a["name"] + "}" for a in authors
    )


def licences(requirements: Path) -> str:
    """A Markdown table of the directly used packages: name, pinned version, and the licence that each states."""
    direct = requirements.read_text(encoding="utf-8").split("# What they need")[0]
    pins = re.findall(r"^([\w.-]+)==(\S+)", direct, re.MULTILINE)
    return table(("package", "version", "licence, as it states"), *((*pin, stated_licence(pin[0])) for pin in pins))


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
