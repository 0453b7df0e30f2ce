"""Fetching from a server of this machine that breaks off, ignores ranges, sends wrong bytes, or is not there."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mtlser.corpus import fetch as fetching
from mtlser.corpus.fetch import Download, FetchError, fetch

CONTENT = bytes(range(256)) * 2000  # 512,000 bytes
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()
HALF = 300_000
ABOUT = {"name": "tiny", "licence": "CC BY 4.0 (https://licence.example)", "source": "https://source.example"}


class Server(ThreadingHTTPServer):
    """One file at every address. `breaks` has, of each answer to come, after how many bytes it ends."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.content, self.etag, self.ranges, self.statuses = CONTENT, '"first"', True, []
        self.breaks: list[int] = []
        self.asked: list[str | None] = []  # the Range of each request
        self.hangs = threading.Event()  # an answer that broke off keeps its connection until this is set
        self.hangs.set()
        self.url = f"http://127.0.0.1:{self.server_port}/file"

    def handle_error(self, request, client_address):
        pass  # who was killed doesn't hear the rest


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers["Range"]
        server.asked.append(asked)
        if server.statuses:
            self.send_response(server.statuses.pop(0))
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        same = self.headers["If-Range"] in (None, server.etag)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges and same else 0
        self.send_response(416 if start >= len(server.content) else 206 if start else 200)
        if server.etag:
            self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        end = server.breaks.pop(0) if server.breaks else len(server.content)
        self.wfile.write(server.content[start:end])
        self.wfile.flush()
        server.hangs.wait(60)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetching, "PAUSE_SECONDS", 0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.hangs.set()
        server.shutdown()
        thread.join()


def get(server, folder, file="a.bin", accepted=True, **known) -> Path:
    return fetch([Download(server.url, file, **known)], folder, accepted=accepted, **ABOUT)


