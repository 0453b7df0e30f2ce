"""Sounds that a page plays, with a caption that says what they are: small mp3 files beside it, or inside of it."""

from __future__ import annotations

import hashlib
import html
import io
import os
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from mtlser.config import SAMPLE_RATE_HZ
from mtlser.report.display import Html, provenance
from mtlser.storage import whole_file

# Where a page's files go, set for its kernel by whoever executes the book; the site has that folder beside the page.
PAGE_FILES = "MTLSER_PAGE_FILES"

# Variable bit rate at half of LAME's range: about 5 kB for a second of speech, and a format that every browser plays.
_ENCODING = {"format": "MP3", "bitrate_mode": "VARIABLE", "compression_level": 0.5}


@dataclass(frozen=True)
class Sound:
    """One sound: `group` heads it, `label` says what is heard, `samples` (S,) mono 16 kHz in [-1, 1]."""

    group: str
    label: str
    samples: np.ndarray


def write_sound(name: str, samples: np.ndarray, environment: Mapping[str, str] = os.environ) -> str:
    """Writes an mp3 beside the page and returns its address, relative to the page.

    The same samples give the same file, named after `name` and its content. In a notebook that somebody opened, the
    file goes to a folder `build/sounds` and the address leads there from the working folder.
    """
    folder = Path(environment.get(PAGE_FILES) or _project() / "build" / "sounds")
    content = np.ascontiguousarray(samples, dtype="<f4").tobytes()
    path = folder / f"{name}-{hashlib.sha256(content).hexdigest()[:8]}.mp3"
    with whole_file(path) as partial:
        soundfile.write(str(partial), samples, SAMPLE_RATE_HZ, **_ENCODING)
    if environment.get(PAGE_FILES):
        return f"{folder.name}/{path.name}"
    return Path(os.path.relpath(path)).as_posix()


def embed_sound(samples: np.ndarray) -> str:
    """The mp3 itself as an address: for a lab, which is opened where no file beside it may be served, as in Colab."""
    content = io.BytesIO()
    soundfile.write(content, samples, SAMPLE_RATE_HZ, **_ENCODING)
    return f"data:audio/mpeg;base64,{b64encode(content.getvalue()).decode()}"


def _project() -> Path:
    """The folder with `book/`, from which or from within which a notebook runs."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "_toc.yml").is_file()), here)


def players(sounds: Iterable[Sound], title: str, source: Any, embedded: bool = False) -> Html:
    """A player for each sound, grouped in their order under headings, with `title` and provenance below.

    Nothing is loaded before somebody plays it, unless the sounds are `embedded` in the page. Raises ValueError for a
    sound without a label, which a screen reader would announce as nothing.
    """
    groups: dict[str, str] = {}
    for sound in sounds:
        if not sound.label.strip():
            raise ValueError("a sound has no label: say in words what is heard")
        groups[sound.group] = groups.get(sound.group, "") + _player(sound, embedded)
    body = "".join(
        f"<section><p><strong>{html.escape(g)}</strong></p>{players}</section>" for g, players in groups.items()
    )
    caption = f"{title}. {provenance(source)}"
    return Html(
        f'<figure class="mtlser-sounds"><div>{body}</div>'
        f'<figcaption class="mtlser-caption">{html.escape(caption)}</figcaption></figure>',
        caption,
    )


def _player(sound: Sound, embedded: bool) -> str:
    name = "-".join("".join(c if c.isalnum() else " " for c in f"{sound.group} {sound.label}".lower()).split()[:6])
    address = embed_sound(sound.samples) if embedded else write_sound(name, sound.samples)
    label, spoken = html.escape(sound.label), html.escape(f"{sound.group}: {sound.label}")
    return f'<p>{label}<audio controls preload="none" src="{html.escape(address)}" aria-label="{spoken}"></audio></p>'
