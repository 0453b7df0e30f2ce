"""How well clusters tell phonemes, by hand; and which phonemes espeak-ng says it speaks, against its sound."""

from __future__ import annotations

import numpy as np
import pytest

from mtlser.config import SAMPLE_RATE_HZ
from mtlser.corpus.espeak import Speech, synthesise, synthesise_aligned
from mtlser.model.probes import purity


def test_purity_by_hand():
    clusters, phonemes = np.array([0, 0, 0, 1, 1, 2]), np.array(list("aabbba"))
    measured = purity(clusters, phonemes)
    assert measured["phone_purity"] == pytest.approx(5 / 6)  # cluster 0: a, a; cluster 1: b, b; cluster 2: a
    assert measured["cluster_purity"] == pytest.approx(4 / 6)  # a is mostly cluster 0, b mostly cluster 1
    # Each phoneme has half of the frames: entropy log 2. Given cluster 0 (half of the frames), a has two thirds.
    left = 0.5 * -(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3))
    assert measured["pnmi"] == pytest.approx(1 - left / np.log(2))
    assert purity(np.arange(4), np.array(list("abcd")))["pnmi"] == pytest.approx(1.0)
    assert purity(np.zeros(4), np.array(list("abcd")))["pnmi"] == pytest.approx(0.0, abs=1e-12)


def test_espeak_tells_which_phoneme_it_speaks_and_when():
    speeches = [Speech("see me", rate_wpm=120), Speech("moo, see", rate_wpm=120)]
    aligned = list(synthesise_aligned(speeches))
    for (samples, starts), plain in zip(aligned, synthesise(speeches), strict=True):
        assert np.array_equal(samples, plain)
        times = [start for start, _ in starts]
        assert times == sorted(times) and times[0] >= 0 and times[-1] < len(samples) / SAMPLE_RATE_HZ
    names = [[name.strip("ˈˌ") for _, name in starts] for _, starts in aligned]
    assert names[0] == ["s", "iː", "m", "iː"]
    assert names[1][0] == "m" and "" in names[1] and names[1][-1] == "iː"  # the comma is a pause
    # What is spoken there: an s has its energy high, an m low.
    samples, starts = aligned[0]
    begin, end = (int(starts[i][0] * SAMPLE_RATE_HZ) for i in (0, 1))
    other = int(starts[2][0] * SAMPLE_RATE_HZ), int(starts[3][0] * SAMPLE_RATE_HZ)
    share_high = [high_share(samples[begin:end]), high_share(samples[slice(*other)])]
    assert share_high[0] > 0.5 > share_high[1]


def high_share(samples: np.ndarray) -> float:
    """Share of the power above 3 kHz."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    frequencies = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE_HZ)
    return float(power[frequencies > 3000].sum() / power.sum())
