"""A site that asks no other for anything: MathJax and sounds from the site, no remote launchers, named controls."""

from __future__ import annotations

import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from mtlser.files import digest, named_digests
from mtlser_book import deck, marks

ROOT = Path(__file__).resolve().parents[2]
STATIC = Path(__file__).parent / "static"
MADE_FROM = ("src/mtlser", "book/results", "book/workshop")  # marks; what else they name is a setting of the site
REMOTE_SCRIPTS = ("thebe",)  # its configuration names a CDN, and no page of ours starts it


def mathjax_script() -> Path:
    """MathJax with SVG output, whose glyphs are in the script; from the package sphinx-mathjax-offline."""
    folder = find_spec("sphinx-mathjax-offline").submodule_search_locations[0]
    return Path(folder) / "static" / "mathjax" / "tex-svg.js"


def copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    """Puts MathJax where `mathjax_path` says."""
    if error is None and app.builder.format == "html":
        target = Path(app.outdir) / "_static" / "mathjax" / "tex-svg.js"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(mathjax_script(), target)


def copy_sounds(app: Sphinx, error: Exception | None) -> None:
    """Puts the sounds beside the page that plays them: Sphinx copies pictures only."""
    if error is None and app.builder.format == "html":
        for path in Path(app.srcdir).rglob("*.mp3"):
            target = Path(app.outdir) / path.relative_to(app.srcdir)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def outdated(app: Sphinx, env: BuildEnvironment, *_: object) -> set[str]:
    """Handler of `env-get-outdated`: pages with marks, where what these and the slides are made from changed."""
    files = sorted(path for name in MADE_FROM for path in (ROOT / name).rglob("*") if path.is_file())
    now = digest(*named_digests([path for path in files if path.suffix != ".pyc"], ROOT))
    app.is_generated = getattr(env, "generated_from", None) == now  # by an earlier build
    env.generated_from = now  # Sphinx keeps its environment
    return set() if app.is_generated else set(marks.PAGES) & env.all_docs.keys()


def write_slides(app: Sphinx, error: Exception | None) -> None:
    """Makes the slides of their source, which Sphinx does not read, in the site."""
    if error is None and app.builder.format == "html" and (Path(app.srcdir) / deck.SOURCE).exists():
        target = Path(app.outdir) / deck.PAGE
        if not (app.is_generated and target.exists()):
            deck.write_deck(ROOT, target)


def expand_marks(app: Sphinx, docname: str, source: list[str]) -> None:
    """Handler of `source-read`: writes API reference, citation, licences and the guide's tables into their pages."""
    if docname in marks.PAGES:
        source[0] = marks.expand(source[0], ROOT)


def without_remote(scripts: list[Any]) -> list[Any]:
    """The page's scripts without those that would load others from a CDN."""

    def text(script: Any) -> str:
        body = getattr(script, "attributes", {}).get("body") or ""
        return f"{getattr(script, 'filename', script)} {body}".lower()

    return [script for script in scripts if not any(word in text(script) for word in REMOTE_SCRIPTS)]


def accessible_tables(body: str) -> str:
    """pandas leaves the corner above a table's index as an empty header, which a screen reader announces as nothing."""
    return re.sub(r"<th([^>]*)>\s*</th>", r"<td\1></td>", body)


def finish_page(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Handler of `html-page-context`."""
    context["script_files"] = without_remote(context.get("script_files", []))
    context["css_files"] = without_remote(context.get("css_files", []))
    if "body" in context:
        context["body"] = accessible_tables(context["body"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("builder-inited", lambda app: app.config.html_static_path.append(str(STATIC)))
    app.add_css_file("mtlser.css")
    app.add_js_file("mtlser.js", loading_method="defer")
    app.connect("source-read", expand_marks)
    app.connect("env-get-outdated", outdated)
    app.connect("html-page-context", finish_page, priority=900)  # after the extensions that add scripts
    app.connect("build-finished", copy_mathjax)
    app.connect("build-finished", copy_sounds)
    app.connect("build-finished", write_slides)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
