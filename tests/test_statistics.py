"""Intervals and paired tests against cases worked by hand, and properties that must hold."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_records import SPEAKERS, fake_records
from mtlser.report import statistics
from mtlser.runs.records import Records


def predictions(correct_of_speaker: dict[str, list[int]], **columns) -> pd.DataFrame:
    """One row per utterance: right (1) or wrong (0), by speaker."""
    rows = [
        {"utterance": f"{speaker}-{place}", "speaker": speaker, "label": "sad", "prediction": "sad" if ok else "happy"}
        for speaker, answers in correct_of_speaker.items()
        for place, ok in enumerate(answers)
    ]
    return pd.DataFrame(rows).assign(**columns)


def test_speakers_alike_give_a_point_and_speakers_apart_the_whole_range():
    alike = predictions({name: [1, 0] for name in SPEAKERS})
    assert statistics.accuracy_interval(alike) == (0.5, 0.5)
    apart = predictions({name: [place % 2] * 20 for place, name in enumerate(SPEAKERS)})
    low, high = statistics.accuracy_interval(apart)
    # The number of right speakers in a resample of ten is binomial(10, 1/2): 2 and 8 are its 2.5% and 97.5% quantiles.
    assert (low, high) == (0.2, 0.8)
    wilson_low, wilson_high = statistics.wilson_interval(apart)
    assert high - low > wilson_high - wilson_low  # treating utterances as independent is far too narrow


def test_resampling_is_seeded_and_one_speaker_has_no_interval():
    table = fake_records(alphas=(0.1,)).predictions
    assert statistics.accuracy_interval(table) == statistics.accuracy_interval(table)
    assert all(map(math.isnan, statistics.accuracy_interval(table[table["speaker"] == SPEAKERS[0]])))


def test_wilson_by_hand_counts_an_utterance_once_for_all_seeds():
    table = predictions({"a": [1] * 8 + [0] * 2})
    centre, half = (0.8 + 1.96**2 / 20) / (1 + 1.96**2 / 10), 1.96 * math.sqrt(0.16 / 10 + 1.96**2 / 400) / 1.38416
    expected = pytest.approx((centre - half, centre + half), abs=1e-4)
    assert statistics.wilson_interval(table) == expected
    assert statistics.wilson_interval(pd.concat([table, table])) == expected  # a second seed, same answers


@settings(max_examples=15)
@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=6), min_size=2, max_size=6))
def test_intervals_lie_between_the_worst_and_the_best_speaker(answers):
    table = predictions(dict(zip("abcdef", answers, strict=False)))
    shares = [np.mean(row) for row in answers]
    low, high = statistics.accuracy_interval(table)
    assert min(shares) - 1e-12 <= low <= high <= max(shares) + 1e-12


def test_permutation_by_hand():
    # Signs of three equal differences: 2 of the 8 sums are as far from zero as the observed one.
    assert statistics.permutation_test(np.array([1, 1, 1])) == pytest.approx(2 / 8)
    # 2 + 1 = 3; the sums are ±3 and ±1.
    assert statistics.permutation_test(np.array([2, 1])) == pytest.approx(2 / 4)
    assert statistics.permutation_test(np.array([1, -1])) == 1
    assert statistics.permutation_test(np.array([5])) == 1
    assert math.isnan(statistics.permutation_test(np.array([])))
    assert statistics.permutation_test(np.ones(10)) == pytest.approx(2 / 2**10)


@settings(max_examples=20)
@given(st.lists(st.integers(-9, 9), min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_permutation_ignores_order_and_direction(differences, random):
    p = statistics.permutation_test(np.array(differences))
    assert 0 < p <= 1
    shuffled = random.sample(differences, len(differences))
    assert statistics.permutation_test(np.array(shuffled)) == pytest.approx(p)
    assert statistics.permutation_test(-np.array(differences)) == pytest.approx(p)


def test_mcnemar_by_hand():
    first, second = pd.Series([1, 1, 1, 1, 0, 1]), pd.Series([0, 0, 0, 0, 0, 1])
    assert statistics.mcnemar_test(first, second) == pytest.approx(2 / 2**4)  # 4 against 0
    assert statistics.mcnemar_test(first, first) == 1


def test_holm_by_hand_leaves_out_what_was_not_tested():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    corrected = statistics.holm([0.02, float("nan"), 0.5])
    assert corrected[0] == pytest.approx(0.04) and math.isnan(corrected[1]) and corrected[2] == 0.5
    assert all(map(math.isnan, statistics.holm([float("nan")])))


def test_compare_pairs_the_same_utterances():
    first = predictions({"a": [1, 0, 0, 1], "b": [1, 1, 1, 1]}, alpha=0.0, seed=0)
    second = predictions({"a": [1, 1, 1], "b": [1, 0, 1, 1]}, alpha=0.1, seed=0)  # one utterance of a was not tested
    row = statistics.compare(pd.concat([first, second.sample(frac=1, random_state=0)]), 0.0, 0.1)
    assert row["num_utterances"] == 7
    assert row["difference"] == pytest.approx(1 / 7)
    assert (row["only_baseline"], row["only_alpha"]) == (1, 2)
    assert row["mcnemar"] == pytest.approx(1.0)
    assert row["permutation"] == pytest.approx(1.0)  # +2 and −1: sums ±1, ±3, all at least 1 from zero


def test_nothing_in_common_is_said_as_such():
    first, second = predictions({"a": [1]}, alpha=0.0, seed=0), predictions({"b": [1]}, alpha=0.1, seed=0)
    row = statistics.compare(pd.concat([first, second]), 0.0, 0.1)
    assert row["num_utterances"] == 0 and math.isnan(row["permutation"]) and math.isnan(row["mcnemar"])


def test_paired_tests_of_records():
    rows = statistics.paired_tests(fake_records())
    assert rows["alpha"].tolist() == [0.001, 0.01, 0.1, 1.0]
    assert (rows["difference"] > 0).all()
    assert (rows["holm"] >= rows["permutation"]).all()
    assert statistics.paired_tests(Records.empty()).empty
    assert statistics.paired_tests(fake_records(alphas=(0.1,))).empty  # no baseline


def test_swapping_the_alphas_swaps_the_sign():
    table = fake_records(alphas=(0.0, 0.1)).predictions
    there, back = statistics.compare(table, 0.0, 0.1), statistics.compare(table, 0.1, 0.0)
    assert there["difference"] == pytest.approx(-back["difference"])
    assert (there["mcnemar"], there["permutation"]) == pytest.approx((back["mcnemar"], back["permutation"]))


def test_two_groups_by_hand():
    """Of the six ways to choose two of four, two give a difference as large on either side."""
    assert statistics.two_groups_test(pd.Series([3.0, 4.0]), pd.Series([1.0, 2.0])) == pytest.approx(2 / 6)
