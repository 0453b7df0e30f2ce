"""Data frames, pictures and sentences as objects that a notebook displays, each with its provenance."""

from __future__ import annotations

import html
import math
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd

from mtlser.config import DATA_FOLDER, get_preset
from mtlser.corpus import OPEN_CORPORA, OWN, reader
from mtlser.corpus.folds import MANY_SPEAKERS, NUM_GROUPS, NUM_RANDOM
from mtlser.runs.records import CORPUS_NAMES

# Folds of each protocol on IEMOCAP and the pocket corpus (section 4.1: ten speakers; one session, one fold).
NUM_FOLDS = {"speaker": 10, "released": 10, "session": 5, "groups": 10, "random": NUM_RANDOM, "text": 10}

NOT_RUN, PARTIAL = "not run", "partial"

# Groups of columns: "pocket_accuracy" is the column "accuracy" under the heading "pocket".
GROUPS = {"paper": "paper", "iemocap": "IEMOCAP, this book", "pocket": "pocket (synthetic), this book",
          "ours": "this book"}  # fmt: skip

# Headings of columns whose names don't say it.
HEADERS = tomllib.loads((DATA_FOLDER / "headings.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Html:
    """HTML that Jupyter shows as it is; `text` stands for it where HTML cannot be shown."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


class Markdown(str):
    """Sentences that Jupyter shows as Markdown."""

    _repr_markdown_ = __repr__ = str.__str__


def percent(share: float) -> str:
    """0.7166 → "71.66%", as Table 4 prints it."""
    return f"{100 * share:.2f}%"


def tenths(share: float) -> str:
    """0.7166 → "71.7%"."""
    return f"{100 * share:.1f}%"


def points(share: float) -> str:
    """A difference of shares in percentage points with its sign: 0.0649 → "+6.49"."""
    return f"{100 * share:+.2f}".replace("-", "−")


def p_value(value: float) -> str:
    """A p-value with three digits, "< 0.001" below that."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def p_statement(value: float) -> str:
    """A p-value in a sentence: "p = 0.012", "p < 0.001"."""
    words = p_value(value)
    return f"p {words}" if words.startswith("<") else f"p = {words}"


def interval(bounds: tuple[float, float]) -> str:
    """Two shares → "68.1 to 75.0%"; "–" where there is none."""
    return "–" if math.isnan(bounds[0]) else f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}%"


def interval_points(bounds: tuple[float, float]) -> str:
    """Two differences of shares → "+1.2 to +5.0"; "–" where there is none."""
    return "–" if math.isnan(bounds[0]) else "{:+.1f} to {:+.1f}".format(*(100 * b for b in bounds)).replace("-", "−")


def three_digits(value: float) -> str:
    """Three significant digits, "–" for NaN: 0.000213, 1.18, 847, 12,345, and 4.8e-07 below a ten-thousandth."""
    if math.isnan(value):
        return "–"
    if abs(value) >= 999.5:  # three digits would round to 1e+03
        return f"{value:,.0f}"
    return f"{value:.3g}" if value == 0 or abs(value) >= 1e-4 else f"{value:.1e}"


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best: 36 → "36 s", 1800 → "30 min", 21780 → "6.05 h"; "unknown" for NaN."""
    if math.isnan(seconds):
        return "unknown"
    unit, size = ("h", 3600) if seconds >= 5400 else ("min", 60) if seconds >= 90 else ("s", 1)
    return f"{three_digits(seconds / size)} {unit}" if unit == "h" else f"{seconds / size:.0f} {unit}"


def relative_change(value: float) -> str:
    """A relative change as a percentage, "below 0.001%" where float32's rounding is all there is."""
    return "below 0.001%" if value < 1e-5 else tenths(value)


_FORMATS: dict[str, Callable[[Any], str]] = {
    name: form
    for form, names in {
        percent: "accuracy uar macro_f1 accuracy_here accuracy_there accuracy_zero accuracy_best alike",
        tenths: "test_in_train_speaker_share repeated_text_share discordance bootstrap_held wilson_held ctc_share "
        "confidence confidence_after answered worst",
        p_value: "mcnemar permutation holm holm_here holm_there",
        interval: "interval wilson",
        points: "difference difference_here difference_there",
        interval_points: "difference_interval difference_interval_here difference_interval_there",
        three_digits: "logit_sum logit_mean gradient_sum gradient_mean ce ctc ctc_per_character weighted_ctc "
        "effective_alpha released_ctc released_alpha ce_once ce_twice pull_once pull_twice",
        relative_change: "features_change pooled_change",
        "{:g}".format: "alpha window_ms step_ms rate_zero rate_best",
        "{:.4f}".format: "wer wer_here wer_there",
        "{:.1f}".format: "minutes",
        "{:.2f}".format: "seconds temperature",
        "{:.3f}".format: "ece brier ece_after brier_after",
        "{:,}".format: "parameters",
        "{:.5f}".format: "probability",
        "{:.6f}".format: "loss",
        lambda share: f"{100 * share:.1f}": "detectable detectable_holm speaker_deviation",
        lambda share: f"{100 * share:.1f} points": "apart",
        lambda value: f"{value:+.4f}".replace("-", "−"): "wer_difference",
        lambda words: str(words).replace(" folds", ""): "folds",
        lambda letter: letter or "–": "symbol",
        lambda text: text or "(nothing)": "text",
    }.items()
    for name in names.split()
}


def _split(column: str) -> tuple[str, str]:
    """Column → (group or "", name within the group)."""
    group, _, name = str(column).partition("_")
    return (group, name) if group in GROUPS and name else ("", str(column))


def _cell(column: str, value: Any) -> str:
    group, name = _split(column)
    if isinstance(value, Html):
        return value.html
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOT_RUN if group else "–"
    return html.escape(_FORMATS.get(name, str)(value))


def _head(columns: list[str]) -> str:
    """The rows of headings: one, or two where columns have groups. Written out, because no header cell is empty."""
    names = [_split(column) for column in columns]
    tall = ' rowspan="2"' if any(group for group, _ in names) else ""
    top = bottom = ""
    for group, part in groupby(names, key=lambda name: name[0]):
        labels = [html.escape(HEADERS.get(name, name.replace("_", " "))) for _, name in part]
        top += f'<th scope="colgroup" colspan="{len(labels)}">{GROUPS[group]}</th>' if group else ""
        heads = "".join(f'<th scope="col"{"" if group else tall}>{label}</th>' for label in labels)
        top, bottom = (top, bottom + heads) if group else (top + heads, bottom)
    return f"<tr>{top}</tr>" + (f"<tr>{bottom}</tr>" if bottom else "")


def show(frame: pd.DataFrame, title: str, source: Any, *, empty: str = "nothing to show") -> Html:
    """A frame as an accessible HTML table whose caption is `title` and the provenance of `source`.

    `source` is a Records, or a sentence that names where the numbers come from. The first column heads the rows. A
    frame without rows becomes one line that ends in `empty`.
    """
    caption = f"{title}. {provenance(source)}"
    if frame.empty:
        return line(caption if caption.endswith(". Not run") else f"{caption}: {empty}")
    rows = ""
    for values in frame.itertuples(index=False):
        head, *cells = map(_cell, frame.columns, values)
        rows += f'<tr><th scope="row">{head}</th>' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n"
    body = (  # tabindex and role let a keyboard scroll a table that is wider than the screen
        f'<div class="mtlser-table" role="region" tabindex="0" style="overflow-x:auto" '
        f'aria-label="{html.escape(title)}">\n'
        f'<table class="dataframe table"><caption><span>{html.escape(caption)}</span></caption>\n'
        f"<thead>{_head(list(frame.columns))}</thead>\n<tbody>\n{rows}</tbody></table></div>"
    )
    return Html(body, caption)


def line(text: str) -> Html:
    """One line in place of a table or figure, which says why there is none."""
    return Html(f'<p class="mtlser-caption">{html.escape(text)}</p>', text)


def corpus_name(preset: str) -> str:
    """The corpus of a preset as captions name it: "IEMOCAP" or "Pocket corpus (synthetic)"."""
    return CORPUS_NAMES[preset][0].upper() + CORPUS_NAMES[preset][1:]


def num_folds(preset: str, protocol: str, found: int = 0) -> int:
    """Folds of a protocol on a preset's corpus; of one's own corpus, which nothing is known of, as many as `found`."""
    if preset == OWN:
        return found
    if preset not in OPEN_CORPORA or protocol == "random":
        return NUM_FOLDS[protocol]
    card = reader(preset).CARD
    if protocol == "speaker" or card.num_speakers <= MANY_SPEAKERS:
        return card.num_speakers
    return len(card.groups) or NUM_GROUPS


def completed_folds(runs: pd.DataFrame) -> str:
    """ "6 of 6 folds", or "partial (2 of 6 folds)", of the done runs of one alpha, corpus and protocol."""
    preset, protocol = runs["preset"].iloc[0], runs["protocol"].iloc[0]
    total, done = num_folds(preset, protocol, runs["fold"].nunique()), int(finished_folds(runs).iloc[0])
    return f"{done} of {total} folds" if done == total else f"partial ({done} of {total} folds)"


def _listed(values: pd.Series) -> str:
    return ", ".join(map(str, sorted(values.unique())))


def finished_folds(runs: pd.DataFrame) -> pd.Series:
    """Index alpha, value the number of folds whose runs are done for every seed among `runs`."""
    num_seeds = runs["seed"].nunique()
    done = runs[runs["status"] == "done"].groupby(["alpha", "fold"])["seed"].nunique() == num_seeds
    return done[done].groupby("alpha").size().reindex(sorted(runs["alpha"].unique()), fill_value=0)


def provenance(source: Any) -> str:
    """Corpus, protocol, pooling, seeds, epochs, folds completed of a Records; a sentence is returned as it is."""
    if isinstance(source, str):
        return source
    runs = source.runs
    if runs.empty:
        return NOT_RUN.capitalize()
    several = runs.groupby(["preset", "protocol"])["fold"].nunique().items()
    total = sum(num_folds(*kind, found) for kind, found in several)
    low, high = finished_folds(runs).agg(["min", "max"])
    changed = runs["precision"] != [get_preset(name).run.precision for name in runs["preset"]]
    processors = runs["processor"].nunique()  # records from before it was written down have none
    words = [
        f"{source.provenance[0].upper()}{source.provenance[1:]}: {_listed(runs['protocol'])} folds",
        f"{_listed(runs['pooling'])} pooling",
        ("seed " if runs["seed"].nunique() == 1 else "seeds ") + _listed(runs["seed"]),
        *(f"{count:g} epoch{'' if count == 1 else 's'}" for count in sorted(runs["epochs"].unique())),
        *_backbones(runs),
        *([f"in {_listed(runs['precision'])}"] if changed.any() else []),
        *([f"on {processors} kinds of processor"] if processors > 1 else []),
        f"{low} of {total} folds" if low == high else f"{low} to {high} of {total} folds, depending on α",
    ]
    return ", ".join(words) + (": partial" if low < total else "")


def _backbones(runs: pd.DataFrame) -> list[str]:
    """The encoders of runs on people, and any that is not its preset's or has weights that were compared with none."""
    usual = [get_preset(name).backbone for name in runs["preset"]]
    people, unchecked = runs["preset"].isin([*OPEN_CORPORA, OWN]), runs["backbone_checked"].eq(False)
    told = runs.assign(no=unchecked)[runs["backbone"].notna() & (people | (runs["backbone"] != usual) | unchecked)]
    return [
        f"backbone {name}"
        + (" (trained to transcribe; not the paper's encoder)" if "whisper" in name else "")
        + (" (its weights were compared with no published ones)" if no else "")
        for name, no in sorted(set(zip(told["backbone"], told["no"], strict=True)))
    ]
