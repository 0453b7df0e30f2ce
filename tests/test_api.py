"""The API page: every public object has an entry with its docstring, and markup in docstrings stays text."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from mtlser import paper
from mtlser.report.departures import api_anchor, source_line
from mtlser_book import api, marks

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
PAGE = marks.expand(TEXT, ROOT)


def test_every_mark_is_expanded():
    assert "<!--" not in PAGE and PAGE.count("\n### mtlser") == len(marks.MARK.findall(TEXT)) > 20


@pytest.mark.parametrize("departure", paper.DEPARTURES, ids=lambda departure: departure.name)
def test_every_departure_leads_to_an_entry_and_a_line(departure):
    module, _, name = departure.code.partition(":")
    assert f"{{#{api_anchor(module, name)}}}" in PAGE
    file, line = source_line(departure.code)
    assert name.rsplit(".")[-1] in (ROOT / file).read_text(encoding="utf-8").splitlines()[line - 1]


def test_anchors_are_unique():
    anchors = [part.split("}")[0] for part in PAGE.split("{#")[1:]]
    assert len(anchors) == len(set(anchors))


def test_public_functions_of_the_public_modules_have_a_docstring():
    bare = [entry for entry in PAGE.split("\n\n[`") if "\n: `src/" in entry and not entry.startswith("class")]
    assert not bare, bare


def test_a_signature_is_as_written():
    node = ast.parse("def f(self, a: int, *, b: str = 'x') -> list[int]: ...").body[0]
    assert api.signature(node, "C.f") == "C.f(a: int, *, b: str='x') -> list[int]"
    node = ast.parse("@cached_property\ndef size(self) -> int: ...").body[0]
    assert api.signature(node, "C.size") == "C.size -> int"


def test_markup_in_docstrings_stays_text():
    assert api.plain("a `<run id>` and <b> $x$ a_b") == r"a `<run id>` and \<b\> \$x\$ a\_b"


def test_what_is_not_there_is_an_error():
    with pytest.raises(LookupError, match="does not exist"):
        api.module_reference("mtlser.nothing")
    with pytest.raises(LookupError, match="defines no nothing"):
        source_line("mtlser.config:nothing")
