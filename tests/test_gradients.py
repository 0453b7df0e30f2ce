"""Gradients of the two losses over invented records: the pull of CTC, medians, and what the page says of them."""

from __future__ import annotations

import math

import pytest

from fake_records import SPEAKERS, fake_records
from mtlser.report import display, gradients
from mtlser.runs.records import Records
from sentences import read


@pytest.fixture(scope="module")
def records():
    return fake_records(folds=SPEAKERS[:2])


def test_pull_is_alpha_times_the_ratio_of_norms(records):
    history = gradients.history(records)  # invented: norms 1 and 10
    assert history.loc[history["alpha"] == 0.1, "pull"].unique() == pytest.approx([1.0])
    assert history.loc[history["alpha"] == 1.0, "pull"].unique() == pytest.approx([10.0])
    assert history.loc[history["alpha"] == 0.0, "pull"].isna().all()


def test_medians_of_the_first_and_the_last_epoch(records):
    table = gradients.medians(records)
    assert table["alpha"].tolist() == [0.0, 0.001, 0.01, 0.1, 1.0]
    assert table["α · CTC / cross-entropy, last"].tolist() == ["–", "0.01", "0.1", "1", "10"]
    assert gradients.medians(Records.empty()).empty


def test_where_ctc_pulls_harder_and_how_the_two_point(records):
    assert gradients.alphas_where_ctc_pulls_harder(records) == {"first": [1.0], "last": [1.0]}
    assert gradients.last_cosines(records) == (0.1, 0.1, 0.1)
    assert all(map(math.isnan, gradients.last_cosines(Records.empty())))


def test_sentences(records):
    text = read("losses", "gradients.last_cosines", ours=records, gradients=gradients, display=display)
    assert "After the first epoch, CTC pulls harder than cross-entropy for α = 1 (" in text
    assert "After the last, CTC pulls harder" in text and "median 0.10" in text and "between 0.10 and 0.10" in text
    records.history["gradient_norm_ctc"] *= 100.0
    text = read("losses", "gradients.last_cosines", ours=records, gradients=gradients, display=display)
    assert "for α = 0.01, 0.1 and 1 (" in text
    nothing = read("losses", "gradients.last_cosines", ours=Records.empty(), gradients=gradients, display=display)
    assert nothing.startswith("Not run")
