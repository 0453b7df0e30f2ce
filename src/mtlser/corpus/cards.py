"""What is known of an open corpus, and how a copy is compared with it.

Each module of `mtlser.corpus` that reads an open corpus has a `CARD` and a function `read(folder)`;
`mtlser.corpus.load` does the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mtlser.config import DATA_FOLDER
from mtlser.corpus.iemocap import ReleaseDiffers
from mtlser.corpus.release_counts import row_of

NUM_NAMED = 5  # utterances that a difference names


@dataclass(frozen=True)
class Card:
    """A corpus in words and numbers, of the paper's four classes alone."""

    name: str  # as CORPUS= and a preset have it
    title: str
    language: str
    texts: str  # what is said
    licence: str
    licence_address: str
    citation: str
    source: str  # the official page
    by_emotion: dict[str, int]
    num_speakers: int
    hours: float
    rate_hz: int = 16_000
    digest: str = "source_sha256"  # the column of a store's table that `data/corpora/<name>.csv` has digests of
    groups: tuple[tuple[str, ...], ...] = ()  # speakers tested together, where the field has a division of its own
    share_alike: bool = False  # records are adapted material and carry the corpus's licence

    def known(self) -> pd.DataFrame:
        """Columns utterance, emotion, digest (of its audio, 16 digits): every utterance of the four classes."""
        return pd.read_csv(DATA_FOLDER / "corpora" / f"{self.name}.csv", dtype=str)


def check_labels(card: Card, folder: Path, utterances: pd.DataFrame, *, allow_different: bool) -> pd.DataFrame:
    """The table, where its utterances, speakers and emotions are the known ones.

    Raises ReleaseDiffers; with `allow_different` the differences are kept in `attrs["differences"]` instead.
    """
    return _judge(card, folder, utterances, list(_label_differences(card, utterances)), allow_different)


def check_audio(card: Card, folder: Path, utterances: pd.DataFrame, store: pd.DataFrame, *, allow_different: bool):
    """As `check_labels`, for the audio: `store` is the table of its `SpeechStore`, with digests of what was decoded."""
    known = card.known().set_index("utterance")["digest"]
    found = store.set_index("utterance")[card.digest].str[:16]
    both = known.index.intersection(found.index)
    changed = [name for name in both if known[name] != found[name]]
    rows = [row_of("files with other audio", 0, len(changed), _some(changed))] if changed else []
    rates = sorted(store.loc[store["rate_hz"] != card.rate_hz, "utterance"])
    rows += [row_of(f"files at another rate than {card.rate_hz} Hz", 0, len(rates), _some(rates))] if rates else []
    return _judge(card, folder, utterances, rows, allow_different)


def _label_differences(card: Card, utterances: pd.DataFrame) -> Iterator[dict]:
    known, found = card.known().set_index("utterance")["emotion"], utterances.set_index("utterance")["emotion"]
    missing, more = sorted(set(known.index) - set(found.index)), sorted(set(found.index) - set(known.index))
    both = known.index.intersection(found.index)
    other = sorted(both[(known[both] != found[both]).to_numpy()])
    if len(known) != len(found):
        yield row_of("utterances", len(known), len(found))
    for what, names in (("missing", missing), ("unknown", more), ("with another emotion", other)):
        if names:
            yield row_of(f"utterances {what}", 0, len(names), _some(names))
    counts = found.value_counts()
    for emotion, count in card.by_emotion.items():
        if counts.get(emotion, 0) != count:
            yield row_of(f"utterances, {emotion}", count, int(counts.get(emotion, 0)))
    if (num_speakers := utterances["speaker"].nunique()) != card.num_speakers:
        yield row_of("speakers", card.num_speakers, num_speakers)


def _some(names: list[str]) -> list[str]:
    return names if len(names) <= NUM_NAMED else [*names[:NUM_NAMED], f"… and {len(names) - NUM_NAMED} more"]


def _judge(card: Card, folder: Path, utterances: pd.DataFrame, rows: list[dict], allow_different: bool) -> pd.DataFrame:
    if rows:
        table = pd.DataFrame(rows).rename(columns={"dialogs": "which"})
        if not allow_different:
            raise ReleaseDiffers(folder, table, f"what is known of {card.title} ({card.source})")
        utterances.attrs["differences"] = [*utterances.attrs.get("differences", []), *rows]
    return utterances
