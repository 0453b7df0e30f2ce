"""Searches a built site for what a licence keeps out of it: transcripts of a release, and sounds or pictures of it.

A transcript counts as found when all its words stand in a row, whatever is between them: markup, line ends, JSON.
Of a long one any LONG words in a row are enough. Reports name the utterance and the file, never the words.
"""

from __future__ import annotations

import html
import re
from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from mtlser.corpus.text import normalise
from mtlser.files import file_digest
from mtlser.runs.corpora import load_utterances
from mtlser.runs.records import TRANSCRIPT_COLUMNS, read_records
from mtlser.runs.settings import Settings

LONG = 8  # of a longer transcript any so many words in a row are a finding
SIZES = range(4, LONG + 1)  # words; fewer are everybody's
EVERYDAY = 6  # a transcript of fewer words is no finding where this book's own committed text says the same

TEXT_FILES = {".html", ".js", ".json", ".ipynb", ".md", ".txt", ".svg", ".xml", ".css", ".csv", ".map", ".webmanifest"}
SOUNDS = {".wav", ".mp3", ".ogg", ".oga", ".flac", ".m4a", ".opus", ".webm"}
PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".avif", ".pdf", ".npy", ".npz"}
PACKAGES = {"_static", "_sphinx_design_static"}  # files of themes and extensions, which know no corpus
SYNTHETIC = "synthetic"  # the word by which every caption of the pocket corpus's sounds and pictures says so

Words = tuple[str, ...]


def search_site(site: Path, utterances: pd.DataFrame, own: Path) -> list[str]:
    """Everything in the built `site` that the release's licence keeps out, "file: what"; empty when there is nothing.

    `utterances` has columns `utterance` and `transcript`; `own` is the project whose committed pages are ours.
    """
    return [*find_transcripts(site, utterances, own), *find_media(site, own)]


def find_transcripts(site: Path, utterances: pd.DataFrame, own: Path) -> list[str]:
    """Each file with each utterance whose transcript stands in it; short ones may, if in our own pages or code too."""
    wanted: dict[Words, set[str]] = defaultdict(set)  # words in a row → the utterances in which they stand
    for name, transcript in zip(utterances["utterance"], utterances["transcript"], strict=True):
        words = tuple(normalise(transcript).split())
        for start in range(max(1, len(words) - LONG + 1)) if len(words) >= SIZES[0] else ():
            wanted[words[start : start + LONG]].add(name)

    def matches(path: Path) -> set[Words]:
        rows = (words[at : at + size] for words in readings(path) for at in range(len(words)) for size in SIZES)
        return {row for row in rows if row in wanted}

    ours = [*(own / "book").rglob("*.md"), *(own / "book").rglob("*.ipynb"), *(own / "src").rglob("*.py")]
    for path in ours:
        for row in matches(path) if "results" not in path.parts else ():
            if len(row) < EVERYDAY:
                del wanted[row]
    found = []
    for path in sorted(path for path in site.rglob("*") if path.is_file() and path.suffix in TEXT_FILES):
        names = sorted({name for row in matches(path) for name in wanted[row]})
        found += [f"{path.relative_to(site).as_posix()}: transcript of {name}" for name in names]
    return found


def readings(path: Path) -> Iterator[Words]:
    """The words of a file: as they stand, without its tags, and those of pictures that are embedded in it.

    They have the form of normalised transcripts; entities and escapes are read as characters.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    for each in [*embedded_svg(text), re.sub(r"base64,[A-Za-z0-9+/=\s]+", " ", text)]:
        for read in (each, re.sub(r"<[^>]*>", " ", each)):
            read = re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), read)
            read = html.unescape(re.sub(r"\\[nrt]", " ", read)).replace("’", "'")
            yield tuple(re.findall(r"[A-Z]+(?:'[A-Z]+)*'?|'[A-Z]+", read.upper()))


def embedded_svg(text: str) -> list[str]:
    """The pictures in data addresses of a page, decoded."""
    found = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", text)
    return [b64decode(code).decode("utf-8", errors="replace") for code in found]


def find_media(site: Path, own: Path) -> list[str]:
    """Sounds and pictures of the site that neither were committed nor say in their caption that they are synthetic.

    The book's own pictures are drawn into the page, as vectors; one that holds pixels needs the caption too.
    """
    found = []
    for path in sorted(site.rglob("*.html")):
        text = path.read_text(encoding="utf-8", errors="replace")
        name = path.relative_to(site).as_posix()
        for figure in re.findall(r"<figure\b.*?</figure>", text, flags=re.DOTALL):
            caption = " ".join(re.findall(r"<figcaption\b.*?</figcaption>", figure, flags=re.DOTALL)).lower()
            if SYNTHETIC in caption:
                text = text.replace(figure, "")
            elif re.search(r"data:image/(?!svg)", figure) or any("<image" in svg for svg in embedded_svg(figure)):
                found.append(f"{name}: a picture with pixels, no caption says synthetic")
        if "data:audio" in text:
            found.append(f"{name}: a sound, no caption says synthetic")
    committed = {file_digest(path) for path in (own / "book").rglob("*") if path.is_file()}
    for path in sorted(path for path in site.rglob("*") if path.suffix.lower() in SOUNDS | PICTURES):
        if not set(path.relative_to(site).parts) & PACKAGES and file_digest(path) not in committed:
            found.append(f"{path.relative_to(site).as_posix()}: no caption says that it is synthetic")
    return found


def licensed_transcripts(settings: Settings) -> pd.DataFrame:
    """What may not be published, columns `utterance`, `transcript`: of the given release, and in IEMOCAP's records."""
    runs = [path.parent for path in sorted((settings.artifacts / "runs").glob("iemocap-*/run.json"))]
    texts = read_records(runs).predictions.melt("utterance", TRANSCRIPT_COLUMNS, value_name="transcript").dropna()
    given = [] if settings.release is None else [load_utterances("iemocap", settings)]
    return pd.concat([*given, texts])[["utterance", "transcript"]].drop_duplicates(ignore_index=True)
