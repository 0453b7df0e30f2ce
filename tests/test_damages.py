"""Every kind of damage to every kind of corpus: the right data, or an error that names the file (and the line).

Trees are generated; what is known of an open corpus is made from the undamaged tree, so that other audio or another
label can't pass. `make faults` writes one line a damage to RELIABILITY's folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from mtlser.corpus import OPEN_CORPORA, load, reader
from mtlser.corpus.audio import AudioError
from mtlser.corpus.cards import check_audio
from mtlser.corpus.iemocap import ReleaseError, load_release
from mtlser.corpus.store import store_audio
from mtlser.runs.corpora import Corpus
from release_tree import write_turns
from reliability import keep
from test_iemocap import expected_of, small_turns
from test_open_corpora import whole_copy, write_emodb, write_nemo, write_own, write_ravdess

pytestmark = pytest.mark.faults

OWN = [("one/a.wav", "Ada", "joy", "IT IS FINE"), ("one/b.wav", "Ada", "anger", "NO"), ("two/a.wav", "Bo", "sad", ""),
       ("two/b.wav", "Bo", "neutral", "A CAT SAT")]  # fmt: skip
EXPECTED = expected_of(small_turns())
WRITERS: dict[str, Callable[[Path], Path]] = {
    "iemocap": lambda folder: write_turns(folder, small_turns(), real_lengths=True),
    "emodb": write_emodb,
    "ravdess": write_ravdess,
    "nemo": write_nemo,
    "own": lambda folder: write_own(folder, OWN),
}


def resaved(path: Path, change: Callable[[np.ndarray], np.ndarray], rate: float = 1.0, subtype: str = "PCM_16") -> None:
    samples, old_rate = soundfile.read(path, always_2d=True)
    soundfile.write(path, change(samples), int(old_rate * rate), subtype=subtype)


def with_nan(samples: np.ndarray) -> np.ndarray:
    samples[len(samples) // 2] = np.nan
    return samples


# What is done to an audio file. Of the same name in another folder, and of links, the tree as a whole is meant.
AUDIO: dict[str, Callable[[Path], object]] = {
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut in its header": lambda path: os.truncate(path, 30),
    "empty": lambda path: os.truncate(path, 0),
    "a text": lambda path: path.write_text("Dear reader,\n" * 500),
    "a web page": lambda path: path.write_text("<!DOCTYPE html><html>404</html>"),
    "noise": lambda path: path.write_bytes(np.random.default_rng(0).bytes(7000)),
    "a Git LFS pointer": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "at half its rate": lambda path: resaved(path, lambda samples: samples, rate=0.5),
    "with a NaN": lambda path: resaved(path, with_nan, subtype="FLOAT"),
    "a thousandth as long": lambda path: resaved(path, lambda samples: samples[: len(samples) // 1000 or 1]),
    "a third as long": lambda path: resaved(path, lambda samples: samples[: len(samples) // 3]),
    "ten samples long": lambda path: resaved(path, lambda samples: samples[:10]),
    "far too loud": lambda path: resaved(path, lambda samples: 1e7 * samples, subtype="FLOAT"),
    "two channels that cancel": lambda path: resaved(
        path, lambda samples: np.hstack([samples[:, :1], -samples[:, :1]])
    ),
    "itself twice": lambda path: path.write_bytes(2 * path.read_bytes()),
    "missing": Path.unlink,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link to nothing": lambda path: (path.unlink(), path.symlink_to("nothing")),
    "a link to itself": lambda path: (path.unlink(), path.symlink_to(path.name)),
    "in another folder, too": lambda path: shutil.copy(path, made(path.parent.parent / "copy") / path.name),
    "swapped with its neighbour": lambda path: swap(path, neighbour(path)),
    "one bit other": lambda path: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1])),
    "renamed": lambda path: path.rename(path.with_name(f"x{path.name}")),
    "in upper case": lambda path: path.rename(path.with_name(path.name.upper())),
}
# What is done to a text that lists utterances.
TEXTS: dict[str, Callable[[str], str | bytes]] = {
    "cut in half": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "without its first line": lambda text: text.partition("\n")[2],
    "its last line twice": lambda text: text + text.rstrip("\n").rpartition("\n")[2] + "\n",
    "in UTF-16": lambda text: text.encode("utf-16"),
    "with NUL bytes": lambda text: text.replace("a", "\0", 3),
    "with a byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "with lines of Windows": lambda text: text.replace("\r\n", "\n").replace("\n", "\r\n").encode(),
    "with unknown emotions": lambda text: text.replace("anger", "meh").replace("\tang\t", "\tmeh\t"),
    "with labels exchanged": lambda text: exchanged(text, [("anger", "sad"), ("\tang\t", "\tsad\t")]),
    "with paths out of it": lambda text: text.replace("EB0_anger", "../../EB0_anger").replace("one/a", "../one/a"),
    "binary": lambda text: np.random.default_rng(1).bytes(3000),
    "a folder": lambda text: None,
}
LISTS = {
    "iemocap": ["dialog/EmoEvaluation/*.txt", "dialog/transcriptions/*.txt"],
    "nemo": ["data.tsv"],
    "own": ["metadata.csv"],
}
# Nobody has published digests of IEMOCAP's audio, and of one's own nothing is known: other sound of the same form is
# other data there, which gives a run another name, and no fault.
OTHER_SOUND = {"swapped with its neighbour", "one bit other", "at half its rate", "itself twice"}
UNKNOWN_AUDIO = {"iemocap": OTHER_SOUND, "own": OTHER_SOUND | {"a third as long"}}  # IEMOCAP's labels say how long


def made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def neighbour(path: Path) -> Path:
    return next(
        other for other in sorted(path.parent.parent.rglob(f"*{path.suffix}")) if other.name[0] != "." and other != path
    )


def swap(path: Path, other: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


def exchanged(text: str, pairs: list[tuple[str, str]]) -> str:
    for one, other in pairs:
        text = text.replace(one, "\1").replace(other, one).replace("\1", other)
    return text


@dataclass(frozen=True)
class Tree:
    """An undamaged tree: its folder, its utterances, and what reading it gives."""

    name: str
    folder: Path
    wavs: tuple[str, ...]  # of utterances, relative
    lists: tuple[str, ...]
    data: tuple


def read(name: str, folder: Path, cache_folder: Path) -> tuple:
    """All that training reads of a corpus. What it raises is the point of this module."""
    if name == "iemocap":
        utterances = load_release(folder, expected=EXPECTED)
    else:
        utterances = load(name, folder)
    store = store_audio(utterances, cache_folder)
    if name in OPEN_CORPORA:
        check_audio(reader(name).CARD, folder, utterances, store.table, allow_different=False)
    Corpus.check(_Checked(utterances, store), "normalised", 640)
    columns = ["utterance", "speaker", "emotion", "transcript", "session", "dialog"]
    return (*utterances[columns].itertuples(index=False, name=None), *store.table["audio_sha256"])


@dataclass(frozen=True)
class _Checked:
    """What `Corpus.check` looks at."""

    utterances: pd.DataFrame
    store: object


@cache
def tree(name: str, base: Path) -> Tree:
    folder = WRITERS[name](base / name)
    with pytest.MonkeyPatch.context() as patch:
        know(name, folder, patch)
        data = read(name, folder, base / "cache")
    wavs = load_release(folder, expected=EXPECTED) if name == "iemocap" else reader(name).read(folder)
    lists = sorted(path for pattern in LISTS.get(name, ()) for path in folder.rglob(pattern))
    lists = [path for path in lists if not path.name.startswith(".")]
    return Tree(
        name, folder, tuple(os.path.relpath(wav, folder) for wav in wavs["wav"]),
        tuple(os.path.relpath(path, folder) for path in lists), data,
    )  # fmt: skip


def know(name: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    if name in OPEN_CORPORA:
        whole_copy(name, folder, patch)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("trees")


def outcome(undamaged: Tree, damaged: Path, cache_folder: Path, names: tuple[str, ...], other_sound: bool) -> str:
    """ "right" or "caught"; an AssertionError for anything else."""
    try:
        data = read(undamaged.name, damaged, cache_folder)
    except (ReleaseError, AudioError) as error:
        said = str(error)
        assert any(name in said for name in names), f"names none of {names}: {said}"
        return "caught"
    if other_sound:
        return "right" if data == undamaged.data else "other data"
    assert data == undamaged.data, "silently other data"
    return "right"


COLUMNS = ("corpus", "what", "damage", "file", "outcome")


def copied(name: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Tree, Path]:
    """An undamaged tree, and a copy of it that a test may damage."""
    undamaged = tree(name, base)
    know(name, undamaged.folder, monkeypatch)
    copy = tmp_path / undamaged.folder.name
    shutil.copytree(undamaged.folder, copy, symlinks=True)
    return undamaged, copy


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("kind", AUDIO)
@pytest.mark.parametrize("name", WRITERS)
def test_a_damaged_audio_file(base, tmp_path, monkeypatch, name, kind, place):
    undamaged, copy = copied(name, base, tmp_path, monkeypatch)
    path = copy / undamaged.wavs[place]
    other = neighbour(path).stem
    AUDIO[kind](path)
    sound = kind in UNKNOWN_AUDIO.get(name, ())
    keep("damages.csv", COLUMNS, name, "audio", kind, undamaged.wavs[place], "silent")  # until it is not
    found = outcome(undamaged, copy, tmp_path / "cache", (path.stem, path.parent.name, other), sound)
    keep("damages.csv", COLUMNS, name, "audio", kind, undamaged.wavs[place], found)


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("name", LISTS)
def test_a_damaged_list_of_utterances(base, tmp_path, monkeypatch, name, kind, place):
    undamaged, copy = copied(name, base, tmp_path, monkeypatch)
    path = copy / undamaged.lists[place]
    encoding = "latin-1" if name == "iemocap" else "utf-8"
    content = TEXTS[kind](path.read_bytes().decode(encoding))
    if content is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
    own_labels = name == "own" and kind in ("with labels exchanged", "cut in half")  # its only source
    keep("damages.csv", COLUMNS, name, "list", kind, undamaged.lists[place], "silent")
    found = outcome(undamaged, copy, tmp_path / "cache", (path.name, path.stem), own_labels)
    keep("damages.csv", COLUMNS, name, "list", kind, undamaged.lists[place], found)
