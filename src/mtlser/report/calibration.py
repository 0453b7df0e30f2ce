"""How far a model's confidence can be believed, from stored predictions of any corpus; and how alike repeats answer.

Confidence is the probability of the emotion that was answered. scipy, scikit-learn and statsmodels are imported where
they are used, as in `statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mtlser.config import EMOTIONS
from mtlser.report import statistics
from mtlser.report.repeats import RUN, Repeat

NUM_BINS = 15  # of equal width, as Guo et al. 2017
TARGET = 0.9  # the share of right answers that the rule to decline aims at


def probabilities(predictions: pd.DataFrame, temperature: Any = 1.0) -> np.ndarray:
    """(B, E): softmax of the stored logits over a temperature, one for all or one a row."""
    import scipy.special

    logits = np.stack(list(predictions["logits"])).astype(float)
    return scipy.special.softmax(logits / np.reshape(temperature, (-1, 1)), axis=1)


def fit_temperature(predictions: pd.DataFrame) -> float:
    """The temperature, 0.05 to 20, with the least cross-entropy; above 1 the model was too sure (Guo et al. 2017)."""
    import scipy.optimize
    from sklearn.metrics import log_loss

    labels = predictions["label"].map(EMOTIONS.index)
    return math.exp(
        scipy.optimize.minimize_scalar(
            lambda log: log_loss(labels, probabilities(predictions, math.exp(log)), labels=range(len(EMOTIONS))),
            bounds=(math.log(0.05), math.log(20)), method="bounded",
        ).x
    )  # fmt: skip


def risk_coverage(confidence: pd.Series, correct: pd.Series) -> pd.DataFrame:
    """Columns confidence, coverage, risk: the share of wrong answers among the surest ones, down to each answer."""
    surest = pd.DataFrame({"confidence": confidence, "wrong": ~correct.astype(bool)}).sort_values(
        "confidence", ascending=False, kind="stable", ignore_index=True
    )
    count = surest.index + 1
    return surest.assign(coverage=count / len(surest), risk=surest.pop("wrong").cumsum() / count)


def threshold(confidence: pd.Series, correct: pd.Series, target: float = TARGET) -> float:
    """The lowest confidence down to which at least `target` of the answers are right; NaN where there is none."""
    curve = risk_coverage(confidence, correct)
    return float(curve.loc[curve["risk"] <= 1 - target + 1e-9, "confidence"].min())


def answers(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions of one alpha with correct, confidence, temperature, calibrated (confidence) and accepted.

    A speaker's temperature and threshold are fitted on the predictions of all other speakers. Raises ValueError for
    fewer than two.
    """
    if predictions["speaker"].nunique() < 2:
        raise ValueError("one speaker: a temperature is fitted on other speakers than those it is used for")
    parts = []
    for name, own in predictions.groupby("speaker"):
        others = predictions[predictions["speaker"] != name]
        temperature = fit_temperature(others)
        least = threshold(_confidence(others, temperature), others["label"] == others["prediction"])
        sure = _confidence(own, temperature)
        correct = own["label"] == own["prediction"]
        parts.append(own.assign(correct=correct, confidence=_confidence(own), temperature=temperature, calibrated=sure,
                                accepted=sure >= least))  # fmt: skip
    return pd.concat(parts)


def _confidence(predictions: pd.DataFrame, temperature: float = 1.0) -> pd.Series:
    return pd.Series(probabilities(predictions, temperature).max(axis=1), index=predictions.index)


def reliability(confidence: pd.Series, correct: pd.Series) -> pd.DataFrame:
    """One row a bin that has answers: confidence and accuracy (means), share of all answers."""
    place = np.minimum((confidence * NUM_BINS).astype(int), NUM_BINS - 1)
    bins = pd.DataFrame({"confidence": confidence, "accuracy": correct.astype(float)}).groupby(place)
    return bins.mean().assign(share=bins.size() / len(confidence))


def scores(answered: pd.DataFrame) -> dict[str, float]:
    """Of `answers`: accuracy, temperature, and confidence, ECE, Brier score (0 to 2), each before and after it."""
    from sklearn.metrics import brier_score_loss

    found, labels = {"accuracy": answered["correct"].mean()}, answered["label"].map(EMOTIONS.index)
    found["temperature"] = answered["temperature"].mean()
    for ending, column, temperature in (("", "confidence", 1.0), ("_after", "calibrated", answered["temperature"])):
        bins, given = reliability(answered[column], answered["correct"]), probabilities(answered, temperature)
        found[f"confidence{ending}"] = answered[column].mean()
        found[f"ece{ending}"] = ((bins["accuracy"] - bins["confidence"]).abs() * bins["share"]).sum()
        found[f"brier{ending}"] = brier_score_loss(labels, given, labels=range(len(EMOTIONS)))
    return {name: float(value) for name, value in found.items()}


def declined(answered: pd.DataFrame) -> dict[str, Any]:
    """Of `answers`: the share answered, their accuracy with its interval over speakers, and the worst speaker's."""
    given = answered[answered["accepted"]]
    accuracies = given.groupby("speaker")["correct"].mean()
    return {"answered": answered["accepted"].mean(), "accuracy": given["correct"].mean(),
            "interval": statistics.accuracy_interval(given), "worst": accuracies.min()}  # fmt: skip


def agreement(repeat: Repeat) -> pd.DataFrame:
    """One row for each alpha, and whether two machines' models agree: share, accuracy and confidence here."""
    both = repeat.here.predictions.merge(repeat.there.predictions, on=[*RUN, "utterance"], suffixes=("", "_there"))
    both = both.assign(agree=both["prediction"] == both["prediction_there"], confidence=_confidence(both),
                       accuracy=both["prediction"] == both["label"])  # fmt: skip
    groups = both.groupby(["alpha", "agree"])
    share = groups.size() / both.groupby("alpha").size()
    return groups[["accuracy", "confidence"]].mean().assign(share=share).reset_index()


def spreads(repeated: Sequence[pd.Series]) -> dict[str, float]:
    """Standard deviations between folds and between repeats, from one Series of values by fold for each repeat.

    One-way analysis of variance with its moment estimates: 0 where folds differ no more than repeats explain.
    """
    import statsmodels.formula.api as models
    from statsmodels.stats.anova import anova_lm

    table = pd.concat([values.rename("value").rename_axis("fold").reset_index() for values in repeated])
    squares = anova_lm(models.ols("value ~ C(fold)", table).fit())["mean_sq"]
    between = (squares["C(fold)"] - squares["Residual"]) / len(repeated)
    return {"folds": math.sqrt(max(0.0, between)), "repeats": math.sqrt(squares["Residual"])}
