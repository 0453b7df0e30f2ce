"""Cached outputs of frozen convolutions."""

from __future__ import annotations

import pytest
import torch

from mtlser.corpus.dataset import build_dataset
from mtlser.corpus.store import StoreError
from mtlser.model import MultitaskModel
from mtlser.model import features as module
from mtlser.model.features import convolution_features
from tiny import tiny_backbone, tiny_utterances


@pytest.fixture
def speech(tmp_path):
    return build_dataset(tiny_utterances(tmp_path / "wav"), tmp_path / "cache")


@pytest.fixture
def backbone(tmp_path):
    return tiny_backbone(tmp_path / "backbone")


def test_features_are_the_model_s_and_are_kept(speech, backbone, monkeypatch):
    model = MultitaskModel.from_backbone(backbone, seed=0).eval()
    features = convolution_features(model, speech)
    for index in (0, 3, 23):
        waveforms = torch.from_numpy(speech.waveform(index))[None]
        with torch.no_grad():
            expected, [length] = model.wav2vec2.convolve(waveforms, torch.tensor([waveforms.shape[1]]))
        assert features[index].shape == (length, 8)
        torch.testing.assert_close(features[index], expected[0], rtol=0, atol=0)
    monkeypatch.setattr(module, "_compute", lambda *_: pytest.fail("computed again"))
    assert convolution_features(model, speech).folder == features.folder


def test_frames_are_mapped_and_not_copied(speech, backbone):
    features = convolution_features(MultitaskModel.from_backbone(backbone, seed=0), speech)
    values = features._column[3].values
    assert features[3].data_ptr() == values.buffers()[1].address + 4 * values.offset
    features[0] + features[0]  # no warning of memory that may not be written


def test_other_weights_or_audio_are_other_features(tmp_path, speech, backbone):
    model = MultitaskModel.from_backbone(backbone, seed=0)
    first = convolution_features(model, speech).folder
    assert convolution_features(MultitaskModel.from_backbone(backbone, seed=1), speech).folder == first  # other heads
    with torch.no_grad():
        model.wav2vec2.feature_extractor.conv_layers[0].conv.weight[0, 0, 0] += 1
    assert convolution_features(model, speech).folder != first
    fewer = build_dataset(tiny_utterances(tmp_path / "fewer", per_speaker=2), tmp_path / "cache")
    assert convolution_features(MultitaskModel.from_backbone(backbone, seed=0), fewer).folder != first


def test_released_padding_has_no_features_of_an_utterance_alone(speech, backbone):
    with pytest.raises(ValueError, match="released"):
        convolution_features(MultitaskModel.from_backbone(backbone, seed=0, encoder_padding="released"), speech)


def test_a_damaged_file_is_named(speech, backbone):
    model = MultitaskModel.from_backbone(backbone, seed=0)
    folder = convolution_features(model, speech).folder
    [arrow] = (folder / "frames").glob("*.arrow")
    content = arrow.read_bytes()
    middle = len(content) // 2
    for damaged in (content[:1000], content[:middle] + bytes(8) + content[middle + 8 :]):
        arrow.write_bytes(damaged)
        with pytest.raises(StoreError, match=rf"{folder.name} is damaged.*delete it"):
            convolution_features(model, speech)[0]
