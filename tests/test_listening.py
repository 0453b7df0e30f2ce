"""The examples that are heard and seen: of the grammar, new to the corpora, deterministic, small within a page."""

from __future__ import annotations

import base64
import html
import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import soundfile

from mtlser.config import EMOTIONS, PRESETS
from mtlser.corpus.pocket import plan_corpus
from mtlser.corpus.pocket_examples import SENTENCES, SPEAKERS, speak_examples
from mtlser.corpus.pocket_text import VALENCE_WORDS
from mtlser.corpus.text import normalise
from mtlser.report import corpus, figures, speech_figures
from mtlser.report.sounds import players
from words import vocabulary


@pytest.fixture(scope="module")
def examples():
    return speak_examples(corpus.EXAMPLES)


@pytest.mark.parametrize("preset", ["pocket", "smoke"])
def test_no_utterance_of_a_corpus_says_the_sentences(preset):
    said = {normalise(text) for text in plan_corpus(PRESETS[preset].corpus)["transcript"]}
    assert not said & {normalise(sentence) for sentence in SENTENCES.values()}


def test_the_sentences_are_of_the_grammar_and_one_pair_of_words_apart():
    first, second = (sentence.strip(".").lower().split() for sentence in SENTENCES.values())
    assert set(first + second) <= vocabulary()
    [pair] = [(a, b) for a, b in zip(first, second, strict=True) if a != b]
    assert pair in {pair for pairs in VALENCE_WORDS.values() for pair in pairs}


def test_arousal_is_heard_and_valence_is_not(examples):
    by = {(example.speaker, example.emotion): example for example in examples}
    assert list(by) == [(speaker, emotion) for emotion in EMOTIONS for speaker in SPEAKERS]
    for speaker in SPEAKERS:
        neutral, happy, angry, sad = (by[speaker, emotion] for emotion in EMOTIONS)
        assert len(happy.samples) < len(neutral.samples) and len(angry.samples) < len(sad.samples)
        assert happy.text == neutral.text != angry.text == sad.text
    again = speak_examples(corpus.EXAMPLES, speakers=SPEAKERS[:1], emotions=["sad"])
    np.testing.assert_array_equal(again[0].samples, by[SPEAKERS[0], "sad"].samples)


def test_sounds_are_small_and_inside_of_the_page(examples):
    shown = players(examples, "Sentences", "Made for this test (synthetic)").html
    contents = re.findall(r'<audio controls src="data:audio/mpeg;base64,([^"]+)" aria-label="[^"]+"', shown)
    assert len(set(contents)) == len(examples)
    for content in map(base64.b64decode, contents):
        assert len(content) < 30_000 and soundfile.info(io.BytesIO(content)).samplerate == 16_000
    assert "synthetic" in shown and html.escape(examples[0].text) in shown
    assert players(examples, "Sentences", "Made for this test (synthetic)").html == shown  # the same: nothing is stale


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_spectrograms_are_small_with_text_as_text(examples, theme):
    svg = figures.draw(speech_figures.spectrograms, examples, theme)
    ElementTree.fromstring(svg)
    assert len(svg) < 200_000 and svg.count("<image") == len(examples)
    assert "angry, Ses02M" in svg


def test_a_spectrogram_shows_a_tone_where_it_is():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)
    shades = speech_figures.spectrogram(tone)
    assert shades.min() >= 0 and shades.max() == 1
    assert shades[:, 50].argmax() == 1000 // 62.5
    assert shades.shape[0] == 64 and abs(shades.shape[1] - 100) <= 4
