"""Confidence by hand on a few answers, against scikit-learn, and from other speakers than those it is used for."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import calibration_curve

from mtlser.config import EMOTIONS
from mtlser.report import calibration, display, figures
from mtlser.report.repeats import Repeat
from mtlser.runs.records import Records
from sentences import read


def predictions(count: int, speakers: int = 2, too_sure: float = 1.0, seed: int = 0) -> pd.DataFrame:
    """Answers whose labels are drawn from the probabilities of their logits, which are then `too_sure` times larger."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1.5, (count, len(EMOTIONS)))
    given = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = [EMOTIONS[generator.choice(len(EMOTIONS), p=row)] for row in given]
    return pd.DataFrame({
        "utterance": [f"u{n}" for n in range(count)], "speaker": [f"S{n % speakers}" for n in range(count)],
        "label": labels, "prediction": [EMOTIONS[n] for n in logits.argmax(axis=1)],
        "logits": list((too_sure * logits).astype(np.float32)),
    })  # fmt: skip


def test_probabilities_by_hand():
    frame = pd.DataFrame({"logits": [np.log([1.0, 2.0, 4.0, 1.0]), np.log([1.0, 4.0, 1.0, 2.0])]})
    assert calibration.probabilities(frame)[0] == pytest.approx([1 / 8, 2 / 8, 4 / 8, 1 / 8])
    halved = calibration.probabilities(frame, [1.0, 0.5])
    assert halved[1] == pytest.approx(np.array([1, 16, 1, 4]) / 22)  # half a temperature squares the odds


