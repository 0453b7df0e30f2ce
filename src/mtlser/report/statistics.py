"""Intervals and paired tests over records, with speakers as the unit that varies.

Utterances of one speaker resemble each other, so they are no independent draws. What is estimated here is the accuracy
(Eq. 4) that the same procedure would have on other speakers drawn like these; with ten speakers the intervals are
approximate, and somewhat too narrow. They do not cover other corpora, and not other seeds unless several were run.

scipy.stats and statsmodels are imported where they are used: a change of the book's prose would wait for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

CONFIDENCE = 0.95
NUM_RESAMPLES = 10_000
SEED = 0  # of the resampling: the same records always give the same interval

NO_INTERVAL = (float("nan"), float("nan"))


def _correct(predictions: pd.DataFrame) -> pd.Series:
    return (predictions["label"] == predictions["prediction"]).astype(float)


def _bootstrap_over_speakers(numerator: pd.Series, speakers: pd.Series) -> tuple[float, float]:
    """Percentile interval of the mean of `numerator` when whole speakers are drawn with replacement."""
    import scipy.stats

    sums = numerator.groupby(speakers.to_numpy()).agg(["sum", "size"])
    if len(sums) < 2:
        return NO_INTERVAL  # one speaker says nothing about how speakers differ
    bounds = scipy.stats.bootstrap(
        (sums["sum"].to_numpy(), sums["size"].to_numpy()),
        lambda sums, sizes, axis=-1: sums.sum(axis=axis) / sizes.sum(axis=axis),
        paired=True, vectorized=True, method="percentile",
        n_resamples=NUM_RESAMPLES, confidence_level=CONFIDENCE, rng=SEED,
    ).confidence_interval  # fmt: skip
    return float(bounds.low), float(bounds.high)


def accuracy_interval(predictions: pd.DataFrame) -> tuple[float, float]:
    """95% interval of the weighted accuracy, by bootstrap over speakers; NaN for fewer than two speakers.

    `predictions` (columns label, prediction, speaker) is of one alpha; several seeds add rows to their speaker.
    """
    return _bootstrap_over_speakers(_correct(predictions), predictions["speaker"])


def wilson_interval(predictions: pd.DataFrame) -> tuple[float, float]:
    """95% Wilson interval, as if utterances were independent: a lower bound of the uncertainty, for comparison.

    With several seeds an utterance counts once, with its mean correctness.
    """
    from statsmodels.stats.proportion import proportion_confint

    correct = _correct(predictions).groupby(predictions["utterance"]).mean()
    low, high = proportion_confint(correct.sum(), len(correct), alpha=1 - CONFIDENCE, method="wilson")
    return float(low), float(high)


def permutation_test(differences: np.ndarray) -> float:
    """Two-sided p of the summed differences, one per speaker, under exchange of the two alphas within speakers.

    Exact (all 2^n signs) up to 13 speakers, otherwise 10,000 random ones. NaN without speakers. With n speakers the
    smallest p possible is 2 / 2^n.
    """
    import scipy.stats

    differences = np.asarray(differences, dtype=float)
    if differences.size < 2:
        return 1.0 if differences.size else float("nan")  # both signs of one are equally far from zero
    result = scipy.stats.permutation_test(
        (differences, np.zeros_like(differences)), lambda a, b, axis=-1: (a - b).sum(axis=axis),
        permutation_type="samples", vectorized=True, n_resamples=NUM_RESAMPLES, rng=SEED,
    )  # fmt: skip
    return float(result.pvalue)


def two_groups_test(first: pd.Series, second: pd.Series) -> float:
    """Two-sided p of the difference of two groups' means when members are exchanged at random; NaN below two in one."""
    import scipy.stats

    if min(len(first), len(second)) < 2:
        return float("nan")
    result = scipy.stats.permutation_test(
        (first.to_numpy(), second.to_numpy()), lambda a, b, axis=-1: a.mean(axis=axis) - b.mean(axis=axis),
        permutation_type="independent", vectorized=True, n_resamples=NUM_RESAMPLES, rng=SEED,
    )  # fmt: skip
    return float(result.pvalue)


def mcnemar_test(first: pd.Series, second: pd.Series) -> float:
    """Exact McNemar p of two series of correctness (0 or 1) over the same utterances, as if independent, or NaN."""
    from statsmodels.stats.contingency_tables import mcnemar

    if first.empty:
        return float("nan")
    return float(mcnemar([[0, (first > second).sum()], [(second > first).sum(), 0]], exact=True).pvalue)


def holm(p_values: list[float]) -> list[float]:
    """Holm-corrected p-values; a NaN stays NaN and is not counted as a test."""
    from statsmodels.stats.multitest import multipletests

    corrected = np.array(p_values, dtype=float)
    if (tested := ~np.isnan(corrected)).any():
        corrected[tested] = multipletests(corrected[tested], method="holm")[1]
    return corrected.tolist()


def pairs(predictions: pd.DataFrame, baseline: float, alpha: float) -> pd.DataFrame:
    """Rows (utterance, seed) predicted under both alphas: columns speaker, seed, first, second (correctness)."""
    scored = predictions.assign(correct=_correct(predictions))
    wide = scored.pivot(index=["utterance", "seed", "speaker"], columns="alpha", values="correct")
    both = wide.reindex(columns=[baseline, alpha]).dropna()
    return both.set_axis(["first", "second"], axis="columns").reset_index()


def compare(predictions: pd.DataFrame, baseline: float, alpha: float) -> dict[str, Any]:
    """How `alpha` differs from `baseline` over the utterances that both tested.

    `difference` is accuracy(alpha) − accuracy(baseline), a share, with a 95% interval by bootstrap over speakers.
    McNemar takes the lowest seed that both ran, because the seeds of an utterance are not independent.
    """
    paired = pairs(predictions, baseline, alpha)
    gain = paired["second"] - paired["first"]
    one_seed = paired[paired["seed"] == paired["seed"].min()]
    return {
        "baseline": baseline, "alpha": alpha, "num_utterances": paired["utterance"].nunique(),
        "difference": float(gain.mean()),
        "difference_interval": _bootstrap_over_speakers(gain, paired["speaker"]),
        "only_baseline": int((one_seed["first"] > one_seed["second"]).sum()),
        "only_alpha": int((one_seed["second"] > one_seed["first"]).sum()),
        "mcnemar": mcnemar_test(one_seed["first"], one_seed["second"]),
        "permutation": permutation_test(gain.groupby(paired["speaker"]).sum().to_numpy()),
    }  # fmt: skip


def paired_tests(records: Any, baseline: float = 0.0) -> pd.DataFrame:
    """Every alpha against `baseline`, one row each, with Holm's correction of the permutation test over the rows.

    Columns: baseline, alpha, num_utterances, difference, difference_interval, only_baseline, only_alpha, mcnemar,
    permutation, holm. No rows where the baseline or every other alpha has no prediction.
    """
    predictions = records.predictions
    found = set(predictions["alpha"])
    if baseline not in found or len(found) == 1:
        return pd.DataFrame()
    rows = pd.DataFrame(compare(predictions, baseline, alpha) for alpha in sorted(found - {baseline}))
    return rows.assign(holm=holm(rows["permutation"].tolist()))
