"""WavLM: wav2vec 2.0 whose attention has a gated relative position bias, as padding-exact as the others.

Shapes follow the legend in `mtlser.model.multitask`; N is the number of heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import WavLMConfig
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from mtlser.model.encoder import Encoder


class WavLM(Encoder):
    """`Encoder` with WavLM's attention; its parameters have the names of `transformers.WavLMModel`.

    For one utterance the output equals the stock model's. The first layer holds the bias of every distance, for all.
    """

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__(config)
        # Base and Base+ were pretrained on waveforms as they are, Large on normalised ones (its authors in issue 708 of
        # microsoft/unilm, and the hub's preprocessor_config.json): the kind of the first norm tells them apart.
        self.hears_raw = config.feat_extract_norm == "group"
        for number, layer in enumerate(self.encoder.layers):
            layer.attention = GatedAttention(
                config.hidden_size, config.num_attention_heads, config.attention_dropout,
                config.num_buckets, config.max_bucket_distance, has_relative_position_bias=number == 0,
            )  # fmt: skip
            layer.attention.apply(self._init_weights)

    def _transform(self, hidden: Tensor, positions: Tensor, **attention) -> Tensor:
        longest = max(attention.get("lengths") or [hidden.shape[1]])
        bias = self.encoder.layers[0].attention.compute_bias(longest, longest)  # (N, T, T)
        return super()._transform(hidden, positions, position_bias=bias, **attention)


class GatedAttention(WavLMAttention):
    """WavLM's attention in torch's fused function: softmax(scale · Q Kᵀ + gate · bias) V."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_bias: Tensor | None = None,
        lengths: Sequence[int] | None = None,
        **others,
    ) -> tuple[Tensor, None]:
        """Hidden (B, T, H), mask (B, 1, T, T), bias (N, T, T) -> (B, T, H).

        With `lengths`, of utterances that lie one after the other in one row; the bias is then that of the longest.
        """
        parts = [hidden_states.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)]  # (B, N, T, head size)
        for projection in (self.q_proj, self.k_proj, self.v_proj):
            parts.append(projection(hidden_states).unflatten(-1, (self.num_heads, -1)).transpose(1, 2))
        attended = []
        for frames, query, key, value in zip(*(p.split(lengths or p.shape[2], dim=2) for p in parts), strict=True):
            a, b = self.gru_rel_pos_linear(frames).unflatten(-1, (2, 4)).sum(-1).sigmoid().unbind(-1)  # (B, N, T) each
            gate = a * (b * self.gru_rel_pos_const[..., 0] - 1) + 2
            bias = gate[..., None] * position_bias[:, : frames.shape[2], : frames.shape[2]]  # (B, N, T, T)
            if attention_mask is not None:
                bias = bias.masked_fill(~attention_mask, -torch.inf)
            dropout = self.dropout if self.training else 0.0
            attended.append(F.scaled_dot_product_attention(query, key, value, bias.to(query.dtype), dropout))
        return self.out_proj(torch.cat(attended, dim=2).transpose(1, 2).flatten(2)), None
