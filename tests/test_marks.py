"""Marks on pages and slides are replaced by what they name, and one that names nothing is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pybtex.database import parse_string

from mtlser_book import Stop, marks

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", marks.PAGES)
def test_every_mark_of_a_page_is_replaced(page):
    text = (ROOT / f"{page}.md").read_text(encoding="utf-8")
    assert marks.MARK.search(text) and "<!--" not in marks.expand(text, ROOT)


@pytest.mark.parametrize(
    ("mark", "says"),
    [
        ("lab 77: title", "lab 77"),
        ("lab 2: colour", "neither title, minutes nor goals"),
        ("paper accuracy: 0.3", "no such alpha"),
        ("anything", "unknown; there are"),
    ],
)
def test_a_mark_that_names_nothing_is_an_error(mark, says):
    with pytest.raises(Stop, match=says):
        marks.expand(f"Text <!-- {mark} --> text", ROOT)


def test_marks_name_what_is_computed():
    assert marks.expand("<!-- paper accuracy: 0.1 -->!", ROOT) == "78.15%!"
    assert marks.expand("<!-- lab 2: title -->", ROOT) == "CTC by hand"
    assert "| happy | high | positive |" in marks.expand("<!-- cues -->", ROOT)
    assert "synthetic" in marks.expand("<!-- results -->", ROOT)


def test_the_citation_is_that_of_the_file():
    """The page's BibTeX: this book, and the paper that it reproduces."""
    page = parse_string((ROOT / "book" / "cite.md").read_text(encoding="utf-8").split("```")[1], "bibtex").entries
    book = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    paper = book["references"][0]
    assert page["mtlser"].fields["title"].strip("{}") == book["title"]
    assert page["mtlser"].fields["note"] == f"Version {book['version']}"
    assert [author.last_names for author in page["cai2021"].persons["author"]] == [
        [author["family-names"]] for author in paper["authors"]
    ]
    fields = {name: str(paper[name]) for name in ("title", "year", "doi")}
    fields |= {"booktitle": paper["collection-title"], "pages": f"{paper['start']}--{paper['end']}"}
    assert dict(page["cai2021"].fields) == fields


def test_every_direct_package_is_listed_with_its_licence():
    table = marks.licences(ROOT).splitlines()
    assert len(table) > 25
    named = {row.split("|")[1].strip(): row.split("|")[3].strip() for row in table[2:]}
    assert {"torch", "transformers", "espeakng-loader", "jupyter-book"} <= set(named)
    assert "MIT" in named["jiwer"] or "Apache" in named["jiwer"]
    assert marks.stated_licence("no-such-package") == "not installed here"
