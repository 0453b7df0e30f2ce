"""What a referee would ask of this book, and where it stands: data/referee.toml as a table with links."""

from __future__ import annotations

import tomllib
from html import escape

import pandas as pd

from mtlser.config import DATA_FOLDER
from mtlser.report.display import Html

DEMANDS = tomllib.loads((DATA_FOLDER / "referee.toml").read_text(encoding="utf-8"))["demand"]
STANDS = ("met", "in part", "open")


def table() -> pd.DataFrame:
    """One row a demand: number, what is asked, where the book stands, the answer with a link to its page."""
    rows = []
    for number, one in enumerate(DEMANDS, start=1):
        link = f'<a href="{one["page"]}.html">{escape(one["answer"])}</a>'
        rows.append((number, one["demand"], one["stands"], Html(link, one["answer"])))
    return pd.DataFrame(rows, columns=["no.", "asked", "stands", "answer"])


def counts() -> str:
    """In a sentence: "11 met, 4 in part, 5 open"."""
    found = table()["stands"].value_counts()
    return ", ".join(f"{found.get(word, 0)} {word}" for word in STANDS)
