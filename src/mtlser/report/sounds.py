"""Sounds that a page plays, with a caption that says what they are: small mp3 files beside it, or inside of it."""

from __future__ import annotations

import hashlib
import io
import os
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from mtlser.config import SAMPLE_RATE_HZ
from mtlser.corpus.pocket_examples import Example
from mtlser.files import whole_file
from mtlser.report.display import Html, provenance

# Where a page's files go, set for its kernel by whoever executes the book; the site has that folder beside the page.
PAGE_FILES = "MTLSER_PAGE_FILES"


def mp3(samples: np.ndarray) -> bytes:
    """Half of LAME's range of bit rates: about 5 kB for a second of speech, in a format that every browser plays."""
    content = io.BytesIO()
    encoding = {"format": "MP3", "bitrate_mode": "VARIABLE", "compression_level": 0.5}
    soundfile.write(content, samples, SAMPLE_RATE_HZ, **encoding)
    return content.getvalue()


def write_sound(name: str, samples: np.ndarray, environment: Mapping[str, str] = os.environ) -> str:
    """Writes an mp3 beside the page and returns its address, relative to the page.

    The same samples give the same file, named after `name` and its content. In a notebook that somebody opened, the
    file goes to a folder `build/sounds` of the project and the address leads there from the working folder.
    """
    here, content = Path.cwd(), mp3(samples)
    project = next((folder for folder in (here, *here.parents) if (folder / "_toc.yml").is_file()), here)
    folder = Path(environment.get(PAGE_FILES) or project / "build" / "sounds")
    path = folder / f"{name}-{hashlib.sha256(content).hexdigest()[:8]}.mp3"
    with whole_file(path) as partial:
        partial.write_bytes(content)
    return f"{folder.name}/{path.name}" if environment.get(PAGE_FILES) else Path(os.path.relpath(path)).as_posix()


def players(examples: Iterable[Example], title: str, source: Any, embedded: bool = False) -> Html:
    """A player for each example, grouped by voice, with `title` and provenance below.

    Nothing is loaded before somebody plays it, unless the sounds are `embedded` in the page: for a lab, which is
    opened where no file beside it may be served, as in Colab.
    """
    body, caption = "", f"{title}. {provenance(source)}"
    voices = groupby(sorted(examples, key=lambda example: example.speaker), key=lambda example: example.speaker)
    for speaker, spoken in voices:
        heard = "".join(_player(example, embedded) for example in spoken)
        body += f"<section><p><strong>Voice of {escape(speaker)}</strong></p>{heard}</section>"
    below = f'<figcaption class="mtlser-caption">{escape(caption)}</figcaption>'
    return Html(f'<figure class="mtlser-sounds"><div>{body}</div>{below}</figure>', caption)


def _player(example: Example, embedded: bool) -> str:
    label = f"{example.emotion}: “{example.text}”"
    spoken = f"Voice of {example.speaker}: {label}"  # for a screen reader
    if embedded:
        address = f"data:audio/mpeg;base64,{b64encode(mp3(example.samples)).decode()}"
    else:
        address = write_sound("-".join(re.findall(r"\w+", spoken.lower())[:6]), example.samples)
    player = f'<audio controls preload="none" src="{escape(address)}" aria-label="{escape(spoken)}"></audio>'
    return f"<p>{escape(label)}{player}</p>"
