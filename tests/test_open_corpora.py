"""Open corpora are read from generated trees of their layout; real files where MTLSER_CORPORA names their folder."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from mtlser.config import EMOTIONS
from mtlser.corpus import OPEN_CORPORA, load, nemo, own, reader
from mtlser.corpus.audio import AudioFilesError
from mtlser.corpus.cards import check_audio
from mtlser.corpus.iemocap import COLUMNS, ReleaseDiffers, ReleaseError
from mtlser.corpus.store import store_audio
from mtlser.corpus.text import encode, normalise
from mtlser.report import sounds

EMODB = ("03a01Fa", "03a01Nc", "03a01Wa", "08b10Ta", "08b10Lb", "16a05Ea")  # the last two are left out
RAVDESS = ("03-01-01-01-01-01-01", "03-01-03-02-02-01-12", "03-01-05-01-01-02-24", "03-01-02-01-01-01-01")
NEMO = ("EB0_anger_1", "EB0_neutral_2", "KS0_happiness_1", "KS0_sadness_2", "KS0_fear_1")


def write_tone(path: Path, seed: int, rate: int = 16_000, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(seed).standard_normal((rate // 5, channels))
    soundfile.write(path, samples, rate, subtype="PCM_16")


def write_emodb(folder: Path) -> Path:
    for number, name in enumerate(EMODB):
        write_tone(folder / "wav" / f"{name}.wav", number)
    return folder


def write_ravdess(folder: Path) -> Path:
    for number, name in enumerate(RAVDESS):
        write_tone(folder / f"Actor_{name[-2:]}" / f"{name}.wav", number, 48_000, 1 + number % 2)
    (folder / "Actor_01" / "._03-01-01-01-01-01-01.wav").write_bytes(b"Mac OS X")
    return folder


def write_nemo(folder: Path) -> Path:
    lines = ["file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage"]
    for number, name in enumerate(NEMO):
        write_tone(folder / "samples" / f"{name}.wav", number, 24_000)
        speaker, emotion, _ = name.split("_")
        lines.append(f"{name}.wav\t{emotion}\tŁódź, żółty miód.\tłódź żółty miód\t        {speaker}\tfemale\t27")
    (folder / "data.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def emodb_folder(tmp_path):
    return write_emodb(tmp_path / "emodb")


@pytest.fixture
def ravdess_folder(tmp_path):
    return write_ravdess(tmp_path / "ravdess")


@pytest.fixture
def nemo_folder(tmp_path):
    return write_nemo(tmp_path / "nemo")


def shape(utterances: pd.DataFrame) -> list[tuple]:
    return list(utterances[["utterance", "speaker", "emotion", "sex"]].itertuples(index=False, name=None))


def test_emodb_is_read_by_its_names(emodb_folder):
    utterances = reader("emodb").read(emodb_folder)
    assert shape(utterances) == [
        ("03a01Fa", "03", "happy", "male"),
        ("03a01Nc", "03", "neutral", "male"),
        ("03a01Wa", "03", "angry", "male"),
        ("08b10Ta", "08", "sad", "female"),
    ]
    assert utterances["transcript"][3] == "Die wird auf dem Platz sein, wo wir sie immer hinlegen."
    assert utterances[["dialog", "session"]].eq("").all(axis=None)
    assert utterances["end_seconds"].round(6).eq(0.2).all() and list(utterances)[: len(COLUMNS)] == COLUMNS
    write_tone(emodb_folder / "wav" / "99a01Fa.wav", 0)
    with pytest.raises(ReleaseError, match=r"99a01Fa\.wav: EmoDB's names are like 03a01Wa"):
        reader("emodb").read(emodb_folder)


def test_ravdess_is_read_by_its_names_and_songs_are_refused(ravdess_folder):
    assert shape(reader("ravdess").read(ravdess_folder)) == [
        ("03-01-01-01-01-01-01", "01", "neutral", "male"),
        ("03-01-03-02-02-01-12", "12", "happy", "female"),
        ("03-01-05-01-01-02-24", "24", "angry", "female"),
    ]
    write_tone(ravdess_folder / "Actor_01" / "03-02-03-01-01-01-01.wav", 0)
    with pytest.raises(ReleaseError, match=r"03-02-03-01-01-01-01\.wav: RAVDESS's speech has names"):
        reader("ravdess").read(ravdess_folder)


def test_nemo_is_read_by_its_table(nemo_folder):
    utterances = nemo.read(nemo_folder)
    assert shape(utterances)[0] == ("EB0_anger_1", "EB0", "angry", "female") and len(utterances) == 4
    assert normalise(utterances["transcript"][0]) == "LODZ ZOLTY MIOD"
    text = (nemo_folder / "data.tsv").read_text(encoding="utf-8")
    (nemo_folder / "data.tsv").write_text(text.replace("\tneutral\t", "\tbored\t"), encoding="utf-8")
    with pytest.raises(ReleaseError, match=r"data\.tsv, line 3: 'bored' is no emotion of nEMO"):
        nemo.read(nemo_folder)
    (nemo_folder / "data.tsv").write_text(text.replace("raw_text", "text"), encoding="utf-8")
    with pytest.raises(ReleaseError, match=r"data\.tsv has no column raw_text"):
        nemo.read(nemo_folder)


def test_every_polish_letter_becomes_one_of_the_alphabet():
    letters = "aąbcćdeęfghijklłmnńoóprsśtuwyzźż"
    assert len(letters) == 32
    text = normalise(letters.translate(nemo.TRANSLITERATION))
    assert text == "AABCCDEEFGHIJKLLMNNOOPRSSTUWYZZZ" and len(encode(text)) == 32


def test_a_file_that_is_missing_or_no_audio_is_named(nemo_folder):
    (nemo_folder / "samples" / "EB0_anger_1.wav").unlink()
    (nemo_folder / "samples" / "KS0_sadness_2.wav").write_bytes(b"RIFF")
    with pytest.raises(AudioFilesError, match=r"(?s)2 of 4 audio files.*EB0_anger_1.*does not exist.*KS0_sadness_2"):
        nemo.read(nemo_folder)


def test_a_folder_that_holds_something_else_is_refused(tmp_path, emodb_folder):
    for name in OPEN_CORPORA:
        with pytest.raises(ReleaseError, match="nowhere"):
            load(name, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReleaseError, match="holds no audio"):
        load("emodb", tmp_path / "empty")
    shutil.copytree(emodb_folder / "wav", emodb_folder / "copy")
    with pytest.raises(ReleaseError, match=r"03a01Fa lies twice under"):
        load("emodb", emodb_folder)
    with pytest.raises(ValueError, match="unknown corpus 'emo-db'; choose one of iemocap, nemo, emodb"):
        load("emo-db", tmp_path)


@pytest.mark.parametrize("name", OPEN_CORPORA)
def test_the_card_agrees_with_what_is_known(name):
    card = reader(name).CARD
    known = card.known()
    assert known["emotion"].value_counts().to_dict() == card.by_emotion and set(card.by_emotion) == set(EMOTIONS)
    assert known["utterance"].is_unique and known["utterance"].is_monotonic_increasing
    assert known["digest"].str.fullmatch("[0-9a-f]{16}").all()
    assert not card.groups or len({speaker for group in card.groups for speaker in group}) == card.num_speakers
    assert card.share_alike == any(word in card.licence for word in ("NC-SA", "ODbL"))


def test_a_copy_that_differs_is_refused_with_a_table(emodb_folder, caplog):
    """One that lacks most of the corpus; `allow_different` keeps what differs beside the table."""
    with pytest.raises(ReleaseDiffers, match=r"(?s)utterances missing +0 +336.*… and 331 more") as caught:
        load("emodb", emodb_folder)
    assert caught.value.table.set_index("what").loc["speakers", "found"] == 2
    different = load("emodb", emodb_folder, allow_different=True)
    assert len(different) == 4 and different.attrs["differences"][0]["what"] == "utterances"


def whole_copy(name: str, folder: Path, monkeypatch) -> pd.DataFrame:
    """A generated tree that passes for the whole corpus: what is known is made from it."""
    module = reader(name)
    utterances = module.read(folder)
    store = store_audio(utterances, folder.parent / "cache")
    digests = store.table[module.CARD.digest].str[:16].to_numpy()
    known = utterances[["utterance", "emotion"]].assign(digest=digests)
    counts = {emotion: int((known["emotion"] == emotion).sum()) for emotion in EMOTIONS}
    card = module.CARD
    monkeypatch.setattr(type(card), "known", lambda self: known)
    values = {"by_emotion": counts, "num_speakers": utterances["speaker"].nunique()}
    monkeypatch.setattr(module, "CARD", type(card)(**(vars(card) | values)))
    return utterances


def test_one_byte_one_label_and_one_speaker_are_noticed(emodb_folder, tmp_path, monkeypatch):
    utterances = whole_copy("emodb", emodb_folder, monkeypatch)
    card = reader("emodb").CARD
    assert load("emodb", emodb_folder).equals(utterances)
    wav = emodb_folder / "wav" / "03a01Wa.wav"
    content = bytearray(wav.read_bytes())

    content[-1] ^= 1
    wav.write_bytes(content)
    store = store_audio(load("emodb", emodb_folder), tmp_path / "cache").table
    with pytest.raises(ReleaseDiffers, match=r"files with other audio +0 +1 +03a01Wa"):
        check_audio(card, emodb_folder, utterances, store, allow_different=False)
    allowed = check_audio(card, emodb_folder, utterances, store, allow_different=True)
    assert allowed.attrs["differences"][0]["found"] == 1

    wav.rename(wav.with_name("03a01Ta.wav"))
    with pytest.raises(ReleaseDiffers, match=r"(?s)missing +0 +1 +03a01Wa.*unknown +0 +1 +03a01Ta.*utterances, sad"):
        load("emodb", emodb_folder)
    (emodb_folder / "wav" / "03a01Ta.wav").rename(wav)

    (emodb_folder / "wav" / "08b10Ta.wav").unlink()
    with pytest.raises(ReleaseDiffers, match=r"(?s)missing +0 +1 +08b10Ta.*speakers +2 +1"):
        load("emodb", emodb_folder)


def test_the_same_samples_in_another_format_are_the_same_corpus(ravdess_folder, monkeypatch):
    """At 48 kHz, of one and two channels: whatever resamples them later."""
    whole_copy("ravdess", ravdess_folder, monkeypatch)
    for wav in ravdess_folder.glob("Actor_*/0*.wav"):
        samples, rate = soundfile.read(wav, dtype="int16")
        soundfile.write(wav.with_suffix(".flac"), samples, rate)
        wav.unlink()
    utterances = load("ravdess", ravdess_folder)
    store = store_audio(utterances, ravdess_folder.parent / "cache").table
    check_audio(reader("ravdess").CARD, ravdess_folder, utterances, store, allow_different=False)


# --- one's own ---


def write_own(folder: Path, rows: list[tuple[str, str, str, str]], encoding: str = "utf-8") -> Path:
    folder.mkdir(exist_ok=True)
    for number, row in enumerate(rows):
        if row[0]:
            write_tone(folder / row[0], number, 44_100)
    with (folder / own.METADATA).open("w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows([own.COLUMNS, *rows])
    return folder


def test_ones_own_corpus(tmp_path):
    folder = write_own(tmp_path / "own", [
        ("one/a.wav", "Ada", "Joy", "It's fine, thanks."),
        ("one/b.flac", "Ada", "anger", ""),
        ("two/a.wav", "Bo", "neutral", "Über"),
        ("two/c.wav", "Bo", "fear", "left out"),
    ], "utf-8-sig")  # fmt: skip
    utterances = load("own", folder)
    assert list(utterances["utterance"]) == ["one/a", "one/b", "two/a"]
    assert list(utterances["emotion"]) == ["happy", "angry", "neutral"] and utterances["sex"].eq("").all()
    assert normalise(utterances["transcript"][2]) == "UBER"


def test_every_line_that_cannot_be_used_is_named(tmp_path):
    rows = [("a.wav", "Ada", "meh", ""), ("b.wav", "", "sad", ""), ("c.wav", "Bo", "sad", "in 1984"),
            ("d.wav", "Bo", "sad", ""), ("d.flac", "Bo", "sad", ""), ("", "Bo", "sad", ""),
            ("e.wav", "../Bo", "sad", "")]  # fmt: skip
    folder = write_own(tmp_path / "own", rows)
    with pytest.raises(ReleaseError) as caught:
        load("own", folder)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("metadata.csv: 6 lines can't be used:")
    assert "line 2: emotion 'meh' is not known; write one of neutral, " in lines[1]
    assert "line 3: speaker is empty" in lines[2] and "line 4: '1' '4' '8' '9' in 'IN 1984'" in lines[3]
    assert "line 6: d.flac stands in line 5 too" in lines[4] and "line 7: file_name is empty" in lines[5]
    assert "line 8: speaker '../Bo' names folds and folders" in lines[6]
    outside = write_own(tmp_path / "outside", [("a.wav", "Ada", "sad", "")])
    text = (outside / own.METADATA).read_text(encoding="utf-8").replace("a.wav", "../own/a.wav")
    (outside / own.METADATA).write_text(text, encoding="utf-8")
    with pytest.raises(ReleaseError, match="must lie below the folder"):
        load("own", outside)


def test_a_table_that_is_none(tmp_path):
    folder = write_own(tmp_path / "own", [("a.wav", "Ada", "sad", ""), ("b.wav", "Ada", "happy", "")])
    with pytest.raises(ReleaseError, match="at least two speakers are needed"):
        load("own", folder)
    (folder / own.METADATA).write_text("file_name,speaker\na.wav,Ada\n", encoding="utf-8")
    with pytest.raises(ReleaseError, match="no column emotion, transcription in its first line"):
        load("own", folder)
    (folder / own.METADATA).write_bytes("file_name,speaker,emotion,transcription\na.wav,Zoë,sad,\n".encode("cp1252"))
    with pytest.raises(ReleaseError, match="can't be read as UTF-8 text"):
        load("own", folder)
    (folder / own.METADATA).unlink()
    with pytest.raises(ReleaseError, match=r"metadata\.csv can't be read"):
        load("own", folder)


# --- real files ---


@pytest.mark.parametrize("name", OPEN_CORPORA)
def test_the_real_corpus(name, tmp_path):
    """Every utterance, label, speaker and sample of a copy at MTLSER_CORPORA/<name>."""
    folder = Path(os.environ.get("MTLSER_CORPORA") or "not given") / name
    if not folder.is_dir():
        pytest.skip(f"NOT RUN: {folder} is not here; MTLSER_CORPORA=<folder> names where {', '.join(OPEN_CORPORA)} lie")
    utterances = load(name, folder)
    card = reader(name).CARD
    assert utterances["end_seconds"].sum() / 3600 == pytest.approx(card.hours, abs=0.006)
    store = store_audio(utterances, tmp_path)
    check_audio(card, folder, utterances, store.table, allow_different=False)
    assert all(encode(normalise(transcript)) for transcript in utterances["transcript"])
    assert (utterances.groupby("speaker")["sex"].nunique() == 1).all() and set(utterances["sex"]) == {"male", "female"}


def test_two_people_are_heard_where_emodb_is(emodb_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MTLSER_ARTIFACTS", str(tmp_path))
    assert "EmoDB is not in" in sounds.people().text and "ACCEPT_LICENCE=1" in sounds.people().text
    heard = sounds.people(emodb_folder, ("03", "08"))
    assert heard.html.count("<audio") == 3 and "CC BY 4.0: Burkhardt" in heard.text  # of the sentence with most
