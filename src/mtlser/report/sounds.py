"""Sounds that a page plays, inside of it, with a caption that says what they are."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterable
from html import escape
from itertools import groupby
from typing import Any

import numpy as np
import soundfile

from mtlser.config import SAMPLE_RATE_HZ
from mtlser.corpus.pocket_examples import Example
from mtlser.report.display import Html, provenance


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
