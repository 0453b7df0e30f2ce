"""Numbers that stand beside each other, as pictures: Table 3 by protocol, two machines, all α, speakers of IEMOCAP.

Drawn by `figures.show`, in the same colours and both themes.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from mtlser.config import ALPHAS, EMOTIONS
from mtlser.paper import BASELINE, BEST
from mtlser.report import statistics
from mtlser.report.figures import (
    ALPHA_COLOURS,
    ALPHA_DASHES,
    EMOTION_COLOURS,
    PAPER_COLOUR,
    Figure,
    MaxNLocator,
    PercentFormatter,
    panels_of,
)
from mtlser.runs.records import Records

# What `comparable` of Table 3 begins with → how its row is drawn and what that means.
_ROWS = {
    "the claim itself": ("D", PAPER_COLOUR, "the paper's"),
    "yes": ("D", "#2A7FC0", "this book's"),
    "unknown": ("o", "#7F7F7F", "protocol or metric unknown"),
    "no": ("X", "#C77C00", "another protocol or metric"),
}


def table3(rows: pd.DataFrame) -> Figure:
    """`tables.table3_annotated` as dots, best first: the shape says whether a row can be compared with the claim."""
    rows = rows.dropna(subset="accuracy").sort_values("accuracy", ascending=False, ignore_index=True)
    figure, (axes,) = panels_of(1, height=1.2 + 0.32 * len(rows), width=5.6)
    for begins, (mark, colour, words) in _ROWS.items():
        of_kind = rows[rows["comparable"].str.startswith(begins)]
        if len(of_kind):
            axes.plot(of_kind["accuracy"], of_kind.index, mark, color=colour, ms=8, label=words)
    axes.set_yticks(range(len(rows)), rows["method"])
    axes.set(xlabel="accuracy as printed: WA or UA, whichever is higher", ylim=(len(rows) - 0.5, -0.5))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="y", lw=0.4, color="#7F7F7F55")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def machines(compared: pd.DataFrame) -> Figure:
    """`repeats.compared`: a panel for each other machine, a line for each alpha from the accuracy here to there."""
    names = list(compared["by"].unique())
    figure, panels = panels_of(len(names), height=3.6, width=3.6 * len(names))
    for axes, name in zip(panels, names, strict=True):
        for row in compared[compared["by"] == name].itertuples():
            style = {"color": ALPHA_COLOURS[row.alpha], "dashes": ALPHA_DASHES[row.alpha] or (None, None)}
            axes.plot([0, 1], [row.accuracy_here, row.accuracy_there], marker="o", lw=2, **style)
            axes.annotate(f"α = {row.alpha:g}", (1.06, row.accuracy_there), va="center")
        axes.set_xticks([0, 1], ["maintainers", name])
        axes.set(xlim=(-0.1, 1.55))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    panels[0].set_ylabel("accuracy")
    return figure


def every_alpha(records: Records) -> Figure:
    """Accuracy (above) and WER (below) over epochs, a column for each alpha: median of the folds, and half of them."""
    history = records.only(status="done").history
    alphas = [alpha for alpha in ALPHAS if alpha in set(history["alpha"])]
    figure, panels = panels_of(2 * len(alphas), height=4.4, columns=len(alphas))
    for place, alpha in enumerate(alphas):
        for axes, measure in ((panels[place], "accuracy"), (panels[place + len(alphas)], "wer")):
            folds = history[history["alpha"] == alpha].groupby("epoch")[measure].quantile([0.25, 0.5, 0.75]).unstack()
            axes.fill_between(folds.index, folds[0.25], folds[0.75], color=ALPHA_COLOURS[alpha], alpha=0.3, lw=0)
            axes.plot(folds.index, folds[0.5], color=ALPHA_COLOURS[alpha], lw=2, marker="o", ms=3)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.set_ylim(0, 1.05 * max(1.0 if measure == "accuracy" else history["wer"].max(), 0.1))
            axes.tick_params(labelleft=place == 0)
        panels[place].set_title(f"α = {alpha:g}")
        panels[place].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    panels[0].set_ylabel("accuracy, test fold")
    panels[len(alphas)].set_ylabel("WER, test fold")
    figure.supxlabel("epoch")
    return figure


def speakers(counts: pd.DataFrame) -> Figure:
    """Utterances of each emotion (columns) by speaker (index), as bars on top of each other."""
    figure, (axes,) = panels_of(1, height=1.2 + 0.28 * len(counts), width=5.6)
    start = pd.Series(0, index=counts.index)
    for emotion in EMOTIONS:
        axes.barh(counts.index, counts[emotion], left=start, color=EMOTION_COLOURS[emotion], label=emotion, height=0.7)
        start = start + counts[emotion]
    axes.invert_yaxis()
    axes.set(xlabel="utterances")
    figure.legend(loc="outside upper center", ncols=len(EMOTIONS))
    return figure


def coin_flips(records: Records) -> Figure:
    """Every way to exchange α = 0 and 0.1 within speakers, as a histogram of the gain; the one that was observed."""
    paired = statistics.pairs(records.only(status="done").predictions, BASELINE, BEST)
    gains = (paired["second"] - paired["first"]).groupby(paired["speaker"]).sum().to_numpy()
    signs = np.array(list(product((1, -1), repeat=len(gains))))
    figure, (axes,) = panels_of(1, width=6.0)
    axes.hist(100 * signs @ gains / len(paired), bins=41, color="#2A7FC0", alpha=0.6)
    for side, words in ((1, "observed"), (-1, "as far on the other side")):
        axes.axvline(
            side * 100 * gains.sum() / len(paired), color=PAPER_COLOUR, lw=2, ls="-" if side == 1 else ":", label=words
        )
    axes.set(xlabel="gain of α = 0.1 over α = 0, points", ylabel=f"of {len(signs):,} ways to toss")
    figure.legend(loc="outside upper center", ncols=2)
    return figure
