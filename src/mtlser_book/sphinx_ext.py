"""A site that asks no other for anything: MathJax from the site, no remote launchers, named controls."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from mtlser.files import digest
from mtlser_book import deck, marks, named_digests

ROOT = Path(__file__).resolve().parents[2]
STATIC = Path(__file__).parent / "static"
MADE_FROM = ("src/mtlser", "book/results", "book/workshop")  # marks; what else they name is a setting of the site


def add_static(app: Sphinx) -> None:
    """Handler of `builder-inited`: our style and script, and MathJax with SVG output, whose script has the glyphs."""
    # As an extension the package would copy all of its 24 MB.
    [package] = find_spec("sphinx-mathjax-offline").submodule_search_locations
    app.config.html_static_path += [str(STATIC), f"{package}/static/mathjax/tex-svg.js"]


def outdated(app: Sphinx, env: BuildEnvironment, *_: object) -> set[str]:
    """Handler of `env-get-outdated`: pages with marks, where what these and the slides are made from changed."""
    files = sorted(path for name in MADE_FROM for path in (ROOT / name).rglob("*") if path.is_file())
    now = digest(*named_digests([path for path in files if path.suffix != ".pyc"], ROOT))
    app.is_generated = getattr(env, "generated_from", None) == now  # by an earlier build
    env.generated_from = now  # Sphinx keeps its environment
    return set() if app.is_generated else set(marks.PAGES) & env.all_docs.keys()


def expand_marks(app: Sphinx, docname: str, source: list[str]) -> None:
    """Handler of `source-read`: writes licences and the guide's tables into their pages."""
    if docname in marks.PAGES:
        source[0] = marks.expand(source[0], ROOT)


def finish_page(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Handler of `html-page-context`."""
    for kind in ("script_files", "css_files"):  # thebe's configuration names a CDN, and no page of ours starts it
        context[kind] = [file for file in context.get(kind, []) if "thebe" not in str(file).lower()]
    if "body" in context:  # pandas leaves the corner above an index empty, which a screen reader announces as nothing
        context["body"] = re.sub(r"<th([^>]*)>\s*</th>", r"<td\1></td>", context["body"])


def finish_site(app: Sphinx, error: Exception | None) -> None:
    """Handler of `build-finished`: the slides, which are no page of Sphinx."""
    if error is not None:
        return
    page = Path(app.outdir) / deck.PAGE
    if (Path(app.srcdir) / deck.SOURCE).exists() and not (app.is_generated and page.exists()):
        deck.write_deck(ROOT, page, Path(app.srcdir))


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_css_file("mtlser.css")
    app.add_js_file("mtlser.js", loading_method="defer")
    app.connect("builder-inited", add_static)
    app.connect("source-read", expand_marks)
    app.connect("env-get-outdated", outdated)
    app.connect("html-page-context", finish_page, priority=900)  # after the extensions that add scripts
    app.connect("build-finished", finish_site)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
