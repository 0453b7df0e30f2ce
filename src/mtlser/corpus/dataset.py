"""A corpus as training reads it: stored audio beside speaker, emotion and text of each utterance.

Legend of shapes: S samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from mtlser.config import EMOTIONS
from mtlser.corpus.audio import normalise_waveform
from mtlser.corpus.store import SpeechStore, store_audio
from mtlser.corpus.text import encode, transcript_text


class SpeechDataset:
    """Utterances whose rows in `table` and in `store` have the same order.

    `table`: utterance, speaker, emotion, text, label (index into EMOTIONS), num_samples.
    """

    def __init__(self, store: SpeechStore, table: pd.DataFrame) -> None:
        """`table` needs the columns utterance, speaker, emotion, text.

        Raises ValueError where its utterances are not the store's, in the store's order.
        """
        if table["utterance"].tolist() != store.table["utterance"].tolist():
            raise ValueError(f"the utterances of the table are not those of {store.folder}, in the same order")
        self.store = store
        self.table = table[["utterance", "speaker", "emotion", "text"]].reset_index(drop=True)
        self.table["label"] = [EMOTIONS.index(emotion) for emotion in self.table["emotion"]]
        self.table["num_samples"] = store.table["num_samples"].to_numpy()
        self._index = {name: i for i, name in enumerate(self.table["utterance"])}

    @cached_property
    def targets(self) -> list[np.ndarray]:
        """Character ids (L,) of each text. Raises ValueError that names characters outside the alphabet."""
        return [np.array(encode(text), dtype=np.int64) for text in self.table["text"]]

    def with_texts(self, texts: Sequence[str]) -> SpeechDataset:
        """The same utterances with other texts, one for each row."""
        return SpeechDataset(self.store, self.table.assign(text=list(texts)))

    def indices(self, utterances: Iterable[str]) -> np.ndarray:
        """Row numbers of utterance ids. Raises KeyError for an id that is not in the corpus."""
        return np.array([self._index[name] for name in utterances], dtype=np.int64)

    def waveform(self, index: int, raw: bool = False) -> np.ndarray:
        """float32 (S,), zero mean and unit variance, as wav2vec 2.0 was pretrained; or `raw`, in [-1, 1], as recorded.

        Raises StoreError (`samples`).
        """
        samples = self.store.samples(index).astype(np.float32) / 32768.0
        return samples if raw else normalise_waveform(samples)


def build_dataset(utterances: pd.DataFrame, cache_folder: Path, transcript_style: str = "normalised") -> SpeechDataset:
    """The dataset of a table from `load_release`, its audio stored under `cache_folder` (`store_audio`).

    Raises AudioFilesError for files that can't be used.
    """
    texts = [transcript_text(transcript, transcript_style) for transcript in utterances["transcript"]]
    return SpeechDataset(store_audio(utterances, cache_folder), utterances.assign(text=texts))
