"""The pocket backbone's architecture and what its pretraining asks of it: clusters of frames that it cannot see.

Legend of shapes: B utterances, S samples, T frames, C convolution channels, H hidden size, K clusters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import Wav2Vec2Config

from mtlser.model.encoder import Encoder
from mtlser.model.pretraining_corpus import SpeechConfig, SpeechCorpus


def pocket_architecture() -> Wav2Vec2Config:
    """wav2vec 2.0 of base's family (group norm, post-norm), 0.9 million parameters, a frame every 40 ms.

    40 ms instead of 20 ms and no dropout: fine-tuning runs on two cores, and this takes a third of the time.
    """
    return Wav2Vec2Config(
        vocab_size=32,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=512,
        conv_dim=(64,) * 8,
        conv_kernel=(10, 3, 3, 3, 3, 2, 2, 2),
        conv_stride=(5, 2, 2, 2, 2, 2, 2, 2),
        num_feat_extract_layers=8,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=16,
        feat_extract_norm="group",
        do_stable_layer_norm=False,
        conv_bias=False,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        final_dropout=0.0,
        layerdrop=0.0,
    )


@dataclass(frozen=True)
class PretrainingConfig:
    """The recipe's numbers. Those without a source were chosen in short trials, by probes on held-out voices."""

    speech: SpeechConfig = field(default_factory=SpeechConfig)
    objective: Literal["masked prediction", "contrastive"] = "masked prediction"
    seed: int = 0
    steps: int = 20_000
    convolution_share: float = 0.6  # of the steps, after which the convolutions are frozen
    second_pass_share: float = 0.0  # of the steps, the last ones, that predict clusters of the model's own features
    second_pass_layer: int = 3  # whose output is clustered, of 4 (HuBERT: 6 of 12)
    batch_size: int = 16
    crop_frames: int = 40  # 1.6 s, while convolutions are trained
    longest_frames: int = 100  # 4 s, afterwards
    num_phone_clusters: int = 100  # HuBERT's first pass
    num_prosody_clusters: int = 32
    prosody_weight: float = 0.5  # of the second stream's loss
    unmasked_weight: float = 1.0  # of visible frames' loss; HuBERT: 0, which gives the convolutions less to go by
    mask_start_probability: float = 0.13  # with spans of 4 or 5: 46% hidden; HuBERT: 0.08, spans of 10 at 20 ms
    mask_lengths: tuple[int, int] = (4, 5)  # frames of 40 ms
    learning_rate: float = 1.5e-3
    warmup_share: float = 0.06
    adam_betas: tuple[float, float] = (0.9, 0.98)  # HuBERT
    adam_epsilon: float = 1e-6  # HuBERT
    weight_decay: float = 0.01  # HuBERT
    max_gradient_norm: float = 1.0

    @property
    def convolution_steps(self) -> int:
        """Steps that train the convolutions too."""
        return round(self.steps * self.convolution_share)

    @property
    def first_pass_steps(self) -> int:
        """Steps that predict clusters of MFCCs."""
        return self.steps - round(self.steps * self.second_pass_share)

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then linear decay to 0."""
        warmup = max(1, round(self.steps * self.warmup_share))
        return self.learning_rate * min((step + 1) / warmup, (self.steps - step) / max(1, self.steps - warmup))


@dataclass(frozen=True)
class Batch:
    """Either waveforms (B, S) or convolution features (B, T, C), with mask, phones and prosody, each (B, T)."""

    mask: Tensor
    phones: Tensor
    prosody: Tensor
    waveforms: Tensor | None = None
    features: Tensor | None = None


class MaskedPredictor(nn.Module):
    """The encoder and one linear classifier per stream of clusters."""

    def __init__(self, architecture: Wav2Vec2Config, num_phone_clusters: int, num_prosody_clusters: int) -> None:
        super().__init__()
        self.encoder = Encoder(architecture)
        self.phone_head = nn.Linear(architecture.hidden_size, num_phone_clusters)
        self.prosody_head = nn.Linear(architecture.hidden_size, num_prosody_clusters)

    def forward(self, features: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Convolution features (B, T, C), mask (B, T) bool → phone logits (B, T, K) and prosody logits (B, T, K)."""
        hidden = self.encode(features, mask)  # (B, T, H)
        return self.phone_head(hidden), self.prosody_head(hidden)

    def losses(self, features: Tensor, batch: Batch, config: PretrainingConfig) -> tuple[Tensor, dict[str, float]]:
        """Convolution features (B, T, C) and what the batch asks → the loss, and what the curve keeps of it."""
        phones, prosody = self(features, batch.mask)
        phone_loss = masked_loss(phones, batch.phones, batch.mask, config.unmasked_weight)
        prosody_loss = masked_loss(prosody, batch.prosody, batch.mask, config.unmasked_weight)
        return phone_loss + config.prosody_weight * prosody_loss, {
            "phone_loss": phone_loss.item(),
            "prosody_loss": prosody_loss.item(),
            "phone_accuracy": masked_accuracy(phones, batch.phones, batch.mask),
            "prosody_accuracy": masked_accuracy(prosody, batch.prosody, batch.mask),
        }

    @torch.no_grad()
    def start_second_pass(self, seed: int) -> None:
        """Forgets what the first pass's phone clusters look like, and nothing else."""
        generator = torch.Generator().manual_seed(seed)
        self.phone_head.weight.normal_(0.0, self.encoder.config.initializer_range, generator=generator)
        self.phone_head.bias.zero_()

    def convolve(self, waveforms: Tensor) -> Tensor:
        """Normalised waveforms (B, S) of one length → convolution features (B, T, C)."""
        return self.encoder.convolve(waveforms, torch.full((len(waveforms),), waveforms.shape[1]))[0]

    def encode(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Convolution features (B, T, C) of one length → hidden states (B, T, H)."""
        frame_lengths = torch.full((features.shape[0],), features.shape[1])
        return self.encoder.forward_features(features, frame_lengths, mask)


def convolution_features(model: MaskedPredictor, speech: SpeechCorpus, index: int, *, clean: bool = False) -> Tensor:
    """Convolution features (T, C) of one whole utterance."""
    waveform = speech.waveform(index, clean=clean)
    mean, deviation = (waveform.mean(), np.sqrt(waveform.var() + 1e-7)) if clean else speech.statistics[index]
    return model.convolve(torch.from_numpy((waveform - mean) / deviation)[None])[0]


@torch.no_grad()
def layer_states(
    model: MaskedPredictor, speech: SpeechCorpus, index: int, layer: int, *, clean: bool = False
) -> np.ndarray:
    """Output (T, H) of a transformer layer, counted from 1, for one whole utterance with nothing hidden."""
    outputs: list[Tensor] = []
    module = model.encoder.encoder.layers[layer - 1]
    hook = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        model.encode(convolution_features(model, speech, index, clean=clean)[None])
    finally:
        hook.remove()
    return outputs[0][0].numpy()


def draw_mask(random: np.random.Generator, batch_size: int, num_frames: int, config: PretrainingConfig) -> Tensor:
    """(B, T) bool: True where a frame is hidden; spans start anywhere and may overlap."""
    starts = random.random((batch_size, num_frames)) < config.mask_start_probability
    shortest, longest = config.mask_lengths
    lengths = random.integers(shortest, longest + 1, size=starts.shape)
    mask = np.zeros_like(starts)
    for offset in range(min(longest, num_frames)):
        mask[:, offset:] |= (starts & (lengths > offset))[:, : num_frames - offset]
    mask[0, 0] |= not mask.any()  # a batch with nothing hidden has no loss
    return torch.from_numpy(mask)


def masked_loss(logits: Tensor, targets: Tensor, mask: Tensor, unmasked_weight: float) -> Tensor:
    """Cross-entropy of logits (B, T, K), ids (B, T): mean over hidden frames + `unmasked_weight` * mean over others."""
    losses = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)  # (B, T)
    hidden = mask.to(losses.dtype)
    visible = 1 - hidden
    return (losses * hidden).sum() / hidden.sum().clamp(min=1) + unmasked_weight * (
        losses * visible
    ).sum() / visible.sum().clamp(min=1)


def masked_accuracy(logits: Tensor, targets: Tensor, mask: Tensor) -> float:
    """Share of hidden frames whose cluster is predicted."""
    return float((logits.argmax(dim=-1) == targets)[mask].float().mean())
