"""What a run's model is fed: parts of a batch that fit into memory, each through the forward pass that is its own.

Shapes follow the legend in `mtlser.model.multitask`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from mtlser.config import RunConfig
from mtlser.corpus.dataset import SpeechDataset
from mtlser.model.encoder import time_mask
from mtlser.model.features import Features, convolution_features
from mtlser.model.losses import MultitaskLoss, multitask_loss
from mtlser.model.multitask import MultitaskModel
from mtlser.runs.batches import Batch, Kind, join, micro_batches, random_generator


class Feed:
    """The model of a run with its corpus, on a device.

    Frozen convolutions are computed once for the corpus, and batches are padded features, which are short and alike in
    length. Without them batches are waveforms, packed. With `encoder_padding` "released" they are padded waveforms,
    frozen or not: each is padded to the longest of its whole batch, so that no result depends on how memory cuts it.
    """

    def __init__(self, model: MultitaskModel, dataset: SpeechDataset, config: RunConfig, device: torch.device) -> None:
        self.model, self.dataset, self.config, self.device = model, dataset, config, device
        self.features: Features | None = None
        self.kind: Kind = "padded" if config.encoder_padding == "released" else "packed"
        if config.freeze_convolutions:
            model.freeze_convolutions()
            if config.encoder_padding == "exact":
                self.kind, self.features = "features", convolution_features(model, dataset)
        model.to(device)
        self.held = waveforms_on(device, dataset) if device.type == "cuda" and self.features is None else None

    def parts(self, indices: np.ndarray, max_seconds: float, max_padding_seconds: float = np.inf) -> Iterator[Batch]:
        """The batch of those rows, in parts of at most `max_seconds` of audio (`micro_batches`), on the device."""
        num_samples = self.dataset.table["num_samples"].to_numpy()
        seconds, longest = [self.dataset.seconds(i) for i in indices], None
        if self.config.encoder_padding == "released":
            longest = int(num_samples[indices].max())
            seconds = [max(seconds)] * len(seconds)
        for part in micro_batches(indices, seconds, max_seconds, max_padding_seconds, self.kind == "packed"):
            yield join(self.dataset, part, [self._input(i) for i in part], self.kind, longest).to(self.device)

    def _input(self, index: int) -> Tensor:
        if self.features is not None:
            return self.features.frames(index)
        return torch.from_numpy(self.dataset.waveform(index)) if self.held is None else self.held[index]

    def autocast(self, enabled: bool = True) -> torch.autocast:
        """The run's precision for everything that is computed inside."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled and self.config.precision == "bf16")

    def outputs(self, batch: Batch, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The model's emotion logits (B, E), character logits (B, T, V) and frame lengths (B,)."""
        model = self.model
        ways = {"padded": model, "packed": model.forward_packed, "features": model.forward_features}
        with self.autocast():
            return ways[batch.kind](batch.inputs, batch.input_lengths, mask)

    def loss(self, batch: Batch, mask: Tensor | None, alpha: float, num_utterances: int) -> MultitaskLoss:
        """The part's share of the loss of an effective batch of `num_utterances`."""
        emotion_logits, ctc_logits, frame_lengths = self.outputs(batch, mask)
        return multitask_loss(
            emotion_logits.float(), ctc_logits.float(), frame_lengths, batch.labels, batch.targets,
            batch.target_lengths, alpha, num_utterances=num_utterances,
        )  # fmt: skip

    def masks(self, batch: Batch, epoch: int) -> Tensor | None:
        """SpecAugment's masks (B, T), drawn for each utterance from (seed, fold, epoch, utterance)."""
        config = self.config
        if config.mask_time_probability == 0:
            return None
        lengths = batch.input_lengths if batch.kind == "features" else self.model.frame_lengths(batch.input_lengths)
        names = self.dataset.table["utterance"].iloc[batch.indices]
        generators = [random_generator(config.seed, config.fold, "mask", epoch, name) for name in names]
        mask = time_mask(
            lengths, config.mask_time_probability, config.mask_time_length, config.mask_time_min_masks, generators
        )
        return mask.to(self.device)


def waveforms_on(device: torch.device, dataset: SpeechDataset) -> tuple[Tensor, ...]:
    """The waveform (S,) of every utterance in the device's memory; IEMOCAP's take 1.6 GB."""
    lengths = dataset.table["num_samples"].tolist()
    held = torch.empty(sum(lengths), device=device).split(lengths)
    for index, waveform in enumerate(held):
        waveform.copy_(torch.from_numpy(dataset.waveform(index)))
    return held
