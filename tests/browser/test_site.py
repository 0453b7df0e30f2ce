"""Each page of the book in a browser: wide and on a phone, light and dark, without a request to another site."""

from __future__ import annotations

import functools
import http.server
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urldefrag, urljoin, urlsplit

import pytest
from playwright.sync_api import Page

from mtlser_book.pages import toc_names
from smoke import ROOT

SIZES = {"phone": (390, 844), "wide": (1280, 900)}
THEMES = ("light", "dark")
PAGES = toc_names(ROOT)

pytestmark = pytest.mark.browser


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line for each, over connections that stay open."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """A file; the icon that a browser asks every site for, and the book does not have, is no missing file."""
        if self.path != "/favicon.ico":
            return super().do_GET()
        self.send_response(http.HTTPStatus.NO_CONTENT)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture(scope="session")
def base(executable, smoke_book):  # without a browser nothing is built for these tests
    handler = functools.partial(Quiet, directory=str(smoke_book.site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module", params=PAGES)
def name(request) -> str:
    """A page of the book; all tests of one come together, so that each is opened once."""
    return request.param


def new_context(browser, size: str, theme: str):
    width, height = SIZES[size]
    return browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)


def new_page(context, base: str) -> tuple[Page, list[str]]:
    """An empty page, and a list of what goes wrong there: asking another site, too, which the browser blocks."""
    page, problems = context.new_page(), []
    here = (base, "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(here) else problems.append(f"outside request {r.url}"))
    page.on("console", lambda m: problems.append(f"console: {m.text}") if m.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(f"script: {error}"))
    page.on("response", lambda r: problems.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    return page, problems


def show(page: Page, base: str, name: str) -> None:
    """Opens a page of the book and waits until it is drawn."""
    page.goto(f"{base}{name}.html", wait_until="load")
    page.wait_for_function("() => !window.MathJax || !MathJax.startup || MathJax.startup.promise.then(() => true)")


@pytest.fixture
def visit(browser, base):
    """Opens a page for one test alone, which may change what the browser keeps."""
    contexts = []

    def opened(name: str, size: str, theme: str) -> tuple[Page, list[str]]:
        contexts.append(new_context(browser, size, theme))
        page, problems = new_page(contexts[-1], base)
        show(page, base, name)
        return page, problems

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def look(browser, base):
    """Opens a page for tests that only look; while it is open, its window and the system's theme change for them.

    One after the other in one window, as a reader turns them: the browser keeps the scripts that it has read.
    """
    context = new_context(browser, "wide", "light")
    page, problems = new_page(context, base)

    def look_at(name: str, size: str = "wide", theme: str = "light") -> tuple[Page, list[str]]:
        if page.url.split("#")[0] != f"{base}{name}.html":
            problems.clear()
            show(page, base, name)
        width, height = SIZES[size]
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=theme)
        page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)
        return page, problems

    yield look_at
    context.close()


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", list(SIZES))
def test_a_page_is_clean(look, serious_violations, name, size, theme):
    page, problems = look(name, size, theme)
    widest = page.evaluate(
        """() => [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1)
            .slice(0, 3).map(e => e.outerHTML.slice(0, 120))"""
    )
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), widest
    images = "[...document.images].filter(i => i.complete && !i.naturalWidth)"
    broken = page.evaluate(f"{images}.map(i => i.src.slice(0, 120))")
    assert not broken
    assert not problems
    if size == "wide":
        assert not serious_violations(page, other_theme=theme == "dark")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", list(SIZES))
def test_a_page_opens_in_the_window_and_theme_that_there_are(visit, size, theme):
    page, problems = visit("book/table4", size, theme)
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not problems


def test_math_is_drawn_controls_are_named_and_pictures_described(look, name):
    page, _ = look(name)
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, a[href], input:not([type=hidden]), select")].filter(e =>
            !(e.textContent.trim() || e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.title
              || e.labels?.length || e.querySelector("img[alt]:not([alt=''])"))).map(e => e.outerHTML.slice(0, 160))"""
    )
    assert not unnamed
    assert page.locator("main img:not([alt]), main img[alt='']").count() == 0
    assert page.locator("main th:empty").count() == 0
    assert page.locator("main mjx-merror, main [data-mjx-error]").count() == 0
    assert page.locator("main .math").count() == 0 or page.locator("main mjx-container").count() > 0
    assert page.locator("article h1").count() == 1


