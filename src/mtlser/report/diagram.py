"""Figure 1 of the paper, redrawn with the book's letters: an SVG in the page's ink, light or dark.

Written as SVG, since it is boxes and arrows, and its text stays text.
"""

from __future__ import annotations

from mtlser.report.display import Html, picture

WIDTH, HEIGHT = 460, 610
_INK = {"light": "#222832", "dark": "#ced6dd"}  # of text and arrows, as in `figures`
GREY, ORANGE, BLUE = "#7F7F7F", "#C77C00", "#2A7FC0"  # the paper's three colours, in this book's palette
LEFT, MIDDLE, RIGHT = 120, 230, 340  # centres of the columns

ALT = (
    "From bottom to top: a waveform enters wav2vec 2.0, convolutions and transformer, which gives the features z. "
    "Left, dashed, the path of the words: a fully-connected layer g on each frame, softmax, CTC loss against the "
    "transcript. Right, the path of the emotion: pooling over frames, a fully-connected layer h, softmax, "
    "cross-entropy against the emotion. Both losses meet in L = L_CE + α L_CTC."
)


def _box(centre: int, top: int, width: int, colour: str, lines: list[str], dashed: bool = False) -> str:
    """A rounded box with one or two centred lines of text; 22 units for each line and 14 around them."""
    height = 14 + 22 * len(lines)
    dashes = ' stroke-dasharray="6 4"' if dashed else ""
    frame = (
        f'<rect x="{centre - width / 2:g}" y="{top}" width="{width}" height="{height}" rx="7" fill="{colour}" '
        f'fill-opacity="0.16" stroke="{colour}" stroke-width="2"{dashes}/>'
    )
    texts = (f'<text x="{centre}" y="{top + 23 + 22 * row}">{line}</text>' for row, line in enumerate(lines))
    return frame + "".join(texts)


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" marker-end="url(#tip)"/>'


def _below(text: str, index: str) -> str:
    """A letter with an index, in italics."""
    return (
        f'<tspan font-style="italic">{text}</tspan><tspan dy="4" font-size="11">{index}</tspan><tspan dy="-4"> </tspan>'
    )


def _letter(text: str) -> str:
    return f'<tspan font-style="italic">{text}</tspan>'


def figure1(theme: str) -> str:
    """The SVG in the theme "light" or "dark"."""
    ink = _INK[theme]
    words = [
        _box(LEFT, 84, 190, ORANGE, [f"CTC loss {_below('L', 'CTC')}", f"transcript {_letter('t')}"], dashed=True),
        _box(LEFT, 176, 190, ORANGE, [f"softmax {_letter('ŷ')}"], dashed=True),
        _box(LEFT, 246, 190, ORANGE, [f"FC layer {_letter('g')} on each frame", f"logits {_letter('y')}: B × T × V"],
             dashed=True),
    ]  # fmt: skip
    emotions = [
        _box(RIGHT, 84, 190, BLUE, [f"cross-entropy {_below('L', 'CE')}", f"emotion {_letter('l')}"]),
        _box(RIGHT, 176, 190, BLUE, [f"softmax {_letter('ĉ')}"]),
        _box(RIGHT, 246, 190, BLUE, [f"FC layer {_letter('h')}", f"logits {_letter('c')}: B × E"]),
        _box(RIGHT, 340, 190, BLUE, ["pooling over frames", f"{_letter('ẑ')}: B × H"]),
    ]
    total = f"{_letter('L')} = {_below('L', 'CE')} + {_letter('α')} {_below('L', 'CTC')}"
    shared = [
        _box(MIDDLE, 10, 240, GREY, [total]),
        _box(MIDDLE, 432, 410, GREY, [f"features {_letter('z')}: B × T × H"]),
        _box(MIDDLE, 496, 410, GREY, ["wav2vec 2.0:", "convolutions, then transformer"]),
        f'<text x="{MIDDLE}" y="{HEIGHT - 8}">waveform {_letter("x")}: B × S</text>',
    ]
    arrows = [
        _arrow((MIDDLE, 590), (MIDDLE, 556)), _arrow((MIDDLE, 496), (MIDDLE, 470)),
        _arrow((LEFT, 432), (LEFT, 306)), _arrow((LEFT, 246), (LEFT, 214)), _arrow((LEFT, 176), (LEFT, 144)),
        _arrow((RIGHT, 432), (RIGHT, 400)), _arrow((RIGHT, 340), (RIGHT, 306)), _arrow((RIGHT, 246), (RIGHT, 214)),
        _arrow((RIGHT, 176), (RIGHT, 144)), _arrow((LEFT + 40, 84), (LEFT + 60, 48)),
        _arrow((RIGHT - 40, 84), (RIGHT - 60, 48)),
    ]  # fmt: skip
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="sans-serif" font-size="15" text-anchor="middle" fill="{ink}">'
        f'<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" fill="{ink}"/></marker></defs>'
        f'<g stroke="{ink}" stroke-width="1.5">{"".join(arrows)}</g>'
        f"{''.join(words + emotions + shared)}</svg>"
    )


def show_figure1() -> Html:
    """Figure 1 in both themes, with caption and alternative text."""
    title = "Figure 1 of the paper, redrawn; dashed: discarded at inference, when the most probable emotion is taken"
    return picture(figure1("light"), figure1("dark"), title, "After section 3.1, letters of this book", ALT)
