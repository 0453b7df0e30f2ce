"""Each page of the book in a browser: wide and on a phone, light and dark, without a request to another site."""

from __future__ import annotations

import functools
import http.server
import threading
from pathlib import Path
from urllib.parse import urldefrag, urljoin, urlsplit

import pytest

from mtlser_book.pages import toc_names
from smoke import ROOT

SIZES = {"phone": (390, 844), "wide": (1280, 900)}
PAGES = toc_names(ROOT)

pytestmark = pytest.mark.browser


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

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


@pytest.fixture
def visit(browser, base, request):
    """Opens a page and records what went wrong there; requests elsewhere are blocked."""
    contexts = []

    def open_page(name: str, size: str, theme: str):
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
        contexts.append(context)
        page, problems = context.new_page(), []

        def route(handler):
            if handler.request.url.startswith((base, "data:", "blob:")):
                handler.continue_()
            else:
                problems.append(f"outside request {handler.request.url}")
                handler.abort()

        context.route("**/*", route)
        page.on("console", lambda m: problems.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(f"script: {error}"))
        page.on("response", lambda r: problems.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        page.goto(f"{base}{name}.html", wait_until="load")
        page.wait_for_function("() => !window.MathJax || !MathJax.startup || MathJax.startup.promise.then(() => true)")
        return page, problems

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_clean(visit, serious_violations, name, size, theme):
    page, problems = visit(name, size, theme)
    assert not problems
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    widest = page.evaluate(
        """() => [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1)
            .slice(0, 3).map(e => e.outerHTML.slice(0, 120))"""
    )
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), widest
    images = "[...document.images].filter(i => i.complete && !i.naturalWidth)"
    broken = page.evaluate(f"{images}.map(i => i.src.slice(0, 120))")
    assert not broken
    if size == "wide":
        assert not serious_violations(page)


@pytest.mark.parametrize("name", PAGES)
def test_math_is_drawn_controls_are_named_and_pictures_described(visit, name):
    page, _ = visit(name, "wide", "light")
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


def test_internal_links_and_anchors_lead_somewhere(visit, base, smoke_book):
    anchors: dict[str, set[str]] = {}
    wanted: dict[str, str] = {}
    for name in PAGES:
        page, _ = visit(name, "wide", "light")
        address = f"{base}{name}.html"
        named = "[...document.querySelectorAll('[id], a[name]')].map(e => e.id || e.name)"
        anchors[address] = set(page.evaluate(named))
        for link in page.evaluate("[...document.querySelectorAll('a[href]')].map(e => e.getAttribute('href'))"):
            target = urljoin(address, link)
            if target.startswith(base):
                wanted.setdefault(target, name)
    assert wanted
    broken = []
    for target, source in wanted.items():
        location, anchor = urldefrag(target)
        path = Path(smoke_book.site) / urlsplit(location).path.lstrip("/")
        exists = path.is_file() or (path / "index.html").is_file()
        if not exists or (anchor and location in anchors and anchor not in anchors[location]):
            broken.append(f"{source}: {target.removeprefix(base)}")
    assert not broken


def test_the_front_door_leads_to_the_book(visit, base):
    page, problems = visit("index", "wide", "light")
    page.wait_for_url(f"{base}book/index.html")
    assert not problems


def test_search_finds_a_page_by_a_word_of_it(visit, base):
    page, problems = visit("search", "wide", "light")
    page.goto(f"{base}search.html?q=permutation")
    page.wait_for_selector("#search-results li a")
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
