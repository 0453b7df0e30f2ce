"""Which inputs a run's model is fed, and that "released" padding doesn't depend on how memory cuts a batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mtlser.config import RunConfig
from mtlser.corpus.dataset import build_dataset
from mtlser.model import MultitaskModel
from mtlser.runs.batches import make_batch
from mtlser.runs.feed import Feed, held_on
from tiny import tiny_backbone, tiny_utterances

CONFIG = RunConfig("smoke", fold="Ses02M", batch_size=8, mask_time_length=2)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    folder = tmp_path_factory.mktemp("feed")
    return build_dataset(tiny_utterances(folder / "wav"), folder / "cache")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny_backbone(tmp_path_factory.mktemp("backbone"))


def feed(speech, backbone, **changes) -> Feed:
    config = replace(CONFIG, **changes)
    model = MultitaskModel.from_backbone(backbone, encoder_padding=config.encoder_padding, seed=0, pooling="mean")
    return Feed(model.eval(), speech, config, CPU)


@pytest.mark.parametrize(
    ("freeze", "padding", "dimensions"),
    [(False, "exact", 2), (True, "exact", 3), (False, "released", 2), (True, "released", 2)],
)
def test_inputs_are_waveforms_or_cached_features(speech, backbone, freeze, padding, dimensions):
    one = feed(speech, backbone, freeze_convolutions=freeze, encoder_padding=padding)
    [batch] = one.parts(np.arange(3), 40.0)
    assert batch.inputs.dim() == dimensions
    trains = [p.requires_grad for p in one.model.wav2vec2.feature_extractor.parameters()]
    assert not any(trains) if freeze else all(trains)


@torch.no_grad()
def test_every_kind_of_input_gives_the_same_outputs(speech, backbone):
    rows = np.array([4, 0, 7])
    for freeze in (False, True):
        one = feed(speech, backbone, freeze_convolutions=freeze)
        [batch] = one.parts(rows, 40.0)
        waveforms = make_batch(speech, batch.indices)
        found, expected = one.outputs(batch), one.model(waveforms.inputs, waveforms.input_lengths)
        torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-5)
        valid = torch.arange(found[1].shape[1]) < expected[2][:, None]
        torch.testing.assert_close(found[1][valid], expected[1][valid], rtol=0, atol=1e-5)
        assert found[2].tolist() == expected[2].tolist()


@torch.no_grad()
@pytest.mark.parametrize("freeze", [False, True])
def test_released_padding_counts_the_frames_of_the_longest_of_the_batch(speech, backbone, freeze):
    """The waveform path is transformers' own model without an attention mask; frozen convolutions change nothing."""
    rows = np.array([0, 1])  # 0.5 and 0.7 seconds
    one = feed(speech, backbone, freeze_convolutions=freeze, encoder_padding="released")
    whole = one.model(*(getattr(make_batch(speech, rows), name) for name in ("inputs", "input_lengths")))
    assert whole[2].tolist() == [17, 17]
    for seconds in (40.0, 0.1):  # one part, or one part for each utterance
        parts = list(one.parts(rows, seconds))
        assert len(parts) == (1 if seconds == 40.0 else 2)
        emotions, characters, lengths = (torch.cat(found) for found in zip(*map(one.outputs, parts), strict=True))
        assert lengths.tolist() == [17, 17]
        torch.testing.assert_close(emotions, whole[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(characters, whole[1], rtol=0, atol=1e-5)


def test_released_masks_and_losses_do_not_depend_on_the_cut(speech, backbone):
    one, rows = feed(speech, backbone, encoder_padding="released"), np.arange(6)
    [whole] = one.parts(rows, 40.0)
    apart = list(one.parts(rows, 0.1))
    assert len(apart) == 6 and torch.equal(one.masks(whole, 1), torch.cat([one.masks(part, 1) for part in apart]))
    together = one.loss(whole, one.masks(whole, 1), 0.1, 6).total
    added = sum(one.loss(part, one.masks(part, 1), 0.1, 6).total for part in apart)
    torch.testing.assert_close(added, together, rtol=1e-4, atol=1e-4)


def test_masks_are_of_an_utterance_s_own_frames(speech, backbone):
    for freeze in (False, True):
        one = feed(speech, backbone, freeze_convolutions=freeze)
        [batch] = one.parts(np.arange(4), 40.0)
        mask = one.masks(batch, 3)
        lengths = one.model.wav2vec2.frame_lengths(torch.tensor(speech.table["num_samples"].to_numpy()[batch.indices]))
        assert mask.shape == (4, int(lengths.max())) and mask.any()
        assert not mask[torch.arange(mask.shape[1]) >= lengths[:, None]].any()
    assert feed(speech, backbone, mask_time_probability=0.0).masks(batch, 3) is None


def test_waveforms_in_a_device_s_memory_are_those_of_the_dataset(speech):
    for raw in (False, True):
        held = held_on(CPU, speech, None, raw)
        assert len(held) == len(speech.table)
        for index, waveform in enumerate(held):
            np.testing.assert_array_equal(waveform.numpy(), speech.waveform(index, raw))
        assert held_on(CPU, speech.with_texts([""] * len(held)), None, raw) is held  # once for all runs of a worker


def test_features_in_a_device_s_memory_are_those_that_are_kept(speech, backbone):
    features = feed(speech, backbone, freeze_convolutions=True).inputs
    held = held_on(CPU, speech, features, False)
    assert all(torch.equal(one, features[index]) for index, one in enumerate(held))
    assert held_on(CPU, speech, None, False)[0].ndim == 1
