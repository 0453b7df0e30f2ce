"""Whisper's encoder, whose output for an utterance does not depend on its batch, over log-mel features of any length.

Shapes follow the legend in `mtlser.model.multitask`; M is the number of mel bands, and C is 2 · M here.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder, sinusoids

from mtlser.config import SAMPLE_RATE_HZ
from mtlser.model.encoder import own_frames

FRAME_SAMPLES = 320  # of one output frame, 20 ms: two mel frames


class Whisper(WhisperEncoder):
    """`transformers.WhisperEncoder` with the interface of `model.encoder.Encoder`; its parameters keep their names.

    The stock encoder takes 30 s of audio, most of it zeros, and attends to all of it. Here an utterance is as long as
    it is: zeros fill it up to a whole frame, and of the positions the first T are used. For one utterance the output
    equals that of a stock encoder whose `max_source_positions` is T and whose `embed_positions` are cut there. That is
    another configuration than Whisper was trained in, and its features differ from the padded ones.
    """

    hears_raw = True  # samples in [-1, 1], as Whisper was trained
    caches_features = True  # what `convolve` gives has no weights behind it

    def __init__(self, config: WhisperConfig) -> None:
        if getattr(config, "encoder_padding", "exact") != "exact":
            raise ValueError(f"config.encoder_padding is {config.encoder_padding!r}; Whisper has 'exact' alone")
        config.final_dropout, config.initializer_range = config.dropout, config.init_std  # of the heads
        super().__init__(config)
        with torch.no_grad():  # transformers does so for classes of its own alone
            self.embed_positions.weight.copy_(sinusoids(config.max_source_positions, config.d_model))
        self.num_channels = 2 * config.num_mel_bins
        self.max_seconds = config.max_source_positions * FRAME_SAMPLES / SAMPLE_RATE_HZ
        self.log_mel = WhisperFeatureExtractor(feature_size=config.num_mel_bins)

    def forward(
        self, waveforms: Tensor, waveform_lengths: Tensor, mask_time: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Waveforms (B, S) in [-1, 1], lengths (B,) in samples, mask (B, T) -> hidden (B, T, H), frame lengths (B,).

        Raises ValueError as `convolve` does.
        """
        features, frame_lengths = self.convolve(waveforms, waveform_lengths)
        return self.forward_features(features, frame_lengths, mask_time), frame_lengths

    def frame_lengths(self, waveform_lengths: Tensor) -> Tensor:
        """Frames of each utterance, a begun one counted as whole: (B,) samples -> (B,) frames."""
        return -(-waveform_lengths // FRAME_SAMPLES)

    def convolve(self, waveforms: Tensor, waveform_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The log-mel spectrogram of each utterance alone: (B, S), lengths (B,) -> features (B, T, C), frames (B,).

        A row holds two mel frames, one after the other. Computed on the CPU, in float32.
        Raises ValueError for an utterance that has no sample, is longer than its waveform, or than Whisper's positions.
        """
        lengths, longest = waveform_lengths.tolist(), min(waveforms.shape[1], round(self.max_seconds * SAMPLE_RATE_HZ))
        if min(lengths) < 1 or max(lengths) > waveforms.shape[1]:
            raise ValueError(f"waveform_lengths {lengths}: each must be from 1 to {waveforms.shape[1]} samples")
        if max(lengths) > longest:
            seconds = max(lengths) / SAMPLE_RATE_HZ
            raise ValueError(f"{seconds:.1f} s are too long: Whisper's positions end at {self.max_seconds:g} s; cut it")
        samples = [row[:length].cpu().numpy() for row, length in zip(waveforms, lengths, strict=True)]
        with torch.autocast("cpu", enabled=False):
            features = pad_sequence([self._spectrogram(each) for each in samples], batch_first=True)
        return features.to(waveforms), self.frame_lengths(waveform_lengths)

    def _spectrogram(self, samples: np.ndarray) -> Tensor:
        """Samples (S,) -> features (T, C)."""
        whole = np.pad(samples, (0, -len(samples) % FRAME_SAMPLES))
        found = self.log_mel(whole, sampling_rate=SAMPLE_RATE_HZ, padding=False, truncation=False, return_tensors="np")
        return torch.tensor(found["input_features"][0].T.reshape(-1, self.num_channels))  # (M, 2T) -> (T, C)

    def forward_features(self, features: Tensor, frame_lengths: Tensor, mask_time: Tensor | None = None) -> Tensor:
        """All after the spectrogram, padded: features (B, T, C), lengths (B,), mask (B, T) -> hidden (B, T, H).

        Mel frames that `mask_time` marks are set to zero, as in transformers' Whisper. Values at padded frames carry
        no meaning. LayerDrop, in training, draws from torch's CPU generator, as in the stock model.
        """
        if mask_time is not None:
            features = features.masked_fill(mask_time[..., None], 0.0)
        valid = self.valid_frames(frame_lengths, features)  # (B, T), or None where nothing is padding
        attention_mask = None
        if valid is not None:
            features = features.masked_fill(~valid[..., None], 0.0)  # what the first convolution sees of an end
            attention_mask = valid[:, None, None, :].expand(-1, -1, features.shape[1], -1)  # (B, 1, T, T)
        mel = features.reshape(len(features), -1, self.num_mel_bins).transpose(1, 2)  # (B, M, 2T)
        # The second convolution takes every other place: an utterance's last frame sees nothing beyond its end.
        hidden = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)  # (B, T, H)
        hidden = hidden + self.embed_positions.weight[: hidden.shape[1]]
        hidden = F.dropout(hidden, p=self.dropout, training=self.training)
        for layer in self.layers:
            if self.training and self.layerdrop > 0 and torch.rand(()) < self.layerdrop:
                continue
            hidden = layer(hidden, attention_mask)
        return self.layer_norm(hidden)

    def valid_frames(self, frame_lengths: Tensor, hidden: Tensor) -> Tensor | None:
        """(B, T) True at frames of the utterance itself; None where no frame of (B, T, H) is padding."""
        return own_frames(frame_lengths, hidden)

    def freeze_convolutions(self) -> None:
        """Stops training the two convolutions."""
        for convolution in (self.conv1, self.conv2):
            convolution.requires_grad_(False)

    def features_name(self) -> str:
        """What features depend on besides the audio."""
        return f"log-mel spectrogram of {self.num_mel_bins} bands, {FRAME_SAMPLES} samples a frame"
