"""The pocket backbone's pretraining: masked prediction of two kinds of clusters, on synthetic speech, no transcripts.

HuBERT's objective (Hsu et al., 2021) at the architecture of wav2vec 2.0's base family: spans of frames are hidden after
the feature projection, and the encoder predicts the hidden frames' clusters (`pretraining_speech`). Two stages: first
everything is trained, on crops of equal length (no padding, so nothing to be exact about); then the convolutions are
frozen, as they will be in fine-tuning, and the transformer goes on with whole utterances, which is cheaper. The recipe
that uses it is `book/recipes/pretrain-pocket-backbone.ipynb`.

Legend of shapes: B utterances, S samples, T frames, C convolution channels, H hidden size, K clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import Wav2Vec2Config

from mtlser.model.encoder import Encoder
from mtlser.model.frames import FrameLayout
from mtlser.model.pretraining_speech import SpeechConfig, Utterance

NUM_ENTRIES = 90  # of the curve


@dataclass(frozen=True)
class PretrainingConfig:
    """The recipe's numbers. Those without a source were chosen in short trials, by probes on held-out voices."""

    speech: SpeechConfig = field(default_factory=SpeechConfig)
    seed: int = 0
    steps: int = 20_000
    convolution_share: float = 0.6  # of the steps, after which the convolutions are frozen
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

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then linear decay to 0."""
        warmup = max(1, round(self.steps * self.warmup_share))
        return self.learning_rate * min((step + 1) / warmup, (self.steps - step) / max(1, self.steps - warmup))


class MaskedPredictor(nn.Module):
    """The encoder and one linear classifier per stream of clusters."""

    def __init__(self, architecture: Wav2Vec2Config, num_phone_clusters: int, num_prosody_clusters: int) -> None:
        super().__init__()
        self.encoder = Encoder(architecture)
        self.phone_head = nn.Linear(architecture.hidden_size, num_phone_clusters)
        self.prosody_head = nn.Linear(architecture.hidden_size, num_prosody_clusters)

    def convolve(self, waveforms: np.ndarray) -> Tensor:
        """Normalised waveforms (B, S) of one length → convolution features (B, T, C)."""
        return self.encoder.convolve(torch.from_numpy(waveforms), torch.full((len(waveforms),), waveforms.shape[1]))[0]

    def forward(self, features: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Convolution features (B, T, C), mask (B, T) bool → phone logits (B, T, K) and prosody logits (B, T, K)."""
        hidden = self.encoder.forward_features(features, torch.full((len(features),), features.shape[1]), mask)
        return self.phone_head(hidden), self.prosody_head(hidden)


def draw_mask(random: np.random.Generator, batch_size: int, num_frames: int, config: PretrainingConfig) -> Tensor:
    """(B, T) bool: True where a frame is hidden; spans start anywhere and may overlap."""
    starts = random.random((batch_size, num_frames)) < config.mask_start_probability
    shortest, longest = config.mask_lengths
    frames, lengths = np.arange(num_frames), random.integers(shortest, longest + 1, size=starts.shape)
    mask = np.maximum.accumulate(np.where(starts, frames + lengths, 0), axis=1) > frames
    mask[0, 0] |= not mask.any()  # a batch with nothing hidden has no loss
    return torch.from_numpy(mask)


def masked_loss(logits: Tensor, targets: Tensor, mask: Tensor, unmasked_weight: float) -> Tensor:
    """Cross-entropy of logits (B, T, K), ids (B, T): mean over hidden frames + `unmasked_weight` * mean over others."""
    losses = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)  # (B, T)
    hidden, visible = ((losses * part).sum() / part.sum().clamp(min=1) for part in (mask, ~mask))
    return hidden + unmasked_weight * visible


