"""Figure 1 redrawn: valid SVG in both themes, inside its frame, with the parts that the paper names."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from mtlser.report import diagram

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_figure1_is_valid_and_inside_its_frame(theme):
    root = ElementTree.fromstring(diagram.figure1(theme))
    for rect in root.iter(f"{SVG}rect"):
        x, y, width, height = (float(rect.get(name)) for name in ("x", "y", "width", "height"))
        assert x >= 0 and y >= 0 and x + width <= diagram.WIDTH and y + height <= diagram.HEIGHT
    boxes = [tuple(float(rect.get(name)) for name in ("x", "y", "width", "height")) for rect in root.iter(f"{SVG}rect")]
    for one in boxes:
        for other in boxes:
            apart = one[0] + one[2] <= other[0] or one[1] + one[3] <= other[1]
            assert one == other or apart or other[0] + other[2] <= one[0] or other[1] + other[3] <= one[1]


def test_figure1_has_both_paths_and_the_legend_letters():
    root = ElementTree.fromstring(diagram.figure1("light"))
    words = " ".join("".join(text.itertext()) for text in root.iter(f"{SVG}text"))
    for part in ("CTC loss", "cross-entropy", "softmax", "FC layer g", "FC layer h", "pooling", "wav2vec 2.0"):
        assert part in words
    for shape in ("B × S", "B × T × H", "B × H", "B × T × V", "B × E"):
        assert shape in words
    dashed = [rect for rect in root.iter(f"{SVG}rect") if rect.get("stroke-dasharray")]
    assert len(dashed) == 3 and all(rect.get("stroke") == diagram.ORANGE for rect in dashed)


def test_themes_differ_in_ink_alone():
    light, dark = diagram.figure1("light"), diagram.figure1("dark")
    assert light != dark and light.replace("#222832", "#ced6dd") == dark
    assert diagram.show_figure1().html.count("<img") == 2
