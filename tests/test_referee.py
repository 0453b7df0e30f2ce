"""The referee's demands: twenty, each with a state and a page that there is."""

from __future__ import annotations

from pathlib import Path

from mtlser.report import referee
from mtlser_book.pages import toc_names

ROOT = Path(__file__).parents[1]


def test_every_demand_stands_somewhere_and_leads_to_a_page():
    assert len(referee.DEMANDS) == 20
    names = toc_names(ROOT)
    for demand in referee.DEMANDS:
        assert set(demand) == {"demand", "stands", "answer", "page"} and demand["stands"] in referee.STANDS
        assert f"book/{demand['page']}" in names, demand["page"]


def test_what_needs_iemocap_is_not_called_met():
    from mtlser.runs.plan import table4

    if table4("iemocap").records().runs.empty:
        met = [demand["demand"] for demand in referee.DEMANDS if demand["stands"] == "met"]
        assert "The result on the original data" not in met and not any("rater" in demand for demand in met)


def test_the_table_and_its_sentence_agree():
    table = referee.table()
    assert list(table["no."]) == list(range(1, 21))
    assert referee.counts() == ", ".join(f"{(table['stands'] == word).sum()} {word}" for word in referee.STANDS)
    assert 'href="claims.html"' in table["answer"][0].html
