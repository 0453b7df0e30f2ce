"""Open corpora are fetched on request from their official source: licence first, then resumed, verified and whole.

Files arrive in a folder beside the corpus's (`<folder>.arriving`), so that a folder of the corpus's name is complete.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter, Retry
from tqdm import tqdm

from mtlser.files import make_once

TRIES = 4  # of each file, each going on where the one before broke off
PAUSE_SECONDS = 2.0  # between two of them
TIMEOUT_SECONDS = 60.0  # without a byte
CHUNK_BYTES = 2**16
NUM_NAMED = 5  # addresses that a message has

_BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
_BUSY = Retry(total=None, connect=0, read=0, status=5, status_forcelist=(429, 500, 502, 503, 504), backoff_factor=1)


@dataclass(frozen=True)
class Download:
    """A file of an official source. Digests are hexadecimal, and may be cut to their first characters."""

    url: str
    file: str  # the name it gets
    num_bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None


class FetchError(OSError):
    """A corpus can't be fetched, or not yet; the message says what is the matter and what to do."""


def fetch(downloads: Sequence[Download], folder: Path, *, name: str, licence: str, source: str, accepted: bool) -> Path:
    """`folder`, filled with the downloads; archives (.zip, .tar.gz) unpacked, without a folder that wraps all of one.

    `name` is CORPUS='s, `licence` a licence's name and address, `source` the official page's address. A folder that is
    there is returned as it is. What arrived before, also in a call that was killed, isn't fetched again. Raises
    FetchError where the licence isn't accepted (nothing is fetched), the source can't be reached, or a file is not the
    one that is known.
    """
    arriving = folder.with_name(f"{folder.name}.arriving")
    again = f"  make reproduce CORPUS={name} ACCEPT_LICENCE=1"
    urls = [f"  {download.url} as {download.file}" for download in downloads]
    urls[NUM_NAMED:] = [f"  … and {len(urls) - NUM_NAMED} more"] * (len(urls) > NUM_NAMED)
    by_hand = "\n".join([f"get these files elsewhere, put them as they are into {arriving}, and then", again, *urls])
    if folder.exists():
        return folder
    if not accepted:
        sizes = [download.num_bytes for download in downloads]
        size = "its size isn't published" if None in sizes else f"{sum(sizes) / 1e6:.0f} MB"
        raise FetchError(
            f"the corpus {name} ({size}) is not here. Its official source is {source}, its licence {licence}.\n"
            f"To accept the licence and fetch it:\n{again}\n"
            f"Without a network, {by_hand}\n"
            f"Where you have it already:\n  make reproduce CORPUS={name} FOLDER=<where it lies>"
        )
    try:
        make_once(folder, lambda partial: _fill(partial, downloads, arriving))
    except requests.RequestException as error:
        (arriving / "addresses.txt").write_text("".join(f"{download.url}\n" for download in downloads))
        raise FetchError(
            f"the corpus {name} can't be fetched: {error}\nWhat arrived is kept; to go on from there:\n{again}\n"
            f"Without a network, {by_hand}\nAll the addresses are in {arriving / 'addresses.txt'}"
        ) from error
    shutil.rmtree(arriving, ignore_errors=True)
    return folder


def _fill(folder: Path, downloads: Sequence[Download], arriving: Path) -> None:
    arriving.mkdir(exist_ok=True)
    many = len(downloads) > 1
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=_BUSY))
        for download in tqdm(downloads, "files", unit="", disable=not many):
            _get(session, download, arriving / download.file, quiet=many)
    for download in downloads:
        file = arriving / download.file
        if file.name.endswith((".zip", ".tar.gz")):
            _unpack(file, folder)
        else:
            shutil.copyfile(file, folder / file.name)


def _get(session: requests.Session, download: Download, file: Path, quiet: bool) -> None:
    part = file.with_name(f"{file.name}.part")
    for left in reversed(range(0 if file.exists() else TRIES)):
        try:
            _append(session, download, part, quiet)
            part.rename(file)
            break
        except _BROKEN:
            if not left:
                raise
            time.sleep(PAUSE_SECONDS)
    for kind in ("num_bytes", "sha256", "md5"):
        if (expected := getattr(download, kind)) is None:
            continue
        with file.open("rb") as opened:
            size = kind == "num_bytes"
            found = file.stat().st_size if size else hashlib.file_digest(opened, kind).hexdigest()[: len(expected)]
        if found != expected:
            file.unlink()
            raise FetchError(
                f"{download.url} gave another file: {kind} {found}, expected {expected}. It is deleted: try again. If "
                "that stays so, the source has changed, and isn't used before somebody knows why"
            )


def _append(session: requests.Session, download: Download, part: Path, quiet: bool) -> None:
    """Adds what `part` lacks; writes it anew where the server ignores ranges, or has another file than `part` is of."""
    tag = part.with_suffix(".tag")  # what the server calls that file; without it, only a digest can judge the whole
    mark = tag.read_text() if tag.exists() else ""
    start = part.stat().st_size if part.exists() and (mark or download.sha256 or download.md5) else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    headers |= {"If-Range": mark} if start and mark else {}
    with session.get(download.url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
        if response.status_code == 416:  # all of it is here, but for its name; or a shorter file is there now
            part.unlink()
            raise requests.ConnectionError(f"{download.url} has no bytes from {start}")
        response.raise_for_status()
        start = start if response.status_code == 206 else 0
        mark = response.headers.get("ETag") or response.headers.get("Last-Modified", "")
        tag.write_text("" if mark.startswith("W/") else mark)  # RFC 9110, 13.1.5: a weak one can't be asked for
        total = start + int(response.headers.get("Content-Length", 0)) or None
        bar = {"total": total, "initial": start, "desc": part.stem, "disable": quiet}
        with part.open("ab" if start else "wb") as file, tqdm.wrapattr(file, "write", **bar) as out:
            for chunk in response.iter_content(CHUNK_BYTES):
                out.write(chunk)


def _unpack(archive: Path, folder: Path) -> None:
    inside = folder / ".unpacking"
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as file:
                if outside := [n for n in file.namelist() if n.startswith("/") or ".." in Path(n).parts]:
                    raise zipfile.BadZipFile(f"{outside[0]!r} would lie outside of the folder")
                file.extractall(inside)
        else:
            with tarfile.open(archive) as file:
                file.extractall(inside, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        archive.unlink()
        raise FetchError(f"{archive} can't be unpacked: {error}. It is deleted; try again") from error
    top = list(inside.iterdir())
    for path in top[0].iterdir() if len(top) == 1 and top[0].is_dir() else top:
        path.rename(folder / path.name)
    shutil.rmtree(inside)