def names(folder) -> list[str]:
    """What lies in a folder, but for the lock that `make_once` leaves."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_without_the_licence_nothing_is_fetched(server, tmp_path):
    with pytest.raises(FetchError) as raised:
        get(server, tmp_path / "corpora" / "tiny", num_bytes=2_400_000, accepted=False)
    for said in (*ABOUT.values(), "2 MB", server.url, "as a.bin", "make reproduce CORPUS=tiny ACCEPT_LICENCE=1"):
        assert said in str(raised.value)
    assert "make reproduce CORPUS=tiny FOLDER=" in str(raised.value)
    assert server.asked == [] and list(tmp_path.iterdir()) == []


def test_what_is_here_is_not_asked_for(server, tmp_path):
    assert get(server, tmp_path / "tiny", num_bytes=len(CONTENT), sha256=SHA256[:16], md5=MD5) == tmp_path / "tiny"
    assert get(server, tmp_path / "tiny", accepted=False) == tmp_path / "tiny"
    assert (tmp_path / "tiny" / "a.bin").read_bytes() == CONTENT
    assert names(tmp_path) == ["tiny"] and server.asked == [None]


def test_an_answer_that_breaks_off_is_resumed(server, tmp_path):
    server.breaks = [HALF, HALF + 100_000]
    get(server, tmp_path / "tiny", sha256=SHA256)
    first, *others = server.asked
    starts = [int(asked[6:-1]) for asked in others]
    assert first is None and HALF - fetching.CHUNK_BYTES <= starts[0] <= HALF < starts[1] <= HALF + 100_000
    assert (tmp_path / "tiny" / "a.bin").read_bytes() == CONTENT


def test_an_answer_that_falls_silent_is_resumed(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "TIMEOUT_SECONDS", 0.5)
    server.breaks = [HALF]
    server.hangs.clear()
    get(server, tmp_path / "tiny", sha256=SHA256)
    assert len(server.asked) == 2 and server.asked[1]


def test_a_server_that_ignores_ranges_sends_all_of_it(server, tmp_path):
    server.breaks, server.ranges = [HALF], False
    get(server, tmp_path / "tiny")
    assert len(server.asked) == 2 and server.asked[1]
    assert (tmp_path / "tiny" / "a.bin").read_bytes() == CONTENT


def test_another_file_is_not_added_to_the_part_of_the_first(server, tmp_path):
    server.breaks = [HALF] * fetching.TRIES
    with pytest.raises(FetchError):
        get(server, tmp_path / "tiny")
    server.content, server.etag = CONTENT[::-1], '"second"'
    get(server, tmp_path / "tiny")
    assert server.asked[-1] and (tmp_path / "tiny" / "a.bin").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_tag_only_a_digest_allows_resuming(server, tmp_path, etag):
    server.breaks, server.etag = [HALF, len(CONTENT), HALF], etag
    get(server, tmp_path / "unknown")
    assert server.asked == [None, None]
    get(server, tmp_path / "known", md5=MD5)
    assert server.asked[3] and (tmp_path / "known" / "a.bin").read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_fetched_anew_where_nothing_judges_it(server, tmp_path):
    (tmp_path / "tiny.arriving").mkdir()
    (tmp_path / "tiny.arriving" / "a.bin.part").write_bytes(CONTENT)
    (tmp_path / "tiny.arriving" / "a.bin.tag").write_text(server.etag)
    get(server, tmp_path / "tiny")
    assert server.asked == [f"bytes={len(CONTENT)}-", None]
    assert (tmp_path / "tiny" / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "known", [{"sha256": SHA256}, {"md5": MD5}, {"num_bytes": len(CONTENT) + 1}], ids=lambda known: next(iter(known))
)
def test_another_file_than_the_known_one_is_refused_and_deleted(server, tmp_path, known):
    ((kind, expected),) = known.items()
    server.content = CONTENT[:-1] + b"x"
    found = len(CONTENT) if kind == "num_bytes" else hashlib.new(kind, server.content).hexdigest()
    with pytest.raises(FetchError, match=f"{kind} {found}, expected {expected}"):
        get(server, tmp_path / "tiny", **known)
    assert names(tmp_path) == ["tiny.arriving"] and names(tmp_path / "tiny.arriving") == ["a.bin.tag"]
    if kind != "num_bytes":
        server.content = CONTENT
        assert (get(server, tmp_path / "tiny", **known) / "a.bin").read_bytes() == CONTENT


def test_an_address_without_a_file_is_named_and_not_tried_again(server, tmp_path):
    server.statuses = [404]
    with pytest.raises(FetchError, match=f"404.*{server.url}"):
        get(server, tmp_path / "tiny")
    assert len(server.asked) == 1 and not (tmp_path / "tiny").exists()


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.statuses = [503, 429]
    get(server, tmp_path / "tiny", sha256=SHA256)
    assert len(server.asked) == 3


def test_without_a_network_one_is_told_what_to_put_where(server, tmp_path):
    server.server_close()
    files = [Download(f"{server.url}/{number}", f"{number}.wav") for number in range(7)]
    with pytest.raises(FetchError) as raised:
        fetch(files, tmp_path / "tiny", accepted=True, **ABOUT)
    arriving = tmp_path / "tiny.arriving"
    assert f"{server.url}/4 as 4.wav\n  … and 2 more" in str(raised.value) and f"into {arriving}," in str(raised.value)
    assert (arriving / "addresses.txt").read_text().splitlines() == [file.url for file in files]
    for file in files:
        (arriving / file.file).write_text(file.url)
    fetch(files, tmp_path / "tiny", accepted=True, **ABOUT)
    assert names(tmp_path / "tiny") == [file.file for file in files] and names(tmp_path) == ["tiny"]


def test_a_killed_call_is_resumed(server, tmp_path):
    server.breaks = [HALF]
    server.hangs.clear()
    call = f"fetch([Download({server.url!r}, 'a.bin')], Path({str(tmp_path / 'tiny')!r}), accepted=True, **{ABOUT!r})"
    script = f"from pathlib import Path; from mtlser.corpus.fetch import Download, fetch; {call}"
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    part, deadline = tmp_path / "tiny.arriving" / "a.bin.part", time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 100_000):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    size = part.stat().st_size
    server.hangs.set()
    get(server, tmp_path / "tiny", sha256=SHA256)
    assert server.asked == [None, f"bytes={size}-"]
    assert (tmp_path / "tiny" / "a.bin").read_bytes() == CONTENT and names(tmp_path) == ["tiny"]


def test_progress_is_shown_on_standard_error(server, tmp_path, capsys):
    get(server, tmp_path / "one")
    out, err = capsys.readouterr()
    assert "a.bin: 100%" in err and out == ""
    fetch([Download(server.url, "a"), Download(server.url, "b")], tmp_path / "two", accepted=True, **ABOUT)
    assert "2/2" in capsys.readouterr().err


def archive(suffix: str, files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    if suffix == ".zip":
        with zipfile.ZipFile(stream, "w") as file:
            for name, content in files.items():
                file.writestr(name, content)
    else:
        with tarfile.open(fileobj=stream, mode="w:gz") as file:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_archives_are_unpacked_without_a_folder_that_wraps_all(server, tmp_path, suffix):
    server.content = archive(suffix, {"tiny-1.0/wav/a.wav": b"a", "tiny-1.0/list.txt": b"l"})
    get(server, tmp_path / "wrapped", f"a{suffix}")
    server.content, server.etag = archive(suffix, {"wav/a.wav": b"a", "list.txt": b"l"}), '"second"'
    get(server, tmp_path / "bare", f"a{suffix}")
    for folder in (tmp_path / "wrapped", tmp_path / "bare"):
        assert names(folder) == ["list.txt", "wav"] and (folder / "wav" / "a.wav").read_bytes() == b"a"
    assert names(tmp_path) == ["bare", "wrapped"]


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_an_archive_that_reaches_outside_or_is_damaged_leaves_nothing(server, tmp_path, suffix):
    whole = archive(suffix, {f"{number}.wav": os.urandom(999) for number in range(9)})
    for content in (archive(suffix, {"a.wav": b"a", "../../b.wav": b"b"}), whole[: len(whole) // 2]):
        server.content = content
        with pytest.raises(FetchError, match=f"a{suffix} can't be unpacked"):
            get(server, tmp_path / "in" / "tiny", f"a{suffix}")
        assert names(tmp_path) == ["in"] and names(tmp_path / "in") == ["tiny.arriving"]
        assert names(tmp_path / "in" / "tiny.arriving") == [f"a{suffix}.tag"]


def test_a_name_from_the_root_is_refused_in_a_zip(server, tmp_path):
    server.content = archive(".zip", {f"{tmp_path}/b.wav": b"b"})
    with pytest.raises(FetchError, match="would lie outside"):
        get(server, tmp_path / "tiny", "a.zip")
