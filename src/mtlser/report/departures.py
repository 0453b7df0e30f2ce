"""The audited differences as a page shows them: each a section that leads to the code in which this book decides."""

from __future__ import annotations

from html import escape

from mtlser import paper
from mtlser.report.display import Html


def sections() -> Html:
    """Every difference of `paper.DEPARTURES` as a section with an anchor, `#departure-<name>`."""
    shown = "".join(_departure(departure) for departure in paper.DEPARTURES)
    return Html(f'<div class="mtlser-departures">{shown}</div>', f"{len(paper.DEPARTURES)} differences")


def _departure(departure: paper.Departure) -> str:
    """A section: what is written, released, done here; the API page's entry of the code, which leads to its source."""
    rows = {"As written": departure.paper, "As released": departure.released, "This book": departure.ours}
    rows = {term: escape(text) for term, text in (rows | {"The other side": departure.measured}).items()}
    entry = f"api.html#{departure.code.replace(':', '.')}"
    rows["Decided in"] = f'<a href="{entry}"><code>{departure.code}</code></a>'
    heading = f"<h3>{departure.number}. {escape(departure.topic)}</h3>"
    terms = "".join(f"<dt>{term}</dt><dd>{text}</dd>" for term, text in rows.items())
    return f'<section id="departure-{departure.name}">{heading}<dl>{terms}</dl></section>\n'
