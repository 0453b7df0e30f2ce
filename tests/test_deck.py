"""The slides: one source, one page that asks for nothing, with numbers from the paper and the records only."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from mtlser_book import Stop, deck, marks
from test_prose import NUMBER, SMALL, prose

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / deck.SOURCE).read_text(encoding="utf-8")
SMALL_DECK = (
    "# Day\n\nHello\n\nNotes:\n\nSay it.\n---\n## Next\n\n$a_1$\n\nNotes:\n\n---\n# Lab 2: CTC\n\nNotes:\n\nGo.\n"
)


@pytest.fixture(scope="module")
def page():
    return deck.deck(TEXT, ROOT)


class Reader(HTMLParser):
    """Collects what a page would fetch, its ids, and where its links lead."""

    def __init__(self):
        super().__init__()
        self.fetched, self.ids, self.links = [], [], []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.fetched += [found[name] for name in ("src", "srcset", "data", "poster") if name in found]
        self.fetched += [found["href"]] if tag == "link" else []
        self.links += [found["href"]] if tag == "a" else []
        self.ids += [found["id"]] if "id" in found else []


def test_slides_are_named_by_their_part():
    slides = deck.read_slides(SMALL_DECK)
    assert [(slide.name, slide.title, slide.opens_part) for slide in slides] == [
        ("opening", "Day", True),
        ("opening-2", "Next", False),
        ("lab-2", "Lab 2: CTC", True),
    ]
    assert slides[0].shown == "Hello" and slides[0].notes == "Say it."


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("## Next", "Next"), "slide 2: one heading"),
        (("## Next", "## Next\n\n## Again"), "slide 2: one heading"),
        (("Say it.", "Notes:\n"), "slide 1: one heading"),
        (("\nNotes:\n\nGo.", ""), "slide 3"),
        (("# Day", "## Day"), "the first slide is the title of a part"),
    ],
)
def test_a_slide_that_lacks_something_is_named(change, says):
    with pytest.raises(Stop, match=says):
        deck.read_slides(SMALL_DECK.replace(*change))


def test_mathematics_needs_no_script():
    assert "<msub>" in deck.markdown().render("$a_1$") and "$" not in deck.markdown().render("$a_1$")
    assert 'display="block"' in deck.markdown().render("$$\na_1\n$$")
    with pytest.raises(Stop, match="nosuchcommand"):
        deck.markdown().render(r"$\nosuchcommand$")


def test_an_unknown_mark_is_an_error(tmp_path):
    with pytest.raises(Stop, match="unknown; there are licences"):
        deck.deck(SMALL_DECK.replace("Hello", "<!-- accuracy -->"), tmp_path)


def test_the_page_asks_for_nothing_and_its_links_lead_somewhere(page):
    reader = Reader()
    reader.feed(page)
    assert all(address.startswith("data:") for address in reader.fetched)
    assert "@import" not in page and "url(" not in page and "fetch(" not in page
    assert reader.links and {link.removeprefix("#") for link in reader.links} <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))
    assert "<!-- " not in page and "&lt;!--" not in page and "{{" not in page


def test_source_and_page_introduce_all_five_labs(page):
    parts = [slide.name for slide in deck.read_slides(TEXT) if slide.opens_part]
    assert parts == ["opening", "lab-1", "lab-2", "lab-3", "lab-4", "lab-5", "take-home"]
    for number, about in marks.about_labs(ROOT).items():
        assert f'id="lab-{number}"' in page and f"Lab {number}: {about['title']}" in page
        assert f"{about['minutes']} minutes" in page
        assert re.search(r"\* (\w+ \w+)", about["goals"])[1] in page


def test_every_slide_has_something_to_say():
    assert not [slide.name for slide in deck.read_slides(TEXT) if len(slide.notes.split()) < 5]


def test_numbers_come_from_the_paper_and_the_records(page, tmp_path):
    source = tmp_path / "slides.md"
    source.write_text(TEXT.replace("0.05", ""), encoding="utf-8")  # the notes name the convention
    numbers = {number for number in NUMBER.findall(prose(source)) if "." in number or float(number) > SMALL}
    assert numbers <= {"0.1", "2021"}, "write a mark: it takes the number from the paper or from a record"
    assert "71.66%" in page and "78.15%" in page and "Table 4" in page
    assert "pocket corpus (synthetic)" in page and "section 4.5" in page


def test_the_page_is_written_whole(tmp_path):
    deck.write_deck(ROOT, tmp_path / "slides.html")
    assert [path.name for path in tmp_path.iterdir()] == ["slides.html"]
    assert (tmp_path / "slides.html").read_text(encoding="utf-8").rstrip().endswith("</html>")


def executed(folder, name: str, *figures: str):
    outputs = [nbformat.v4.new_output("display_data", {"text/html": figure}) for figure in figures]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("figures.show()", outputs=outputs)])
    path = folder / "book" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def test_a_picture_comes_from_the_executed_page_by_its_caption(tmp_path):
    caption = '<figcaption class="x">{}. Pocket</figcaption>'
    figure = '<figure class="mtlser">\n\n<img class="only-light" src="data:,a">{}' + caption + "</figure>"
    executed(tmp_path, "folds", figure.format(1, "Other"), figure.format(2, "Each speaker&#x27;s share"))
    text = SMALL_DECK.replace("Hello", "<!-- picture: folds: Each speaker's share -->")
    page = deck.deck(text, ROOT, tmp_path)
    assert 'src="data:,a">2<figcaption' in page and "Other" not in page and "\n\n<img" not in page
    assert "<em>Each speaker's age …: not run.</em>" in deck.deck(text.replace("share", "age"), ROOT, tmp_path)


def test_a_picture_that_is_not_made_yet_says_so_and_a_file_is_shown_as_it_is(tmp_path):
    text = SMALL_DECK.replace("Hello", "<!-- picture: folds: Whose -->")
    for folder in (None, tmp_path):
        assert "<em>Whose …: made with the book" in deck.deck(text, ROOT, folder)
    shown = deck.deck(SMALL_DECK.replace("Hello", "<!-- picture: figure1.svg: A waveform -->"), ROOT)
    assert '<img alt="A waveform" src="data:image/svg+xml;base64,' in shown


def test_every_picture_of_the_slides_is_on_its_page():
    """By the titles in the notebooks' code, whose strings may be cut in two."""
    for page, caption in deck.PICTURE.findall(TEXT):
        if not page.endswith(".svg"):
            cells = json.loads((ROOT / "book" / f"{page}.ipynb").read_text(encoding="utf-8"))["cells"]
            code = re.sub(r'"\s*"', "", " ".join("".join(cell["source"]) for cell in cells))
            assert f'"{caption}' in code, (page, caption)
