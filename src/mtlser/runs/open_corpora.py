"""Which corpora there are, what is here, and how an open one comes here."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pandas as pd

from mtlser.config import ConfigError, get_preset
from mtlser.corpus import OPEN_CORPORA, OWN, reader
from mtlser.corpus.fetch import fetch
from mtlser.corpus.release_counts import iemocap_counts
from mtlser.corpus.sources import downloads
from mtlser.files import whole_file
from mtlser.paper import IEMOCAP_HOURS
from mtlser.runs.corpora import corpus_of
from mtlser.runs.settings import Settings


def check_release(preset: str) -> None:
    """Raises ConfigError where a folder is given to a preset that makes its own corpus, which would not be said."""
    if os.environ.get("MTLSER_RELEASE") and get_preset(preset).corpus is not None:
        raise ConfigError(f"MTLSER_RELEASE (IEMOCAP=, FOLDER=) is for another preset than {preset}: add CORPUS=")


def fetch_corpus(preset: str, settings: Settings) -> None:
    """Fetches a preset's corpus where it is an open one that is not here, once its licence is accepted.

    Raises FetchError, whose message shows the licence and says how to go on.
    """
    corpus = corpus_of(get_preset(preset), settings)
    name = corpus.preset.reads
    if name in OPEN_CORPORA and corpus.folder is None:
        card, accepted = reader(name).CARD, settings.accept_licence
        corpus.fetched.parent.mkdir(parents=True, exist_ok=True)
        licence = f"{card.licence} ({card.licence_address})"
        fetch(downloads(name), corpus.fetched, name=name, licence=licence, source=card.source, accepted=accepted)


def results_folder(preset: str, contributor: Path) -> Path:
    """Where a contributor's records of a preset go: an open corpus's apart, since its licence may hold for them."""
    return contributor.with_name(f"{contributor.name}-{preset}") if preset in OPEN_CORPORA else contributor


def write_licence(name: str, folder: Path) -> None:
    """Says in a folder of an open corpus's records under which licence they are: the corpus's own where it asks so."""
    if name not in OPEN_CORPORA:
        return
    card = reader(name).CARD
    terms = "CC BY 4.0, as all records of this project"
    if card.share_alike:
        terms = f"{card.licence} ({card.licence_address}), outside of the licences of the rest of this project"
    words = (
        f"# Licence of this folder\n\nThese records are of runs on {card.title}: {card.citation}. {card.source}, "
        f"{card.licence}.\n\nThey hold names, labels and answers of models, no audio and no transcript. They are under "
        f"{terms}.\n"
    )
    with whole_file(folder / "LICENSE.md") as partial:
        partial.write_text(words, encoding="utf-8")


def corpora_table(settings: Settings) -> pd.DataFrame:
    """One row a corpus: name, language, licence, hours, speakers, utterances, texts, and where it lies."""
    rows = []
    for name in OPEN_CORPORA:
        card, folder = reader(name).CARD, corpus_of(get_preset(name), replace(settings, release=None)).folder
        size = [f"{card.hours:.2f}", card.num_speakers, sum(card.by_emotion.values())]
        rows.append([name, card.language, card.licence, *size, card.texts, folder or f"not here: {card.source}"])
    about = [IEMOCAP_HOURS, 10, iemocap_counts()["total"], "dialogs"]
    where = settings.release or "not here: https://sail.usc.edu/iemocap/"
    rows.append(["iemocap", "English", "on request", *about, where])
    made = corpus_of(get_preset("pocket"), settings)
    where = "made" if made.exists else "made when it is needed"
    rows.append(["pocket", "English", "made here", "1.0", 10, 1600, "synthetic speech", where])
    rows.append([OWN, *["yours"] * 6, "CORPUS=own FOLDER=<folder with metadata.csv>"])
    columns = ["corpus", "language", "licence", "hours", "speakers", "utterances", "texts", "here"]
    return pd.DataFrame(rows, columns=columns)
