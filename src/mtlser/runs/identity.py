"""What a run is named by: its configuration, and all that it reads."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from mtlser.config import RECIPE_VERSION, RunConfig
from mtlser.corpus.audio import digest_audio
from mtlser.corpus.folds import Fold
from mtlser.corpus.text import transcript_text
from mtlser.storage import digest


class Content:
    """Digests of what a fold's runs read, from one pass over the corpus."""

    def __init__(self, utterances: pd.DataFrame, transcript_style: str) -> None:
        table = utterances.set_index("utterance")
        self.audio = dict(zip(table.index, digest_audio(list(table["wav"])), strict=True))
        self.labels = table["emotion"].to_dict()
        self.texts = {name: transcript_text(text, transcript_style) for name, text in table["transcript"].items()}

    def digests(self, fold: Fold) -> dict[str, str]:
        used = sorted((*fold.train, *fold.test))
        return {
            "audio": digest(*(f"{name} {self.audio[name]}" for name in used)),
            "labels": digest(*(f"{name} {self.labels[name]}" for name in used)),
            "transcripts": digest(*(f"{name} {self.texts[name]}" for name in used)),
            "split": digest("train", *sorted(fold.train), "test", *sorted(fold.test)),
        }


def make_run_id(config: RunConfig, digests: Mapping[str, str], recipe_version: int = RECIPE_VERSION) -> str:
    """The name of a run: readable front, and a hash of configuration, content and recipe version.

    `digests` are those of audio, labels, transcripts, split and backbone weights. Any change gives another name.
    """
    parts = [f"{name}={value!r}" for name, value in sorted(config.to_dict().items())]
    parts += [f"{name} {value}" for name, value in sorted(digests.items())]
    content = digest(f"recipe {recipe_version}", *parts)
    return f"{config.preset}-alpha-{config.alpha:g}-{config.fold}-seed-{config.seed}-{content[:12]}"
