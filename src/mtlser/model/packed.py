"""The transformer over utterances that lie one after the other: no padding, and the operations that cost least.

Every function computes what transformers' module of the same weights does, for each utterance alone. Dropout's random
numbers are drawn as costs least, and products are those of `mtlser.model.products`; what each choice saved is in the
chapter on cost.

Shapes follow the legend in `mtlser.model.multitask`, and N is the number of frames of all utterances together.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.wav2vec2 import modeling_wav2vec2 as wav2vec2

from mtlser.model import products

LEVELS = 1 << 16  # of the random numbers behind a dropout mask


def transform(encoder: nn.Module, hidden: Tensor, lengths: Sequence[int], norm_first: bool, layerdrop: float) -> Tensor:
    """A wav2vec 2.0 encoder's positional convolution and layers: hidden (N, H), frames of each utterance -> (N, H).

    `norm_first`: the configuration's `do_stable_layer_norm`. LayerDrop, in training, draws from torch's CPU generator,
    as in the stock model, and once for all utterances.
    """
    hidden = hidden + positions(encoder.pos_conv_embed, hidden, lengths)
    hidden = hidden if norm_first else encoder.layer_norm(hidden)
    hidden = dropout(hidden, encoder.dropout.p, encoder.training)
    for layer in encoder.layers:
        if encoder.training and layerdrop > 0 and torch.rand(()) < layerdrop:
            continue
        hidden = _layer(layer, hidden, lengths, norm_first)
    return encoder.layer_norm(hidden) if norm_first else hidden


def project(projection: wav2vec2.Wav2Vec2FeatureProjection, features: Tensor) -> Tensor:
    """What leads from the convolutions to the transformer: (N, C) -> (N, H)."""
    hidden = products.linear(projection.projection, projection.layer_norm(features))
    return dropout(hidden, projection.dropout.p, projection.training)


def positions(pos_conv_embed: nn.Module, hidden: Tensor, lengths: Sequence[int]) -> Tensor:
    """The positional convolution of each utterance: (N, H) -> (N, H).

    It runs once over all of them, with as many zeros between neighbours as it would see after an end.
    """
    gap = pos_conv_embed.conv.padding[0]
    spaced = torch.cat([F.pad(part, (0, 0, 0, gap)) for part in hidden.split(lengths)])  # (N + B · gap, H)
    if products.uses_fourier(spaced):
        found = products.convolve_by_fourier(spaced, pos_conv_embed.conv)
        found = pos_conv_embed.activation(found[: len(spaced)])  # an even number of taps gives a frame too many
    else:
        found = pos_conv_embed(spaced[None])[0]
    return torch.cat([part[:-gap] if gap else part for part in found.split([length + gap for length in lengths])])


def _layer(layer: nn.Module, hidden: Tensor, lengths: Sequence[int], norm_first: bool) -> Tensor:
    """One layer of either family: norms before its parts (large) or after them (base)."""
    attended = _attend(layer.attention, layer.layer_norm(hidden) if norm_first else hidden, lengths)
    hidden = hidden + dropout(attended, layer.dropout.p, layer.training)
    if not norm_first:
        hidden = layer.layer_norm(hidden)
        return layer.final_layer_norm(hidden + _feed_forward(layer.feed_forward, hidden))
    hidden = hidden + _feed_forward(layer.feed_forward, layer.final_layer_norm(hidden))
    return hidden if layer.adapter_layer is None else hidden + layer.adapter_layer(hidden)


def _feed_forward(block: wav2vec2.Wav2Vec2FeedForward, hidden: Tensor) -> Tensor:
    hidden = block.intermediate_act_fn(products.linear(block.intermediate_dense, hidden))
    hidden = dropout(hidden, block.intermediate_dropout.p, block.training)
    return dropout(products.linear(block.output_dense, hidden), block.output_dropout.p, block.training)


def _attend(block: wav2vec2.Wav2Vec2Attention, hidden: Tensor, lengths: Sequence[int]) -> Tensor:
    """Self-attention of each utterance's frames among themselves: (N, H) -> (N, H)."""
    heads = (block.num_heads, block.head_dim)
    query, key, value = (
        products.linear(layer, hidden).unflatten(-1, heads).transpose(0, 1)  # (heads, N, head_dim)
        for layer in (block.q_proj, block.k_proj, block.v_proj)
    )
    p = block.dropout if block.training else 0.0
    parts = zip(*(part.split(lengths, dim=1) for part in (query, key, value)), strict=True)
    attended = torch.cat([attention(*part, p, block.scaling).transpose(0, 1) for part in parts])  # (N, heads, head_dim)
    return products.linear(block.out_proj, attended.flatten(1))


def attention(query: Tensor, key: Tensor, value: Tensor, p: float, scale: float) -> Tensor:
    """softmax(scale · Q Kᵀ) V with dropout of the weights: three times (heads, T, head_dim) -> (heads, T, head_dim).

    torch's own, but on a CPU with dropout, which its fast kernels there don't have: then with `keep`'s random numbers.
    """
    if not _cheap_dropout(query, p):
        return F.scaled_dot_product_attention(query, key, value, dropout_p=p, scale=scale)
    weights = torch.softmax((scale * query) @ key.transpose(-1, -2), dim=-1)  # (heads, T, T)
    mask, kept_share = keep(weights.shape, p)
    return (weights * mask) @ (value / kept_share)


def dropout(hidden: Tensor, p: float, training: bool) -> Tensor:
    """As `torch.nn.functional.dropout`; on a CPU with `keep`'s random numbers, so with another mask."""
    if not training or not _cheap_dropout(hidden, p):
        return F.dropout(hidden, p, training)
    mask, kept_share = keep(hidden.shape, p)
    return hidden * mask * (1 / kept_share)


def _cheap_dropout(hidden: Tensor, p: float) -> bool:
    return hidden.device.type == "cpu" and 0 < p < 1


def keep(shape: Sequence[int], p: float) -> tuple[Tensor, float]:
    """A mask, int8 and 0 with probability p, from torch's CPU generator, and the share of ones to be expected.

    16 bits for each element, four elements from one draw: torch's own mask takes a draw each, and took seven times as
    long. p is rounded to a multiple of 2⁻¹⁶.
    """
    count = torch.Size(shape).numel()
    drawn = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:count]
    dropped = round(p * LEVELS)
    mask = drawn >= dropped - LEVELS // 2
    return mask.view(torch.int8).view(shape), 1 - dropped / LEVELS