class Pretraining:
    """One pretraining: the model, and the curve so far. A batch is a function of (seed, step) alone."""

    def __init__(self, config: PretrainingConfig, utterances: Sequence[Utterance], architecture: Wav2Vec2Config):
        torch.manual_seed(config.seed)
        self.config, self.layout = config, FrameLayout.of(architecture)
        training = [utterance for utterance in utterances if not utterance.draw.held_out]
        self.long_enough = [utterance for utterance in training if len(utterance.phones) >= config.crop_frames]
        self.by_length = sorted(training, key=lambda utterance: len(utterance.phones))
        self.model = MaskedPredictor(architecture, config.num_phone_clusters, config.num_prosody_clusters)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=config.learning_rate, betas=config.adam_betas, eps=config.adam_epsilon,
            weight_decay=config.weight_decay, fused=True,
        )  # fmt: skip
        self.curve: list[dict[str, float]] = []  # means over the steps since the entry before
        self._features: list[Tensor] = []  # of each of `by_length`, once the convolutions are frozen

    def run(self, log: Callable[[dict], None] = print) -> None:
        """Trains from the first step to the last; logs each entry of the curve."""
        self.model.train()
        recent: list[dict[str, float]] = []
        for step in range(self.config.steps):
            recent.append(self._train_step(step))
            if (step + 1) % max(1, self.config.steps // NUM_ENTRIES) == 0 or step + 1 == self.config.steps:
                means = {name: round(float(np.mean([row[name] for row in recent])), 4) for name in recent[0]}
                self.curve.append({"step": step + 1} | means)
                recent = []
                log(self.curve[-1])

    def _train_step(self, step: int) -> dict[str, float]:
        """One step; returns what the curve keeps of it."""
        config, random = self.config, np.random.default_rng([self.config.seed, step])
        features, *targets = self._batch(random, frozen=step >= config.convolution_steps)
        mask = draw_mask(random, *features.shape[:2], config)
        logits = self.model(features, mask)
        losses = [masked_loss(*pair, mask, config.unmasked_weight) for pair in zip(logits, targets, strict=True)]
        self.optimiser.zero_grad(set_to_none=True)
        (losses[0] + config.prosody_weight * losses[1]).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), config.max_gradient_norm)
        self.optimiser.param_groups[0]["lr"] = config.learning_rate_at(step)
        self.optimiser.step()
        named = [(own.argmax(dim=-1) == ids)[mask].float().mean() for own, ids in zip(logits, targets, strict=True)]
        names = ("phone_loss", "prosody_loss", "phone_accuracy", "prosody_accuracy")
        return {name: value.item() for name, value in zip(names, losses + named, strict=True)}

    def _batch(self, random: np.random.Generator, frozen: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B, T, C), phones (B, T) and prosody (B, T) of parts of utterances, starting anywhere in them.

        While convolutions are trained, of crops (each normalised as its whole utterance is); once they are `frozen`,
        of utterances of nearly one length, cut to the shortest of them.
        """
        size, frames = self.config.batch_size, self.config.crop_frames
        if frozen:
            if not self._features:
                with torch.no_grad():
                    self._features = [self.model.convolve(each.waveform()[None])[0] for each in self.by_length]
            first = int(random.integers(0, len(self.by_length) - size + 1))
            chosen = self.by_length[first : first + size]
            frames = min(len(chosen[0].phones), self.config.longest_frames)
        else:
            chosen = [self.long_enough[i] for i in random.choice(len(self.long_enough), size)]
        starts = [int(random.integers(0, len(each.phones) - frames + 1)) for each in chosen]
        parts = [(each, slice(start, start + frames)) for each, start in zip(chosen, starts, strict=True)]
        phones, prosody = (
            torch.from_numpy(np.stack([getattr(each, name)[part] for each, part in parts]).astype(np.int64))
            for name in ("phones", "prosody")
        )
        if frozen:
            cut = zip(self._features[first : first + size], parts, strict=True)
            return torch.stack([features[part] for features, (_, part) in cut]), phones, prosody
        stride, num_samples = self.layout.stride, self.layout.num_samples(frames)
        crops = [each.waveform()[part.start * stride :][:num_samples] for each, part in parts]
        return self.model.convolve(np.stack(crops)), phones, prosody
