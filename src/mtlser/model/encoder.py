"""wav2vec 2.0 whose output for an utterance does not depend on its batch.

Shapes follow the legend in `mtlser.model.multitask`: B utterances, S samples, T frames, H hidden size; C is the number
of convolution channels.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import Wav2Vec2Config, Wav2Vec2Model

from mtlser.model.attention import PER_UTTERANCE

ENCODER_PADDINGS = ("exact", "released")


class Encoder(Wav2Vec2Model):
    """`transformers.Wav2Vec2Model`, made padding-exact; its parameters keep their names.

    Source: section 3.1, f_theta. For one utterance the output equals the stock model's. transformers'
    Wav2Vec2GroupNormConvLayer normalises over time with the padding included, so that an utterance's output depends on
    the length of the longest in its batch (transformers issues 10117 and 21534). `config.encoder_padding` "exact"
    (default) hides padding from group norm, positional convolution and attention: utterances are laid one after the
    other, and nothing is computed for padding. "released" does what the released code does: padding is treated as
    signal everywhere (departure "padding").
    """

    hears_raw = False  # zero mean and unit variance instead, as wav2vec 2.0 was pretrained
    caches_features = False  # its convolutions have weights, which may be trained
    max_seconds = math.inf

    def __init__(self, config: Wav2Vec2Config) -> None:
        padding = getattr(config, "encoder_padding", "exact")
        if padding not in ENCODER_PADDINGS:
            raise ValueError(f"config.encoder_padding is {padding!r}; choose one of {', '.join(ENCODER_PADDINGS)}")
        if config.add_adapter:
            raise ValueError("config.add_adapter is set; adapters after the encoder are not supported")
        config._attn_implementation = PER_UTTERANCE
        super().__init__(config)
        self.padding_exact = padding == "exact"
        self.num_channels = config.conv_dim[-1]
        if not hasattr(self, "masked_spec_embed"):  # the stock model omits it where its own SpecAugment is off
            self.masked_spec_embed = nn.Parameter(torch.rand(config.hidden_size))

    def forward(
        self, waveforms: Tensor, waveform_lengths: Tensor, mask_time: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Waveforms (B, S), lengths (B,) in samples, mask (B, T) -> hidden (B, T, H), frame lengths (B,).

        Frames that `mask_time` marks are replaced by the learned `masked_spec_embed`. Values at padded frames carry no
        meaning. LayerDrop, in training, draws from torch's CPU generator, as in the stock model.
        Raises ValueError for an utterance that is too short for one frame, or longer than its waveform.
        """
        if not self.padding_exact:
            features, frame_lengths = self.convolve(waveforms, waveform_lengths)
            return self.forward_features(features, frame_lengths, mask_time), frame_lengths
        features = self._convolve_each(waveforms, waveform_lengths)
        lengths = [len(frames) for frames in features]
        hidden, _ = self.feature_projection(torch.cat(features)[None])  # (1, ΣT, H)
        if mask_time is not None:
            mask = torch.cat([row[:length] for row, length in zip(mask_time, lengths, strict=True)])
            hidden = torch.where(mask[:, None], self.masked_spec_embed.to(hidden.dtype), hidden)
        hidden = self._transform(hidden, self._positions(hidden, lengths), lengths=lengths)[0]  # (ΣT, H)
        return pad_sequence(hidden.split(lengths), batch_first=True), torch.tensor(lengths)

    def frame_lengths(self, waveform_lengths: Tensor) -> Tensor:
        """Frames of each utterance: (B,) samples -> (B,) frames. "released" counts the padding of the longest in."""
        lengths = self._get_feat_extract_output_lengths(waveform_lengths)
        return lengths if self.padding_exact else lengths.max().expand_as(lengths).clone()

    def convolve(self, waveforms: Tensor, waveform_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The convolutional encoder: waveforms (B, S), lengths (B,) -> features (B, T, C), frame lengths (B,).

        Raises ValueError for an utterance that is too short for one frame, or longer than its waveform.
        """
        features = pad_sequence(self._convolve_each(waveforms, waveform_lengths), batch_first=True)
        lengths = self.frame_lengths(waveform_lengths)
        return features, lengths if self.padding_exact else torch.full_like(lengths, features.shape[1])

    def _convolve_each(self, waveforms: Tensor, waveform_lengths: Tensor) -> list[Tensor]:
        """The convolutional encoder: waveforms (B, S), lengths (B,) -> features (T, C) of each utterance."""
        lengths, num_samples = waveform_lengths.tolist(), waveforms.shape[1]
        if max(lengths) > num_samples or int(self.frame_lengths(waveform_lengths).min()) < 1:
            raise ValueError(f"waveform_lengths {lengths}: each must be enough for one frame and at most {num_samples}")
        if not self.padding_exact or min(lengths) == num_samples:  # nothing is padding, or it counts as signal
            hidden = waveforms[:, None]  # (B, 1, S)
            for layer in self.feature_extractor.conv_layers:
                hidden = layer(hidden)
            return list(hidden.transpose(1, 2))
        return self._convolve_packed([row[:length] for row, length in zip(waveforms, lengths, strict=True)])

    def _convolve_packed(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """One pass over utterances one after the other: waveforms (S,) -> features (T, C) of each.

        Every utterance starts at a whole number of frames; frames across a boundary are left out.
        """
        hop = math.prod(self.config.conv_stride)
        starts = [-(-len(part) // hop) for part in parts]  # frames from one utterance's first to the next one's
        whole = torch.cat([F.pad(part, (0, -len(part) % hop)) for part in parts])
        first, *others = self.feature_extractor.conv_layers
        if self.config.feat_extract_norm == "group":  # alone it looks along time: each utterance has its share of it
            hidden = first.conv(whole[None, None])[0]  # (C, T')
            kernel, stride = self.config.conv_kernel[0], self.config.conv_stride[0]
            shares = [start * hop // stride for start in starts]
            shares[-1] -= sum(shares) - hidden.shape[1]
            normalised = []
            for share, part in zip(hidden.split(shares, dim=1), parts, strict=True):
                own = (len(part) - kernel) // stride + 1
                normalised += [first.layer_norm(share[None, :, :own])[0], torch.zeros_like(share[:, own:])]
            hidden = first.activation(torch.cat(normalised, dim=1)[None])
        else:
            hidden = first(whole[None, None])
        for layer in others:
            hidden = layer(hidden)
        begins = np.cumsum([0, *starts[:-1]])
        lengths = (int(self._get_feat_extract_output_lengths(len(part))) for part in parts)
        return [hidden[0].T[begin : begin + length] for begin, length in zip(begins, lengths, strict=True)]

    def forward_features(self, features: Tensor, frame_lengths: Tensor, mask_time: Tensor | None = None) -> Tensor:
        """All after the convolutions, padded: features (B, T, C), lengths (B,), mask (B, T) -> hidden (B, T, H).

        As in `forward`, but padding is computed and then hidden: features are short and alike in length.
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

    def _positions(self, hidden: Tensor, lengths: Sequence[int]) -> Tensor:
        """The positional convolution of each utterance: (1, ΣT, H) -> (1, ΣT, H).

        It runs once over all of them, with as many zeros between neighbours as it would see after an end.
        """
        gap = self.encoder.pos_conv_embed.conv.padding[0]
        spaced = torch.cat([F.pad(part, (0, 0, 0, gap)) for part in hidden.split(lengths, dim=1)], dim=1)
        found = self.encoder.pos_conv_embed(spaced).split([n + gap for n in lengths], dim=1)
        return torch.cat([part[:, :length] for part, length in zip(found, lengths, strict=True)], dim=1)

    def valid_frames(self, frame_lengths: Tensor, hidden: Tensor) -> Tensor | None:
        """(B, T) True at frames of the utterance itself; None where no frame of (B, T, H) is padding."""
        return own_frames(frame_lengths, hidden) if self.padding_exact else None

    def freeze_convolutions(self) -> None:
        """Stops training the convolutional encoder; the projection after it stays trainable."""
        self.feature_extractor.requires_grad_(False)

    def features_name(self) -> str:
        """What the convolutions' outputs depend on besides the audio: a digest of their weights."""
        weights = hashlib.sha256()
        for name, tensor in sorted(self.feature_extractor.state_dict().items()):
            weights.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
        return weights.hexdigest()

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


def own_frames(frame_lengths: Tensor, hidden: Tensor) -> Tensor | None:
    """Lengths (B,), hidden (B, T, H) -> (B, T), True at frames of the utterance itself; None where all are."""
    num_frames = hidden.shape[1]
    if int(frame_lengths.min()) == num_frames:
        return None
    return torch.arange(num_frames, device=hidden.device) < frame_lengths.to(hidden.device)[:, None]


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
