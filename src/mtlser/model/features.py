"""Outputs of frozen convolutions, computed once for a corpus and mapped by every process like its audio.

Shapes follow the legend in `mtlser.model.multitask`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from mtlser.corpus.dataset import SpeechDataset
from mtlser.corpus.store import read_column, write_column
from mtlser.files import digest, make_once
from mtlser.model.multitask import MultitaskModel


@dataclass(frozen=True)
class Features:
    """The features of a corpus in a folder: `features[i]` are those of utterance i."""

    folder: Path
    num_channels: int

    @cached_property
    def _column(self) -> pa.ChunkedArray:
        return read_column(self.folder / "frames")

    def __getitem__(self, index: int) -> Tensor:
        """float32 (T, C) of one utterance, in the mapped file's memory: not to be written to.

        Raises StoreError for a damaged folder.
        """
        return torch.from_dlpack(self._column[index].values).view(-1, self.num_channels)


def convolution_features(model: MultitaskModel, dataset: SpeechDataset) -> Features:
    """Features of every utterance from the model's convolutions (Whisper's: log-mel), kept beside the audio's store.

    The folder is named by the content of the audio and of the weights. Each utterance is computed alone, so that its
    features depend on nothing but these. Raises ValueError where `encoder_padding` is "released", whose features
    depend on the batch, and for an utterance that the model can't take, which it names.
    """
    if model.config.encoder_padding != "exact":
        raise ValueError('features of encoder_padding="released" depend on the batch and can\'t be kept')
    name = digest(model.wav2vec2.features_name(), *dataset.store.table["audio_sha256"])
    folder = dataset.store.folder.parent / f"features-{name[:16]}"
    make_once(folder, lambda partial: write_column(partial / "frames", _compute(model, dataset)))
    return Features(folder, model.wav2vec2.num_channels)


@torch.inference_mode()
def _compute(model: MultitaskModel, dataset: SpeechDataset) -> Iterator[np.ndarray]:
    for index in range(len(dataset.table)):
        waveform = torch.from_numpy(dataset.waveform(index, model.wav2vec2.hears_raw))[None]  # (1, S)
        try:
            features, _ = model.wav2vec2.convolve(waveform, torch.tensor([waveform.shape[1]]))
        except ValueError as error:
            raise ValueError(f"{dataset.table['utterance'].iat[index]}: {error}") from error
        yield features[0].flatten().numpy()
