"""A corpus's audio as one mapped Arrow column: what is in it, when it is read again, and what is refused."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import soundfile

from mtlser.corpus import store as module
from mtlser.corpus.audio import AudioFilesError, read_audio
from mtlser.corpus.store import BATCH_ROWS, StoreError, audio_digest, open_store, read_column, store_audio, write_column
from tiny import tiny_utterances


@pytest.fixture
def utterances(tmp_path):
    return tiny_utterances(tmp_path / "wav")


@pytest.fixture
def store(tmp_path, utterances):
    return store_audio(utterances, tmp_path / "cache")


def test_samples_are_the_files_own(utterances, store):
    assert store.table["utterance"].tolist() == utterances["utterance"].tolist()
    for index, wav in enumerate(utterances["wav"]):
        samples = store.samples(index)
        assert samples.dtype == np.int16 and len(samples) == store.table["num_samples"][index]
        np.testing.assert_array_equal(samples, soundfile.read(wav, dtype="int16")[0])
        assert store.table["file_sha256"][index] == hashlib.sha256(Path(wav).read_bytes()).hexdigest()
        assert store.table["audio_sha256"][index] == hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest()


def test_other_rates_and_channels_become_16_khz_mono(tmp_path):
    stereo = 0.3 * np.random.default_rng(0).standard_normal((2000, 2)).clip(-1, 1)
    soundfile.write(tmp_path / "a.flac", stereo, 8_000)
    store = store_audio(pd.DataFrame({"utterance": ["a"], "wav": [str(tmp_path / "a.flac")]}), tmp_path / "cache")
    expected = np.round(read_audio(tmp_path / "a.flac") * 32768).clip(-32768, 32767)
    np.testing.assert_array_equal(store.samples(0), expected)
    assert store.table["num_samples"].tolist() == [4000]


def test_samples_are_mapped_from_the_file_and_not_copied(store):
    samples = base = store.samples(3)
    while isinstance(base, np.ndarray):
        assert not base.flags.owndata and not base.flags.writeable
        base = base.base
    assert isinstance(base, pa.Array)
    assert np.shares_memory(samples, store.samples(3))


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="the system doesn't count it")
def test_a_process_s_own_memory_does_not_grow_by_the_corpus(tmp_path):
    rows = np.random.default_rng(0).integers(-9999, 9999, (100, 400_000), dtype=np.int16)  # 80 MB
    for number, row in enumerate(rows):
        soundfile.write(tmp_path / f"{number}.wav", row, 16_000)
    table = pd.DataFrame({"utterance": range(100), "wav": [str(tmp_path / f"{n}.wav") for n in range(100)]}).astype(str)
    folder = store_audio(table, tmp_path / "cache").folder
    script = (
        "import sys; from mtlser.corpus.store import open_store; import datasets, pyarrow.parquet\n"
        "def own(): return sum(int(line.split()[1]) for line in open('/proc/self/smaps_rollup') if 'Anon' in line)\n"
        "before = own(); store = open_store(sys.argv[1])\n"
        "total = sum(store.samples(i).nbytes for i in range(len(store.table)))\n"
        "print(1024 * (own() - before), total)"
    )
    result = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True)
    grown, total = map(int, result.stdout.split())
    assert total == rows.nbytes
    assert grown < total / 4


def test_a_second_call_decodes_nothing_and_needs_no_datasets(tmp_path, utterances, store):
    script = (
        "import sys, pandas as pd; from mtlser.corpus import store as module\n"
        "module.read_source = None; again = module.store_audio(pd.read_parquet(sys.argv[1]), sys.argv[2])\n"
        "print(again.folder, len(again.table), 'datasets' in sys.modules, 'torch' in sys.modules)"
    )
    utterances.to_parquet(tmp_path / "table.parquet")
    words = [sys.executable, "-c", script, str(tmp_path / "table.parquet"), str(tmp_path / "cache")]
    result = subprocess.run(words, capture_output=True, text=True, check=True)
    assert result.stdout.split() == [str(store.folder), str(len(utterances)), "False", "False"]


def test_a_file_that_changed_is_read_again(tmp_path, utterances, store):
    os.utime(utterances["wav"][0], ns=(1, 1))
    touched = store_audio(utterances, tmp_path / "cache")
    assert touched.folder != store.folder
    pd.testing.assert_frame_equal(touched.table, store.table)  # the content is named by samples alone
    renamed = store_audio(utterances.assign(utterance=utterances["utterance"] + "x"), tmp_path / "cache")
    assert renamed.folder not in (store.folder, touched.folder)


def test_all_bad_files_are_named_and_nothing_is_left(tmp_path, utterances):
    (tmp_path / "wav" / "noise.wav").write_bytes(b"not audio")
    wavs = [*utterances["wav"][:-2], str(tmp_path / "wav" / "noise.wav"), str(tmp_path / "nowhere.wav")]
    with pytest.raises(AudioFilesError, match=r"(?s)2 of 24.*noise\.wav.*nowhere\.wav: does not exist") as caught:
        store_audio(utterances.assign(wav=wavs), tmp_path / "empty")
    assert len(caught.value.problems) == 2
    assert [path.suffix for path in (tmp_path / "empty").iterdir()] == [".lock"]


def test_a_killed_build_is_made_again(tmp_path, utterances, monkeypatch):
    original = module.read_source

    def killed(path):
        if path == utterances["wav"][5]:
            raise KeyboardInterrupt
        return original(path)

    monkeypatch.setattr(module, "read_source", killed)
    with pytest.raises(KeyboardInterrupt):
        store_audio(utterances, tmp_path / "cache")
    monkeypatch.undo()
    assert len(store_audio(utterances, tmp_path / "cache").table) == len(utterances)


def test_a_file_of_the_same_size_and_time_is_read_again(tmp_path, utterances, store):
    wav = Path(utterances["wav"][0])
    before = wav.stat()
    samples, rate = soundfile.read(wav, dtype="int16")
    soundfile.write(tmp_path / "other.wav", samples[::-1], rate, subtype="PCM_16")
    (tmp_path / "other.wav").replace(wav)
    os.utime(wav, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (wav.stat().st_size, wav.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    np.testing.assert_array_equal(store_audio(utterances, tmp_path / "cache").samples(0), samples[::-1])


def test_an_opened_store_is_the_same(store):
    opened = open_store(store.folder)
    pd.testing.assert_frame_equal(opened.table, store.table)
    np.testing.assert_array_equal(opened.samples(7), store.samples(7))


def test_a_damaged_store_is_named_and_is_to_be_deleted(store, tmp_path):
    with pytest.raises(StoreError, match=r"nowhere is damaged.*delete it"):
        open_store(tmp_path / "nowhere")
    [arrow] = (store.folder / "samples").glob("*.arrow")
    whole = arrow.read_bytes()
    middle = len(whole) // 2
    for content in (whole[:middle], whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :], b""):
        arrow.write_bytes(content)
        with pytest.raises(StoreError, match=rf"{store.folder.name} is damaged.*delete it"):
            open_store(store.folder).samples(0)
    arrow.write_bytes(whole)
    open_store(store.folder).samples(0)
    arrow.unlink()
    with pytest.raises(StoreError, match="delete it"):
        open_store(store.folder).samples(0)
    table = store.folder / "table.parquet"
    table.write_bytes(table.read_bytes()[:-100])
    with pytest.raises(StoreError, match=rf"{store.folder.name} is damaged.*delete it"):
        open_store(store.folder)


def test_a_column_of_several_arrays_keeps_rows_apart(tmp_path):
    rows = [np.full(n % 7, n, dtype=np.float32) for n in range(2 * BATCH_ROWS + 3)]
    write_column(tmp_path / "rows", rows)
    column = read_column(tmp_path / "rows")
    assert len(column) == len(rows)
    for index in (0, 7, BATCH_ROWS - 1, BATCH_ROWS, np.int64(2 * BATCH_ROWS + 2)):
        np.testing.assert_array_equal(column[index].values.to_numpy(zero_copy_only=True), rows[index])


def test_a_digest_is_of_samples_in_one_order_of_bytes():
    samples = np.array([1, -2, 300], dtype=np.int16)
    assert audio_digest(samples) == hashlib.sha256(b"\x01\x00\xfe\xff\x2c\x01").hexdigest()
    assert audio_digest(samples.astype(">i2")) == audio_digest(samples)
