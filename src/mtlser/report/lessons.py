"""The model's and the losses' chapters: tables with headings and rounded numbers, and the sentences that read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mtlser.config import ALPHAS, get_preset
from mtlser.report import tables
from mtlser.report.display import Markdown, corpus_name

GRADIENT_COLUMNS = ("gradient_norm_ce", "gradient_norm_ctc", "pull", "gradient_cosine")


def synthetic(preset: str) -> str:
    """The preset whose corpus a lesson may show: nothing of IEMOCAP's audio or texts reaches a page."""
    return "pocket" if get_preset(preset).corpus is None else preset


def source(preset: str) -> str:
    """Where a lesson's numbers come from, for captions."""
    return f"{corpus_name(synthetic(preset))}, pretrained pocket backbone, fresh heads"


def number(value: float) -> str:
    """Three significant digits, "–" for NaN: 0.000213, 1.18, 847, 12,345, and 4.8e-07 below a ten-thousandth."""
    if np.isnan(value):
        return "–"
    if abs(value) >= 999.5:  # three digits would round to 1e+03
        return f"{value:,.0f}"
    return f"{value:.3g}" if value == 0 or abs(value) >= 1e-4 else f"{value:.1e}"


def change(value: float) -> str:
    """A relative change as a percentage, "below 0.001%" where float32's rounding is all there is."""
    return "below 0.001%" if value < 1e-5 else f"{100 * value:.1f}%"


