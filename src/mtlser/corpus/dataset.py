"""Utterances become arrays on disk, cached convolution features, and batches.

Audio and features are each one flat safetensors array with a table of lengths, memory-mapped by every worker: an
utterance is a slice, nothing is decoded twice, and 7 hours of 16 kHz speech are 0.8 GB.

Legend of shapes: B utterances, S samples, T frames, C convolution channels, L transcript length.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from safetensors.numpy import load_file, save_file
from torch.nn.utils.rnn import pad_sequence

from mtlser.config import EMOTIONS, SAMPLE_RATE_HZ
from mtlser.corpus.audio import normalise_waveform, read_audio
from mtlser.corpus.text import encode, transcript_text
from mtlser.storage import digest, whole_file, whole_folder, write_table

Progress = Callable[[int, int], None]  # (done, total)


@dataclass(frozen=True)
class SpeechDataset:
    """A corpus in memory-mapped arrays. Rows of `table` and slices of `samples` have the same order.

    `table`: utterance, speaker, emotion, label (index into EMOTIONS), text, num_samples, audio_sha256.
    `samples`: int16, all utterances one after the other, 16 kHz.
    """

    folder: Path
    table: pd.DataFrame
    samples: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ends", np.cumsum(self.table["num_samples"].to_numpy()))
        object.__setattr__(self, "_index", {name: i for i, name in enumerate(self.table["utterance"])})

    def indices(self, utterances: Iterable[str]) -> np.ndarray:
        """Row numbers of utterance ids. Raises KeyError for an id that is not in the corpus."""
        return np.array([self._index[name] for name in utterances], dtype=np.int64)

    def waveform(self, index: int) -> np.ndarray:
        """float32 (S,), zero mean and unit variance, as wav2vec 2.0 was pretrained."""
        end = self._ends[index]
        samples = self.samples[end - self.table["num_samples"].iat[index] : end]
        return normalise_waveform(samples.astype(np.float32) / 32768.0)

    def seconds(self, index: int) -> float:
        """Duration of one utterance."""
        return self.table["num_samples"].iat[index] / SAMPLE_RATE_HZ


def build_dataset(
    utterances: pd.DataFrame,
    audio_sha256: Sequence[str],
    cache_folder: Path,
    transcript_style: str = "normalised",
    progress: Progress | None = None,
) -> SpeechDataset:
    """The dataset of a table from `load_release`, built once per content under `cache_folder`.

    `audio_sha256` holds the digest of each wav, in the table's order (`corpus.audio.digest_audio`).
    Raises AudioError for a wav that can't be read. A killed build leaves nothing that a later call would use.
    """
    texts = [transcript_text(transcript, transcript_style) for transcript in utterances["transcript"]]
    rows = zip(utterances["utterance"], utterances["speaker"], utterances["emotion"], texts, audio_sha256, strict=True)
    folder = Path(cache_folder) / f"speech-{digest(*(' '.join(row) for row in rows))[:16]}"
    if not folder.exists():
        _write_dataset(utterances, texts, audio_sha256, folder, progress)
    return load_dataset(folder)


def load_dataset(folder: Path) -> SpeechDataset:
    """A dataset that `build_dataset` wrote."""
    table = pd.read_parquet(folder / "table.parquet")
    return SpeechDataset(Path(folder), table, load_file(folder / "samples.safetensors")["samples"])


def _write_dataset(utterances, texts, audio_sha256, folder: Path, progress: Progress | None) -> None:
    waveforms = []
    for done, wav in enumerate(utterances["wav"], start=1):
        waveforms.append(np.round(read_audio(wav) * 32768.0).clip(-32768, 32767).astype(np.int16))
        if progress:
            progress(done, len(utterances))
    table = pd.DataFrame(
        {
            "utterance": utterances["utterance"].to_numpy(),
            "speaker": utterances["speaker"].to_numpy(),
            "emotion": utterances["emotion"].to_numpy(),
            "label": [EMOTIONS.index(emotion) for emotion in utterances["emotion"]],
            "text": texts,
            "num_samples": [len(waveform) for waveform in waveforms],
            "audio_sha256": list(audio_sha256),
        }
    )
    with whole_folder(folder) as partial:
        write_table(partial / "table.parquet", table)
        save_file({"samples": np.concatenate(waveforms)}, partial / "samples.safetensors")


@dataclass(frozen=True)
class HeldUtterances:
    """Tensors of every utterance of a corpus in memory, one after the other: no step computes or copies them again.

    `values`: float32, outputs of frozen convolutions (ΣT, C) or normalised waveforms (ΣS,); `lengths`: T or S of each.
    """

    values: torch.Tensor
    lengths: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ends", np.cumsum(self.lengths))

    def utterance(self, index: int) -> torch.Tensor:
        """(T, C) or (S,) of one utterance."""
        end = self._ends[index]
        return self.values[end - self.lengths[index] : end]


def waveforms_on(device: torch.device | str, dataset: SpeechDataset) -> HeldUtterances:
    """The waveform of every utterance on the device; IEMOCAP's take 1.6 GB."""
    waveforms = [torch.from_numpy(dataset.waveform(index)) for index in range(len(dataset.table))]
    return HeldUtterances(torch.cat(waveforms).to(device), dataset.table["num_samples"].to_numpy())


