"""The citation is that of CITATION.cff, and every direct package has its licence on the page."""

from __future__ import annotations

from pathlib import Path

import yaml

from mtlser_book import notices

ROOT = Path(__file__).parents[1]


def test_the_citation_holds_what_the_file_holds():
    text = notices.citation(ROOT / "CITATION.cff")
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    for value in (cff["title"], cff["version"], cff["references"][0]["doi"], "4508--4512", "Cai, Xingyu and Yuan"):
        assert value in text
    assert text.count("@") == 2 and text.count("{") == text.count("}")


def test_every_direct_package_is_listed_with_its_licence():
    table = notices.licences(ROOT / "requirements.txt").splitlines()
    assert len(table) > 25
    named = {row.split("|")[1].strip(): row.split("|")[3].strip() for row in table[2:]}
    assert {"torch", "transformers", "espeakng-loader", "jupyter-book"} <= set(named)
    assert "MIT" in named["jiwer"] or "Apache" in named["jiwer"]
    assert notices.stated_licence("no-such-package") == "not installed here"
