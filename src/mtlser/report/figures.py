"""Records → the book's figures, as SVG on a transparent ground in a light and a dark variant.

The only module that imports matplotlib. An alpha, and an emotion, has one colour everywhere (Okabe and Ito's palette,
told apart with any colour vision, darkened where it was too pale for a white page); alphas differ in dashes too.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Callable, Iterable
from html import escape
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mtlser import paper
from mtlser.config import ALPHAS, EMOTIONS
from mtlser.report import calibration, tables
from mtlser.report.display import NOT_RUN, PARTIAL, Html, line, provenance
from mtlser.report.gradients import history as gradient_history

ALPHA_COLOURS = dict(zip(ALPHAS, ["#7F7F7F", "#C77C00", "#009E73", "#2A7FC0", "#C0629B"], strict=True))
ALPHA_DASHES = dict(zip(ALPHAS, [(1, 1), (4, 2), (6, 2, 1, 2), (), (8, 2)], strict=True))
EMOTION_COLOURS = dict(zip(EMOTIONS, ["#7F7F7F", "#009E73", "#D55E00", "#2A7FC0"], strict=True))
EMOTION_MARKERS = dict(zip(EMOTIONS, ["s", "^", "D", "v"], strict=True))
PAPER_COLOUR = "#D55E00"

# Ink and colour map: the smallest share is nearest to the page's ground.
_THEMES = {"light": ("#222832", "Blues"), "dark": ("#ced6dd", "Blues_r")}
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "mtlser",  # the same picture gives the same bytes
    "font.family": "sans-serif",
    "font.size": 10,
    **dict.fromkeys(["axes.facecolor", "figure.facecolor"], "none"),
    **dict.fromkeys(["axes.spines.top", "axes.spines.right", "legend.frameon"], False),
}
_INKED = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")


def draw(function: Callable[..., Figure], data: Any, theme: str) -> str:
    """The SVG of `function(data)` in the theme "light" or "dark"."""
    ink, colours = _THEMES[theme]
    with mpl.rc_context(_STYLE | dict.fromkeys(_INKED, ink) | {"image.cmap": colours}):
        buffer = io.StringIO()
        function(data).savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def show(function: Callable[..., Figure], data: Any, title: str, alt: str, source: Any = None) -> Html:
    """A figure drawn for both themes, of which the page's theme shows one, with `title` and provenance below it.

    `source` is what the provenance is taken from, `data` itself unless given. Without any run it is one line of text.
    Raises ValueError for an empty `alt`: a reader who cannot see the picture needs it.
    """
    if not alt.strip():
        raise ValueError("alt is empty: say in a sentence what the picture shows")
    source = data if source is None else source
    if hasattr(source, "runs") and source.only(status="done").runs.empty:
        return line(f"{title}: not run")
    caption, images = f"{title}. {provenance(source)}", ""
    for theme in _THEMES:
        address = f"data:image/svg+xml;base64,{b64encode(draw(function, data, theme).encode()).decode()}"
        style = f'class="only-{theme}" style="max-width:100%;background:none;padding:0"'
        images += f'<img {style} alt="{escape(alt)}" src="{address}">'
    body = f'<div>{images}</div><figcaption class="mtlser-caption">{escape(caption)}</figcaption>'
    return Html(f'<figure class="mtlser" style="margin:0">{body}</figure>', f"{caption}. {alt}")


def panels_of(count: int, height: float = 3.2, width: float = 7.5, columns: int | None = None) -> tuple[Figure, list]:
    """A figure of `count` panels in rows of `columns` (one row unless given); sizes in inches."""
    columns = columns or count
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(count // columns, columns, squeeze=False).flat)


def _over_epochs(axes: Axes, history: pd.DataFrame, column: str, **colours: Any) -> None:
    """A thin line for each run and a thick one for their mean over folds."""
    dot, ring = (".", "o") if history["epoch"].nunique() == 1 else (None, None)
    given = {"data": history, "x": "epoch", "y": column, "ax": axes, "legend": False, **colours}
    sns.lineplot(**given, units="run_id", estimator=None, lw=0.8, alpha=0.6, marker=dot)
    sns.lineplot(**given, errorbar=None, lw=2, marker=ring)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def training_curves(records: Any) -> Figure:
    """Losses, accuracy and WER of one alpha over epochs: a thin line for each fold, a thick one for their mean."""
    figure, panels = panels_of(4, height=4.8, width=6.8, columns=2)
    colour = ALPHA_COLOURS.get(records.runs["alpha"].iloc[0], "#7F7F7F")
    titles = {"loss_ce": "cross-entropy", "loss_ctc": "CTC loss", "accuracy": "accuracy, test", "wer": "WER, test"}
    for axes, (column, title) in zip(panels, titles.items(), strict=True):
        _over_epochs(axes, records.history, column, color=colour)
        axes.set(title=title, ylabel="")
        axes.set_ylim(bottom=0)
    panels[2].set_ylim(0, 1)
    panels[2].yaxis.set_major_formatter(PercentFormatter(1))
    return figure


def _each_alpha(figure: Figure, panels: list[Axes], history: pd.DataFrame, columns: Iterable[str]) -> None:
    """A panel for each column of a history over epochs, in the alphas' colours, with their legend above."""
    numbers = history["alpha"].astype(float)
    alphas = [alpha for alpha in ALPHAS if alpha in set(numbers)]
    # As numbers, 0 and 0.001 would get the same colour.
    history = history.assign(alpha=pd.Categorical(numbers, categories=alphas))
    for axes, column in zip(panels, columns, strict=True):
        _over_epochs(axes, history, column, hue="alpha", style="alpha", palette=ALPHA_COLOURS, dashes=ALPHA_DASHES)
    for alpha in alphas:
        panels[0].plot([], [], color=ALPHA_COLOURS[alpha], dashes=ALPHA_DASHES[alpha] or (None, None), lw=2,
                       label=f"α = {alpha:g}")  # fmt: skip
    figure.legend(loc="outside upper center", ncols=len(alphas))


