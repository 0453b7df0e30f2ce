"""Searches a built site for what a licence keeps out of it: transcripts of a release, and sounds or pictures of it.

A transcript counts as found when all its words stand in a row, whatever is between them: markup, line ends, JSON.
Of a long one any LONG words in a row are enough. Reports name the utterance and the file, never the words.
"""

from __future__ import annotations

import html
import json
import re
from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mtlser.corpus.text import normalise
from mtlser.files import file_digest
from mtlser.runs.corpora import load_utterances
from mtlser.runs.records import TRANSCRIPT_COLUMNS, read_records
from mtlser.runs.settings import Settings

SHORTEST = 4  # words; fewer are everybody's
EVERYDAY = 6  # a transcript of fewer words is no finding where this book's own committed text says the same
LONG = 8  # of a longer transcript any so many words in a row are a finding

TEXT_FILES = {".html", ".js", ".json", ".ipynb", ".md", ".txt", ".svg", ".xml", ".css", ".csv", ".map", ".webmanifest"}
SOUNDS = {".wav", ".mp3", ".ogg", ".oga", ".flac", ".m4a", ".opus", ".webm"}
PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".avif", ".pdf", ".npy", ".npz"}
PACKAGES = ("_static", "_sphinx_design_static")  # files of themes and extensions, which know no corpus
SYNTHETIC = "synthetic"  # the word by which every caption of the pocket corpus's sounds and pictures says so

Words = tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """A file of the site, and what should not be in it (an utterance's name, or a sentence)."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def search_site(site: Path, utterances: pd.DataFrame, own: Path) -> list[Finding]:
    """Everything in the built `site` that the release's licence keeps out; empty when there is nothing.

    `utterances` has columns `utterance` and `transcript`; `own` is the project whose committed pages are ours.
    """
    return [*find_transcripts(site, utterances, own_words(own)), *find_media(site, own)]


def find_transcripts(site: Path, utterances: pd.DataFrame, own: Iterable[Words] = ()) -> list[Finding]:
    """Each file with each utterance whose transcript stands in it; short ones may, if in `own` texts too."""
    wanted = _wanted(utterances, own)
    found = []
    for path in sorted(path for path in site.rglob("*") if path.is_file() and path.suffix in TEXT_FILES):
        names = {name for words in readings(path) for name in _names(words, wanted)}
        found += [Finding(path.relative_to(site).as_posix(), f"transcript of {name}") for name in sorted(names)]
    return found


def _wanted(utterances: pd.DataFrame, own: Iterable[Words]) -> dict[Words, list[tuple[Words, str]]]:
    """First SHORTEST words → the word sequences that begin so, each with an utterance's name."""
    wanted = defaultdict(list)
    for name, transcript in zip(utterances["utterance"], utterances["transcript"], strict=True):
        words = tuple(normalise(transcript).split())
        for start in range(max(1, len(words) - LONG + 1)):
            part = words[start : start + LONG]
            if len(part) >= SHORTEST and (part, name) not in wanted[part[:SHORTEST]]:
                wanted[part[:SHORTEST]].append((part, name))
    for text in own:
        for part, name in _matches(text, wanted):
            if len(part) < EVERYDAY:
                wanted[part[:SHORTEST]].remove((part, name))
    return wanted


def _matches(words: Words, wanted: dict[Words, list[tuple[Words, str]]]) -> set[tuple[Words, str]]:
    """The wanted sequences that stand in `words`."""
    found = set()
    for start in range(len(words) - SHORTEST + 1):
        for part, name in wanted.get(words[start : start + SHORTEST], ()):
            if words[start : start + len(part)] == part:
                found.add((part, name))
    return found


def _names(words: Words, wanted: dict[Words, list[tuple[Words, str]]]) -> set[str]:
    return {name for _, name in _matches(words, wanted)}


def readings(path: Path) -> Iterator[Words]:
    """The words of a file: as they stand, without its tags, and those of pictures that are embedded in it."""
    text = path.read_text(encoding="utf-8", errors="replace")
    for picture in embedded_svg(text):
        yield words_of(picture)
        yield words_of(re.sub(r"<[^>]*>", " ", picture))
    if path.suffix == ".ipynb":
        text = "\n".join(_strings(text))
    text = re.sub(r"base64,[A-Za-z0-9+/=\s]+", " ", text)
    yield words_of(text)
    yield words_of(re.sub(r"<[^>]*>", " ", text))


