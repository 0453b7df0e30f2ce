"""The results block of README.md, computed from the committed records."""

from __future__ import annotations

import math
from pathlib import Path

from mtlser.files import whole_file
from mtlser.report.display import NOT_RUN, interval_points, percent, points, provenance
from mtlser.report.instrument import changed_records, rate_sentence, rate_table
from mtlser.report.people import contrasts
from mtlser.report.tables import table4_beside_paper
from mtlser.runs.plan import table4
from mtlser.runs.records import Records
from mtlser.runs.settings import Settings

START, END = "<!-- results:start -->", "<!-- results:end -->"


def table(*rows: tuple) -> str:
    """A Markdown table; the first row is the head."""
    head, *lines = (f"| {' | '.join(map(str, row))} |" for row in rows)
    return "\n".join([head, f"|{'---|' * len(rows[0])}", *lines])


def committed(root: Path) -> Settings:
    """Settings that show the records under `book/results`, and nothing of this machine's artifacts."""
    results = root / "book" / "results"
    return Settings(train=False, artifacts=results / "none", results=results)


def committed_records(root: Path, preset: str) -> Records:
    """The committed records of Table 4."""
    return table4(preset, committed(root)).records()


def committed_note(root: Path) -> str:
    """Whether the pocket gain hangs on the learning rate, from the committed records."""
    return rate_sentence(rate_table(changed_records("pocket", committed(root))))


def people_note(root: Path) -> str:
    """What the comparison on each open corpus of people gave, in a sentence; a partial one's number is no result."""
    found = [
        f"{row.corpus} {row.verdict}" + row.complete * f" ({points(row.difference)} points, 95% interval "
        f"{interval_points(row.difference_interval)})"
        for row in contrasts(committed(root)).itertuples()
    ]
    return f"People, α = 0.1 against 0, each at its own best rate, Whisper's smallest encoder: {'; '.join(found)}."


def table4_block(root: Path) -> str:
    """Table 4 in Markdown: the paper's accuracy and WER, and from the committed records ours on IEMOCAP and pocket."""
    pocket, iemocap = committed_records(root, "pocket"), committed_records(root, "iemocap")
    head = ("α", "paper, IEMOCAP", "this book, IEMOCAP", "this book, pocket corpus (synthetic)")
    rows = [
        (f"{row['alpha']:g}", *(_result(row, corpus) for corpus in ("paper", "iemocap", "pocket")))
        for row in table4_beside_paper(pocket, iemocap).to_dict("records")
    ]
    sources = f"IEMOCAP: {provenance(iemocap)}. Pocket: {provenance(pocket)}."
    return "\n".join(["Accuracy (WA), then WER.", "", table(head, *rows), "", sources])


def results_block(root: Path) -> str:
    """`table4_block`, what its numbers must not be read without, and people."""
    return "\n\n".join([f"{START}\n{table4_block(root)}", committed_note(root), f"{people_note(root)}\n{END}"])


def _result(row: dict, corpus: str) -> str:
    accuracy, wer, folds = row[f"{corpus}_accuracy"], row[f"{corpus}_wer"], row.get(f"{corpus}_folds", "")
    if math.isnan(accuracy):
        return NOT_RUN
    return f"{percent(accuracy)}, {wer:.4f}" + (f" ({folds})" if "partial" in folds else "")


def with_block(text: str, block: str) -> str:
    """`text` with the part between the two marks replaced. Raises ValueError where the marks are missing."""
    if text.count(START) != 1 or text.count(END) != 1:
        raise ValueError(f"README.md needs the marks {START} and {END} once each")
    return text.partition(START)[0] + block + text.partition(END)[2]


def update_readme(root: Path) -> bool:
    """Rewrites the block; returns whether README.md changed."""
    path = root / "README.md"
    old = path.read_text(encoding="utf-8")
    new = with_block(old, results_block(root))
    if new != old:
        with whole_file(path) as partial:
            partial.write_text(new, encoding="utf-8")
    return new != old
