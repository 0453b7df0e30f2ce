"""What an experiment can detect: against the textbook formula, a simulation of the test that is used, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from fake_records import SPEAKERS, fake_records
from mtlser import paper
from mtlser.report import display, power, statistics
from mtlser.runs.records import Records
from sentences import read


@pytest.mark.parametrize(("num_utterances", "points"), [(240, 11.3), (1000, 5.8), (2000, 4.3), (5531, 3.1)])
def test_the_planned_design(num_utterances, points):
    found = power.detectable_difference(num_utterances, 0.3, 0.02)
    assert 100 * found == pytest.approx(points, abs=0.05)


def test_with_many_speakers_it_is_the_normal_approximation():
    expected = (1.959964 + 0.841621) * math.sqrt(0.3 / 100_000)
    assert power.detectable_difference(100_000, 0.3, 0.0, num_speakers=1000) == pytest.approx(expected, rel=0.01)


def test_more_data_detects_less_and_other_speakers_limit_it():
    sizes = [power.detectable_difference(size, 0.3, 0.02) for size in (100, 1000, 10_000)]
    assert sizes == sorted(sizes, reverse=True)
    assert power.detectable_difference(1e9, 0.3, 0.02) > 0.015  # ten speakers stay ten speakers
    assert power.detectable_difference(1000, 0.3, 0.02, level=0.0125) > sizes[1]
    with pytest.raises(ValueError, match="at least 2"):
        power.detectable_difference(100, 0.3, 0.0, num_speakers=1)


def test_the_permutation_test_finds_that_difference_four_times_in_five():
    generator, found = np.random.default_rng(7), 0
    difference = power.detectable_difference(1000, 0.3, 0.02)
    for _ in range(150):
        true = generator.normal(difference, 0.02, 10)
        only_second, only_first = generator.binomial(100, (0.3 + true) / 2), generator.binomial(100, (0.3 - true) / 2)
        found += statistics.permutation_test(only_second - only_first) < 0.05
    assert found / 150 == pytest.approx(power.POWER, abs=0.09)


def table(gains: dict[str, list[int]]) -> pd.DataFrame:
    """Predictions of alpha 0 and 0.1 in which an utterance is won (1), lost (-1) or equal (0)."""
    rows = []
    for speaker, values in gains.items():
        for place, gain in enumerate(values):
            for alpha, right in ((0.0, gain == -1), (0.1, gain == 1)):
                rows.append({"utterance": f"{speaker}{place}", "speaker": speaker, "seed": 0, "alpha": alpha,
                             "label": "sad", "prediction": "sad" if right else "happy"})  # fmt: skip
    return pd.DataFrame(rows)


def test_the_design_of_predictions_by_hand():
    found = power.design(table({"a": [1, 1, 0, 0], "b": [0, 0, 0, 0]}), 0.0, 0.1)
    assert found["num_utterances"] == 8 and found["num_speakers"] == 2
    assert found["discordance"] == 2 / 8
    # Differences 0.5 and 0, variance 0.125; drawing four of variance 0.25 explains 0.0625 of a, nothing of b.
    assert found["speaker_deviation"] == pytest.approx(math.sqrt(0.125 - 0.0625 / 2))
    alike = power.design(table({"a": [1, -1, 0, 0], "b": [1, -1, 0, 0]}), 0.0, 0.1)
    assert alike["speaker_deviation"] == 0
    assert math.isnan(power.design(table({"a": [1, 0]}), 0.0, 0.1)["speaker_deviation"])


def test_speakers_alike_are_covered_by_both_intervals_and_speakers_apart_by_one():
    alike, apart = power.coverage(0.0), power.coverage(0.1)
    assert alike["wilson_held"] > 0.92 and alike["bootstrap_held"] > 0.85
    assert apart["bootstrap_held"] > apart["wilson_held"] + 0.2
    assert power.coverages()["bootstrap_held"].between(0.85, 0.949).all()  # somewhat too narrow with ten speakers


def test_tables_follow_the_records():
    records = fake_records()
    assert power.power(records)["comparison"].tolist() == ["0 → 0.001", "0 → 0.01", "0 → 0.1", "0 → 1"]
    assert (power.power(records)["detectable_holm"] > power.power(records)["detectable"]).all()
    assert power.power(Records.empty()).empty and power.intervals(Records.empty()).empty
    assert power.power(fake_records(folds=SPEAKERS[:1])).empty  # one speaker
    planned = power.assumed_power().iloc[-1]
    assert planned["num_utterances"] == 5531
    assert planned["detectable_holm"] < paper.claimed_gain()  # the last section of book/certainty says so
    assert set(power.curves()["discordance"]) == set(power.CURVE_DISCORDANCES)


def detectable(ours: Records) -> str:
    return read("certainty", "power.power(ours)", ours=ours, power=power, paper=paper, display=display)


def test_whether_the_papers_gain_would_show_in_words():
    text = detectable(fake_records())
    least = power.power(fake_records()).set_index("comparison").loc["0 → 0.1", "detectable_holm"]
    assert "+6.49 points, can't be counted on" in text and f"A difference below {100 * least:.1f} points" in text
    assert detectable(Records.empty()).startswith("Not run") and detectable(fake_records(alphas=(0.0, 1.0))).startswith(
        "Not"
    )
