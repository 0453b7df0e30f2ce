"""wav2vec 2.0 whose output for an utterance does not depend on its batch.

Shapes follow the legend in `mtlser.model.multitask`: B utterances, S samples, T frames, H hidden size; C is the number
of convolution channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Wav2Vec2Config, Wav2Vec2Model

from mtlser.model.attention import PER_UTTERANCE

ENCODER_PADDINGS = ("exact", "released")


class PaddingExactGroupNorm(nn.GroupNorm):
    """Group norm over each utterance's own samples.

    Source: transformers' Wav2Vec2GroupNormConvLayer, which normalises over time with the padding included, so that an
    utterance's output depends on the length of the longest in its batch (transformers issues 10117 and 21534). Departs
    from it in padded batches only (departure "padding"): statistics come from valid positions, and padded positions
    become zero. One call per utterance took a quarter of the time of masked sums over the batch on a CPU.
    """

    def forward(self, hidden: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """(B, C, T) and valid extents -> (B, C, T). Without `lengths` nothing is padding: plain group norm."""
        if lengths is None or min(lengths) == hidden.shape[-1]:
            return super().forward(hidden)
        normalised = [
            F.group_norm(x[None, :, :n], self.num_groups, self.weight, self.bias, self.eps)
            for x, n in zip(hidden, lengths, strict=True)
        ]
        return torch.cat([F.pad(x, (0, hidden.shape[-1] - x.shape[-1])) for x in normalised])


class Encoder(Wav2Vec2Model):
    """`transformers.Wav2Vec2Model`, made padding-exact; its parameters keep their names.

    Source: section 3.1, f_theta. For one utterance the output equals the stock model's. `config.encoder_padding`
    "exact" (default) hides padding from group norm, positional convolution and attention; "released" does what the
    released code does: padding is treated as signal everywhere (departure "padding").

    The forward pass is ours because the stock encoder zeroes padding by boolean indexing, which took 220 of the
    254 ms of a training step on a CPU.
    """

    def __init__(self, config: Wav2Vec2Config) -> None:
        padding = getattr(config, "encoder_padding", "exact")
        if padding not in ENCODER_PADDINGS:
            raise ValueError(f"config.encoder_padding is {padding!r}; choose one of {', '.join(ENCODER_PADDINGS)}")
        if config.add_adapter:
            raise ValueError("config.add_adapter is set; adapters after the encoder are not supported")
        config._attn_implementation = PER_UTTERANCE
        super().__init__(config)
        self.padding_exact = padding == "exact"
        if config.feat_extract_norm == "group":
            norm = self.feature_extractor.conv_layers[0].layer_norm
            exact = PaddingExactGroupNorm(norm.num_groups, norm.num_channels, norm.eps)
            exact.weight, exact.bias = norm.weight, norm.bias
            self.feature_extractor.conv_layers[0].layer_norm = exact
        if not hasattr(self, "masked_spec_embed"):  # the stock model omits it where its own SpecAugment is off
            self.masked_spec_embed = nn.Parameter(torch.rand(config.hidden_size))

    def forward(
        self, waveforms: Tensor, waveform_lengths: Tensor, mask_time: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Waveforms (B, S), lengths (B,) in samples, mask (B, T) -> hidden (B, T, H), frame lengths (B,)."""
        features, frame_lengths = self.convolve(waveforms, waveform_lengths)
        return self.forward_features(features, frame_lengths, mask_time), frame_lengths

    def frame_lengths(self, waveform_lengths: Tensor) -> Tensor:
        """Frames of each utterance: (B,) samples -> (B,) frames. "released" counts the padding of the longest in."""
        lengths = self._get_feat_extract_output_lengths(waveform_lengths)
        return lengths if self.padding_exact else lengths.max().expand_as(lengths).clone()

    def convolve(self, waveforms: Tensor, waveform_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The convolutional encoder: waveforms (B, S), lengths (B,) -> features (B, T, C), frame lengths (B,).

        Raises ValueError for an utterance that is too short for one frame, or longer than its waveform.
        """
        frame_lengths, num_samples = self.frame_lengths(waveform_lengths), waveforms.shape[1]
        if int(waveform_lengths.max()) > num_samples or int(frame_lengths.min()) < 1:
            found = waveform_lengths.tolist()
            raise ValueError(f"waveform_lengths {found}: each must be enough for one frame and at most {num_samples}")
        hidden = self._convolve_first(waveforms, waveform_lengths)
        for layer in self.feature_extractor.conv_layers[1:]:
            hidden = layer(hidden)
        features = hidden.transpose(1, 2)  # (B, T, C)
        if not self.padding_exact:
            frame_lengths = torch.full_like(frame_lengths, features.shape[1])
        return features, frame_lengths

    def _convolve_first(self, waveforms: Tensor, waveform_lengths: Tensor) -> Tensor:
        """The first layer: waveforms (B, S), lengths (B,) -> (B, C, T')."""
        first, hidden = self.feature_extractor.conv_layers[0], waveforms[:, None]  # (B, 1, S)
        if self.config.feat_extract_norm != "group":
            return first(hidden)
        return first.activation(first.layer_norm(first.conv(hidden), self._first_lengths(waveform_lengths)))

    def _first_lengths(self, waveform_lengths: Tensor) -> list[int] | None:
        """Valid outputs of the first convolution, whose norm alone looks along time."""
        if not self.padding_exact:
            return None
        kernel, stride = self.config.conv_kernel[0], self.config.conv_stride[0]
        return ((waveform_lengths - kernel) // stride + 1).tolist()

    def forward_features(self, features: Tensor, frame_lengths: Tensor, mask_time: Tensor | None = None) -> Tensor:
        """Projection and transformer: features (B, T, C), lengths (B,), mask (B, T) -> hidden (B, T, H).

        Frames that `mask_time` marks are replaced by the learned `masked_spec_embed`. Values at padded frames carry no
        meaning. LayerDrop, in training, draws from torch's CPU generator, as in the stock model.
        """
        hidden, _ = self.feature_projection(features)  # (B, T, H)
        if mask_time is not None:
            hidden = torch.where(mask_time[..., None], self.masked_spec_embed.to(hidden.dtype), hidden)
        valid = self.valid_frames(frame_lengths, hidden)  # (B, T), or None where nothing is padding
        attention_mask = None
        if valid is not None:
            hidden = hidden.masked_fill(~valid[..., None], 0.0)  # what the positional convolution sees of an end
            attention_mask = valid[:, None, None, :].expand(-1, -1, hidden.shape[1], -1)  # (B, 1, T, T)
        return self._transform(hidden, self.encoder.pos_conv_embed(hidden), attention_mask=attention_mask)

    def forward_packed(
        self, waveforms: Tensor, waveform_lengths: Tensor, mask_time: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `forward` for utterances one after the other: (ΣS,), lengths (B,), mask (B, T) -> (ΣT, H), frames (B,).

        Nothing is padding, so nothing is computed for it. Raises ValueError for an utterance that is too short for one
        frame, for lengths that don't add up, and where `encoder_padding` is "released", which needs padding.
        """
        if not self.padding_exact:
            raise ValueError('encoder_padding="released" reads the padding of a batch, and packed utterances have none')
        frame_lengths = self.frame_lengths(waveform_lengths)
        lengths = frame_lengths.tolist()
        hidden, _ = self.feature_projection(self.convolve_packed(waveforms, waveform_lengths)[None])  # (1, ΣT, H)
        if mask_time is not None:
            mask = torch.cat([row[:length] for row, length in zip(mask_time, lengths, strict=True)])
            hidden = torch.where(mask[:, None], self.masked_spec_embed.to(hidden.dtype), hidden)
        return self._transform(hidden, self._packed_positions(hidden, lengths), lengths=lengths)[0], frame_lengths

    def convolve_packed(self, waveforms: Tensor, waveform_lengths: Tensor) -> Tensor:
        """The convolutional encoder of utterances one after the other, in one pass: (ΣS,), (B,) -> features (ΣT, C).

        Every utterance starts at a whole number of frames; frames across a boundary are left out.
        """
        lengths = waveform_lengths.tolist()
        if int(self.frame_lengths(waveform_lengths).min()) < 1 or sum(lengths) != len(waveforms):
            raise ValueError(
                f"waveform_lengths {lengths}: each must be enough for one frame, all together {len(waveforms)}"
            )
        hop = math.prod(self.config.conv_stride)
        starts = [-(-length // hop) for length in lengths]  # frames from one utterance's first to the next one's
        parts = waveforms.split(lengths)
        whole = torch.cat([F.pad(part, (0, -len(part) % hop)) for part in parts])
        first, *others = self.feature_extractor.conv_layers
        if self.config.feat_extract_norm == "group":
            hidden = first.conv(whole[None, None])[0]  # (C, T'), of which each utterance has its share
            shares = [start * hop // self.config.conv_stride[0] for start in starts]
            shares[-1] -= sum(shares) - hidden.shape[1]
            normalised = []
            for share, own in zip(hidden.split(shares, dim=1), self._first_lengths(waveform_lengths), strict=True):
                normalised += [first.layer_norm(share[None, :, :own])[0], torch.zeros_like(share[:, own:])]
            hidden = first.activation(torch.cat(normalised, dim=1)[None])
        else:
            hidden = first(whole[None, None])
        for layer in others:
            hidden = layer(hidden)
        first_frames = np.cumsum([0, *starts[:-1]])
        frames = zip(first_frames, self.frame_lengths(waveform_lengths).tolist(), strict=True)
        return torch.cat([hidden[0].T[start : start + length] for start, length in frames])

    def _packed_positions(self, hidden: Tensor, lengths: Sequence[int]) -> Tensor:
        """The positional convolution of each utterance: (1, ΣT, H) -> (1, ΣT, H).

        It runs once over all of them, with as many zeros between neighbours as it would see after an end.
        """
        gap = self.encoder.pos_conv_embed.conv.padding[0]
        spaced = torch.cat([F.pad(part, (0, 0, 0, gap)) for part in hidden.split(lengths, dim=1)], dim=1)
        found = self.encoder.pos_conv_embed(spaced).split([n + gap for n in lengths], dim=1)
        return torch.cat([part[:, :length] for part, length in zip(found, lengths, strict=True)], dim=1)

    def valid_frames(self, frame_lengths: Tensor, hidden: Tensor) -> Tensor | None:
        """(B, T) True at frames of the utterance itself; None where no frame of (B, T, H) is padding."""
        num_frames = hidden.shape[1]
        if not self.padding_exact or int(frame_lengths.min()) == num_frames:
            return None
        return torch.arange(num_frames, device=hidden.device) < frame_lengths.to(hidden.device)[:, None]

    def _transform(self, hidden: Tensor, positions: Tensor, **attention) -> Tensor:
        """The transformer over HF's submodules: (B, T, H), its positions' convolution -> (B, T, H).

        `attention`: an `attention_mask`, or the `lengths` of packed utterances (`model.attention`).
        """
        encoder, norm_first = self.encoder, self.config.do_stable_layer_norm
        hidden = hidden + positions
        hidden = encoder.dropout(hidden if norm_first else encoder.layer_norm(hidden))
        for layer in encoder.layers:
            if self.training and self.config.layerdrop > 0 and torch.rand(()) < self.config.layerdrop:
                continue
            hidden = layer(hidden, **attention)
        return encoder.layer_norm(hidden) if norm_first else hidden


def time_mask(
    frame_lengths: Tensor | Sequence[int],
    probability: float,
    mask_length: int,
    min_masks: int,
    generators: Sequence[np.random.Generator],
) -> Tensor:
    """SpecAugment's mask along time: lengths (B,) in frames -> bool (B, T), True at frames to replace.

    Each utterance has `probability` · T / `mask_length` spans, rounded up or down at random, `min_masks` at least, at
    different random starts; spans may overlap. Each has its own generator, so its mask never depends on its batch.
    Probability 0 masks nothing.

    Source: transformers 4.4.2's `_compute_mask_indices`, on by default in the released code and absent from the paper
    (departure "specaugment"). Departs from it so that never all frames are masked: an utterance of at most two mask
    lengths has one span over at most half of its frames.
    """
    lengths = [int(length) for length in frame_lengths]
    mask = np.zeros((len(lengths), max(lengths)), dtype=bool)
    if probability > 0:
        for row, length, generator in zip(mask, lengths, generators, strict=True):
            num_spans = max(int(probability * length / mask_length + generator.random()), min_masks)
            num_spans = min(num_spans, max((length - 1) // mask_length, 1))
            span = min(mask_length, length // 2)
            for start in generator.choice(length - span + 1, num_spans, replace=False):
                row[start : start + span] = True
    return torch.from_numpy(mask)
