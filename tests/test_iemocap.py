"""The release's loader on trees with the known counts and every oddity, and on damaged ones."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlser import corpus
from mtlser.corpus import iemocap, release_counts
from mtlser.corpus.iemocap import ReleaseDiffers, ReleaseError, load_release
from mtlser.corpus.text import normalise
from release_tree import FINGERPRINT, Turn, emotion_of, fingerprint, known_counts, write_turns

LABELS, TRANSCRIPTIONS = "dialog/EmoEvaluation", "dialog/transcriptions"


def small_turns() -> list[Turn]:
    """Two utterances of each speaker in each dialog, ten dialogs with and without suffix, each code once or more."""
    codes = ["neu", "hap", "exc", "ang", "sad", "fru", "xxx", "sur", "fea", "oth", "dis"]
    turns = []
    for session in range(1, 6):
        for dialog in (f"Ses{session:02}F_impro05a", f"Ses{session:02}M_script01_1b"):
            for number in range(4):
                speaker = f"{'FM'[number % 2]}{number // 2:03}"
                code = codes[len(turns) % 5] if number < 3 else codes[len(turns) % 11]
                text = f"This is turn {'one two three four'.split()[number]}."
                turns.append(Turn(f"{dialog}_{speaker}", dialog, code, number * 3.0, number * 3.0 + 2.5, text))
    return turns


def expected_of(turns: list[Turn]) -> dict:
    """The counts of turns, made without the loader."""
    rows = [(t.utterance, t.dialog, emotion_of(t.code)) for t in turns if emotion_of(t.code)]
    groups = {
        "by_session": [name[:5] for name, _, _ in rows],
        "by_speaker": [name[:5] + name.split("_")[-1][0] for name, _, _ in rows],
        "by_released_fold": [dialog[3:6] for _, dialog, _ in rows],
    }
    emotions = [emotion for _, _, emotion in rows]
    counts = {
        "total": len(rows),
        "by_emotion": Counter(emotions),
        "by_dialog_kind": Counter("impro" if "impro" in dialog else "script" for _, dialog, _ in rows),
        "num_dialogs": len({dialog for _, dialog, _ in rows}),
        FINGERPRINT: fingerprint(turns),
    }
    for key, names in groups.items():
        counts[key] = {}
        for name, emotion in zip(names, emotions, strict=True):
            counts[key].setdefault(name, Counter()).update([emotion, "total"])
    return json.loads(json.dumps(counts))


@pytest.fixture
def small(tmp_path):
    """A small tree that a test may damage: its release folder, and what to expect of it."""
    return write_turns(tmp_path, small_turns()), expected_of(small_turns())


def edit(file: Path, old: str, new: str) -> None:
    """Replaces the first occurrence of `old`, which must be there."""
    content = file.read_bytes()
    assert old.encode() in content
    file.write_bytes(content.replace(old.encode(), new.encode(), 1))


# --- The known counts ---


def test_known_tree_loads_and_checks_within_seconds(known_tree):
    started = time.perf_counter()
    utterances = load_release(known_tree.release, expected=known_tree.expected)
    assert time.perf_counter() - started < 20
    assert list(utterances.columns) == iemocap.COLUMNS
    assert len(utterances) == 5531 and len(known_tree.turns) == 10_039
    assert utterances["utterance"].is_monotonic_increasing and utterances["utterance"].is_unique
    assert "differences" not in utterances.attrs

    turns = {turn.utterance: turn for turn in known_tree.turns}
    for row in utterances.itertuples():
        turn = turns[row.utterance]
        assert (row.dialog, row.emotion, row.transcript) == (turn.dialog, emotion_of(turn.code), turn.transcript)
        assert (row.start_seconds, row.end_seconds) == (turn.start_seconds, turn.end_seconds)
    assert utterances["wav"].map(os.path.isfile).all()


def test_known_tree_has_the_known_counts(known_tree):
    utterances = load_release(known_tree.release, expected=known_tree.expected)
    counts = release_counts.count_utterances(utterances)
    assert counts.pop(FINGERPRINT) == known_tree.expected[FINGERPRINT]
    known = known_counts()
    assert known.pop(FINGERPRINT) == release_counts.iemocap_counts()[FINGERPRINT]
    assert counts == known
    assert Counter(turn.code for turn in known_tree.turns) >= Counter(hap=595, exc=1041)
    assert (utterances["transcript"].map(normalise) == "").sum() == 31
    tags = Counter(tag.upper() for text in utterances["transcript"] for tag in re.findall(r"\[.*?\]", text))
    assert tags == {"[LAUGHTER]": 120, "[BREATHING]": 27, "[GARBAGE]": 21}
    assert utterances["dialog"].str.fullmatch(r".*\d[ab]").sum() > 100


def test_known_counts_with_other_labels_differ_by_fingerprint_alone(known_tree):
    with pytest.raises(ReleaseDiffers, match="differs from the known counts of IEMOCAP") as caught:
        load_release(known_tree.release)
    assert caught.value.table["what"].tolist() == ["fingerprint"]
    assert caught.value.table.at[0, "expected"] == known_counts()[FINGERPRINT]
    assert known_counts()[FINGERPRINT][:12] in str(caught.value)


def test_fingerprint_by_hand():
    utterances = pd.DataFrame({"utterance": ["b", "a"], "emotion": ["sad", "happy"]})
    # printf 'a happy\nb sad' | sha256sum
    assert release_counts.fingerprint(utterances) == "4bed28f44da4d620236fd6a4910c107963b1553a0f48c7f346c1b302a4c48cd2"


# --- Where the release is ---


def test_release_folder_its_parent_and_any_name(small, monkeypatch):
    release, expected = small
    whole = load_release(release, expected=expected)
    pd.testing.assert_frame_equal(load_release(release.parent, expected=expected), whole)
    pd.testing.assert_frame_equal(load_release(str(release) + "/", expected=expected), whole)
    monkeypatch.setenv("HOME", str(release.parent))
    assert iemocap.find_release("~") == release
    renamed = release.rename(release.with_name("my copy"))
    assert len(load_release(renamed, expected=expected)) == len(whole)


@pytest.mark.parametrize("name", ["IEMOCAP_full_release/Session1", "absent", "."])
def test_a_folder_without_sessions_says_what_was_looked_for(tmp_path, name):
    (tmp_path / "IEMOCAP_full_release" / "Session1").mkdir(parents=True)
    folder = tmp_path / name if name != "." else tmp_path / "IEMOCAP_full_release" / "Session1"
    with pytest.raises(ReleaseError, match="IEMOCAP_full_release/Session1 …: give the release folder or its parent"):
        load_release(folder)


def test_an_empty_release_differs(tmp_path):
    (tmp_path / "Session1").mkdir()
    with pytest.raises(ReleaseDiffers) as caught:
        load_release(tmp_path)
    table = caught.value.table.set_index("what")
    assert (table.at["utterances", "expected"], table.at["utterances", "found"]) == (5531, 0)
    assert table.at["folder Session2", "found"] == "missing"
    assert table.at["folder Session1/dialog/EmoEvaluation", "found"] == "missing"


# --- Copies that differ ---


def difference(release: Path, expected: dict) -> pd.DataFrame:
    """The difference table, by `what`; checks that the message holds it and names the way on."""
    with pytest.raises(ReleaseDiffers) as caught:
        load_release(release, expected=expected)
    table = caught.value.table
    assert list(table.columns) == ["what", "expected", "found", "dialogs"]
    assert all(what in str(caught.value) for what in table["what"])
    assert "allow_different=True" in str(caught.value) and str(release) in str(caught.value)
    return table.set_index("what")


def test_a_changed_label_names_counts_and_dialogs(small):
    release, expected = small
    edit(release / "Session1" / LABELS / "Ses01F_impro05a.txt", "F000\tneu", "F000\tsad")
    table = difference(release, expected)
    assert "utterances" not in table.index and "dialogs" not in table.index
    by_session = table.loc["utterances, session Ses01, neutral"]
    assert by_session["expected"] - by_session["found"] == 1
    for what in ("session Ses01, sad", "speaker Ses01F, sad", "released fold 01F, sad"):
        row = table.loc[f"utterances, {what}"]
        assert row["found"] - row["expected"] == 1
        assert row["dialogs"] == "Ses01F_impro05a"
    assert iemocap.format_table(table.reset_index()).startswith("what    ")
    assert not any("Ses02" in what for what in table.index)
    assert table.at["fingerprint", "found"] != table.at["fingerprint", "expected"]


def test_allowed_differences_are_logged_and_kept(small, caplog):
    release, expected = small
    edit(release / "Session1" / LABELS / "Ses01F_impro05a.txt", "F000\tneu", "F000\txxx")
    utterances = load_release(release, expected=expected, allow_different=True)
    assert len(utterances) == expected["total"] - 1
    assert "utterances, session Ses01, neutral" in caplog.text
    assert utterances.attrs["differences"][0]["what"] == "utterances"
    json.dumps(utterances.attrs)


def test_a_missing_session_is_named(small):
    release, expected = small
    shutil.rmtree(release / "Session3")
    table = difference(release, expected)
    assert tuple(table.loc["folder Session3", ["expected", "found"]]) == ("present", "missing")
    assert table.at["utterances, session Ses03", "found"] == 0
    assert table.at["dialogs", "found"] == 8


def test_missing_label_transcription_and_wav_folder_are_named(small):
    release, expected = small
    (release / "Session1" / LABELS / "Ses01F_impro05a.txt").unlink()
    (release / "Session2" / TRANSCRIPTIONS / "Ses02F_impro05a.txt").unlink()
    shutil.rmtree(release / "Session4" / "sentences/wav/Ses04M_script01_1b")
    table = difference(release, expected)
    assert table.at["label files, Session1", "dialogs"] == "Ses01F_impro05a"
    assert table.at["transcription files, Session2", "dialogs"] == "Ses02F_impro05a"
    assert table.at["transcripts, Ses02F_impro05a", "found"] == 0
    assert table.at["wav folders, Session4", "dialogs"] == "Ses04M_script01_1b"
    assert table.at["wavs that can be read", "dialogs"] == "Ses04M_script01_1b"


def test_a_long_list_of_dialogs_is_cut_in_the_message_alone():
    names = [f"Ses01F_impro{n:02}" for n in range(9)]
    table = pd.DataFrame({"what": ["utterances"], "expected": [9], "found": [8], "dialogs": [" ".join(names)]})
    assert iemocap.format_table(table).splitlines() == [
        "what        expected  found  dialogs",
        "utterances  9         8      Ses01F_impro00 Ses01F_impro01 Ses01F_impro02 … Ses01F_impro08 (9 dialogs)",
    ]


def test_a_label_without_transcript_is_a_difference(small):
    release, expected = small
    edit(release / "Session1" / TRANSCRIPTIONS / "Ses01F_impro05a.txt", "Ses01F_impro05a_M000 [", "M [")
    table = difference(release, expected)
    row = table.loc["transcripts, Ses01F_impro05a (Ses01F_impro05a_M000)"]
    assert row["expected"] - row["found"] == 1
    assert list(table.index) == [row.name]
    utterances = load_release(release, expected=expected, allow_different=True).set_index("utterance")
    assert utterances.at["Ses01F_impro05a_M000", "transcript"] == ""


def test_two_different_transcripts_are_a_difference(small):
    release, expected = small
    file = release / "Session1" / TRANSCRIPTIONS / "Ses01F_impro05a.txt"
    with file.open("a", encoding="utf-8") as lines:
        lines.write("Ses01F_impro05a_F000 [000.0000-002.5000]: This is turn one.\n")
    load_release(release, expected=expected)
    with file.open("a", encoding="utf-8") as lines:
        lines.write("Ses01F_impro05a_F000 [000.0000-002.5000]: Something else.\n")
    assert list(difference(release, expected).index) == ["transcripts of Ses01F_impro05a_F000"]


def test_labels_of_another_dialog_explain_a_difference(small):
    release, expected = small
    edit(release / "Session1" / LABELS / "Ses01F_impro05a.txt", "Ses01F_impro05a_F000\t", "Ses01F_impro06_F000\t")
    table = difference(release, expected)
    assert table.at["dialogs", "found"] == 11
    assert table.at["dialog of Ses01F_impro06_F000", "found"] == "Ses01F_impro05a"


# --- Files that can't be used ---


@pytest.mark.parametrize(
    "damaged",
    [
        "[0.0000 - 2.5000]\tSes01F_impro05a_F000\tgrumpy\t[2.5, 2.5, 2.5]",
        "[0.0000 - 2.5000]\tSes01F_impro05a_F000\tabc\t[2.5, 2.5, 2.5]",
        "[0.0000 - 2.5000]\tSes01F_impro05a_X000\tneu\t[2.5, 2.5, 2.5]",
        "[0.0000 - 2.5000]\tSes01F_impro05a_F000",
        "[0.0000 2.5000]\tSes01F_impro05a_F000\tneu\t[2.5, 2.5, 2.5]",
        "[0.00",
    ],
)
def test_a_malformed_label_names_file_and_line(small, damaged):
    release, expected = small
    file = release / "Session1" / LABELS / "Ses01F_impro05a.txt"
    lines = file.read_text(encoding="utf-8").split("\n")
    lines[2] = damaged
    file.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ReleaseError, match=rf"{re.escape(str(file))}, line 3: .*starts like a label"):
        load_release(release, expected=expected, allow_different=True)


def test_a_repeated_label_names_both_lines(small):
    release, expected = small
    edit(release / "Session1" / LABELS / "Ses01F_impro05a.txt", "_F001\t", "_F000\t")
    pattern = r"Ses01F_impro05a_F000 is labelled twice: .*05a.txt, line 3 and .*05a.txt, line 15"
    with pytest.raises(ReleaseError, match=pattern):
        load_release(release, expected=expected, allow_different=True)


def test_bad_wavs_are_listed_at_once(small):
    release, expected = small
    wavs = release / "Session1" / "sentences/wav/Ses01F_impro05a"
    (wavs / "Ses01F_impro05a_F000.wav").unlink()
    (wavs / "Ses01F_impro05a_M000.wav").write_bytes(b"")
    (wavs / "Ses01F_impro05a_F001.wav").write_bytes(b"noise")
    for allow_different in (False, True):
        with pytest.raises(ReleaseError) as caught:
            load_release(release, expected=expected, allow_different=allow_different)
        message = str(caught.value)
        assert f"3 of {expected['total']} audio files" in message
        assert "F000.wav: does not exist" in message and "M000.wav: is empty (0 bytes)" in message
        assert "F001.wav: is not readable as audio" in message


def test_many_bad_wavs_are_counted(small):
    release, expected = small
    shutil.rmtree(release / "Session1" / "sentences")
    for session in range(2, 6):
        shutil.rmtree(release / f"Session{session}" / "sentences")
    with pytest.raises(ReleaseError, match=rf"and {expected['total'] - 20} more") as caught:
        load_release(release, expected=expected)
    assert f"{expected['total']} of {expected['total']} audio files" in str(caught.value)
    assert str(caught.value).count("does not exist") == 20


# --- The pocket corpus' manifest ---


def test_a_manifest_replaces_the_known_counts(small):
    release, expected = small
    (release / iemocap.MANIFEST).write_text(json.dumps(expected | {"kind": "pocket"}), encoding="utf-8")
    assert len(load_release(release)) == expected["total"]
    edit(release / "Session1" / LABELS / "Ses01F_impro05a.txt", "F000\tneu", "F000\tsad")
    with pytest.raises(ReleaseDiffers, match="differs from its own pocket_manifest.json"):
        load_release(release)


@pytest.mark.parametrize(("content", "reason"), [("{", "is not JSON"), ("{}", "lack total, by_emotion")])
def test_a_broken_manifest_is_refused(small, content, reason):
    release, _ = small
    (release / iemocap.MANIFEST).write_text(content, encoding="utf-8")
    with pytest.raises(ReleaseError, match=reason):
        load_release(release, allow_different=True)


# --- Any tree ---

dialog_names = st.builds(
    "Ses{:02}{}_{}".format,
    st.integers(1, 5),
    st.sampled_from("FM"),
    st.sampled_from(["impro01", "impro05a", "script01_1", "script01_1b", "script02_2"]),
)
transcripts = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_categories=["Cc", "Zs"]), max_size=20)


@st.composite
def some_turns(draw) -> list[Turn]:
    turns = []
    for dialog in draw(st.lists(dialog_names, unique=True, min_size=1, max_size=4)):
        genders = draw(st.lists(st.sampled_from("FM"), min_size=1, max_size=5))
        for number, gender in enumerate(genders):
            code = draw(st.sampled_from("ang dis exc fea fru hap neu oth sad sur xxx".split()))
            start = draw(st.integers(0, 10**7)) / 10_000
            seconds = draw(st.integers(1, 10**5)) / 10_000
            turns.append(
                Turn(f"{dialog}_{gender}{number:03}", dialog, code, start, round(start + seconds, 4), draw(transcripts))
            )
    return turns


@settings(max_examples=40)
@given(some_turns())
def test_any_tree_is_read_back(turns):
    with tempfile.TemporaryDirectory() as folder:
        release = write_turns(Path(folder), turns)
        expected = expected_of(turns)
        utterances = load_release(release, expected=expected, allow_different=True)
        differences = {row["what"] for row in utterances.attrs.get("differences", [])}
        assert not {what for what in differences if not what.startswith("folder Session")}
    kept = sorted((turn for turn in turns if emotion_of(turn.code)), key=lambda turn: turn.utterance)
    read = [
        Turn(row.utterance, row.dialog, row.emotion, row.start_seconds, row.end_seconds, row.transcript)
        for row in utterances.itertuples()
    ]
    assert read == [replace(turn, code=emotion_of(turn.code)) for turn in kept]
    assert utterances["speaker"].tolist() == [t.utterance[:5] + t.utterance.split("_")[-1][0] for t in kept]


@pytest.mark.parametrize("allow_different", [False, True])
def test_synthetic_speech_never_passes_as_iemocap(tmp_path, allow_different):
    """What vouches for it is its own file; by its counts it would be a release like any other."""
    release = write_turns(tmp_path, small_turns())
    (release / iemocap.MANIFEST).write_text(json.dumps(expected_of(small_turns()) | {"kind": "pocket"}))
    assert len(load_release(release))
    for folder in (release, release.parent):
        with pytest.raises(ReleaseError, match=r"pocket_manifest\.json: this is synthetic speech, not IEMOCAP"):
            corpus.load("iemocap", folder, allow_different=allow_different)


def test_an_apostrophe_of_windows_is_one(small):
    release, expected = small
    edit(release / "Session1" / TRANSCRIPTIONS / "Ses01F_impro05a.txt", "This is turn one", "Don\x92t turn one")
    file = release / "Session1" / TRANSCRIPTIONS / "Ses01F_impro05a.txt"
    file.write_bytes(file.read_bytes().replace("\x92".encode(), b"\x92"))
    text = load_release(release, expected=expected).set_index("utterance").loc["Ses01F_impro05a_F000", "transcript"]
    assert normalise(text) == "DON'T TURN ONE"
