"""What a run's model is fed: parts of a batch that fit into memory.

Shapes follow the legend in `mtlser.model.multitask`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from mtlser.config import SAMPLE_RATE_HZ, RunConfig
from mtlser.corpus.dataset import SpeechDataset
from mtlser.model.encoder import time_mask
from mtlser.model.features import Features, convolution_features
from mtlser.model.losses import MultitaskLoss, multitask_loss
from mtlser.model.multitask import MultitaskModel
from mtlser.runs.batches import Batch, make_batch, micro_batches, random_generator


class Feed:
    """The model of a run with its corpus, on a device.

    Outputs of frozen convolutions, and Whisper's log-mel spectrograms, are computed once for the corpus, and batches
    are made of them. Otherwise, and with `encoder_padding` "released", whose convolutions depend on the batch, batches
    are waveforms. With "released" each is padded to the longest of its whole batch, so that no result depends on how
    memory cuts the batch.
    """

    def __init__(self, model: MultitaskModel, dataset: SpeechDataset, config: RunConfig, device: torch.device) -> None:
        self.model, self.dataset, self.config, self.device = model, dataset, config, device
        self.released = config.encoder_padding == "released"
        self.caches = (config.freeze_convolutions or model.wav2vec2.caches_features) and not self.released
        if config.freeze_convolutions:
            model.freeze_convolutions()
        self.inputs: Features | tuple[Tensor, ...] | None = (
            convolution_features(model, dataset) if self.caches else None
        )
        model.to(device)
        if device.type == "cuda":
            self.inputs = held_on(device, dataset, self.inputs, model.wav2vec2.hears_raw)

    def parts(self, indices: np.ndarray, max_seconds: float, max_padding_seconds: float = np.inf) -> Iterator[Batch]:
        """The batch of those rows, in parts of at most `max_seconds` of audio (`micro_batches`), on the device."""
        lengths, longest = self.dataset.table["num_samples"].to_numpy()[indices], None
        if self.released:
            longest = int(lengths.max())
            lengths = np.full_like(lengths, longest)
        pads = self.released or self.caches
        for part in micro_batches(indices, lengths / SAMPLE_RATE_HZ, max_seconds, max_padding_seconds, pads):
            yield make_batch(self.dataset, part, self.inputs, longest, self.model.wav2vec2.hears_raw).to(self.device)

    def autocast(self, enabled: bool = True) -> torch.autocast:
        """The run's precision for everything that is computed inside."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled and self.config.precision == "bf16")

    def outputs(self, batch: Batch, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The model's emotion logits (B, E), character logits (B, T, V) and frame lengths (B,)."""
        forward = self.model.forward_features if self.caches else self.model
        with self.autocast():
            return forward(batch.inputs, batch.input_lengths, mask)

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
        lengths = batch.input_lengths if self.caches else self.model.wav2vec2.frame_lengths(batch.input_lengths)
        names = self.dataset.table["utterance"].iloc[batch.indices]
        generators = [random_generator(config.seed, config.fold, "mask", epoch, name) for name in names]
        mask = time_mask(
            lengths, config.mask_time_probability, config.mask_time_length, config.mask_time_min_masks, generators
        )
        return mask.to(self.device)


_held: dict[tuple, tuple[Tensor, ...]] = {}  # of the last corpus: a worker's runs mostly share it


def held_on(device: torch.device, dataset: SpeechDataset, features: Features | None, raw: bool) -> tuple[Tensor, ...]:
    """Every utterance's features (T, C), or else its waveform (S,), in the device's memory; IEMOCAP's take 1.6 GB.

    They are brought there once in a process, for all runs on the same audio and features.
    """
    key = (str(device), features.folder if features else (dataset.store.folder, raw))
    if key not in _held:
        _held.clear()
        rows = range(len(dataset.table))
        given = (features[row] if features else torch.from_numpy(dataset.waveform(row, raw)) for row in rows)
        _held[key] = tuple(row.to(device) for row in given)
    return _held[key]
