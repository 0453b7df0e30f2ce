"""The browser, and what axe-core says of a page in it."""

from __future__ import annotations

import os
import shutil

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def executable() -> str:
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found is None:
        message = "no Chromium: sudo apt install chromium"
        pytest.fail(message) if os.environ.get("REQUIRE_BROWSER") == "1" else pytest.skip(message)
    return found


@pytest.fixture(scope="session")
def browser(executable):
    arguments = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    arguments += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]  # no other site is reached
    arguments += ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=arguments)
        yield started
        started.close()


@pytest.fixture(scope="session")
def serious_violations():
    """The function of that name."""
    return _serious_violations


# So that colours are what they will be. To wait for an end takes for ever in a page that the browser does not draw.
END_ANIMATIONS = """document.getAnimations().forEach(moving =>
    moving.effect.getComputedTiming().endTime < Infinity && moving.finish())"""

# Marks text to compare with its background: three elements of each look, which is what a contrast is computed from.
# axe-core takes milliseconds for each line of text, of which a page has thousands, most of them as others are.
MARK = """() => {
    const behind = new Map();
    function background(element) {
        if (!element) return "";
        if (!behind.has(element)) {
            const style = getComputedStyle(element);
            const own = [style.backgroundColor, style.backgroundImage, style.opacity].join(" ");
            const seen = own === "rgba(0, 0, 0, 0) none 1" ? "" : "/" + own;
            behind.set(element, background(element.parentElement) + seen);
        }
        return behind.get(element);
    }
    document.querySelectorAll("[data-look]").forEach(element => delete element.dataset.look);
    const looks = new Map();
    for (const element of document.querySelectorAll("body, body *")) {
        if (![...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim())) continue;
        if (!element.checkVisibility()) continue;
        const style = getComputedStyle(element);
        const look = [style.color, style.fontSize, style.fontWeight, style.textShadow, background(element)].join(" | ");
        looks.set(look, [...(looks.get(look) || []), element]);
    }
    for (const elements of looks.values()) {
        elements.sort((one, other) => one.textContent.length - other.textContent.length);
        elements.slice(0, 3).forEach(element => { element.dataset.look = ""; });
    }
}"""
COMPARE_MARKED = "; axe.configure({rules: [{id: 'color-contrast', selector: '[data-look]'}]})"


# What a theme changes is the colours, and which variant of a figure is shown.
RULES_OF_THEMES = ["color-contrast", "link-in-text-block", "image-alt", "role-img-alt", "svg-img-alt"]


def _serious_violations(page, *, other_theme: bool = False) -> list[str]:
    """What axe-core calls serious or critical, with the first element of each.

    `other_theme`: of a page that was looked at in one theme, what the other may do wrong.
    """
    page.evaluate(END_ANIMATIONS)
    page.evaluate(MARK)
    script = "" if page.evaluate("!!window.axe") else AXE_SCRIPT + COMPARE_MARKED
    # No paths to elements, which take time; no style sheets read again, for which axe asks at wrong addresses.
    options = {"resultTypes": ["violations"], "selectors": False, "preload": False}
    options |= {"runOnly": RULES_OF_THEMES} if other_theme else {}
    found = Axe(script).run(page, options=options).response["violations"]
    return [
        f"{violation['id']}: {violation['nodes'][0]['html'][:160]} (and {len(violation['nodes']) - 1} more)"
        for violation in found
        if violation["impact"] in ("serious", "critical")
    ]
