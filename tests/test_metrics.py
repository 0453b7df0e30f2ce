"""Metrics against hand-computed cases, their definitions, and properties that must hold for any predictions."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtlser.config import EMOTIONS
from mtlser.report import averages
from mtlser.runs import metrics

emotion_pairs = st.lists(st.tuples(st.sampled_from(EMOTIONS), st.sampled_from(EMOTIONS)), min_size=1, max_size=40)
words = st.lists(st.sampled_from(["I", "AM", "FINE", "TODAY", "DON'T"]), max_size=6).map(" ".join)
transcript_pairs = st.lists(st.tuples(words, words), min_size=1, max_size=8)


def test_accuracies_by_hand():
    labels = ["neutral", "neutral", "neutral", "happy", "angry"]
    predictions = ["neutral", "neutral", "happy", "happy", "sad"]
    assert metrics.weighted_accuracy(labels, predictions) == pytest.approx(3 / 5)
    assert metrics.unweighted_accuracy(labels, predictions) == pytest.approx((2 / 3 + 1 + 0) / 3)  # no sad among labels
    # F1: neutral 4/5, happy 2/3, angry 0, sad 0
    assert metrics.macro_f1(labels, predictions) == pytest.approx((4 / 5 + 2 / 3) / 4)
    assert metrics.confusion(labels, predictions).tolist() == [[2, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]


@given(emotion_pairs)
def test_equal_to_their_definitions(pairs):
    labels, predictions = map(list, zip(*pairs, strict=True))
    recalls, scores = [], []
    for emotion in EMOTIONS:
        hits = pairs.count((emotion, emotion))
        if labels.count(emotion):
            recalls.append(hits / labels.count(emotion))
        if labels.count(emotion) + predictions.count(emotion):
            scores.append(2 * hits / (labels.count(emotion) + predictions.count(emotion)))
    assert metrics.weighted_accuracy(labels, predictions) == pytest.approx(
        sum(one == other for one, other in pairs) / len(pairs)
    )
    assert metrics.unweighted_accuracy(labels, predictions) == pytest.approx(np.mean(recalls))
    assert metrics.macro_f1(labels, predictions) == pytest.approx(np.mean(scores))
    expected = [[pairs.count((one, other)) for other in EMOTIONS] for one in EMOTIONS]
    assert metrics.confusion(labels, predictions).tolist() == expected


@given(emotion_pairs, st.randoms(use_true_random=False))
def test_bounded_and_independent_of_order(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    for metric in (metrics.weighted_accuracy, metrics.unweighted_accuracy, metrics.macro_f1):
        value = metric(*zip(*pairs, strict=True))
        assert 0 <= value <= 1
        assert value == pytest.approx(metric(*zip(*shuffled, strict=True)))


@given(emotion_pairs)
def test_names_and_positions_mean_the_same(pairs):
    labels, predictions = zip(*pairs, strict=True)
    positions = [np.array([EMOTIONS.index(name) for name in names]) for names in (labels, predictions)]
    assert np.array_equal(metrics.confusion(labels, predictions), metrics.confusion(*positions))


@pytest.mark.parametrize("emotion", ["excited", 4, -1, "0"])
def test_unknown_emotion_is_named(emotion):
    with pytest.raises(ValueError, match=str(emotion)):
        metrics.weighted_accuracy(["sad"], [emotion])


def test_nothing_to_measure_is_an_error():
    with pytest.raises(ValueError, match="at least 1"):
        metrics.weighted_accuracy([], [])
    with pytest.raises(ValueError, match="2 labels and 1 predictions"):
        metrics.macro_f1(["sad", "sad"], ["sad"])


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("EXCUSE ME", "EXCUSE ME", (0, 2)),
        ("I AM FINE", "I AM", (1, 3)),  # one deletion
        ("I AM FINE", "I AM NOT FINE", (1, 3)),  # one insertion
        ("I AM FINE", "I WAS FINE", (1, 3)),  # one substitution
        ("I AM FINE", "", (3, 3)),
        ("NO", "YES IT IS", (3, 1)),  # one substitution, two insertions: a WER of 3
        ("", "UH", (0, 0)),  # left out
        ("", "", (0, 0)),
    ],
)
def test_word_errors_by_hand(reference, hypothesis, expected):
    assert metrics.word_errors(reference, hypothesis) == expected


def test_corpus_wer_pools_words_and_leaves_out_empty_references():
    references = ["A B C D", "E", ""]
    hypotheses = ["A B C D", "F", "G H"]
    assert metrics.wer(references, hypotheses) == pytest.approx(1 / 5)  # the mean over utterances would be 1/2
    assert math.isnan(metrics.wer(["", " "], ["A", ""]))


def test_cer_by_hand():
    assert metrics.cer(["AB C", ""], ["AC C", "X"]) == pytest.approx(1 / 4)
    assert math.isnan(metrics.cer([""], ["A"]))


@given(transcript_pairs)
def test_wer_is_the_ratio_of_summed_word_errors(pairs):
    references, hypotheses = zip(*pairs, strict=True)
    errors, num_words = np.sum([metrics.word_errors(*pair) for pair in pairs], axis=0)
    value = metrics.wer(references, hypotheses)
    if num_words == 0:
        assert math.isnan(value)
    else:
        assert value == pytest.approx(errors / num_words)
        assert (value == 0) == all(r == h for r, h in pairs if r)
        assert value >= 0


@given(transcript_pairs, st.randoms(use_true_random=False))
def test_wer_does_not_depend_on_order(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    assert metrics.wer(*zip(*pairs, strict=True)) == pytest.approx(
        metrics.wer(*zip(*shuffled, strict=True)), nan_ok=True
    )


def test_equation_5_weighs_each_fold_the_same():
    assert averages.mean_wer([0.25, 0.75]) == 0.5
    for missing in ([], [0.2, float("nan")]):
        with pytest.raises(ValueError, match="WER from each"):
            averages.mean_wer(missing)


@given(st.lists(st.tuples(st.integers(1, 700), st.floats(0, 1)), min_size=1, max_size=10))
def test_pooled_accuracy_is_the_mean_weighted_by_fold_size(folds):
    runs = pd.DataFrame(
        [{"status": "done", "alpha": 0.1, "num_test": n, "num_correct": round(n * share)} for n, share in folds]
    )
    per_fold = runs["num_correct"] / runs["num_test"]
    assert averages.pooled_accuracy(runs) == pytest.approx(np.average(per_fold, weights=runs["num_test"]))


def test_pooling_refuses_what_does_not_belong_together():
    runs = pd.DataFrame(
        {"status": ["done", "done", "diverged"], "alpha": [0, 0.1, 0.1], "num_test": [4] * 3, "num_correct": [1, 3, 4]}
    )
    with pytest.raises(ValueError, match="several alphas"):
        averages.pooled_accuracy(runs)
    assert averages.pooled_accuracy(runs[runs["alpha"] == 0.1]) == 0.75  # the diverged run has no result
    with pytest.raises(ValueError, match="no finished run"):
        averages.pooled_accuracy(runs[runs["status"] == "diverged"])