def _strings(notebook: str) -> Iterator[str]:
    """Every string of a notebook; lists of lines are joined, as Jupyter writes them."""

    def walk(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            yield "".join(value)
        elif isinstance(value, (list, dict)):
            for item in value.values() if isinstance(value, dict) else value:
                yield from walk(item)

    try:
        yield from walk(json.loads(notebook))
    except ValueError:
        yield notebook


def words_of(text: str) -> Words:
    """The words of any text in the form of normalised transcripts; entities and escapes are read as characters."""
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), text)
    text = html.unescape(re.sub(r"\\[nrt]", " ", text)).replace("’", "'")
    return tuple(re.findall(r"[A-Z]+(?:'[A-Z]+)*'?|'[A-Z]+", text.upper()))


def embedded_svg(text: str) -> list[str]:
    """The pictures in data addresses of a page, decoded."""
    found = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", text)
    return [b64decode(code).decode("utf-8", errors="replace") for code in found]


def own_words(root: Path) -> list[Words]:
    """The words of this project's pages and code, in which everyday sentences may stand."""
    pages = [path for path in sorted((root / "book").rglob("*")) if path.suffix in (".md", ".ipynb")]
    code = sorted((root / "src").rglob("*.py"))
    return [words for path in [*pages, *code] if "results" not in path.parts for words in readings(path)]


def find_media(site: Path, own: Path) -> list[Finding]:
    """Sounds and pictures of the site that neither were committed nor say in their caption that they are synthetic.

    The book's own pictures are drawn into the page, as vectors; one that holds pixels needs the caption too.
    """
    pages = {path: path.read_text(encoding="utf-8", errors="replace") for path in sorted(site.rglob("*.html"))}
    synthetic = {name for text in pages.values() for name in _captioned(text)}
    committed = {file_digest(path) for path in (own / "book").rglob("*") if path.is_file()}
    found = []
    for path in sorted(path for path in site.rglob("*") if path.suffix.lower() in SOUNDS | PICTURES):
        known = set(path.relative_to(site).parts) & set(PACKAGES) or file_digest(path) in committed
        if not known and not (path.suffix.lower() in SOUNDS and path.name in synthetic):
            found.append(Finding(path.relative_to(site).as_posix(), "no caption says that it is synthetic"))
    for path, text in pages.items():
        if any(_has_pixels(figure) and SYNTHETIC not in _caption(figure) for figure in _figures(text)):
            found.append(
                Finding(path.relative_to(site).as_posix(), "a picture with pixels, and no caption says synthetic")
            )
    return found


def _figures(page: str) -> list[str]:
    return re.findall(r"<figure\b.*?</figure>", page, flags=re.DOTALL)


def _caption(figure: str) -> str:
    return " ".join(re.findall(r"<figcaption\b.*?</figcaption>", figure, flags=re.DOTALL)).lower()


def _captioned(page: str) -> set[str]:
    """Names of the sounds in figures whose caption says that they are synthetic."""
    figures = [figure for figure in _figures(page) if SYNTHETIC in _caption(figure)]
    return {Path(name).name for figure in figures for name in re.findall(r'<audio\b[^>]*\bsrc="([^"]+)"', figure)}


def _has_pixels(figure: str) -> bool:
    raster = re.search(r"data:image/(?!svg)", figure)
    return bool(raster) or any("<image" in picture for picture in embedded_svg(figure))


def licensed_transcripts(settings: Settings) -> pd.DataFrame:
    """Transcripts on this machine that may not be published: of the release that is given, and in IEMOCAP's records.

    Columns `utterance`, `transcript`; no rows where there is neither.
    """
    parts = [pd.DataFrame(columns=["utterance", "transcript"])]
    if settings.release is not None:
        parts.append(load_utterances("iemocap", settings)[["utterance", "transcript"]])
    runs = [path.parent for path in sorted((settings.artifacts / "runs").glob("iemocap-*/run.json"))]
    predictions = read_records(runs).predictions
    for column in TRANSCRIPT_COLUMNS:
        texts = predictions[["utterance", column]].dropna()
        parts.append(texts.rename(columns={column: "transcript"}))
    return pd.concat(parts, ignore_index=True).drop_duplicates(ignore_index=True)
