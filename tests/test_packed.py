"""Utterances one after the other against the same in a padded batch and against stock transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mtlser.model import MultitaskModel, packed, products, time_mask
from tiny_models import FAMILIES, LENGTHS, padded, tiny_config, waveforms, with_random_norms

TOLERANCES = {torch.float32: 2e-5, torch.float64: 1e-9}
every_family = pytest.mark.parametrize("family", FAMILIES)
both_ways = pytest.mark.usefixtures("ways")
every_dtype = pytest.mark.parametrize("dtype", TOLERANCES)


@pytest.fixture(params=["convolutions", "products"])
def ways(request, monkeypatch):
    """Both ways of computing, on every processor; the Fourier transform for few frames too."""
    monkeypatch.setattr(products, "convolves", lambda: request.param == "convolutions")
    monkeypatch.setattr(products, "FOURIER_FRAMES", 1)


def random_model(family: str = "group", dtype: torch.dtype = torch.float64, **changes) -> MultitaskModel:
    """All weights random, affine parameters of norms included."""
    torch.manual_seed(5)
    return with_random_norms(MultitaskModel(tiny_config(family, **changes)), dtype)


def together(parts: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Waveforms -> (ΣS,), lengths (B,)."""
    return torch.cat(parts), torch.tensor([len(part) for part in parts])


def masks(model: MultitaskModel) -> torch.Tensor:
    generators = [np.random.default_rng(row) for row in range(len(LENGTHS))]
    return time_mask(model.frame_lengths(torch.tensor(LENGTHS)), 0.4, 4, 1, generators)


@both_ways
@every_family
@every_dtype
@pytest.mark.parametrize("pooling", ["sum", "mean"])
@pytest.mark.parametrize("masked", [False, True])
def test_packed_utterances_give_the_outputs_and_gradients_of_a_padded_batch(family, dtype, pooling, masked):
    model, parts = random_model(family, dtype, pooling=pooling).train(), waveforms(dtype=dtype)
    mask = masks(model) if masked else None
    found = []
    for forward, inputs in ((model, padded(parts)), (model.forward_packed, together(parts))):
        model.zero_grad()
        emotions, characters, lengths = forward(*inputs, mask)
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


@both_ways
@every_family
@every_dtype
def test_packed_hidden_states_are_those_of_stock_transformers(family, dtype):
    from transformers import Wav2Vec2Model

    encoder, parts = random_model(family, dtype).wav2vec2, waveforms(dtype=dtype)
    stock = Wav2Vec2Model(encoder.config).to(dtype).eval()
    stock.load_state_dict(encoder.state_dict())
    hidden, lengths = encoder.forward_packed(*together(parts))
    for part, own in zip(parts, hidden.split(lengths.tolist()), strict=True):
        expected = stock(part[None]).last_hidden_state[0]
        torch.testing.assert_close(own, expected, rtol=0, atol=TOLERANCES[dtype])


@every_family
def test_one_pass_of_the_convolutions_over_all_utterances_equals_one_for_each(family):
    encoder, inputs = random_model(family).wav2vec2, together(waveforms())
    apart, once = (encoder.convolve_packed(*inputs, together=together_) for together_ in (False, True))
    torch.testing.assert_close(once, apart, rtol=0, atol=1e-12)
    lengths = encoder.frame_lengths(inputs[1])
    assert len(once) == int(lengths.sum()) and once.std() > 0


