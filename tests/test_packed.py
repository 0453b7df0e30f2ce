"""Utterances laid one after the other against the same padded and against stock transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mtlser.model import MultitaskModel, time_mask
from tiny_models import FAMILIES, LENGTHS, padded, tiny_config, waveforms, with_random_norms

TOLERANCES = {torch.float32: 2e-5, torch.float64: 1e-9}
every_family = pytest.mark.parametrize("family", FAMILIES)
every_dtype = pytest.mark.parametrize("dtype", TOLERANCES)


def random_model(family: str = "group", dtype: torch.dtype = torch.float64, **changes) -> MultitaskModel:
    """All weights random, affine parameters of norms included."""
    torch.manual_seed(5)
    return with_random_norms(MultitaskModel(tiny_config(family, **changes)), dtype)


def masks(model: MultitaskModel) -> torch.Tensor:
    generators = [np.random.default_rng(row) for row in range(len(LENGTHS))]
    return time_mask(model.wav2vec2.frame_lengths(torch.tensor(LENGTHS)), 0.4, 4, 1, generators)


@every_family
@every_dtype
@pytest.mark.parametrize("pooling", ["sum", "mean"])
@pytest.mark.parametrize("masked", [False, True])
def test_packed_utterances_give_the_outputs_and_gradients_of_a_padded_batch(family, dtype, pooling, masked):
    model, parts = random_model(family, dtype, pooling=pooling).train(), waveforms(dtype=dtype)
    mask = masks(model) if masked else None
    found = []
    inputs, encoder = padded(parts), model.wav2vec2
    for forward in (lambda: model.forward_features(*encoder.convolve(*inputs), mask), lambda: model(*inputs, mask)):
        model.zero_grad()
        emotions, characters, lengths = forward()
        valid = torch.arange(characters.shape[1]) < lengths[:, None]
        characters = characters[valid]
        (emotions.square().sum() + characters.square().sum()).backward()
        found.append(
            (emotions, characters, lengths, [p.grad.clone() for p in model.parameters() if p.grad is not None])
        )
    for one, other in zip(found[0][:3], found[1][:3], strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=TOLERANCES[dtype])
    scale = float(max(gradient.abs().max() for gradient in found[0][3]))
    assert len(found[0][3]) == len(found[1][3]) > 20
    for one, other in zip(found[0][3], found[1][3], strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=TOLERANCES[dtype] * scale)


@every_family
@every_dtype
def test_packed_hidden_states_are_those_of_stock_transformers(family, dtype):
    from transformers import Wav2Vec2Model

    encoder, parts = random_model(family, dtype).wav2vec2, waveforms(dtype=dtype)
    stock = Wav2Vec2Model(encoder.config).to(dtype).eval()
    stock.load_state_dict(encoder.state_dict())
    hidden, lengths = encoder(*padded(parts))
    for part, own, length in zip(parts, hidden, lengths, strict=True):
        expected = stock(part[None]).last_hidden_state[0]
        torch.testing.assert_close(own[:length], expected, rtol=0, atol=TOLERANCES[dtype])


@every_family
def test_attention_takes_each_utterance_as_four_dimensions_as_fused_kernels_do(family, monkeypatch):
    model, parts = random_model(family), waveforms()
    shapes, original = [], F.scaled_dot_product_attention

    def spy(query, key, value, **settings):
        shapes.append(tuple(query.shape))
        return original(query, key, value, **settings)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    _, _, frame_lengths = model(*padded(parts))
    assert shapes == [(1, 2, length, 8) for length in frame_lengths.tolist()] * 2  # two heads, two layers
    query = torch.randn(shapes[0])
    assert torch._fused_sdp_choice(query, query, query) == int(torch.nn.attention.SDPBackend.FLASH_ATTENTION.value)


@every_family
def test_one_pass_of_the_convolutions_over_all_utterances_equals_one_for_each(family):
    encoder = random_model(family).wav2vec2
    once, lengths = encoder.convolve(*padded(waveforms()))
    for part, frames, length in zip(waveforms(), once, lengths, strict=True):
        torch.testing.assert_close(frames[:length], encoder.convolve(*padded([part]))[0][0], rtol=0, atol=1e-12)
        assert not frames[length:].any() and frames[:length].std() > 0


@pytest.mark.parametrize("kernel", [6, 5, 1])
def test_the_positional_convolution_sees_zeros_beyond_both_ends(kernel):
    model = random_model(num_conv_pos_embeddings=kernel)
    embedding = model.wav2vec2.encoder.pos_conv_embed
    hidden, lengths = torch.randn(1, 19, 16, dtype=torch.float64), [1, 10, 3, 5]
    found = model.wav2vec2._positions(hidden, lengths)
    alone = torch.cat([embedding(part) for part in hidden.split(lengths, dim=1)], dim=1)
    torch.testing.assert_close(found, alone, rtol=0, atol=1e-12)


@every_family
def test_every_dropout_and_layerdrop_of_the_configuration_counts_in_training(family):
    for name in ("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout", "layerdrop"):
        model, inputs = random_model(family, **{name: 0.5}), padded(waveforms())
        still = model(*inputs)[0]
        assert torch.equal(model(*inputs)[0], still)
        model.train()
        torch.manual_seed(2)
        first, *others = (model(*inputs)[0] for _ in range(9))
        assert not all(torch.allclose(first, other) for other in others), name
        torch.manual_seed(2)
        assert torch.equal(model(*inputs)[0], first)


@every_family
def test_in_bf16_packed_utterances_are_close_and_train_finite(family):
    model, inputs = (
        random_model(family, torch.float32, attention_dropout=0.1).eval(),
        padded(waveforms(dtype=torch.float32)),
    )
    exact = model.wav2vec2(*inputs)[0]
    with torch.autocast("cpu", torch.bfloat16):
        rough = model.wav2vec2(*inputs)[0]
        assert (rough.float() - exact).abs().mean() < 0.05
        outputs = model.train()(*inputs)
    (outputs[0].sum() + outputs[1].sum()).backward()
    assert outputs[0].dtype == outputs[1].dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_adapters_of_attention_count():
    model, inputs = random_model("layer", adapter_attn_dim=4), padded(waveforms())
    expected = model.forward_features(*model.wav2vec2.convolve(*inputs))[0]
    torch.testing.assert_close(model(*inputs)[0], expected, rtol=0, atol=1e-9)
