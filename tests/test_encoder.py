"""The encoder against stock transformers, alone against in a batch, and SpecAugment's masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import Wav2Vec2Model

from mtlser.model.encoder import Encoder, time_mask
from tiny_models import FAMILIES, padded, tiny_config, waveforms, with_random_norms

TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-9}
every_family = pytest.mark.parametrize("family", FAMILIES)
every_dtype = pytest.mark.parametrize("dtype", TOLERANCES)


def random_encoder(family: str, dtype: torch.dtype = torch.float64, **changes) -> Encoder:
    """An encoder whose weights are all random, affine parameters of norms included."""
    torch.manual_seed(3)
    return with_random_norms(Encoder(tiny_config(family, **changes)), dtype)


def stock(encoder: Encoder) -> Wav2Vec2Model:
    """transformers' model with the same weights."""
    model = Wav2Vec2Model(encoder.config).to(encoder.dtype).eval()
    model.load_state_dict(encoder.state_dict())
    return model


@every_family
@every_dtype
def test_an_utterance_does_not_depend_on_its_batch(family, dtype):
    encoder, parts = random_encoder(family, dtype), waveforms(dtype=dtype)
    hidden, frame_lengths = encoder(*padded(parts))
    for row, part in enumerate(parts):
        alone, [length] = encoder(*padded([part]))
        assert length == frame_lengths[row]
        torch.testing.assert_close(hidden[row, :length], alone[0], rtol=0, atol=TOLERANCES[dtype])


@every_family
@every_dtype
def test_for_one_utterance_the_output_is_stock_transformers(family, dtype):
    encoder = random_encoder(family, dtype)
    model = stock(encoder)
    for part in waveforms(dtype=dtype):
        ours, _ = encoder(*padded([part]))
        torch.testing.assert_close(ours, model(part[None]).last_hidden_state, rtol=0, atol=TOLERANCES[dtype])


@every_family
def test_masked_frames_are_those_of_stock_transformers(family):
    encoder, [part, *_] = random_encoder(family), waveforms()
    [num_frames] = encoder.frame_lengths(torch.tensor([len(part)]))
    mask = torch.zeros(1, num_frames, dtype=torch.bool)
    mask[0, 3:7] = True
    ours, _ = encoder(*padded([part]), mask)
    expected = stock(encoder)(part[None], mask_time_indices=mask).last_hidden_state
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
    assert not torch.allclose(ours, encoder(*padded([part]))[0])


@every_family
def test_what_is_in_the_padding_does_not_matter(family):
    encoder = random_encoder(family)
    inputs, lengths = padded(waveforms())
    noisy = inputs + 100 * (torch.arange(inputs.shape[1]) >= lengths[:, None])
    (clean, frame_lengths), (other, _) = encoder(inputs, lengths), encoder(noisy, lengths)
    for row, length in enumerate(frame_lengths):
        torch.testing.assert_close(clean[row, :length], other[row, :length], rtol=0, atol=1e-9)


@every_family
def test_released_padding_is_stock_transformers_without_attention_mask(family):
    encoder = random_encoder(family, encoder_padding="released")
    inputs, lengths = padded(waveforms())
    hidden, frame_lengths = encoder(inputs, lengths)
    torch.testing.assert_close(hidden, stock(encoder)(inputs).last_hidden_state, rtol=0, atol=1e-12)
    assert (frame_lengths == hidden.shape[1]).all()
    assert torch.equal(frame_lengths, encoder.frame_lengths(lengths))


@every_family
def test_released_padding_changes_an_utterance_in_a_batch(family):
    released, exact = random_encoder(family, encoder_padding="released"), random_encoder(family)
    inputs, lengths = padded(waveforms())
    (with_padding, _), (without, frame_lengths) = released(inputs, lengths), exact(inputs, lengths)
    row, length = 2, int(frame_lengths[2])
    assert (with_padding[row, :length] - without[row, :length]).abs().max() > 1e-2


def test_the_norm_of_the_first_convolution_is_over_each_utterance_s_own_samples():
    encoder = random_encoder("group")
    loud = [part * scale for part, scale in zip(waveforms(), (1, 9, 100, 1, 1, 1, 1, 1), strict=True)]
    features, lengths = encoder.convolve(*padded(loud))
    layer = encoder.feature_extractor.conv_layers[0]
    for row, part in enumerate(loud):
        hidden = F.group_norm(layer.conv(part[None, None]), 8, layer.layer_norm.weight, layer.layer_norm.bias)
        hidden = layer.activation(hidden)
        for other in encoder.feature_extractor.conv_layers[1:]:
            hidden = other(hidden)
        torch.testing.assert_close(features[row, : lengths[row]], hidden[0].T, rtol=0, atol=1e-12)