def pretraining_curve(curve: pd.DataFrame) -> Figure:
    """`instrument.learning_curve`: the share of hidden frames whose cluster is named, over the steps of pretraining."""
    figure, (axes,) = panels_of(1, width=6.0)
    colours = dict(zip(curve["stream"].unique(), [ALPHA_COLOURS[0.1], PAPER_COLOUR], strict=True))
    sns.lineplot(curve, x="step", y="accuracy", hue="stream", style="stream", palette=colours, ax=axes)
    axes.set(xlabel="step", ylabel="hidden frames named right", ylim=(0, None))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(title=None)
    return figure


def figure2(records: Any) -> Figure:
    """Figure 2: test accuracy (left) and WER (right) against epoch, one colour for each alpha."""
    figure, panels = panels_of(2, height=3.6)
    _each_alpha(figure, panels, records.history, ["accuracy", "wer"])
    panels[0].set(ylabel="accuracy, test fold")
    panels[1].set(ylabel="WER, test fold")
    panels[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def accuracy_by_alpha(records: Any) -> Figure:
    """Accuracy of each alpha with its interval, beside the paper's Table 4."""
    figure, (axes,) = panels_of(1)
    scores, published = tables.scores(records), paper.table4()
    places = {alpha: place for place, alpha in enumerate(published["alpha"])}
    scores = scores[scores["alpha"].isin(list(places))]
    axes.plot(places.values(), published["accuracy"], "D", color=PAPER_COLOUR, label="paper, IEMOCAP")
    for alpha, accuracy, (low, high) in scores[["alpha", "accuracy", "interval"]].itertuples(index=False):
        ends = [[accuracy - low], [high - accuracy]]
        axes.errorbar(places[alpha] + 0.15, accuracy, ends, fmt="o", color=ALPHA_COLOURS[alpha], lw=1.5)
    axes.plot([], [], "o", color=ALPHA_COLOURS[0.0], label=f"this book, {records.provenance}")
    axes.set_xticks(list(places.values()), [f"{alpha:g}" for alpha in places])
    axes.set(xlabel="α", ylabel="accuracy (WA)")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def gains(rows: pd.DataFrame) -> Figure:
    """Differences in accuracy, a row each: what, difference and its interval (NaN twice for a published one).

    A row whose difference is NaN says "not run", or "partial" where its name does. `rows.attrs["axis"]`: its name.
    """
    figure, (axes,) = panels_of(1, height=0.7 + 0.36 * len(rows), width=5.0)
    for place, row in enumerate(rows.itertuples()):
        if pd.isna(row.difference):
            axes.text(0.4, place, PARTIAL if PARTIAL in row.what else NOT_RUN, va="center", style="italic")
            continue
        gain, bounds = 100 * row.difference, [100 * bound for bound in row.difference_interval]
        mark, colour = ("D", PAPER_COLOUR) if pd.isna(bounds[0]) else ("o", ALPHA_COLOURS[0.1])
        axes.plot(bounds, [place, place], color=colour, lw=2)
        axes.plot(gain, place, mark, color=colour)
        axes.annotate(f"{gain:+.1f}", (gain, place - 0.15), ha="center", va="bottom")
    axes.axvline(0, color=mpl.rcParams["text.color"], lw=0.8, dashes=(1, 3))
    axes.set_yticks(range(len(rows)), rows["what"])
    axes.set(xlabel=rows.attrs.get("axis", "points of accuracy gained by the words"), ylim=(len(rows) - 0.5, -0.8))
    return figure


def _matrix(shares: pd.DataFrame, texts: pd.DataFrame, xlabel: str, ylabel: str, height: float, width: float) -> Figure:
    """Coloured cells, as vectors: shares in [0, 1] with a text in each."""
    figure, (axes,) = panels_of(1, height, width)
    sns.heatmap(shares, annot=texts, fmt="", vmin=0, vmax=1, cmap=mpl.rcParams["image.cmap"], cbar=False, ax=axes,
                linewidths=1, linecolor="#7F7F7F55")  # fmt: skip
    axes.tick_params(rotation=0, length=0)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    return figure


def confusion(records: Any) -> Figure:
    """Confusion matrix over all finished runs: colour and percentage by true emotion, with counts."""
    counts = tables.confusion(records).set_index("emotion")
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    texts = counts.astype(str) + "\n" + (100 * shares).round().astype(int).astype(str) + "%"
    return _matrix(shares, texts, "predicted", "true", height=3.6, width=4.6)


def emotion_marks(axes: Axes, values: pd.Series, speakers: list[str], size: float) -> None:
    """A row for each speaker, with a mark for each emotion; `values` has the index (emotion, speaker)."""
    for place, emotion in enumerate(EMOTIONS):
        found = values[values.index.get_level_values(0) == emotion].droplevel(0)
        rows = found.index.map(speakers.index) + 0.16 * (place - 1.5)  # apart, so that equal ones stay visible
        axes.plot(found, rows, EMOTION_MARKERS[emotion], ms=size, mew=0, color=EMOTION_COLOURS[emotion], label=emotion)
    axes.set_yticks(range(len(speakers)), speakers)
    axes.invert_yaxis()
    axes.grid(axis="y", lw=0.4, color="#7F7F7F55")


def per_speaker(records: Any) -> Figure:
    """For each test speaker the recall of each emotion (small marks) and the accuracy (dot)."""
    predictions = records.only(status="done").predictions
    correct = predictions["label"] == predictions["prediction"]
    accuracy = correct.groupby(predictions["speaker"]).mean()
    figure, (axes,) = panels_of(1, height=1.2 + 0.28 * len(accuracy))
    recalls = correct.groupby([predictions["label"], predictions["speaker"]]).mean()
    emotion_marks(axes, recalls, list(accuracy.index), size=4.5)
    axes.plot(accuracy, range(len(accuracy)), "o", color=mpl.rcParams["text.color"], ms=7, mfc="none", label="accuracy")
    axes.set(xlim=(-0.02, 1.02), xlabel="share recognised")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(loc="outside upper center", ncols=5, columnspacing=1, handletextpad=0.2)
    return figure


def leaks(shares: pd.DataFrame) -> Figure:
    """Speakers × folds (`tables.speaker_shares`): the share of a speaker in the test fold; the rest is in training."""
    texts = shares.map(lambda share: f"{100 * share:.0f}%" if share else "")
    return _matrix(shares, texts, "test fold", "speaker", 1 + 0.3 * len(shares), 1.6 + 0.6 * shares.shape[1])


def detectable(curves: pd.DataFrame) -> Figure:
    """The detectable difference against the number of test utterances (`power.curves`), and the paper's gain."""
    figure, (axes,) = panels_of(1)
    colours = ["#2A7FC0", "#009E73", "#C0629B"]
    for place, (share, curve) in enumerate(curves.groupby("discordance")):
        axes.plot(curve["num_utterances"], 100 * curve["detectable"], color=colours[place], lw=2,
                  dashes=[(None, None), (4, 2), (1, 1)][place], label=f"{100 * share:.0f}% discordant")  # fmt: skip
    axes.axhline(100 * paper.claimed_gain(), color=PAPER_COLOUR, lw=1, label="the paper's gain")
    axes.set_xscale("log")
    axes.set_xticks(ticks := [250, 500, 1000, 2000, 5000], [f"{tick:,}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="test utterances", ylabel="detectable, points", ylim=(0, None))
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def confidence(answered: pd.DataFrame) -> Figure:
    """`calibration.answers` of each alpha: accuracy against confidence, before and after the temperature; declining."""
    figure, panels = panels_of(3, width=9.0)
    for alpha, group in answered.groupby("alpha"):
        style = {"color": ALPHA_COLOURS[alpha], "dashes": ALPHA_DASHES[alpha] or (None, None), "lw": 1.5}
        for axes, column in zip(panels, ("confidence", "calibrated"), strict=False):
            bins = calibration.reliability(group[column], group["correct"])
            bins = bins[bins["share"] * len(group) >= 10]  # fewer answers are noise
            axes.plot(bins["confidence"], bins["accuracy"], **style)
        curve = calibration.risk_coverage(group["confidence"], group["correct"])
        panels[2].plot(curve["coverage"], 1 - curve["risk"], label=f"α = {alpha:g}", **style)
    for axes, title in zip(panels, ("confidence as it is", "after the temperature", "share answered"), strict=True):
        axes.set(xlabel=title, ylim=(0, 1.02), xlim=(0, 1.02))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
    for axes in panels[:2]:
        axes.plot([0, 1], [0, 1], color=mpl.rcParams["text.color"], lw=0.8, dashes=(1, 3))
    panels[0].set_ylabel("answers that are right")
    figure.legend(loc="outside upper center", ncols=len(ALPHAS))
    return figure


def gradients(records: Any) -> Figure:
    """Norms of both losses' gradients at the encoder, how hard α lets CTC pull, and the angle between; over epochs."""
    figure, panels = panels_of(4, height=5.6, columns=2)
    titles = {"gradient_norm_ce": "cross-entropy: norm", "gradient_norm_ctc": "CTC, before α: norm",
              "pull": "α · CTC norm / cross-entropy norm", "gradient_cosine": "cosine of the two"}  # fmt: skip
    _each_alpha(figure, panels, gradient_history(records), titles)
    for axes, (column, title) in zip(panels, titles.items(), strict=True):
        axes.set(title=title, ylabel="", yscale="linear" if column == "gradient_cosine" else "log")
    for axes, level in ((panels[2], 1), (panels[3], 0)):  # equal pull; at right angles
        axes.axhline(level, color=mpl.rcParams["text.color"], lw=0.8, dashes=(1, 3))
    return figure


def forward_sums(sums: pd.DataFrame) -> Figure:
    """CTC's forward sums (`ctc_by_hand.forward_sums`): states × frames, darker for a likelier beginning."""
    texts = sums.map(lambda value: f"{value:.3f}" if value else "")
    return _matrix(sums, texts, "frame", "state", height=3.2, width=4.6)


def neighbours(changes: pd.DataFrame) -> Figure:
    """`anatomy.neighbours`: how much an utterance's features change against how much longer its neighbour is."""
    figure, (axes,) = panels_of(1)
    styles = {"released": {"color": PAPER_COLOUR, "marker": "D"}, "exact": {"color": "#2A7FC0", "marker": "o"}}
    for name, rows in changes.groupby("encoder_padding"):
        axes.plot(rows["seconds"], rows["features_change"], ls="-", label=f'encoder_padding = "{name}"', **styles[name])
    axes.set(xlabel="seconds by which the neighbour is longer", ylabel="relative change of z")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(loc="outside upper center", ncols=2)
    return figure
