"""A corpus's audio, decoded once and kept as one Arrow column (`datasets`) that every process maps instead of reading.

7 hours of 16 kHz speech are 0.8 GB on the disk and in the system's page cache, once for all processes, and nothing in
a process's own memory. A small table beside the column says what it holds; reading that needs no `datasets`.

Legend of shapes: S samples.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from mtlser.corpus.audio import NUM_THREADS, AudioError, AudioFilesError, at_16_khz, read_source
from mtlser.files import digest, file_digest, file_state, make_once, write_table

COLUMNS = ("utterance", "num_samples", "audio_sha256", "file_sha256", "source_sha256", "rate_hz")
BATCH_ROWS = 256  # of one Arrow array: its 32-bit offsets count up to 37 hours of samples


class StoreError(ValueError):
    """A stored column is damaged; the message names its folder and says to delete it."""


@dataclass(frozen=True)
class SpeechStore:
    """The audio of a corpus in a folder; `table` has a row for each utterance, in the order of what it was made of.

    `table`: utterance, num_samples, audio_sha256 (`audio_digest`), file_sha256 (of the file's bytes), source_sha256
    (`audio_digest` at the file's own rate, rate_hz, of all its channels: of flac and wav the same, whoever resamples).
    """

    folder: Path
    table: pd.DataFrame

    @cached_property
    def _column(self) -> pa.ChunkedArray:
        return read_column(self.folder / "samples")

    def samples(self, index: int) -> np.ndarray:
        """int16 (S,) of one utterance, mono, 16 kHz: a read-only view of the mapped file, nothing is copied.

        Raises StoreError for a damaged store.
        """
        return self._column[index].values.to_numpy(zero_copy_only=True)


def store_audio(utterances: pd.DataFrame, cache_folder: Path) -> SpeechStore:
    """The store of a table with columns `utterance` and `wav`, made where `cache_folder` has none of these files.

    Its folder is named by every file's utterance, place, size and times of change, so that a later call reads none of
    them. Of several processes one decodes, the others wait. Raises AudioFilesError that lists every file that can't be
    used; then, or when killed, nothing is left that a later call would use.
    """
    files = (f"{name} {file_state(wav)}" for name, wav in zip(utterances["utterance"], utterances["wav"], strict=True))
    folder = Path(cache_folder) / f"audio-{digest(*COLUMNS, *files)[:16]}"
    make_once(folder, partial(_write_store, utterances["utterance"].tolist(), utterances["wav"].tolist()))
    return open_store(folder)


def open_store(folder: Path) -> SpeechStore:
    """A store that `store_audio` made; its samples are read, and compared with their digest, when first asked for.

    Raises StoreError for a folder that is none.
    """
    try:
        table = pd.read_parquet(Path(folder) / "table.parquet", columns=list(COLUMNS))
    except (OSError, pa.ArrowInvalid) as error:
        raise damaged(folder, error) from error
    return SpeechStore(Path(folder), table)


def audio_digest(samples: np.ndarray) -> str:
    """SHA-256 of int16 samples (S,) as little-endian bytes: the same for every file format that holds them."""
    return hashlib.sha256(np.ascontiguousarray(samples, dtype="<i2")).hexdigest()


def damaged(folder: Path, reason: object) -> StoreError:
    """The error of a stored column that can't be used."""
    return StoreError(f"{folder} is damaged ({reason}); delete it, and it is made again")


def write_column(folder: Path, rows: Iterable[np.ndarray]) -> None:
    """Saves one-dimensional arrays of one dtype as a data set with one column, "values"; its fingerprint is theirs."""
    chunks, content, rows = [], hashlib.sha256(), iter(rows)
    while batch := [row for _, row in zip(range(BATCH_ROWS), rows, strict=False)]:
        ends, values = np.cumsum([0, *map(len, batch)]), np.concatenate(batch)
        chunks.append(pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values)))
        content.update(values)
    table = pa.table({"values": pa.chunked_array(chunks)})
    _datasets().Dataset(table, fingerprint=content.hexdigest()[:16]).save_to_disk(folder)


def read_column(folder: Path) -> pa.ChunkedArray:
    """The column that `write_column` saved, mapped from its file and compared with its digest: a second a gigabyte.

    Raises StoreError for a damaged one.
    """
    content = hashlib.sha256()
    try:
        stored = json.loads((folder / "state.json").read_text(encoding="utf-8"))["_fingerprint"]
        column = _datasets().load_from_disk(folder).data["values"]
        for chunk in column.chunks:
            content.update(chunk.flatten().to_numpy())
    except Exception as error:  # of datasets' several libraries, for a folder or file that isn't what they wrote
        raise damaged(folder.parent, error) from error
    if content.hexdigest()[:16] != stored:
        raise damaged(folder.parent, "its content is not what was stored")
    return column


def _datasets():
    """The library, imported where audio is read or written, without its progress bars."""
    import datasets

    datasets.disable_progress_bars()
    return datasets


def _write_store(names: Sequence[str], paths: Sequence[str | Path], folder: Path) -> None:
    rows: list[tuple] = []

    def decoded() -> Iterator[np.ndarray]:
        problems = []
        with ThreadPoolExecutor(NUM_THREADS) as pool:  # reading is often waiting for a network's disk
            for name, found in zip(names, pool.map(_decode, paths), strict=True):
                if isinstance(found, AudioError):
                    problems.append(found)
                elif not problems:  # from the first problem on, files are read only to name those that can't be
                    samples, *digests = found
                    rows.append((name, len(samples), audio_digest(samples), *digests))
                    yield samples
        if problems:
            raise AudioFilesError(problems, len(paths))

    write_column(folder / "samples", decoded())
    write_table(folder / "table.parquet", pd.DataFrame(rows, columns=list(COLUMNS)))


def _decode(path: str | Path) -> tuple[np.ndarray, str, str, int] | AudioError:
    """int16 samples (S,), the digests of the file and of the samples that it holds, and their rate in Hz."""
    try:
        source, rate = read_source(path)
        samples = at_16_khz(path, source, rate)
    except AudioError as error:
        return error
    return _int16(samples), file_digest(path), audio_digest(_int16(source)), rate


def _int16(samples: np.ndarray) -> np.ndarray:
    return np.round(samples * 32768.0).clip(-32768, 32767).astype(np.int16)
