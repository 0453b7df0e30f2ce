"""The objective of wav2vec 2.0 itself, which the recipe was compared with: tell a hidden frame from others of its kind.

Legend of shapes: B utterances, S samples, T frames, C convolution channels, N distractors.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

from mtlser.model.encoder import Encoder
from mtlser.model.pretraining_objective import Batch, PretrainingConfig

NUM_DISTRACTORS = 20  # of 40 frames, some 18 are hidden; wav2vec 2.0 draws 100 of some 250
TEMPERATURES = (2.0, 0.5)  # of the Gumbel softmax, at first and at last (wav2vec 2.0)


class ContrastivePredictor(nn.Module):
    """transformers' `Wav2Vec2ForPreTraining` around our encoder: contrastive and diversity loss (Baevski et al., 2020).

    Its quantiser and distractors draw from torch's generator and numpy's, so a resumed run is another one: it serves
    the comparison only, which runs it whole.
    """

    def __init__(self, architecture: Wav2Vec2Config) -> None:
        super().__init__()
        config = Wav2Vec2Config(**architecture.to_dict())
        config.update({"codevector_dim": 128, "proj_codevector_dim": 128, "num_codevectors_per_group": 64})
        self.task = Wav2Vec2ForPreTraining(config)
        self.task.wav2vec2 = Encoder(config)
        self.num_steps = 0

    @property
    def encoder(self) -> Encoder:
        """What fine-tuning takes over."""
        return self.task.wav2vec2

    def convolve(self, waveforms: Tensor) -> Tensor:
        """Normalised waveforms (B, S) of one length → convolution features (B, T, C)."""
        return self.encoder.convolve(waveforms, torch.full((len(waveforms),), waveforms.shape[1]))[0]

    def encode(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Convolution features (B, T, C) of one length → hidden states (B, T, H)."""
        return self.encoder.forward_features(features, torch.full((len(features),), features.shape[1]), mask)

    def losses(self, features: Tensor, batch: Batch, config: PretrainingConfig) -> tuple[Tensor, dict[str, float]]:
        """Convolution features (B, T, C) and the mask → the loss, and what the curve keeps of it.

        The loss per hidden frame, with the diversity term at its usual weight.
        """
        task, mask = self.task, with_two_hidden(batch.mask)
        hidden = task.project_hid(self.encode(features, mask))  # (B, T, D)
        normalised = self.encoder.feature_projection.layer_norm(features)
        task.quantizer.temperature = max(TEMPERATURES[0] * 0.999**self.num_steps, TEMPERATURES[1])
        self.num_steps += self.training
        quantised, perplexity = task.quantizer(normalised, mask_time_indices=mask)
        quantised = task.project_q(quantised)
        negatives = quantised.flatten(0, 1)[draw_distractors(mask).flatten()]
        negatives = negatives.view(*mask.shape, -1, quantised.shape[-1]).permute(2, 0, 1, 3)  # (N, B, T, D)
        logits = task.compute_contrastive_logits(
            quantised[None], negatives, hidden, task.config.contrastive_logits_temperature
        )  # (1 + N, B, T), the hidden frame itself first
        logits[1:] = logits[1:].masked_fill((quantised == negatives).all(dim=-1), float("-inf"))  # no distractor at all
        chosen = logits.permute(1, 2, 0)[mask]  # (hidden frames, 1 + N)
        contrastive = nn.functional.cross_entropy(chosen, torch.zeros(len(chosen), dtype=torch.long))
        num_codevectors = task.config.num_codevectors_per_group * task.config.num_codevector_groups
        diversity = (num_codevectors - perplexity) / num_codevectors
        values = {
            "contrastive_loss": contrastive.item(),
            "contrastive_accuracy": float((chosen.argmax(dim=-1) == 0).float().mean()),
            "perplexity": perplexity.item(),
        }
        return contrastive + task.config.diversity_loss_weight * diversity, values


def with_two_hidden(mask: Tensor) -> Tensor:
    """(B, T) bool → (B, T) bool: an utterance with too few hidden frames for a distractor hides two."""
    mask = mask.clone()
    mask[mask.sum(dim=1) < 2, :2] = True
    return mask


def draw_distractors(mask: Tensor) -> Tensor:
    """(B, T) bool → (B, T, N) positions in the flattened batch: other hidden frames of the same utterance."""
    from transformers.models.wav2vec2.modeling_wav2vec2 import _sample_negative_indices

    rows = mask.numpy()
    drawn = _sample_negative_indices(rows.shape, NUM_DISTRACTORS, mask_time_indices=rows)
    return torch.from_numpy(drawn.astype(np.int64))
