"""Which utterances make a batch, in what order, and their tensors. Every random choice depends on names alone.

Legend of shapes: B utterances, S samples, T frames, C convolution channels, L transcript length.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from mtlser.corpus.dataset import SpeechDataset
from mtlser.model.features import Features

NUM_NEAREST = 10  # sentences among which a transcript's replacement is drawn


@dataclass(frozen=True)
class Batch:
    """Some utterances. `inputs` are padded waveforms (B, S) or outputs of frozen convolutions (B, T, C)."""

    indices: np.ndarray
    inputs: Tensor
    input_lengths: Tensor  # (B,), in samples or frames
    labels: Tensor  # (B,), index into EMOTIONS
    targets: Tensor  # (B, L), character ids, padded with 0
    target_lengths: Tensor  # (B,)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device. Lengths stay: who reads them on the CPU need not wait for a GPU."""
        moved = {name: getattr(self, name) for name in ("inputs", "labels", "targets")}
        if torch.device(device).type == "cuda":  # from pinned memory nobody waits for a copy
            moved = {name: value if value.is_cuda else value.pin_memory() for name, value in moved.items()}
        return replace(self, **{name: value.to(device, non_blocking=True) for name, value in moved.items()})


def make_batch(
    dataset: SpeechDataset,
    indices: Sequence[int],
    inputs: Features | Sequence[Tensor] | None = None,
    padded_to: int | None = None,
    raw: bool = False,
) -> Batch:
    """The batch of those rows, padded with zeros.

    `inputs` has the model's input of every row: cached features (T, C), or waveforms (S,) in a device's memory; without
    it waveforms are the dataset's, `raw` or not. With `padded_to` samples, waveforms are padded to that many, and the
    padding counts as signal ("released" padding).
    """
    given = [torch.from_numpy(dataset.waveform(i, raw)) if inputs is None else inputs[i] for i in indices]
    joined, lengths = pad_sequence(given, batch_first=True), torch.tensor([len(x) for x in given])
    if padded_to is not None:
        joined, lengths = F.pad(joined, (0, padded_to - joined.shape[1])), torch.full_like(lengths, padded_to)
    targets = [torch.from_numpy(dataset.targets[i]) for i in indices]
    return Batch(
        indices=np.asarray(indices),
        inputs=joined,
        input_lengths=lengths,
        labels=torch.tensor(dataset.table["label"].to_numpy()[np.asarray(indices)]),
        targets=pad_sequence(targets, batch_first=True),
        target_lengths=torch.tensor([len(t) for t in targets]),
    )


def random_generator(seed: int, *names: str | int) -> np.random.Generator:
    """A generator that depends on the seed and the names alone: the same on every machine, in any order of use."""
    keys = [name if isinstance(name, int) else zlib.crc32(name.encode()) for name in names]
    return np.random.default_rng([seed, *keys])


def exchanged_texts(table: pd.DataFrame, rows: np.ndarray, seed: int, fold: str) -> list[str]:
    """Every row's text, those of `rows` each replaced by another sentence of theirs, one of the nearest in length.

    Drawn for each utterance from (seed, fold, utterance), so that nothing in the audio tells which. An empty text
    stays. Raises ValueError where there is one sentence alone.
    """
    texts = table["text"].tolist()
    sentences = sorted({texts[row] for row in rows} - {""})
    if len(sentences) < 2:
        raise ValueError(f"fold {fold}: transcripts can't be exchanged among {len(sentences)} sentence(s)")
    for row in rows:
        if text := texts[row]:
            others = sorted((each for each in sentences if each != text), key=lambda each: abs(len(each) - len(text)))
            generator = random_generator(seed, fold, "exchange", table["utterance"].iat[row])
            texts[row] = others[generator.integers(min(NUM_NEAREST, len(others)))]
    return texts


def epoch_batches(
    train: np.ndarray,
    batch_size: int,
    seed: int,
    fold: str,
    epoch: int,
    lengths: np.ndarray | None = None,
    bucket: int = 1,
) -> list[np.ndarray]:
    """Row numbers of one epoch's batches: shuffled by (seed, fold, epoch), never by alpha; one may be short.

    With a `bucket` of more than one, each run of so many batches is sorted by `lengths` (of every row) before it is
    cut, and the batches are shuffled: less padding, and still another order in every epoch.
    """
    random = random_generator(seed, fold, "order", epoch)
    order = random.permutation(train)
    if bucket == 1:
        return cut(order, batch_size)
    parts = cut(order, batch_size * bucket)
    batches = cut(np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in parts]), batch_size)
    return [batches[n] for n in random.permutation(len(batches))]


def cut(order: np.ndarray, size: int) -> list[np.ndarray]:
    """Parts of that size in the order given; the last may be short."""
    return [order[start : start + size] for start in range(0, len(order), size)]


def micro_batches(
    indices: np.ndarray,
    seconds: Sequence[float],
    max_seconds: float,
    max_padding_seconds: float = np.inf,
    pads: bool = True,
) -> list[np.ndarray]:
    """Splits a batch so that no part holds more than `max_seconds` of audio or `max_padding_seconds` of padding.

    The padding counts as audio, unless the model `pads` nothing. An utterance that is longer stands alone. Utterances
    of like length share a part. The loss is normalised by the whole batch, so the split changes no gradient.
    """
    order = np.argsort(np.asarray(seconds), kind="stable")
    parts: list[list[int]] = [[]]
    speech = 0.0  # seconds of the last part without padding
    for position in order:
        speech += seconds[position]
        held = seconds[position] * (len(parts[-1]) + 1) if pads else speech
        if parts[-1] and (held > max_seconds or held - speech > max_padding_seconds):
            parts.append([])
            speech = seconds[position]
        parts[-1].append(position)
    return [np.asarray(indices)[part] for part in parts]