@both_ways
@pytest.mark.parametrize("kernel", [6, 5, 1])
def test_the_positional_convolution_sees_zeros_beyond_both_ends(kernel):
    model = random_model(num_conv_pos_embeddings=kernel)
    embedding = model.wav2vec2.encoder.pos_conv_embed
    hidden, lengths = torch.randn(19, 16, dtype=torch.float64), [1, 10, 3, 5]
    found = packed.positions(embedding, hidden, lengths)
    alone = torch.cat([embedding(part[None])[0] for part in hidden.split(lengths)])
    torch.testing.assert_close(found, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_a_mask_drops_its_share_evenly_and_follows_torch_s_seed(p):
    torch.manual_seed(1)
    mask, kept_share = packed.keep((400, 1001), p)
    assert mask.shape == (400, 1001) and set(mask.unique().tolist()) == {0, 1}
    assert kept_share == pytest.approx(1 - p, abs=2**-17)
    deviation = (p * (1 - p) / mask.numel()) ** 0.5
    assert abs(mask.double().mean().item() - kept_share) < 5 * deviation
    for offset in range(4):  # the four elements of one draw have the same chance, and nothing to do with each other
        share = mask.flatten()[offset::4].double().mean().item()
        assert abs(share - kept_share) < 10 * deviation
        neighbours = (mask.flatten()[:-1] * mask.flatten()[1:])[offset::4].double().mean().item()
        assert abs(neighbours - kept_share**2) < 20 * deviation
    torch.manual_seed(1)
    assert torch.equal(packed.keep((400, 1001), p)[0], mask)
    assert not torch.equal(packed.keep((400, 1001), p)[0], mask)


def test_dropout_keeps_the_mean_and_is_off_outside_training():
    hidden = torch.ones(100_000)
    dropped = packed.dropout(hidden, 0.1, training=True)
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.9], rel=1e-4)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.01)
    assert torch.equal(packed.dropout(hidden, 0.1, training=False), hidden)
    assert torch.equal(packed.dropout(hidden, 0.0, training=True), hidden)
    assert not packed.dropout(hidden, 1.0, training=True).any()


def test_attention_with_dropout_has_torch_s_own_as_its_mean(monkeypatch):
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 9, 4, dtype=torch.float64)
    expected = F.scaled_dot_product_attention(query, key, value, scale=0.3)
    assert torch.equal(packed.attention(query, key, value, 0.0, 0.3), expected)
    found = torch.stack([packed.attention(query, key, value, 0.2, 0.3) for _ in range(4000)])
    assert (found.mean(0) - expected).abs().max() < 5 * (found.std(0) / 4000**0.5).max()
    assert found.std(0).min() > 0.01
    monkeypatch.setattr(packed, "keep", lambda shape, p: (torch.ones(shape, dtype=torch.int8), 1.0))
    torch.testing.assert_close(packed.attention(query, key, value, 0.2, 0.3), expected)


@both_ways
@every_family
def test_every_dropout_and_layerdrop_of_the_configuration_counts_in_training(family):
    for name in ("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout", "layerdrop"):
        model, inputs = random_model(family, **{name: 0.5}), together(waveforms())
        still = model.forward_packed(*inputs)[0]
        assert torch.equal(model.forward_packed(*inputs)[0], still)
        model.train()
        torch.manual_seed(2)
        first, *others = (model.forward_packed(*inputs)[0] for _ in range(9))
        assert not all(torch.allclose(first, other) for other in others), name
        torch.manual_seed(2)
        assert torch.equal(model.forward_packed(*inputs)[0], first)


@both_ways
@every_family
def test_in_bf16_packed_utterances_are_close_and_train_finite(family):
    model, inputs = (
        random_model(family, torch.float32, attention_dropout=0.1).eval(),
        together(waveforms(dtype=torch.float32)),
    )
    exact = model.wav2vec2.forward_packed(*inputs)[0]
    with torch.autocast("cpu", torch.bfloat16):
        rough = model.wav2vec2.forward_packed(*inputs)[0]
        assert (rough.float() - exact).abs().mean() < 0.05
        outputs = model.train().forward_packed(*inputs)
    (outputs[0].sum() + outputs[1].sum()).backward()
    assert outputs[0].dtype == outputs[1].dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@both_ways
def test_what_cannot_be_packed_is_refused():
    with pytest.raises(ValueError, match="released"):
        random_model(encoder_padding="released").forward_packed(*together(waveforms()))
    for lengths in ([640, 39], [640, 641]):
        with pytest.raises(ValueError, match=str(lengths[1])):
            random_model().forward_packed(torch.zeros(1280, dtype=torch.float64), torch.tensor(lengths))


def test_adapters_of_attention_count():
    model = random_model("layer", adapter_attn_dim=4)
    parts = waveforms()
    torch.testing.assert_close(model.forward_packed(*together(parts))[0], model(*padded(parts))[0], rtol=0, atol=1e-9)
