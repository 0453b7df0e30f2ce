"""The slides in a browser, from a file: by key and click, wide and on a phone, light and dark, printed."""

from __future__ import annotations

import re

import pytest

from mtlser_book import deck
from smoke import ROOT

SIZES = {"phone": (390, 844), "wide": (1280, 720)}
SHOWN = ".slide:not([hidden])"

pytestmark = pytest.mark.browser


@pytest.fixture(scope="session")
def address(executable, tmp_path_factory, smoke_book):
    path = tmp_path_factory.mktemp("slides") / "slides.html"
    deck.write_deck(ROOT, path, smoke_book.build / "notebooks")
    return path.as_uri()


@pytest.fixture
def visit(browser, address):
    """Opens the slides; what they ask for beside their own file, and what goes wrong, is listed."""
    contexts = []

    def open_slides(size: str = "wide", theme: str = "light", anchor: str = "", **options):
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme, **options)
        contexts.append(context)
        page, problems = context.new_page(), []
        page.on("request", lambda r: problems.append(r.url) if r.url.split("#")[0] != address else None)
        page.on("console", lambda m: problems.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(f"script: {error}"))
        page.goto(address + anchor)
        return page, problems

    yield open_slides
    for context in contexts:
        context.close()


def shown(page) -> str:
    """The address of the slide that is shown; there is exactly one."""
    assert page.locator(SHOWN).count() == 1
    return page.locator(SHOWN).get_attribute("id")


def names(page) -> list[str]:
    return page.evaluate("[...document.querySelectorAll('.slide')].map(slide => slide.id)")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
def test_every_slide_is_clean(visit, serious_violations, size, theme):
    page, problems = visit(size, theme)
    page.get_by_role("button", name="Notes").click()
    for name in names(page):
        assert shown(page) == name
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        page.keyboard.press("ArrowRight")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (theme == "light")
    page.locator(".contents summary").click()
    page.evaluate("document.querySelectorAll('.slide').forEach(slide => { slide.hidden = false; })")
    assert not serious_violations(page)
    assert not problems


def test_a_slide_fits_a_projector_without_scrolling(visit):
    page, _ = visit()
    for name in names(page):
        bottom = page.locator(f"{SHOWN} .shown").evaluate("box => box.getBoundingClientRect().bottom")
        assert bottom <= page.locator(".controls").evaluate("box => box.getBoundingClientRect().top"), name
        page.keyboard.press("PageDown")


def test_keys_go_through_the_slides(visit):
    page, _ = visit()
    order = names(page)
    forwards, back = [("ArrowRight", 1), ("PageDown", 2), ("Space", 3)], [("ArrowLeft", 2), ("PageUp", 1)]
    ends = [("End", -1), ("ArrowRight", -1), ("Home", 0), ("ArrowLeft", 0)]
    for key, expected in (*forwards, *back, *ends):
        page.keyboard.press(key)
        assert shown(page) == order[expected], key
    assert page.locator(".where").inner_text().startswith(f"1 / {len(order)}")


def test_a_click_goes_on_at_the_left_edge_back_and_on_a_button_as_it_says(visit):
    page, _ = visit()
    order = names(page)
    page.mouse.click(900, 300)
    assert shown(page) == order[1]
    page.mouse.click(30, 300)
    assert shown(page) == order[0]
    page.get_by_role("button", name="Next slide").click()
    assert shown(page) == order[1]
    page.keyboard.press("Space")  # presses the button that has the focus, once
    assert shown(page) == order[2]


def test_the_address_names_the_slide_and_a_reload_stays(visit):
    page, _ = visit(anchor="#lab-2")
    assert shown(page) == "lab-2"
    page.keyboard.press("ArrowRight")
    page.reload()
    assert shown(page) == "lab-2-2"
    page.locator(".contents summary").click()
    page.locator(".contents a").last.click()
    assert shown(page) == names(page)[-1] and not page.locator(".contents").evaluate("box => box.open")


def test_notes_are_shown_on_demand(visit):
    page, _ = visit()
    notes, button = page.locator(f"{SHOWN} .notes"), page.get_by_role("button", name="Notes")
    assert not notes.is_visible() and button.get_attribute("aria-pressed") == "false"
    button.click()
    assert notes.is_visible() and button.get_attribute("aria-pressed") == "true"


def test_the_theme_can_be_changed(visit):
    page, _ = visit(theme="dark")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)" != before


def test_mathematics_is_drawn(visit):
    page, _ = visit(anchor="#opening-2")
    box = page.locator(f'{SHOWN} math[display="block"]').bounding_box()
    assert box["width"] > 100 and box["height"] > 15
    assert page.locator("merror").count() == 0


@pytest.mark.parametrize("notes", [False, True])
def test_one_slide_is_printed_on_each_page_and_fits(visit, notes):
    page, _ = visit(theme="dark")
    if notes:
        page.get_by_role("button", name="Notes").click()
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 1032, "height": 700})  # a sheet without its margins
    cut = page.evaluate(
        "[...document.querySelectorAll('.slide')].filter(s => s.scrollHeight > s.clientHeight + 1).map(s => s.id)"
    )
    assert not cut
    printed = page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", printed)) == len(names(page))


def test_without_a_script_every_slide_is_there(visit):
    page, problems = visit(java_script_enabled=False)
    count = page.locator(".slide").count()
    assert count > 5 and page.locator(".slide:visible").count() == page.locator(".notes:visible").count() == count
    assert not page.locator(".controls").is_visible()
    assert not problems