@every_family
def test_frame_lengths_count_the_frames_of_stock_transformers(family):
    encoder = random_encoder(family)
    for length in (40, 59, 60, 61, 640):
        frames = stock(encoder)(torch.zeros(1, length, dtype=torch.float64)).last_hidden_state.shape[1]
        assert encoder.frame_lengths(torch.tensor([length])).tolist() == [frames]


@pytest.mark.parametrize("lengths", [[640, 39], [640, 641]])
def test_an_utterance_without_a_frame_or_beyond_its_waveform_is_refused(lengths):
    with pytest.raises(ValueError, match=str(lengths[1])):
        random_encoder("group")(torch.zeros(2, 640, dtype=torch.float64), torch.tensor(lengths))


def test_unknown_padding_and_adapters_are_refused():
    with pytest.raises(ValueError, match="released"):
        Encoder(tiny_config(encoder_padding="none"))
    with pytest.raises(ValueError, match="add_adapter"):
        Encoder(tiny_config(add_adapter=True))


def test_layerdrop_drops_layers_in_training_only():
    encoder = random_encoder("group", layerdrop=1.0)
    inputs = padded(waveforms())
    whole, _ = encoder(*inputs)
    features, frame_lengths = encoder.convolve(*inputs)
    encoder.train()
    assert not torch.allclose(encoder.forward_features(features, frame_lengths), whole)
    encoder.encoder.layers = torch.nn.ModuleList()
    dropped = encoder.forward_features(features, frame_lengths)
    torch.testing.assert_close(encoder.eval().forward_features(features, frame_lengths), dropped)


@every_family
def test_bf16_autocast_is_finite_and_close(family):
    encoder = random_encoder(family, torch.float32)
    inputs, lengths = padded(waveforms(dtype=torch.float32))
    exact, frame_lengths = encoder(inputs, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        rough, _ = encoder(inputs, lengths)
    assert rough.isfinite().all()
    valid = torch.arange(exact.shape[1]) < frame_lengths[:, None]
    assert (rough.float() - exact)[valid].abs().mean() < 0.05


def generators(count: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, row]) for row in range(count)]


def test_a_mask_does_not_depend_on_its_batch():
    lengths = [29, 170, 500]
    together = time_mask(lengths, 0.05, 10, 2, generators(3))
    assert together.shape == (3, 500) and together.dtype == torch.bool
    for row, length in enumerate(lengths):
        alone = time_mask([length], 0.05, 10, 2, generators(3)[row : row + 1])
        assert torch.equal(together[row, :length], alone[0])
        assert not together[row, length:].any()


@pytest.mark.parametrize("length", range(1, 45))
def test_never_all_frames_are_masked_however_short(length):
    masks = time_mask([length] * 200, 0.05, 10, 2, generators(200))
    shares = masks.double().mean(1)
    assert shares.max() < 1
    if length <= 20:
        assert shares.max() <= 0.5
    if length > 1:
        assert shares.min() > 0


def test_two_masks_of_ten_frames_at_least():
    masks = time_mask([400] * 100, 0.0001, 10, 2, generators(100))
    counts = masks.sum(1)
    assert counts.max() == 20 and counts.min() > 10
    assert time_mask([400], 0.0, 10, 2, generators(1)).sum() == 0


def test_a_long_utterance_has_the_probability_times_its_frames_masked():
    masks = time_mask([4004] * 50, 0.05, 10, 2, generators(50))
    # 20 spans, sometimes 21 (4004 · 0.05 / 10 = 20.02), of 10 frames; overlaps take about a twentieth of a half
    assert 0.045 < masks.double().mean() < 0.0502


def test_share_of_frames_masked_at_the_lengths_of_iemocap():
    """Released code: 12.6% of an utterance's frames on average; lengths here are log-normal."""
    # mean 4.55 s, median 3.58 s, shortest 0.585 s, longest 34.1 s
    sigma = np.sqrt(2 * np.log(4.55 / 3.58))
    seconds = np.random.default_rng(0).lognormal(np.log(3.58), sigma, 4000).clip(0.585, 34.1)
    lengths = (50 * seconds - 1).astype(int)
    mask = time_mask(lengths.tolist(), 0.05, 10, 2, generators(4000))
    assert np.mean(mask.sum(1).numpy() / lengths) == pytest.approx(0.126, abs=0.015)
