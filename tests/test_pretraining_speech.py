"""Speech for pretraining: voices and sentences that the pocket corpus does not have, the same ones each time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mtlser.corpus.pocket_plan import VOICES
from mtlser.corpus.pretraining_speech import (
    ACCENTS,
    HELD_OUT_VARIANTS,
    TRAINING_VARIANTS,
    SpeechConfig,
    add_noise,
    draw_utterances,
    speak,
)
from mtlser.corpus.text import normalise
from words import vocabulary

SPEECH = SpeechConfig(num_training=24, num_probe=6)


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


def test_speech_is_the_same_when_made_again() -> None:
    draws = draw_utterances(SPEECH)[:3]
    for (noisy, clean), (noisy_again, clean_again) in zip(speak(SPEECH, draws), speak(SPEECH, draws), strict=True):
        assert noisy.dtype == np.int16 and len(noisy) == len(clean)
        assert np.array_equal(noisy, noisy_again) and np.array_equal(clean, clean_again)


def test_noise_has_the_power_that_was_asked_for() -> None:
    samples = np.sin(np.arange(16_000) / 7)
    for slope in (0.0, 1.0):
        noise = add_noise(samples, 10.0, slope, np.random.default_rng(0)) - samples
        assert 10 * np.log10(np.mean(samples**2) / np.mean(noise**2)) == pytest.approx(10.0)
    assert add_noise(samples, float("inf"), 0.0, np.random.default_rng(0)) is samples
