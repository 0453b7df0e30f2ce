"""Marks on pages and slides are replaced by what they name, and one that names nothing is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

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
        ("api: mtlser.nothing", "does not exist"),
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