def test_exactly_one_variant_of_each_figure_is_seen(visit):
    for theme, other in (("light", "dark"), ("dark", "light")):
        page, _ = visit("book/table4", "wide", theme)
        assert page.locator("figure.mtlser").count() > 0
        assert page.locator(f"figure.mtlser img.only-{theme}:visible").count() == page.locator("figure.mtlser").count()
        assert page.locator(f"figure.mtlser img.only-{other}:visible").count() == 0


class Anchors(HTMLParser):
    """What the links of other pages may end in, `names`: what the file itself holds, before any script."""

    def __init__(self, path: Path):
        super().__init__()
        self.names: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes the element's id, and the name of a link."""
        self.names |= {value for key, value in attrs if value and (key == "id" or (tag == "a" and key == "name"))}


@functools.cache
def anchors(path: Path) -> set[str]:
    return Anchors(path).names


def test_internal_links_and_anchors_lead_somewhere(look, base, smoke_book, name):
    page, _ = look(name)
    links = page.evaluate("[...document.querySelectorAll('a[href]')].map(e => e.getAttribute('href'))")
    targets = {urljoin(f"{base}{name}.html", link) for link in links}
    internal = sorted(target for target in targets if target.startswith(base))
    assert internal
    pages = {smoke_book.site / f"{other}.html" for other in PAGES}
    broken = []
    for target in internal:
        location, anchor = urldefrag(target)
        path = smoke_book.site / urlsplit(location).path.lstrip("/")
        exists = path.is_file() or (path / "index.html").is_file()
        if not exists or (anchor and path in pages and anchor not in anchors(path)):
            broken.append(target.removeprefix(base))
    assert not broken


def test_the_front_door_leads_to_the_book(visit, base):
    page, problems = visit("index", "wide", "light")
    page.wait_for_url(f"{base}book/index.html")
    assert not problems


def test_search_finds_a_page_by_a_word_of_it(visit, base):
    page, problems = visit("search", "wide", "light")
    page.goto(f"{base}search.html?q=permutation")
    page.wait_for_selector("#search-results li a[href*='book/table4.html']")  # they come one by one
    results = page.eval_on_selector_all("#search-results li a", "links => links.map(link => link.href)")
    assert any("book/table4.html" in link for link in results)
    assert not problems


def test_the_theme_switch_changes_the_theme_and_is_remembered(visit):
    page, problems = visit("book/table4", "wide", "light")
    before = page.evaluate("document.documentElement.dataset.theme")
    for _ in range(3):  # the switch goes through light, dark and automatic
        page.locator("button.theme-switch-button:visible").first.click()
        if page.evaluate("document.documentElement.dataset.theme") != before:
            break
    assert page.evaluate("document.documentElement.dataset.theme") == "dark" != before
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert not problems


def test_the_sounds_of_the_corpus_page_can_be_played(visit):
    page, problems = visit("book/corpus", "wide", "light")
    num_sounds = page.locator("audio").count()
    assert num_sounds >= 8  # four emotions, two voices
    seconds = page.evaluate(
        """async () => Promise.all([...document.querySelectorAll("audio")].map(async sound => {
            sound.muted = true;
            await sound.play();
            const played = sound.duration;
            sound.pause();
            return played;
        }))"""
    )
    assert len(seconds) == num_sounds and all(0.5 < duration < 10 for duration in seconds)
    assert not problems


@pytest.fixture(scope="module")
def empty_page(browser):
    page = browser.new_page()
    yield page
    page.close()


@pytest.mark.parametrize("other_theme", [False, True])
@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("<p>Words</p>" * 50 + "<p style='color: #aaa'>pale words</p>", "color-contrast"),
        ("<p>Words</p>" * 50 + "<div style='background: #222'><p>words</p></div>", "color-contrast"),
        ("<p>Words</p><p>Words <span style='opacity: 0.3'>of the same colour</span></p>", "color-contrast"),
        ("<p>Words</p><div>" + "<code style='color: #999'>word</code> " * 9 + "</div>", "color-contrast"),
        ("<p>Words</p><p style='color: #aaa' hidden>unseen</p>", None),
        ("<p>Words</p><img src='data:,'>", "image-alt"),
        ("<p>Words</p><button></button>", "button-name"),
    ],
)
def test_what_axe_finds_serious_fails_a_page(empty_page, serious_violations, body, found, other_theme):
    empty_page.set_content(
        f"<html lang='en'><title>A page</title><body style='background: #fff'><main>{body}</main></body>"
    )
    violations = [line.split(":")[0] for line in serious_violations(empty_page, other_theme=other_theme)]
    assert violations == ([found] if found and not (other_theme and found == "button-name") else [])
