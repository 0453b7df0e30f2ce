"""The browser, and what axe-core says of a page in it."""

from __future__ import annotations

import os
import shutil

import pytest
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


def _serious_violations(page) -> list[str]:
    """What axe-core calls serious or critical, with the first element of each."""
    page.evaluate("Promise.allSettled(document.getAnimations().map(moving => moving.finished))")  # colours stand
    options = {"resultTypes": ["violations"], "selectors": False}  # no paths to elements, which take time
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{violation['id']}: {violation['nodes'][0]['html'][:160]} (and {len(violation['nodes']) - 1} more)"
        for violation in found
        if violation["impact"] in ("serious", "critical")
    ]
