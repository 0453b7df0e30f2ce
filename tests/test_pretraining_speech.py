"""Speech for pretraining: voices and sentences that the pocket corpus does not have; a target for each frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mtlser.corpus.pocket_plan import VOICES
from mtlser.corpus.text import normalise
from mtlser.model.frames import FrameLayout
from mtlser.model.pretraining_speech import (
    ACCENTS,
    HELD_OUT_VARIANTS,
    PAUSE,
    TRAINING_VARIANTS,
    SpeechConfig,
    Utterance,
    add_noise,
    cluster,
    draw_utterances,
    frame_phonemes,
    make_utterances,
    mfcc_features,
    prosody_features,
)
from words import vocabulary

SPEECH = SpeechConfig(num_training=24, num_probe=6)
LAYOUT = FrameLayout(stride=640, window=720)


@pytest.fixture(scope="module")
def utterances() -> list[Utterance]:
    return make_utterances(SpeechConfig(num_training=8, num_probe=3), 12, 6, 0, LAYOUT)


def test_voices_and_sentences_are_not_the_pocket_corpus() -> None:
    draws = draw_utterances(SpeechConfig())
    voices = {draw.speech.voice for draw in draws}
    variants = {voice.partition("+")[2] for voice in VOICES.values()}
    assert not voices & set(VOICES.values())
    assert not variants & {*TRAINING_VARIANTS, *HELD_OUT_VARIANTS}
    assert not {voice.partition("+")[0] for voice in VOICES.values()} & set(ACCENTS)
    texts = {normalise(draw.speech.text) for draw in draws}
    assert len(texts) > 0.99 * len(draws)
    pocket_words = {normalise(word) for word in vocabulary()}  # of which every pocket sentence is made
    assert not [text for text in texts if set(text.split()) <= pocket_words]


def test_held_out_voices_are_not_trained_on() -> None:
    voices = {True: set(), False: set()}
    for draw in draw_utterances(SpeechConfig(num_training=400, num_probe=400)):
        voices[draw.held_out].add(draw.speech.voice.partition("+")[2])
    assert voices[False] == set(TRAINING_VARIANTS)
    assert voices[True] == set(HELD_OUT_VARIANTS)
    assert not voices[True] & voices[False]


def test_a_draw_depends_on_its_number_alone() -> None:
    few, many = draw_utterances(SPEECH), draw_utterances(replace(SPEECH, num_training=30))
    assert few[:24] == many[:24] and few[24:] == many[30:]
    assert draw_utterances(replace(SPEECH, seed=1)) != few


def test_speech_and_targets_are_the_same_when_made_again(utterances: list[Utterance]) -> None:
    again = make_utterances(SpeechConfig(num_training=8, num_probe=3), 12, 6, 0, LAYOUT)
    for one, other in zip(utterances, again, strict=True):
        assert one.samples.dtype == np.int16 and one.mean_log_pitch == other.mean_log_pitch
        for name in ("samples", "phones", "prosody", "phonemes"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_noise_has_the_power_that_was_asked_for() -> None:
    samples = np.sin(np.arange(16_000) / 7)
    for slope in (0.0, 1.0):
        noise = add_noise(samples, 10.0, slope, np.random.default_rng(0)) - samples
        assert 10 * np.log10(np.mean(samples**2) / np.mean(noise**2)) == pytest.approx(10.0)
    assert add_noise(samples, float("inf"), 0.0, np.random.default_rng(0)) is samples


def test_targets_have_one_entry_per_encoder_frame(utterances: list[Utterance]) -> None:
    assert [utterance.draw.held_out for utterance in utterances] == 8 * [False] + 3 * [True]
    for utterance in utterances:
        num_frames = LAYOUT.num_frames(len(utterance.samples))
        assert {len(utterance.phones), len(utterance.prosody), len(utterance.phonemes)} == {num_frames}
        assert 50 < np.exp(utterance.mean_log_pitch) < 500
        assert mfcc_features(utterance.waveform(), num_frames, LAYOUT.stride).shape == (num_frames, 39)
        assert utterance.waveform().mean() == pytest.approx(0, abs=1e-4)
        assert utterance.waveform().std() == pytest.approx(1, abs=1e-3)
    assert set(np.concatenate([utterance.phones for utterance in utterances])) == set(range(12))
    assert set(np.concatenate([utterance.prosody for utterance in utterances])) == set(range(6))


def test_prosody_without_a_voiced_frame_is_finite() -> None:
    features = prosody_features(np.full(5, np.nan), np.linspace(-60, 0, 5))
    assert features.shape == (5, 4) and np.isfinite(features).all()


def test_clusters_are_fitted_on_the_first_rows_alone() -> None:
    rows = np.array([[0.0], [0.1], [5.0], [5.1], [100.0]], dtype=np.float32)
    ids = cluster(rows, 4, 2, seed=0)
    assert ids[0] == ids[1] != ids[2] == ids[3] == ids[4]  # the far row has no cluster of its own


def test_a_frame_has_the_phoneme_at_its_middle() -> None:
    starts = [(0.0, "s"), (0.06, "ˈɪ"), (0.10, ""), (0.13, "ˌaʊ")]
    # Middles: 22.5, 62.5, 102.5 and 142.5 ms.
    assert frame_phonemes(starts, 4, LAYOUT).tolist() == ["s", "ɪ", PAUSE, "aʊ"]
    assert frame_phonemes([(0.05, "m")], 2, LAYOUT).tolist() == ["m", "m"]  # before the first: the first
