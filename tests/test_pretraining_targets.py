"""Clusters of frames: one for each frame of the encoder, fitted on the training voices."""

from __future__ import annotations

import numpy as np
import pytest

from mtlser.corpus.pretraining_speech import SpeechConfig
from mtlser.model.frames import FrameLayout
from mtlser.model.pretraining_targets import Utterance, cluster, make_utterances, mfcc_features, prosody_features
from mtlser.model.probes import letters_per_second

LAYOUT = FrameLayout(stride=640, window=720)


@pytest.fixture(scope="module")
def utterances() -> list[Utterance]:
    return make_utterances(SpeechConfig(num_training=8, num_probe=3), 12, 6, 0, LAYOUT)


def test_targets_have_one_entry_per_encoder_frame(utterances: list[Utterance]) -> None:
    assert [utterance.draw.held_out for utterance in utterances] == 8 * [False] + 3 * [True]
    for utterance in utterances:
        num_frames = LAYOUT.num_frames(len(utterance.samples))
        assert {len(utterance.phones), len(utterance.prosody), len(utterance.log_pitch)} == {num_frames}
        assert mfcc_features(utterance.waveform(), num_frames, LAYOUT.stride).shape == (num_frames, 39)
        assert utterance.waveform().mean() == pytest.approx(0, abs=1e-4)
        assert utterance.waveform().std() == pytest.approx(1, abs=1e-3)
        assert 5 < letters_per_second(utterance) < 30
    assert set(np.concatenate([utterance.phones for utterance in utterances])) == set(range(12))
    assert set(np.concatenate([utterance.prosody for utterance in utterances])) == set(range(6))


def test_prosody_without_a_voiced_frame_is_finite() -> None:
    features = prosody_features(np.full(5, np.nan), np.linspace(-60, 0, 5))
    assert features.shape == (5, 4) and np.isfinite(features).all()


def test_clusters_are_fitted_on_the_first_rows_alone() -> None:
    rows = np.array([[0.0], [0.1], [5.0], [5.1], [100.0]], dtype=np.float32)
    ids = cluster(rows, 4, 2, seed=0)
    assert ids[0] == ids[1] != ids[2] == ids[3] == ids[4]  # the far row has no cluster of its own
