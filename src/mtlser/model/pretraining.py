"""The pocket backbone's pretraining: masked prediction of two kinds of clusters, on synthetic speech, no transcripts.

HuBERT's objective (Hsu et al., 2021) at the architecture of wav2vec 2.0's base family: spans of frames are hidden after
the feature projection, and the encoder predicts the hidden frames' clusters (`pretraining_targets`). Two stages: first
everything is trained, on crops of equal length (no padding, so nothing to be exact about); then the convolutions are
frozen, as they will be in fine-tuning, and the transformer goes on with whole utterances, which is cheaper. The recipe
that uses it is `book/recipes/pretrain-pocket-backbone.ipynb`.

Legend of shapes: B utterances, S samples, T frames, C convolution channels, H hidden size, K clusters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import Wav2Vec2Config

from mtlser.corpus.pretraining_speech import SpeechConfig
from mtlser.files import digest, whole_file
from mtlser.model.encoder import Encoder
from mtlser.model.frames import FrameLayout
from mtlser.model.pretraining_targets import Utterance

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

    def convolve(self, waveforms: Tensor) -> Tensor:
        """Normalised waveforms (B, S) of one length → convolution features (B, T, C)."""
        return self.encoder.convolve(waveforms, torch.full((len(waveforms),), waveforms.shape[1]))[0]

    def encode(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Convolution features (B, T, C) of one length, mask (B, T) bool → hidden states (B, T, H)."""
        return self.encoder.forward_features(features, torch.full((len(features),), features.shape[1]), mask)

    def forward(self, features: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Convolution features (B, T, C), mask (B, T) bool → phone logits (B, T, K) and prosody logits (B, T, K)."""
        hidden = self.encode(features, mask)
        return self.phone_head(hidden), self.prosody_head(hidden)


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


class Pretraining:
    """One pretraining: model, optimiser, how many steps are done, in how many seconds, and the curve so far.

    A batch is a function of (seed, step) alone, so that a resumed run draws the same ones.
    """

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
        self.step, self.seconds = 0, 0.0
        self.curve: list[dict[str, float]] = []  # means over the steps since the entry before
        self._features: list[Tensor] = []

    def run(self, checkpoints: Path, log: Callable[[dict], None] = print) -> None:
        """Trains to the end, from where the checkpoint of this recipe in the folder `checkpoints` stands.

        Each entry of the curve is logged and followed by a checkpoint.
        """
        path = Path(checkpoints) / f"pretraining-{digest(repr(self.config))[:12]}.pt"
        if path.exists():
            self._load(torch.load(path, weights_only=True))
        self.model.train()
        recent: list[dict[str, float]] = []
        while self.step < self.config.steps:
            started = time.perf_counter()
            recent.append(self._train_step())
            self.step += 1
            self.seconds += time.perf_counter() - started
            if self.step % max(1, self.config.steps // NUM_ENTRIES) == 0 or self.step == self.config.steps:
                means = {name: round(float(np.mean([row[name] for row in recent])), 4) for name in recent[0]}
                self.curve.append({"step": self.step} | means)
                recent = []
                log(self.curve[-1])
                with whole_file(path) as partial:
                    torch.save(self._state(), partial)

    def _state(self) -> dict:
        progress = {name: getattr(self, name) for name in ("step", "seconds", "curve")}
        return {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()} | progress

    def _load(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds, self.curve = state["step"], state["seconds"], state["curve"]

    def _train_step(self) -> dict[str, float]:
        """One step; returns what the curve keeps of it."""
        config, random = self.config, np.random.default_rng([self.config.seed, self.step])
        frozen = self.step >= config.convolution_steps
        features, phones, prosody = self._whole(random) if frozen else self._crops(random)
        mask = draw_mask(random, *phones.shape, config)
        phone_logits, prosody_logits = self.model(features, mask)
        phone_loss = masked_loss(phone_logits, phones, mask, config.unmasked_weight)
        prosody_loss = masked_loss(prosody_logits, prosody, mask, config.unmasked_weight)
        self.optimiser.zero_grad(set_to_none=True)
        (phone_loss + config.prosody_weight * prosody_loss).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), config.max_gradient_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate_at(self.step)
        self.optimiser.step()
        return {
            "phone_loss": phone_loss.item(),
            "prosody_loss": prosody_loss.item(),
            "phone_accuracy": masked_accuracy(phone_logits, phones, mask),
            "prosody_accuracy": masked_accuracy(prosody_logits, prosody, mask),
        }

    def _crops(self, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B, T, C), phones (B, T), prosody (B, T) of crops, each normalised as its whole utterance is."""
        chosen = [self.long_enough[i] for i in random.choice(len(self.long_enough), self.config.batch_size)]
        starts, phones, prosody = _cut(random, chosen, self.config.crop_frames)
        first, size = [start * self.layout.stride for start in starts], self.layout.num_samples(self.config.crop_frames)
        waveforms = [utterance.waveform()[n : n + size] for n, utterance in zip(first, chosen, strict=True)]
        return self.model.convolve(torch.from_numpy(np.stack(waveforms))), phones, prosody

    def _whole(self, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """As `_crops`, of utterances of nearly one length, cut to the shortest of them; convolutions are frozen."""
        if not self._features:
            with torch.no_grad():
                self._features = [features_of(self.model, utterance)[0] for utterance in self.by_length]
        first = int(random.integers(0, len(self.by_length) - self.config.batch_size + 1))
        chosen = slice(first, first + self.config.batch_size)
        frames = min(len(self.by_length[first].phones), self.config.longest_frames)
        starts, phones, prosody = _cut(random, self.by_length[chosen], frames)
        cut = [own[start : start + frames] for start, own in zip(starts, self._features[chosen], strict=True)]
        return torch.stack(cut), phones, prosody


def features_of(model: MaskedPredictor, utterance: Utterance) -> Tensor:
    """Convolution features (1, T, C) of a whole utterance."""
    return model.convolve(torch.from_numpy(utterance.waveform())[None])


def _cut(random: np.random.Generator, chosen: Sequence[Utterance], frames: int) -> tuple[list[int], Tensor, Tensor]:
    """The first frame of a part of each utterance, and the parts' phones (B, T) and prosody (B, T)."""
    starts = [int(random.integers(0, len(utterance.phones) - frames + 1)) for utterance in chosen]
    phones, prosody = (
        np.stack([getattr(utterance, name)[n : n + frames] for n, utterance in zip(starts, chosen, strict=True)])
        for name in ("phones", "prosody")
    )
    return starts, torch.from_numpy(phones.astype(np.int64)), torch.from_numpy(prosody.astype(np.int64))