# Heading and form of every column of the frames in `model.frames`, `anatomy`, `ctc_by_hand` and `loss_variants`.
_COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "stage": ("stage", str),
    "symbol": ("paper's symbol", lambda symbol: symbol or "–"),
    "legend": ("shape", str),
    "size": ("here", str),
    "parameters": ("parameters", lambda count: f"{count:,}"),
    "convolution": ("convolution", str),
    "kernel": ("kernel", str),
    "stride": ("stride", str),
    "window_samples": ("hears, samples", str),
    "window_ms": ("hears, ms", lambda ms: f"{ms:g}"),
    "step_samples": ("step, samples", str),
    "step_ms": ("step, ms", lambda ms: f"{ms:g}"),
    "outputs": ("outputs here", str),
    "seconds": ("seconds", lambda seconds: f"{seconds:.2f}"),
    "frames": ("frames T", str),
    "logit_sum": ("largest logit, sum", number),
    "logit_mean": ("largest logit, mean", number),
    "gradient_sum": ("gradient norm, sum", number),
    "gradient_mean": ("gradient norm, mean", number),
    "encoder_padding": ("encoder_padding", str),
    "features_change": ("change of z, own frames", change),
    "pooled_change": ("change of pooled ẑ", change),
    "path": ("path", str),
    "text": ("text", lambda text: text or "(nothing)"),
    "paths": ("paths", str),
    "method": ("how", str),
    "probability": ("probability", lambda value: f"{value:.5f}"),
    "loss": ("loss, nats", lambda value: f"{value:.6f}"),
    "characters": ("characters L", str),
    "ce": ("cross-entropy", number),
    "ctc": ("CTC", number),
    "ctc_per_character": ("CTC per character", number),
    "alpha": ("α", lambda alpha: f"{alpha:g}"),
    "weighted_ctc": ("α · CTC", number),
    "ctc_share": ("CTC's share of the loss", lambda share: f"{100 * share:.1f}%"),
    "reduction": ("reduction of CTC", str),
    "effective_alpha": ("α it amounts to", number),
    "batch_size": ("utterances", str),
    "released_ctc": ("CTC, released code", number),
    "released_alpha": ("α it amounts to", number),
    "margin": ("lead of the right logit", str),
    "ce_once": ("cross-entropy, one softmax", number),
    "ce_twice": ("cross-entropy, two", number),
    "pull_once": ("gradient, one softmax", number),
    "pull_twice": ("gradient, two", number),
}


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame of the lessons with readable headings and numbers. Raises KeyError for a column that has no heading."""
    forms = {name: _COLUMNS[name] for name in frame.columns}
    return pd.DataFrame({heading: frame[name].map(form) for name, (heading, form) in forms.items()})


def symbols(probabilities: pd.DataFrame) -> pd.DataFrame:
    """`ctc_by_hand.PROBABILITIES` with the frame as a column and the blank named."""
    return probabilities.rename(columns={probabilities.columns[0]: "blank"}).reset_index()


def frame_rate(name: str, receptive_field: pd.DataFrame) -> Markdown:
    """What `frames.receptive_field` ends with, in a sentence."""
    last = receptive_field.iloc[-1]
    return Markdown(
        f"**{name}**: a frame hears {last['window_samples']:g} samples, {last['window_ms']:g} ms, and the next one "
        f"begins {last['step_samples']:g} samples, {last['step_ms']:g} ms, later: {1000 / last['step_ms']:g} frames a "
        "second."
    )


def pooling(frame: pd.DataFrame) -> Markdown:
    """What `anatomy.pooling` shows: the sum is T means, and the gradient grows with it."""
    ratios = frame["logit_sum"] / frame["logit_mean"]
    gradients = frame["gradient_sum"] / frame["gradient_mean"]
    return Markdown(
        f"With the sum, the logits of these utterances are {', '.join(f'{ratio:.0f}' for ratio in ratios)} times those "
        f"with the mean: exactly their numbers of frames. The gradient that reaches the encoder is "
        f"{', '.join(f'{ratio:.0f}' for ratio in gradients)} times as long."
    )


def beside(frame: pd.DataFrame) -> Markdown:
    """What `anatomy.beside` shows, one sentence for each setting."""
    rows = frame.set_index("encoder_padding")
    own = int(rows.loc["exact", "frames"])
    released = rows.loc["released"]
    return Markdown(
        f"* `released`: the features of the utterance's own {own} frames change by "
        f"**{change(released['features_change'])}**, and pooling counts {int(released['frames'])} frames, so that the "
        f"vector on which the emotion is decided changes by **{change(released['pooled_change'])}**.\n"
        f"* `exact`: {change(rows.loc['exact', 'features_change'])} and "
        f"{change(rows.loc['exact', 'pooled_change'])}: the rounding of 32-bit numbers."
    )


def best_path(texts: pd.DataFrame, paths: pd.DataFrame) -> Markdown:
    """Whether the likeliest text is that of the likeliest path (`ctc_by_hand.texts`, `ctc_by_hand.paths_of`)."""
    from mtlser.model.ctc_by_hand import collapse

    path, first = paths.iloc[0], texts.iloc[0]
    decoded = collapse(path["path"])
    probability = texts.set_index("text").loc[decoded, "probability"]
    ending = (
        "which is also the likeliest text."
        if decoded == first["text"]
        else f"but the likeliest text is **{first['text']}**, with {first['probability']:.5f}: more paths lead there."
    )
    return Markdown(
        f"The likeliest path is `{path['path']}`, with probability {path['probability']:.5f}. It "
        f"spells **{decoded}**, whose probability over all its {len(paths)} paths is {probability:.5f}, {ending}"
    )


def batch_sizes(frame: pd.DataFrame) -> Markdown:
    """What `loss_variants.batch_sizes` shows: alpha in the released code grows with the batch."""
    one = frame["released_alpha"].iloc[0]
    grown = ", ".join(
        f"{size} utterances: {alpha / one:g} times"
        for size, alpha in zip(frame["batch_size"][1:], frame["released_alpha"][1:], strict=True)
    )
    return Markdown(f"The same α amounts to a larger one in the released code. {grown[:1].upper()}{grown[1:]}.")


def double_softmax(frame: pd.DataFrame) -> Markdown:
    """What `loss_variants.double_softmax` ends with: the floor of the loss and the gradient that is left."""
    last = frame.iloc[-1]
    steep = frame["pull_twice"].idxmax()
    return Markdown(
        f"With a lead of {last['margin']:g} the answer is right beyond doubt and costs {number(last['ce_once'])} with "
        f"one softmax. With two it still costs {number(last['ce_twice'])}, near the least that four emotions allow, "
        f"and where nothing is known yet, at a lead of {frame['margin'].iloc[0]:g}, the gradient is "
        f"{number(frame['pull_once'].iloc[0] / frame['pull_twice'].iloc[0])} times weaker. It is steepest at a lead of "
        f"{frame['margin'][steep]:g}."
    )


def gradient_history(records: Any) -> pd.DataFrame:
    """The history of finished runs with a column `pull`: alpha · CTC norm over cross-entropy norm; NaN at alpha = 0.

    Norms of zero become NaN, which a logarithmic scale can't show.
    """
    history = records.only(status="done").history
    norms = {name: history[name].astype(float).replace(0.0, np.nan) for name in GRADIENT_COLUMNS[:2]}
    alphas = history["alpha"].astype(float).replace(0.0, np.nan)
    return history.assign(**norms, pull=alphas * norms["gradient_norm_ctc"] / norms["gradient_norm_ce"])


def gradients(records: Any) -> pd.DataFrame:
    """Medians over folds after the first and after the last epoch: alpha, then two columns for each quantity.

    Raises MixedRecordsError for records of more than one experiment.
    """
    tables.check_one_experiment(records)
    history = gradient_history(records)
    headings = ("cross-entropy norm", "CTC norm", "α · CTC / cross-entropy", "cosine")
    rows = []
    for alpha, group in history.groupby("alpha"):
        row = {"alpha": alpha}
        ends = {"first": group["epoch"].min(), "last": group["epoch"].max()}
        for column, heading in zip(GRADIENT_COLUMNS, headings, strict=True):
            medians = {when: group.loc[group["epoch"] == epoch, column].median() for when, epoch in ends.items()}
            row |= {f"{heading}, {when}": number(value) for when, value in medians.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def gradients_reading(records: Any) -> Markdown:
    """In words: for which alphas the weighted CTC gradient is the longer one, first and last, and how they point."""
    history = gradient_history(records)
    if history.empty:
        return Markdown("Not run: how the two gradients compare is not known here.")
    last = history["epoch"] == history.groupby("run_id")["epoch"].transform("max")
    ends = {"after the first epoch": history[history["epoch"] == 1], "after the last": history[last]}
    lines = []
    for when, rows in ends.items():
        pulls = rows.groupby("alpha")["pull"].median().dropna()
        stronger = [f"{alpha:g}" for alpha in ALPHAS if alpha in pulls.index and pulls[alpha] > 1]
        words = f"for α = {_listed(stronger)}" if stronger else "for none of the α"
        lines.append(f"* {when.capitalize()}, CTC pulls harder than cross-entropy {words} (medians over folds).")
    low, middle, high = ends["after the last"]["gradient_cosine"].astype(float).quantile([0.25, 0.5, 0.75])
    lines.append(
        f"* After the last epoch, the cosine of the two gradients has the median {middle:.2f} over all runs, α = 0 "
        f"included, and half of the runs lie between {low:.2f} and {high:.2f}. Zero is a right angle: neither task "
        "helps or hinders the other's next step."
    )
    return Markdown("\n".join(lines))


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
