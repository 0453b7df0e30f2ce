"""The workshop's slides: one Markdown source → one HTML page that needs no file beside it, and prints.

In `book/workshop/slides.md` a line `---` ends a slide, and a line `Notes:` begins what the speaker says. A slide's
heading is `## …`; `# …` is the title of a part. Marks are those of `marks`; `$…$` is mathematics. A line
`<!-- picture: corpus: Spectrograms -->` shows the figure or sounds of that page whose caption begins so.
"""

from __future__ import annotations

import html
import re
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

import nbformat
from docutils.utils.math.latex2mathml import tex2mathml
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from mtlser.files import whole_file
from mtlser_book import Stop, marks

SOURCE = "book/workshop/slides.md"
PAGE = "book/workshop/slides.html"
PARTS = Path(__file__).parent / "slides"  # frame, style and script of the page
NOTES = "\nNotes:\n"
PICTURE = re.compile(r"<!-- picture: ([\w/.-]+): (.+?) -->")
# What can be wider than a phone scrolls in a box of its own, by keyboard too.
SCROLLS = '<div class="scrolls" role="group" tabindex="0" aria-label="{}">'.format


@dataclass(frozen=True)
class Slide:
    """One slide: its address within the page, title, and the Markdown of what is shown and of what is said."""

    name: str  # "lab-2" for the title of a part, then "lab-2-2", …
    title: str
    opens_part: bool
    shown: str  # without the heading
    notes: str


def read_slides(text: str) -> list[Slide]:
    """The slides of a source. Raises Stop for one without a heading or notes, or with two headings."""
    slides: list[Slide] = []
    part, number = "", 0
    for position, block in enumerate(re.split(r"^---$", text, flags=re.MULTILINE), 1):
        headings = re.findall(r"^(#{1,2}) (.+)$", block, flags=re.MULTILINE)
        if len(headings) != 1 or block.count(NOTES) != 1:
            raise Stop(f'{SOURCE}, slide {position}: one heading "# …" or "## …", and one line "Notes:"')
        level, title = headings[0]
        if level == "#":  # "Lab 2: CTC by hand" → "lab-2"
            part, number = re.sub(r"\W+", "-", title.lower().partition(":")[0]).strip("-") if slides else "opening", 0
        if not part:
            raise Stop(f'{SOURCE}: the first slide is the title of a part, "# …"')
        number += 1
        shown, notes = block.replace(f"{level} {title}\n", "", 1).split(NOTES)
        name = part if number == 1 else f"{part}-{number}"
        slides.append(Slide(name, title, level == "#", shown.strip(), notes.strip()))
    return slides


def markdown() -> MarkdownIt:
    """Markdown with tables, and with mathematics as MathML, which a browser draws without a script."""
    parser = MarkdownIt("commonmark", {"html": True}).enable("table").use(dollarmath_plugin, renderer=mathematics)
    parser.add_render_rule("table_open", lambda *_: f"{SCROLLS('Table')}<table>\n")
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return parser


def mathematics(tex: str, options: dict[str, bool]) -> str:
    """TeX as MathML, displayed in a box where `options` say so. Raises Stop for TeX that cannot be read."""
    try:
        drawn = tex2mathml(tex, as_block=options["display_mode"])
    except Exception as error:  # docutils raises several kinds, one of which derives from Exception alone
        raise Stop(f"{SOURCE}: ${tex}$: {error}") from None
    return f"{SCROLLS('Formula')}{drawn}</div>" if options["display_mode"] else drawn


def with_pictures(text: str, root: Path, executed: Path | None) -> str:
    """The source with each picture in place of its mark. `executed` holds the executed `book/<page>.ipynb`.

    Where a page is not executed, or has nothing to draw yet, the slide says so. `<!-- picture: figure1.svg: what it
    shows -->` is that file of the book.
    """

    def picture(mark: re.Match) -> str:
        if mark[1].endswith(".svg"):
            drawn = b64encode((root / "book" / mark[1]).read_bytes()).decode()
            return f'<figure><img alt="{html.escape(mark[2])}" src="data:image/svg+xml;base64,{drawn}"></figure>'
        path = executed and executed / "book" / f"{mark[1]}.ipynb"
        if path is None or not path.exists():
            return f"*{mark[2]} …: made with the book (`make book`).*"
        outputs = [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", ())]
        shown = [output.get("data", {}).get("text/html", "") for output in outputs]
        for figure in re.findall(r"<figure.*?</figure>", "\n".join(shown), flags=re.DOTALL):
            if re.search(rf"<figcaption[^>]*>{re.escape(html.escape(mark[2]))}", figure):
                return re.sub(r"\s*\n\s*", " ", figure)  # a blank line would end it
        return f"*{mark[2]} …: not run.*"

    return PICTURE.sub(picture, text)


def deck(text: str, root: Path, executed: Path | None = None) -> str:
    """The whole page, with pictures where `executed` holds them. Raises Stop, also for a mark that names nothing."""
    slides, parser = read_slides(marks.expand(with_pictures(text, root, executed), root)), markdown()
    style, script, page = ((PARTS / f"deck.{kind}").read_text(encoding="utf-8") for kind in ("css", "js", "html"))
    parts = {
        "TITLE": html.escape(slides[0].title),
        "STYLE": style,
        "SCRIPT": script,
        "CONTENTS": "\n".join(f'<li><a href="#{s.name}">{html.escape(s.title)}</a></li>' for s in slides),
        "SLIDES": "\n".join(section(slide, at, len(slides), parser) for at, slide in enumerate(slides, 1)),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], page)


def section(slide: Slide, position: int, of: int, parser: MarkdownIt) -> str:
    """One slide as HTML. The first title is the page's."""
    tag = "h1" if position == 1 else "h2"
    title, shown, notes = parser.renderInline(slide.title), parser.render(slide.shown), parser.render(slide.notes)
    return (
        f'<section class="slide{" part" if slide.opens_part else ""}" id="{slide.name}" '
        f'aria-labelledby="{slide.name}-title">\n<div class="shown">\n'
        f'<{tag} id="{slide.name}-title">{title}</{tag}>\n{shown}</div>\n'
        f'<aside class="notes" aria-label="Notes for slide {position}">\n{notes}</aside>\n'
        f'<p class="number">{position} / {of}</p>\n</section>'
    )


def write_deck(root: Path, target: Path, executed: Path | None = None) -> None:
    """Writes the page of the project's slides (`deck`). Raises Stop."""
    page = deck((root / SOURCE).read_text(encoding="utf-8"), root, executed)
    with whole_file(target) as partial:
        partial.write_text(page, encoding="utf-8")