@pytest.mark.parametrize("too_sure", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_made_the_model_too_sure(too_sure):
    assert calibration.fit_temperature(predictions(4000, too_sure=too_sure)) == pytest.approx(too_sure, rel=0.1)


def test_risk_coverage_and_threshold_by_hand():
    confidence = pd.Series([0.5, 0.9, 0.7, 0.6, 0.8])
    correct = pd.Series([True, True, False, True, True])
    curve = calibration.risk_coverage(confidence, correct)
    assert curve["coverage"].tolist() == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert curve["risk"].tolist() == pytest.approx([0, 0, 1 / 3, 1 / 4, 1 / 5])
    assert calibration.threshold(confidence, correct, 0.9) == 0.8
    assert calibration.threshold(confidence, correct, 0.8) == 0.5
    assert math.isnan(calibration.threshold(confidence, ~correct, 0.9))


def test_reliability_is_scikit_learns_and_ece_is_its_weighted_gap():
    answered = calibration.answers(predictions(500, too_sure=2.0))
    bins = calibration.reliability(answered["confidence"], answered["correct"])
    right, sure = calibration_curve(answered["correct"], answered["confidence"], n_bins=calibration.NUM_BINS)
    assert bins["accuracy"].tolist() == pytest.approx(right.tolist())
    assert bins["confidence"].tolist() == pytest.approx(sure.tolist())
    assert bins["share"].sum() == pytest.approx(1)
    one = pd.DataFrame({"c": [1.0, 1.0, 0.3, 0.31], "r": [True, False, True, True]})  # gaps 0.5 and 0.695, halves
    edge = calibration.reliability(one["c"], one["r"])
    assert ((edge["accuracy"] - edge["confidence"]).abs() * edge["share"]).sum() == pytest.approx(0.5975)


def test_scores_by_hand():
    frame = pd.DataFrame({"label": ["neutral", "sad"], "prediction": ["neutral", "angry"], "speaker": ["F", "M"],
                          "logits": [np.zeros(4), np.log([0.1, 0.1, 0.6, 0.2])]})  # fmt: skip
    frame = frame.assign(correct=[True, False], confidence=[0.25, 0.6], calibrated=[0.25, 0.25], temperature=1e6)
    found = calibration.scores(frame)
    assert found["accuracy"] == 0.5 and found["confidence"] == pytest.approx(0.425)
    assert found["ece"] == pytest.approx((0.75 + 0.6) / 2)
    assert found["brier"] == pytest.approx((0.75 + 0.01 + 0.01 + 0.36 + 0.64) / 2)
    assert found["ece_after"] == pytest.approx(0.25) and found["brier_after"] == pytest.approx(0.75)  # all alike


def test_a_speakers_own_answers_never_fit_what_is_used_for_them():
    frame = predictions(900, speakers=3, too_sure=2.0)
    before = calibration.answers(frame).set_index("utterance")
    changed = frame.copy()
    own = changed["speaker"] == "S0"
    changed.loc[own, "label"] = "sad"
    after = calibration.answers(changed).set_index("utterance").loc[before.index]
    mine = before["speaker"] == "S0"
    assert after.loc[mine, ["temperature", "calibrated", "accepted"]].equals(
        before.loc[mine, ["temperature", "calibrated", "accepted"]]
    )
    assert (after.loc[~mine, "temperature"] != before.loc[~mine, "temperature"]).all()
    with pytest.raises(ValueError, match="one speaker"):
        calibration.answers(frame[own])


def test_a_temperature_mends_a_model_that_is_too_sure_and_the_rule_keeps_its_word_where_speakers_are_alike():
    answered = calibration.answers(predictions(4000, too_sure=3.0))
    found = calibration.scores(answered)
    assert found["ece"] > 0.1 > 0.05 > found["ece_after"] and found["brier_after"] < found["brier"]
    kept = calibration.declined(answered)
    assert kept["accuracy"] == pytest.approx(calibration.TARGET, abs=0.03) and 0.05 < kept["answered"] < 0.9
    assert kept["accuracy"] > found["accuracy"] and kept["worst"] <= kept["accuracy"]


def as_records(frame: pd.DataFrame) -> Records:
    return Records(pd.DataFrame(), pd.DataFrame(), frame.assign(alpha=0.1, fold=frame["speaker"], seed=0))


def test_agreement_by_hand():
    here = predictions(4).assign(label=["sad"] * 4, prediction=["sad", "sad", "happy", "sad"])
    there = here.assign(prediction=["sad", "sad", "happy", "happy"]).sample(frac=1, random_state=0)
    table = calibration.agreement(Repeat("other", "", "", as_records(here), as_records(there))).set_index("agree")
    assert table["share"].to_dict() == {False: 0.25, True: 0.75}
    assert table["accuracy"].tolist() == pytest.approx([1.0, 2 / 3])
    assert table["confidence"][False] == pytest.approx(calibration.probabilities(here)[3].max())


def test_spreads_by_hand():
    first, second = pd.Series({"a": 0.2, "b": 0.6}), pd.Series({"a": 0.4, "b": 0.8})
    found = calibration.spreads([first, second])  # mean squares 0.16 and 0.02
    assert found["repeats"] == pytest.approx(math.sqrt(0.02)) and found["folds"] == pytest.approx(math.sqrt(0.07))
    noise = calibration.spreads([first, pd.Series({"a": 0.6, "b": 0.2})])
    assert noise["folds"] == 0


def test_the_figure_has_a_line_for_each_alpha():
    answered = pd.concat(
        calibration.answers(predictions(600, seed=n)).assign(alpha=alpha) for n, alpha in enumerate((0.0, 0.1))
    )
    figure = figures.confidence(answered)
    assert [len(axes.lines) for axes in figure.axes] == [3, 3, 2]
    assert "α = 0.1" in figures.draw(figures.confidence, answered, "dark")


def test_the_page_says_what_its_tables_say():
    kept = pd.DataFrame({"alpha": [0.0, 0.1], "answered": [0.5, 0.25], "accuracy": [0.95, 0.8], "worst": [0.9, 0.5],
                         "interval": [(0.9, 1.0), (0.7, 0.85)]})  # fmt: skip

    text = read("calibration", "the rule answers", kept=kept, calibration=calibration, display=display)
    assert "answers 25.00%" in text and "missed at 1 of 2 α" in text and "speakers at 1." in text
    assert "nothing" in read("calibration", "the rule answers", kept=kept[:0], calibration=calibration, display=display)
