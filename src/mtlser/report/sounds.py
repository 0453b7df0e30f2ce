"""Sounds that a page plays, inside of it, with a caption that says what they are."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from mtlser.config import SAMPLE_RATE_HZ, get_preset
from mtlser.corpus import emodb
from mtlser.corpus.audio import read_audio
from mtlser.corpus.pocket_examples import Example
from mtlser.report.display import Html, line, provenance
from mtlser.runs.corpora import corpus_of
from mtlser.runs.settings import Settings


def mp3(samples: np.ndarray) -> bytes:
    """Half of LAME's range of bit rates: about 5 kB for a second of speech, in a format that every browser plays."""
    content = io.BytesIO()
    encoding = {"format": "MP3", "bitrate_mode": "VARIABLE", "compression_level": 0.5}
    soundfile.write(content, samples, SAMPLE_RATE_HZ, **encoding)
    return content.getvalue()


def players(examples: Iterable[Example], title: str, source: Any) -> Html:
    """A player for each example, grouped by voice, with `title` and provenance below."""
    body, caption = "", f"{title}. {provenance(source)}"
    voices = groupby(sorted(examples, key=lambda example: example.speaker), key=lambda example: example.speaker)
    for speaker, spoken in voices:
        heard = "".join(_player(example) for example in spoken)
        body += f"<section><p><strong>Voice of {escape(speaker)}</strong></p>{heard}</section>"
    below = f'<figcaption class="mtlser-caption">{escape(caption)}</figcaption>'
    return Html(f'<figure class="mtlser-sounds"><div>{body}</div>{below}</figure>', caption)


def _player(example: Example) -> str:
    label = f"{example.emotion}: “{example.text}”"
    spoken = f"Voice of {example.speaker}: {label}"  # for a screen reader
    address = f"data:audio/mpeg;base64,{b64encode(mp3(example.samples)).decode()}"
    return f'<p>{escape(label)}<audio controls src="{address}" aria-label="{escape(spoken)}"></audio></p>'


def people(folder: str | Path | None = None, speakers: Sequence[str] = ("11", "16")) -> Html:
    """Players of one sentence of EmoDB in four emotions by two people; where the corpus is not there, how to get it.

    `folder`: where EmoDB lies, unless it was fetched.
    """
    title = "One sentence in four emotions, by two people"
    folder = Path(folder or corpus_of(get_preset("emodb"), Settings.from_environment()).fetched)
    if not folder.is_dir():
        return line(f"{title}: EmoDB is not in {folder}; make reproduce CORPUS=emodb ACCEPT_LICENCE=1 fetches it")
    utterances = emodb.read(folder)
    utterances = utterances[utterances["speaker"].isin(speakers)]
    whole = utterances.groupby("text_id")[["emotion", "speaker"]].apply(lambda said: len(said.drop_duplicates()))
    chosen = utterances[utterances["text_id"] == whole.idxmax()].drop_duplicates(["speaker", "emotion"])
    examples = [Example(u.speaker, u.emotion, "", "", u.transcript, read_audio(u.wav)) for u in chosen.itertuples()]
    return players(examples, title, f"EmoDB, {emodb.CARD.licence}: {emodb.CARD.citation}")
