"""The results block of README.md, computed from the committed records."""

from __future__ import annotations

import math
from pathlib import Path

from mtlser.files import whole_file
from mtlser.report.display import NOT_RUN, interval_points, percent, points, provenance
from mtlser.report.instrument import changed_records, rate_table, rate_verdict
from mtlser.report.tables import table4_beside_paper
from mtlser.runs.plan import table4
from mtlser.runs.records import Records
from mtlser.runs.settings import Settings

START, END = "<!-- results:start -->", "<!-- results:end -->"


def committed_records(root: Path, preset: str) -> Records:
    """The records of Table 4 under `book/results`; nothing of this machine's artifacts."""
    results = root / "book" / "results"
    return table4(preset, Settings(train=False, artifacts=results / "none", results=results)).records()


def committed_note(root: Path) -> str:
    """Whether the pocket gain hangs on the learning rate, from the committed records."""
    results = root / "book" / "results"
    settings = Settings(train=False, artifacts=results / "none", results=results)
    rates = rate_table(changed_records("pocket", settings))
    if len(rates) < 2:
        return "Whether the gain hangs on the learning rate: not run."
    gains = [
        f"{points(row['difference'])} points at {row['learning rate']} "
        f"(95% interval {interval_points(row['difference_interval'])})"
        for row in rates.to_dict("records")
    ]
    return (
        f"Synthetic, {rates['comparison'][0]}, the same rate for both: {' and '.join(gains)}; {rate_verdict(rates)}. "
        "The chapter on the instrument has the rows of α = 0 at both rates."
    )


def results_block(pocket: Records, iemocap: Records, note: str = "") -> str:
    """Table 4 in Markdown: the paper's accuracy and WER, ours on IEMOCAP, and ours on the synthetic pocket corpus.

    `note` is a sentence that the numbers must not be read without.
    """
    frame = table4_beside_paper(pocket, iemocap)
    lines = [
        "| α | paper, IEMOCAP | this book, IEMOCAP | this book, pocket corpus (synthetic) |",
        "|---|---|---|---|",
    ]
    for row in frame.to_dict("records"):
        cells = [_result(row, corpus) for corpus in ("paper", "iemocap", "pocket")]
        lines.append(f"| {row['alpha']:g} | " + " | ".join(cells) + " |")
    sources = [f"{name}: {provenance(records)}." for name, records in (("IEMOCAP", iemocap), ("Pocket", pocket))]
    notes = ["", note] if note else []
    return "\n".join([START, "Accuracy (WA), then WER.", "", *lines, "", " ".join(sources), *notes, END])


def _result(row: dict, corpus: str) -> str:
    accuracy, wer, folds = row[f"{corpus}_accuracy"], row[f"{corpus}_wer"], row.get(f"{corpus}_folds", "")
    if math.isnan(accuracy):
        return NOT_RUN
    return f"{percent(accuracy)}, {wer:.4f}" + (f" ({folds})" if "partial" in folds else "")


def with_block(text: str, block: str) -> str:
    """`text` with the part between the two marks replaced. Raises ValueError where the marks are missing."""
    if text.count(START) != 1 or text.count(END) != 1:
        raise ValueError(f"README.md needs the marks {START} and {END} once each")
    before, rest = text.split(START)
    return before + block + rest.split(END)[1]


def update_readme(root: Path) -> bool:
    """Rewrites the block; returns whether README.md changed."""
    path = root / "README.md"
    old = path.read_text(encoding="utf-8")
    records = [committed_records(root, preset) for preset in ("pocket", "iemocap")]
    new = with_block(old, results_block(*records, committed_note(root)))
    if new != old:
        with whole_file(path) as partial:
            partial.write_text(new, encoding="utf-8")
    return new != old
