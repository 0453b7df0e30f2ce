"""A corpus as training reads it."""

from __future__ import annotations

import numpy as np
import pytest

from mtlser.config import EMOTIONS
from mtlser.corpus.audio import read_audio
from mtlser.corpus.dataset import SpeechDataset, build_dataset
from tiny import tiny_utterances


@pytest.fixture
def utterances(tmp_path):
    return tiny_utterances(tmp_path / "wav")


@pytest.fixture
def speech(tmp_path, utterances):
    return build_dataset(utterances, tmp_path / "cache")


def test_waveforms_are_the_files_own_normalised(utterances, speech):
    for index in (0, 5, len(utterances) - 1):
        samples = read_audio(utterances["wav"][index])
        expected = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        np.testing.assert_allclose(speech.waveform(index), expected, atol=1e-4)
        assert speech.table["num_samples"][index] == len(samples)


def test_the_table_has_what_training_asks(utterances, speech):
    columns = ["utterance", "speaker", "emotion", "text", "label", "num_samples"]
    assert speech.table.columns.tolist() == columns
    assert [EMOTIONS[label] for label in speech.table["label"]] == utterances["emotion"].tolist()
    assert speech.table["text"].tolist() == utterances["transcript"].tolist()
    assert speech.indices(utterances["utterance"][[3, 0]]).tolist() == [3, 0]


def test_labels_and_texts_are_not_the_audio_s(tmp_path, utterances, speech):
    retold = utterances.assign(transcript=["OTHER", *utterances["transcript"][1:]])
    other = build_dataset(retold, tmp_path / "cache")
    assert other.store.folder == speech.store.folder
    assert other.table["text"][0] == "OTHER" != speech.table["text"][0]


def test_rows_in_another_order_are_refused(speech):
    with pytest.raises(ValueError, match="same order"):
        SpeechDataset(speech.store, speech.table[::-1])


def test_an_unknown_utterance_is_an_error(speech):
    with pytest.raises(KeyError):
        speech.indices(["Ses09F_impro01_F000"])
