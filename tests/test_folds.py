"""Folds of the three protocols, and the audit of what they leak, by hand and on the known counts."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtlser import paper
from mtlser.config import EMOTIONS, PROTOCOLS, ConfigError
from mtlser.corpus.folds import Fold, audit, fold_names, make_folds
from mtlser.corpus.iemocap import load_release


def table(rows: list[tuple[str, str, str]]) -> pd.DataFrame:
    """Rows of (utterance, emotion, transcript) as `load_release` would give them."""
    utterances = pd.DataFrame(rows, columns=["utterance", "emotion", "transcript"], dtype="str")
    dialogs = [name.rsplit("_", 1)[0] for name in utterances["utterance"]]
    speakers = [name[:5] + name.rsplit("_", 1)[1][0] for name in utterances["utterance"]]
    return utterances.assign(dialog=dialogs, session=[name[:5] for name in dialogs], speaker=speakers)


@pytest.fixture(scope="module")
def known(known_tree) -> pd.DataFrame:
    """Utterances of the tree with the known counts."""
    return load_release(known_tree.release, expected=known_tree.expected)


# --- Fold ---


def test_a_fold_is_frozen():
    with pytest.raises(FrozenInstanceError):
        Fold("Ses01", ("a", "b"), ("c",)).name = "other"


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ((["a", "b"], ["b"]), "fold x: 1 utterances occur twice or in two parts, e.g. b"),
        ((["a", "a"], ["b"]), "e.g. a"),
        ((["a"], ["b", "b"]), "e.g. b"),
        (([], ["b"]), "train holds no utterance"),
        ((["a"], []), "test holds no utterance"),
    ],
)
def test_a_fold_refuses(parts, reason):
    with pytest.raises(ValueError, match=reason):
        Fold("x", *parts)


# --- make_folds ---

OF_DIALOGS = ("speaker", "released", "session")  # the paper's, the released code's, and what others use


def acted(num_speakers: int, num_sentences: int) -> pd.DataFrame:
    """A corpus without dialogs: each speaker says each sentence once in two emotions."""
    rows = [
        {"utterance": f"{speaker:02}-{text:02}-{emotion}", "speaker": f"{speaker:02}", "emotion": emotion,
         "transcript": f"sentence {chr(65 + text // 10)} {chr(65 + text % 10)}", "dialog": "", "session": "",
         "sex": "fm"[speaker % 2]}
        for speaker in range(num_speakers) for text in range(num_sentences) for emotion in ("angry", "sad")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_corpus_without_dialogs_has_no_sessions():
    for protocol in ("released", "session"):
        with pytest.raises(ConfigError, match=f"protocol '{protocol}' needs a corpus of dialogs in sessions"):
            make_folds(acted(3, 2), protocol)
    assert audit(acted(3, 2), make_folds(acted(3, 2), "random"))["shared_dialogs"].eq(0).all()


def test_speakers_are_alone_up_to_twelve_and_in_six_groups_above():
    assert [fold.name for fold in make_folds(acted(12, 2), "groups")] == [f"{n:02}" for n in range(12)]
    utterances = acted(24, 2)
    folds = make_folds(utterances, "groups")
    speakers = utterances.set_index("utterance")["speaker"]
    tested = [sorted(set(speakers[list(fold.test)])) for fold in folds]
    assert [fold.name for fold in folds] == [f"group-{n}" for n in range(1, 7)]
    assert sorted(sum(tested, [])) == sorted(set(speakers))
    assert all(sorted(int(speaker) % 2 for speaker in group) == [0, 0, 1, 1] for group in tested)  # both sexes
    assert not any(set(speakers[list(fold.train)]) & set(speakers[list(fold.test)]) for fold in folds)
    given = make_folds(utterances.assign(group=utterances["speaker"].str[:1]), "groups")
    assert [fold.name for fold in given] == ["0", "1", "2"]


def test_random_folds_share_speakers_and_do_not_depend_on_the_order_of_rows():
    utterances = acted(6, 5)
    folds = make_folds(utterances, "random")
    assert [len(fold.test) for fold in folds] == [12] * 5
    other = make_folds(utterances.iloc[::-1].reset_index(drop=True), "random")
    assert [set(fold.test) for fold in folds] == [set(fold.test) for fold in other]
    assert (audit(utterances, folds)["shared_speakers"] > 0).all()


@pytest.mark.parametrize("num_sentences", [2, 5, 90])
def test_text_folds_share_neither_speakers_nor_sentences(num_sentences):
    utterances = acted(4, num_sentences)
    folds = make_folds(utterances, "text")
    audited = audit(utterances, folds)
    assert (audited[["shared_speakers", "shared_transcripts"]] == 0).all(axis=None)
    part = 2 * -(-num_sentences // min(5, num_sentences))
    assert all(len(fold.test) in (part, part - 2) for fold in folds)
    with pytest.raises(ConfigError, match="at least two different sentences"):
        make_folds(acted(4, 1), "text")


def test_the_three_protocols_by_hand():
    utterances = table([
        ("Ses01F_impro01_F000", "sad", ""),
        ("Ses01F_impro01_M000", "sad", ""),
        ("Ses01M_script01_1b_F000", "sad", ""),
        ("Ses02M_impro05a_M000", "sad", ""),
    ])  # fmt: skip
    tests = {p: {fold.name: fold.test for fold in make_folds(utterances, p)} for p in OF_DIALOGS}
    ids = utterances["utterance"].tolist()
    assert tests["speaker"] == {"Ses01F": (ids[0], ids[2]), "Ses01M": (ids[1],), "Ses02M": (ids[3],)}
    assert tests["released"] == {"01F": (ids[0], ids[1]), "01M": (ids[2],), "02M": (ids[3],)}
    assert tests["session"] == {"Ses01": tuple(ids[:3]), "Ses02": (ids[3],)}
    assert make_folds(utterances, "session")[0].train == (ids[3],)


def test_make_folds_refuses():
    utterances = table([("Ses01F_impro01_F000", "sad", ""), ("Ses01F_impro01_F001", "sad", "")])
    with pytest.raises(ValueError, match="unknown protocol 'actor'; choose one of speaker, released, session"):
        make_folds(utterances, "actor")
    with pytest.raises(ValueError, match="at least two groups of utterances; the table has Ses01F"):
        make_folds(utterances, "speaker")
    with pytest.raises(ValueError, match="the table has no utterance"):
        make_folds(utterances.iloc[:0], "speaker")
    with pytest.raises(ValueError, match="Ses01F_impro01_F000 occurs twice"):
        make_folds(pd.concat([utterances, utterances]), "speaker")


def test_sizes_on_the_known_counts(known):
    sizes = {p: {fold.name: len(fold.test) for fold in make_folds(known, p)} for p in OF_DIALOGS}
    assert list(sizes["released"].values()) == [507, 578, 505, 518, 536, 615, 553, 478, 644, 597]
    assert sizes["released"] == paper.RELEASED_TEST_SIZES
    assert sizes["speaker"] == paper.SPEAKER_TEST_SIZES
    assert list(sizes["session"]) == ["Ses01", "Ses02", "Ses03", "Ses04", "Ses05"]
    for protocol in OF_DIALOGS:
        assert sum(sizes[protocol].values()) == paper.NUM_UTTERANCES
        for fold in make_folds(known, protocol):
            assert len(fold.train) + len(fold.test) == paper.NUM_UTTERANCES


utterance_ids = st.builds(
    "Ses{:02}{}_{}_{}{:03}".format,
    st.integers(1, 5),
    st.sampled_from("FM"),
    st.sampled_from(["impro01", "impro05a", "script01_1b"]),
    st.sampled_from("FM"),
    st.integers(0, 3),
)
texts = st.sampled_from(["Yes.", "yes!", "[LAUGHTER]", "", "I do not know you.", "i do not, know you", "No"])
tables = st.dictionaries(utterance_ids, st.tuples(st.sampled_from(EMOTIONS), texts), min_size=2, max_size=30).map(
    lambda rows: table([(name, *row) for name, row in sorted(rows.items())])
)


@given(tables, st.sampled_from([p for p in PROTOCOLS if p != "text"]))
def test_each_utterance_is_tested_once(utterances, protocol):
    if fold_names(utterances, protocol).nunique() < 2:
        return
    folds = make_folds(utterances, protocol)
    assert sorted(name for fold in folds for name in fold.test) == utterances["utterance"].tolist()
    assert [fold.name for fold in folds] == sorted({fold.name for fold in folds})
    speakers = utterances.set_index("utterance")["speaker"]
    for fold in folds:
        assert sorted((*fold.train, *fold.test)) == utterances["utterance"].tolist()
        if protocol not in ("released", "random"):
            assert not set(speakers[list(fold.train)]) & set(speakers[list(fold.test)])
        if protocol == "speaker":
            assert set(speakers[list(fold.test)]) == {fold.name}


# --- audit ---


def test_audit_by_hand():
    utterances = table([
        ("Ses01F_impro01_F000", "happy", "Yes."),  # test: also said in training, by happy 2, sad 1
        ("Ses01F_impro01_F001", "sad", "YES!"),  # test: the same, not the majority's label
        ("Ses01F_impro01_M000", "sad", "I do not know you."),  # test: training has it twice, sad and angry
        ("Ses01F_impro01_M001", "sad", "That is not what I meant."),  # test only
        ("Ses01F_impro01_M002", "sad", "[LAUGHTER]"),  # test: no text
        ("Ses01M_impro01_F000", "happy", "yes"),
        ("Ses01M_impro01_F001", "happy", "Yes [BREATHING]"),
        ("Ses01M_impro01_F002", "sad", "Yes..."),
        ("Ses02F_impro01_M000", "sad", "i do not know you"),
        ("Ses02F_impro01_M001", "angry", "I do not know YOU"),
        ("Ses02F_impro01_M002", "angry", "[LAUGHTER]"),
    ])  # fmt: skip
    row = audit(utterances, make_folds(utterances, "released")).iloc[0].to_dict()
    assert row == {
        "fold": "01F",
        "num_train": 6,
        "num_test": 5,
        "shared_speakers": 1,  # Ses01F
        "shared_dialogs": 0,
        "test_in_train_speaker_share": 2 / 5,
        "named_speaker_share": 2 / 5,
        "shared_transcripts": 2,
        "num_with_text": 4,
        "num_repeated": 3,
        "repeated_text_share": 3 / 4,
        "num_five_words": 2,
        "num_repeated_five_words": 1,
        "repeated_text_share_five_words": 1 / 2,
        "repeated_text_majority_right": (1 + 0 + 1 / 2) / 3,
    }


def test_audit_without_text_is_nan_and_not_an_error():
    utterances = table([("Ses01F_impro01_F000", "sad", ""), ("Ses01F_impro01_M000", "sad", "[LAUGHTER]")])
    audited = audit(utterances, make_folds(utterances, "speaker"))
    assert audited["shared_dialogs"].tolist() == [1, 1]
    assert audited["num_repeated"].tolist() == [0, 0]
    assert audited["repeated_text_share"].isna().all() and audited["repeated_text_majority_right"].isna().all()


def test_audit_refuses_unknown_utterances():
    utterances = table([("Ses01F_impro01_F000", "sad", "")])
    with pytest.raises(ValueError, match="fold x names 1 utterances that the table lacks, e.g. other"):
        audit(utterances, [Fold("x", ("Ses01F_impro01_F000",), ("other",))])


def test_released_folds_share_every_speaker_and_speaker_folds_none(known):
    released = audit(known, make_folds(known, "released"))
    assert (released["test_in_train_speaker_share"] == 1.0).all()
    assert (released["shared_speakers"] == 2).all() and (released["shared_dialogs"] == 0).all()
    named = np.average(released["named_speaker_share"], weights=released["num_test"])
    assert named == pytest.approx(0.503, abs=0.0005)  # difference 1 of the audit

    speaker = audit(known, make_folds(known, "speaker"))
    assert (speaker["shared_speakers"] == 0).all() and (speaker["test_in_train_speaker_share"] == 0.0).all()
    assert (speaker["named_speaker_share"] == 1.0).all()
    assert (speaker["shared_dialogs"] > 20).all()  # a speaker's dialogs are also the partner's

    session = audit(known, make_folds(known, "session"))
    assert len(session) == 5 and session["named_speaker_share"].isna().all()
    assert (session[["shared_speakers", "shared_dialogs"]] == 0).all(axis=None)
    for audited in (released, speaker, session):
        assert audited["num_test"].sum() == 5531
        assert audited["num_with_text"].sum() == 5531 - 31


@given(tables, st.sampled_from(OF_DIALOGS))
def test_audit_holds_its_denominators(utterances, protocol):
    if fold_names(utterances, protocol).nunique() < 2:
        return
    for row in audit(utterances, make_folds(utterances, protocol)).itertuples():
        assert row.num_test >= row.num_with_text >= row.num_repeated >= row.num_repeated_five_words
        assert row.num_with_text >= row.num_five_words >= row.num_repeated_five_words
        assert row.shared_transcripts <= row.num_repeated
        if row.num_repeated:
            assert 0 <= row.repeated_text_majority_right <= 1
            assert row.repeated_text_share == row.num_repeated / row.num_with_text
