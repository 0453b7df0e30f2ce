"""Figure 1 redrawn: a valid picture inside its frame, with the parts that the paper names, dark on a light ground."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

BOOK = Path(__file__).parents[1] / "book"
SVG = "{http://www.w3.org/2000/svg}"
ROOT = ElementTree.parse(BOOK / "figure1.svg").getroot()
GROUND, *BOXES = ROOT.iter(f"{SVG}rect")


def corners(rect: ElementTree.Element) -> tuple[float, ...]:
    """Left, top, right, bottom."""
    x, y, width, height = (float(rect.get(name, 0)) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def test_figure1_is_inside_its_frame_and_no_box_covers_another():
    assert ROOT.get("viewBox") == "0 0 460 610" and corners(GROUND) == (0, 0, 460, 610)
    for one in map(corners, BOXES):
        assert one[0] >= 0 and one[1] >= 0 and one[2] <= 460 and one[3] <= 610
        for other in map(corners, BOXES):
            apart = one[2] <= other[0] or one[3] <= other[1] or other[2] <= one[0] or other[3] <= one[1]
            assert one == other or apart


def test_figure1_has_both_paths_and_the_legend_letters():
    words = " ".join("".join(text.itertext()) for text in ROOT.iter(f"{SVG}text"))
    for part in ("CTC loss", "cross-entropy", "softmax", "FC layer g", "FC layer h", "pooling", "wav2vec 2.0"):
        assert part in words
    for shape in ("B × S", "B × T × H", "B × H", "B × T × V", "B × E"):
        assert shape in words
    dashed = [rect for rect in BOXES if rect.get("stroke-dasharray")]
    assert len(dashed) == 3 and len({rect.get("stroke") for rect in dashed}) == 1


def test_figure1_is_readable_in_either_theme():
    assert GROUND.get("fill") == "#ffffff" and ROOT.get("fill") == "#222832"  # whatever the page's ground
    assert "![From bottom to top: a waveform" in (BOOK / "model.ipynb").read_text(encoding="utf-8")
