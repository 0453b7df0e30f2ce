"""How often the intervals hold the truth, and which differences an experiment of this size can detect."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from mtlser import paper
from mtlser.config import ALPHAS
from mtlser.report import statistics, tables

# Assumptions of the design before anything ran: two models disagree in correctness on 30% of the utterances, and their
# true difference varies between speakers by 2 points (standard deviation). Set to choose the pocket corpus's size.
ASSUMED_DISCORDANCE = 0.3
ASSUMED_SPEAKER_DEVIATION = 0.02
POWER = 0.8  # the usual convention
LEVEL = 1 - statistics.CONFIDENCE
NUM_TRIALS = 300  # of a simulation
DESIGN_SIZES = (240, 1000, 2000, paper.NUM_UTTERANCES)  # test utterances of designs worth comparing; last, IEMOCAP's
CURVE_DISCORDANCES = (0.1, 0.2, 0.3)  # models that answer almost alike, and ones that often differ


def detectable_difference(
    num_utterances: float, discordance: float, speaker_deviation: float, *, num_speakers: int = 10, level: float = LEVEL
) -> float:
    """The smallest true difference in accuracy, as a share, that a paired test finds with probability POWER.

    The test is a two-sided t-test of the speakers' differences, which the permutation test follows closely.
    `discordance` is the share of the utterances that exactly one of the two models gets right, `speaker_deviation` the
    standard deviation of the true difference between speakers. Raises ValueError for fewer than two speakers.
    """
    from statsmodels.stats.power import TTestPower  # late, as in `statistics`

    if num_speakers < 2:
        raise ValueError("num_speakers must be at least 2: one speaker says nothing about how speakers differ")
    per_speaker = num_utterances / num_speakers
    deviation = math.sqrt(speaker_deviation**2 + discordance / per_speaker)  # of one speaker's observed difference
    return deviation * float(TTestPower().solve_power(nobs=num_speakers, alpha=level, power=POWER))


def design(predictions: pd.DataFrame, baseline: float, alpha: float) -> dict[str, Any]:
    """What decides the power of a comparison, estimated from its predictions: discordance and speaker deviation.

    The deviation is that of the speakers' differences beyond what drawing utterances explains; 0 where that explains
    all of it, NaN for fewer than two speakers. Several seeds add rows to their speaker.
    """
    pairs = statistics.pairs(predictions, baseline, alpha)
    gain = pairs["second"] - pairs["first"]
    by_speaker = gain.groupby(pairs["speaker"])
    expected = (by_speaker.var(ddof=0) / by_speaker.size()).mean()  # from drawing utterances alone
    excess = by_speaker.mean().var() - expected
    deviation = math.nan if math.isnan(excess) else math.sqrt(max(0.0, excess))
    sizes = {"num_utterances": pairs["utterance"].nunique(), "num_speakers": len(by_speaker)}
    return sizes | {"discordance": float(gain.abs().mean()), "speaker_deviation": deviation}


def coverage(speaker_deviation: float, num_speakers: int = 10, utterances: int = 120, accuracy: float = 0.75) -> dict:
    """How often the two 95% intervals hold a known accuracy when speakers differ: shares bootstrap_held, wilson_held.

    Each trial draws the speakers' true accuracies around `accuracy` with that standard deviation (clipped to [0, 1])
    and then `utterances` right or wrong answers of each.
    """
    from statsmodels.stats.proportion import proportion_confint

    generator, tail, held = np.random.default_rng(statistics.SEED), 100 * LEVEL / 2, []
    for _ in range(NUM_TRIALS):
        levels = np.clip(generator.normal(accuracy, speaker_deviation, num_speakers), 0, 1)
        right = generator.binomial(utterances, levels)
        resampled = right[generator.integers(num_speakers, size=(1000, num_speakers))].mean(axis=1) / utterances
        drawn = np.percentile(resampled, [tail, 100 - tail])
        wilson = proportion_confint(right.sum(), num_speakers * utterances, alpha=LEVEL, method="wilson")
        held.append([low <= accuracy <= high for low, high in (drawn, wilson)])
    return dict(zip(("bootstrap_held", "wilson_held"), np.mean(held, axis=0).tolist(), strict=True))


def intervals(records: Any) -> pd.DataFrame:
    """One row per alpha: accuracy, both intervals, and how many times wider the one over speakers is."""
    table = tables.scores(records)
    if table.empty:
        return table
    drawn, wilson = (table[name].map(lambda bounds: bounds[1] - bounds[0]) for name in ("interval", "wilson"))
    table = table[["alpha", "num_utterances", "accuracy", "interval", "wilson"]]
    return table.assign(wider=(drawn / wilson).map("{:.1f} times".format))


def coverages() -> pd.DataFrame:
    """`coverage` for speakers alike up to ones whose true accuracies deviate by 10 points, and the two shares."""
    return pd.DataFrame([{"speaker_deviation": d, **coverage(d)} for d in (0.0, 0.02, 0.05, 0.1)])


def assumed_power() -> pd.DataFrame:
    """What designs of several sizes detect, under the assumptions made before anything ran: shares of accuracy."""
    assumed = {"discordance": ASSUMED_DISCORDANCE, "speaker_deviation": ASSUMED_SPEAKER_DEVIATION}
    return pd.DataFrame(
        {"num_utterances": size, **_detectable(num_utterances=size, **assumed)} for size in DESIGN_SIZES
    )


def curves() -> pd.DataFrame:
    """Detectable differences over sizes and discordances: columns num_utterances, discordance, detectable (a share)."""
    sizes = np.geomspace(DESIGN_SIZES[0], DESIGN_SIZES[-1], 25)
    designs = [(size, share) for share in CURVE_DISCORDANCES for size in sizes]
    rows = [(*design, detectable_difference(*design, ASSUMED_SPEAKER_DEVIATION)) for design in designs]
    return pd.DataFrame(rows, columns=["num_utterances", "discordance", "detectable"])


def _detectable(**design: float) -> dict[str, float]:
    """For one comparison, and for the hardest of all comparisons with alpha = 0 under Holm's correction."""
    levels = {"detectable": LEVEL, "detectable_holm": LEVEL / (len(ALPHAS) - 1)}
    return {name: detectable_difference(**design, level=level) for name, level in levels.items()}


def power(records: Any) -> pd.DataFrame:
    """What the finished runs could detect: one row per alpha against 0; no rows where either was not run.

    Columns: comparison, num_utterances, discordance, speaker_deviation, difference, detectable, detectable_holm.
    """
    tables.check_one_experiment(records)
    done, rows = records.only(status="done"), []
    for test in statistics.paired_tests(done).itertuples():
        found = design(done.predictions, test.baseline, test.alpha)
        if found["num_speakers"] > 1:
            row = {"comparison": f"{test.baseline:g} → {test.alpha:g}", "difference": test.difference}
            rows.append(row | found | _detectable(**found))
    columns = ["num_utterances", "discordance", "speaker_deviation", "difference", "detectable", "detectable_holm"]
    return pd.DataFrame(rows, columns=["comparison", *columns])
