"""Marks on pages and slides are replaced by what they name, and one that names nothing is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

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


def test_the_citation_holds_what_the_file_holds():
    text = marks.citation(ROOT)
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    for value in (cff["title"], cff["version"], cff["references"][0]["doi"], "4508--4512", "Cai, Xingyu and Yuan"):
        assert value in text
    assert text.count("@") == 2 and text.count("{") == text.count("}")


def test_every_direct_package_is_listed_with_its_licence():
    table = marks.licences(ROOT).splitlines()
    assert len(table) > 25
    named = {row.split("|")[1].strip(): row.split("|")[3].strip() for row in table[2:]}
    assert {"torch", "transformers", "espeakng-loader", "jupyter-book"} <= set(named)
    assert "MIT" in named["jiwer"] or "Apache" in named["jiwer"]
    assert marks.stated_licence("no-such-package") == "not installed here"
