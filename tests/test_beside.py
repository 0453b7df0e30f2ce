"""Pictures of numbers beside each other, over invented and printed ones: every row drawn, both themes, text as text."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pandas as pd
import pytest

from fake_records import SPEAKERS, fake_records
from mtlser.config import ALPHAS, EMOTIONS
from mtlser.corpus.release_counts import iemocap_counts
from mtlser.report import beside, figures, repeats, tables
from mtlser.report.repeats import Repeat


def texts(function, data, theme: str = "light") -> list[str]:
    svg = figures.draw(function, data, theme)
    assert "<image" not in svg and len(svg) < 150_000
    return [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_table_3_has_a_row_for_each_printed_system_best_first(theme):
    rows = tables.table3_annotated()
    shown = texts(beside.table3, rows, theme)
    printed = rows.dropna(subset="accuracy").sort_values("accuracy", ascending=False)["method"].tolist()
    assert [text for text in shown if text in printed] == printed and "ours (Cai et al.)" in printed
    assert "the paper's" in shown and "protocol or metric unknown" in shown
    assert "this book's" not in shown  # not run
    known = rows["comparable"].map(lambda text: [begins for begins in beside._ROWS if text.startswith(begins)])
    assert known.map(len).eq(1).all()  # no row is left out, none drawn twice


def test_two_machines_are_a_line_for_each_alpha():
    here, there = (fake_records(alphas=(0.0, 0.1), accuracy={0.0: 0.5, 0.1: level}) for level in (0.75, 0.5))
    compared = repeats.compared([Repeat("someone", "", "", here, there)])
    shown = texts(beside.machines, compared)
    assert {"α = 0", "α = 0.1", "maintainers", "someone"} <= set(shown)


def test_every_alpha_has_its_column():
    shown = texts(beside.every_alpha, fake_records(folds=SPEAKERS[:4]))
    assert [text for text in shown if text.startswith("α")] == [f"α = {alpha:g}" for alpha in ALPHAS]
    one = texts(beside.every_alpha, fake_records(alphas=(0.1,), folds=SPEAKERS[:1], epochs=1))
    assert "α = 0.1" in one and "α = 0" not in one


def test_speakers_are_rows_of_the_release():
    counts = pd.DataFrame(iemocap_counts()["by_speaker"]).T[list(EMOTIONS)].sort_index()
    shown = texts(beside.speakers, counts)
    assert [text for text in shown if text in SPEAKERS] == sorted(SPEAKERS) and set(EMOTIONS) <= set(shown)
