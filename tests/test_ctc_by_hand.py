"""CTC by hand against torch, against every path, and on cases small enough for a pencil."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtlser.model import ctc_by_hand
from mtlser.model.ctc_by_hand import PROBABILITIES, WORD, collapse, forward_sums, likelihood, paths_of, with_blanks


def table(num_frames: int, symbols: str = "_ab", seed: int = 0) -> pd.DataFrame:
    rows = np.random.default_rng(seed).dirichlet(np.ones(len(symbols)), num_frames)
    return pd.DataFrame(rows, columns=list(symbols), index=range(1, num_frames + 1))


@pytest.mark.parametrize(
    ("path", "text"),
    [("SEE_E", "SEE"), ("SEEE", "SE"), ("_S_E", "SE"), ("S__S", "SS"), ("___", ""), ("", ""), ("ESE", "ESE")],
)
def test_collapse(path, text):
    assert collapse(path) == text


@given(st.text("_ab", max_size=8))
def test_collapsing_a_text_spread_with_blanks_gives_it_back(path):
    assert collapse(with_blanks(collapse(path))) == collapse(path)


def test_the_paths_of_two_frames_by_hand():
    probabilities = pd.DataFrame([[0.5, 0.5], [0.25, 0.75]], columns=["_", "a"], index=[1, 2])
    assert dict(paths_of(probabilities, "a").itertuples(index=False)) == {"aa": 0.375, "_a": 0.375, "a_": 0.125}
    sums = forward_sums(probabilities, "a")
    assert sums.index.tolist() == ["_", "a", "_"]
    # 1: _ or a. 2: still blank; a from blank or from itself; the blank after a.
    assert sums.to_numpy().tolist() == [[0.5, 0.125], [0.5, 0.75], [0.0, 0.125]]
    assert likelihood(sums) == 0.875


@pytest.mark.parametrize("text", ["", "a", "ab", "aa", "aba", "aab", "abab", "aaa", "bbaa"])
@pytest.mark.parametrize("num_frames", [1, 4, 5])
def test_forward_sums_are_the_sum_over_paths_and_torch(text, num_frames):
    probabilities = table(num_frames)
    summed = paths_of(probabilities, text)["probability"].sum()
    found = likelihood(forward_sums(probabilities, text))
    assert found == pytest.approx(summed, abs=1e-15)
    target = torch.tensor([[" ab".index(letter) for letter in text]], dtype=torch.long)
    logs = torch.from_numpy(np.log(probabilities.to_numpy()))[:, None]  # (T, 1, V)
    loss = torch.nn.functional.ctc_loss(
        logs, target, torch.tensor([num_frames]), torch.tensor([len(text)]), reduction="none"
    )
    assert math.exp(-loss.item()) == pytest.approx(found, abs=1e-12)


def test_every_path_belongs_to_one_text_and_all_add_up_to_one():
    texts = ctc_by_hand.texts(PROBABILITIES)
    assert texts["probability"].sum() == pytest.approx(1)
    assert texts["paths"].sum() == len(ctc_by_hand.all_paths(PROBABILITIES)) == 3**5
    assert texts["probability"].is_monotonic_decreasing and texts["text"].is_unique


def test_the_example_needs_its_blank_and_three_ways_agree():
    paths = paths_of(PROBABILITIES, WORD)["path"]
    assert len(paths) == 7 and all("E_E" in path or "E__E" in path for path in paths)
    np.testing.assert_allclose(PROBABILITIES.sum(axis=1), 1)
    found = ctc_by_hand.compare(PROBABILITIES, WORD)
    np.testing.assert_allclose(found["probability"], found["probability"][0], atol=1e-12)
    np.testing.assert_allclose(found["loss"], found["loss"][0], atol=1e-12)


def test_too_many_paths_are_refused():
    with pytest.raises(ValueError, match="3 symbols in 12 frames"):
        ctc_by_hand.all_paths(table(12))
