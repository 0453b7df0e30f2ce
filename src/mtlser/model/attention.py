"""Attention among each utterance's own frames, where utterances lie one after the other in one row.

Registered with transformers, whose layers then run as they are: layers that are given the utterances' `lengths` attend
within each utterance, all others as usual. Shapes follow the legend in `mtlser.model.multitask`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

PER_UTTERANCE = "per_utterance"  # its name among transformers' attention functions


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    *,
    lengths: Sequence[int] | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others,
) -> tuple[Tensor, None]:
    """softmax(scaling · Q Kᵀ) V: three times (1, heads, ΣT, head size), frames of each utterance -> (1, ΣT, heads, …).

    torch's own function, which takes a fused kernel only for tensors of four dimensions. Without `lengths` it is
    transformers' "sdpa": (B, heads, T, head size), mask (B, 1, T, T) -> (B, T, heads, head size).
    """
    if lengths is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **others)
    utterances = zip(*(part.split(lengths, dim=2) for part in (query, key, value)), strict=True)
    attended = [F.scaled_dot_product_attention(*one, dropout_p=dropout, scale=scaling) for one in utterances]
    return torch.cat(attended, dim=2).transpose(1, 2), None


ALL_ATTENTION_FUNCTIONS.register(PER_UTTERANCE, attend)