@torch.inference_mode()
def convolution_features(model, dataset: SpeechDataset, progress: Progress | None = None) -> HeldUtterances:
    """Features of every utterance from the model's convolutional encoder, cached beside the dataset by content.

    Each utterance is computed alone, so that its features depend on nothing but its audio and the weights.
    """
    weights = hashlib.sha256()
    for name, tensor in sorted(model.convolution_state().items()):
        weights.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
    path = dataset.folder / f"features-{weights.hexdigest()[:16]}.safetensors"
    with FileLock(path.with_suffix(".lock")):  # of several workers one computes, the others wait
        if not path.exists():
            _write_features(model, dataset, path, progress)
    arrays = load_file(path)
    return HeldUtterances(torch.from_numpy(arrays["frames"]), arrays["lengths"])


def _write_features(model, dataset: SpeechDataset, path: Path, progress: Progress | None) -> None:
    frames, lengths = [], []
    for index in range(len(dataset.table)):
        waveform = torch.from_numpy(dataset.waveform(index))[None]  # (1, S)
        features, frame_lengths = model.convolve(waveform, torch.tensor([waveform.shape[1]]))
        frames.append(features[0, : frame_lengths[0]].numpy())
        lengths.append(int(frame_lengths[0]))
        if progress:
            progress(index + 1, len(dataset.table))
    # The features are views with time last, and safetensors writes an array's memory as it lies.
    arrays = {"frames": np.ascontiguousarray(np.concatenate(frames)), "lengths": np.array(lengths, dtype=np.int64)}
    with whole_file(path) as partial:
        save_file(arrays, partial)


@dataclass(frozen=True)
class Batch:
    """Some utterances. `inputs` are waveforms, padded (B, S) or packed one after the other (ΣS,), or, with frozen
    convolutions, padded features (B, T, C).
    """

    indices: np.ndarray
    inputs: torch.Tensor
    input_lengths: torch.Tensor  # (B,), in samples or frames
    labels: torch.Tensor  # (B,), index into EMOTIONS
    targets: torch.Tensor  # (B, L), character ids, padded with 0
    target_lengths: torch.Tensor  # (B,)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device. Lengths stay: who reads them on the CPU need not wait for a GPU."""
        return replace(self, **{name: getattr(self, name).to(device) for name in ("inputs", "labels", "targets")})


def make_batch(
    dataset: SpeechDataset, indices: Sequence[int], features: HeldUtterances | None = None, packed: bool = False
) -> Batch:
    """The batch of those rows, padded or `packed`; from cached features, or waveforms on a device, where given."""
    if features is None:
        inputs = [torch.from_numpy(dataset.waveform(i)) for i in indices]
    else:
        inputs = [features.utterance(i) for i in indices]
    targets = [torch.tensor(encode(dataset.table["text"].iat[i]), dtype=torch.long) for i in indices]
    return Batch(
        indices=np.asarray(indices),
        inputs=torch.cat(inputs) if packed else pad_sequence(inputs, batch_first=True),
        input_lengths=torch.tensor([len(x) for x in inputs]),
        labels=torch.tensor(dataset.table["label"].to_numpy()[np.asarray(indices)]),
        targets=pad_sequence(targets, batch_first=True),
        target_lengths=torch.tensor([len(t) for t in targets]),
    )


def random_generator(seed: int, *names: str | int) -> np.random.Generator:
    """A generator that depends on the seed and the names alone: the same on every machine, in any order of use."""
    keys = [name if isinstance(name, int) else zlib.crc32(name.encode()) for name in names]
    return np.random.default_rng([seed, *keys])


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
        return _cut(order, batch_size)
    parts = _cut(order, batch_size * bucket)
    batches = _cut(np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in parts]), batch_size)
    return [batches[n] for n in random.permutation(len(batches))]


def _cut(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def micro_batches(
    indices: np.ndarray,
    seconds: Sequence[float],
    max_seconds: float,
    max_padding_seconds: float = np.inf,
    packed: bool = False,
) -> list[np.ndarray]:
    """Splits a batch so that no part holds more than `max_seconds` of audio or `max_padding_seconds` of padding.

    The padding counts as audio; `packed` parts have none. An utterance that is longer stands alone. Utterances of like
    length share a part. The loss is normalised by the whole batch, so the split changes no gradient.
    """
    order = np.argsort(np.asarray(seconds), kind="stable")
    parts: list[list[int]] = [[]]
    speech = 0.0  # seconds of the last part without padding
    for position in order:
        speech += seconds[position]
        held = speech if packed else seconds[position] * (len(parts[-1]) + 1)
        if parts[-1] and (held > max_seconds or held - speech > max_padding_seconds):
            parts.append([])
            speech = seconds[position]
        parts[-1].append(position)
    return [np.asarray(indices)[part] for part in parts]
