"""CREMA-D from a tree with all of its names, and what would be fetched of it and of the other open corpora."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mtlser.corpus import OPEN_CORPORA, crema_d, load
from mtlser.corpus.cards import check_audio
from mtlser.corpus.iemocap import ReleaseDiffers, ReleaseError
from mtlser.corpus.pocket import write_wav
from mtlser.corpus.sources import downloads
from mtlser.corpus.text import encode, normalise

CARD = crema_d.CARD
ACTORS = ("1001", "1076", "1091")
LEFT_OUT = ["1001_DFA_DIS_XX", "1001_IEO_FEA_HI", crema_d.SILENT]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The repository, of three actors, each file a tenth of a second. Read only."""
    wavs = tmp_path_factory.mktemp("crema") / "AudioWAV"
    write_wav(wavs / "1001_DFA_ANG_XX.wav", np.zeros(1600))
    content = (wavs / "1001_DFA_ANG_XX.wav").read_bytes()
    for name in [*CARD.known()["utterance"], *LEFT_OUT]:
        if name.startswith(ACTORS):
            (wavs / f"{name}.wav").write_bytes(content)
    (wavs.parent / "AudioMP3").mkdir()
    (wavs.parent / "AudioMP3" / "1001_DFA_ANG_XX.mp3").write_bytes(b"the same recording")
    return wavs.parent


@pytest.fixture(scope="module")
def utterances(tree):
    return load("crema-d", tree, allow_different=True)


def test_what_the_card_says_is_what_is_known():
    known = CARD.known()
    assert known["emotion"].value_counts().to_dict() == CARD.by_emotion
    actors = set(known["utterance"].str[:4])
    assert len(actors) == CARD.num_speakers == 91
    assert len(set(crema_d.WOMEN) & actors) == len(crema_d.WOMEN) == 43  # "48 male and 43 female actors", its README


def test_the_known_utterances_are_read(utterances):
    known = CARD.known()
    known = known[known["utterance"].str.startswith(ACTORS)].reset_index(drop=True)
    pd.testing.assert_frame_equal(utterances[["utterance", "emotion"]], known[["utterance", "emotion"]])
    assert utterances["text_id"].nunique() == 12 and (utterances["end_seconds"] == 0.1).all()
    row = utterances.set_index("utterance").loc["1091_IEO_SAD_LO"]
    assert tuple(row[["speaker", "transcript", "sex"]]) == ("1091", "It's eleven o'clock", "female")
    assert set(utterances["sex"][utterances["speaker"] == "1001"]) == {"male"}
    for transcript in utterances["transcript"].unique():
        assert encode(normalise(transcript))


def test_a_tree_that_lacks_actors_differs(tree):
    with pytest.raises(ReleaseDiffers) as raised:
        load("crema-d", tree)
    assert "1002_DFA_ANG_XX" in str(raised.value) and "4899" in str(raised.value)


@pytest.mark.parametrize("name", ["1001_DFA_ANG", "1001_DFA_CAL_XX", "1001_ABC_ANG_XX", "03a01Fa", "1001_DFA_ANG_XX_2"])
def test_other_names_are_refused(tmp_path, name):
    write_wav(tmp_path / f"{name}.wav", np.zeros(1600))
    with pytest.raises(ReleaseError, match=f"{name}.wav: CREMA-D's names"):
        crema_d.read(tmp_path)


def test_pointers_are_no_audio(tmp_path):
    (tmp_path / "1001_DFA_ANG_XX.wav").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:c6f9\nsize 9\n"
    )
    with pytest.raises(ReleaseError, match="git lfs pull"):
        crema_d.read(tmp_path)


def test_files_are_compared_with_the_digests_of_the_repository(tree, utterances):
    known = CARD.known()
    digests = known["digest"] + 48 * "0"
    store = pd.DataFrame({"utterance": known["utterance"], "file_sha256": digests, "rate_hz": 16_000})
    check_audio(CARD, tree, utterances, store, allow_different=False)
    store.loc[3, "file_sha256"] = 64 * "0"
    with pytest.raises(ReleaseDiffers, match=known["utterance"][3]):
        check_audio(CARD, tree, utterances, store, allow_different=False)


def test_one_recording_has_two_labels():
    known = CARD.known()
    repeated = known[known["digest"].duplicated(keep=False)]
    assert list(repeated["utterance"]) == ["1006_TIE_HAP_XX", "1006_TIE_NEU_XX"]


@pytest.mark.parametrize("name", OPEN_CORPORA)
def test_every_open_corpus_has_an_official_address(name):
    files = downloads(name)
    assert all(
        file.url.startswith(("https://zenodo.org/records/", "https://github.com/", "https://media.")) for file in files
    )
    assert len({file.file for file in files}) == len(files)
    if name != "nemo":  # an archive that GitHub makes when it is asked for
        assert all(file.num_bytes and (file.sha256 or file.md5) for file in files)


def test_of_crema_d_the_four_classes_are_fetched():
    files = downloads("crema-d")
    assert [file.file for file in files] == [f"{name}.wav" for name in CARD.known()["utterance"]]
    first = files[0]  # of its pointer: oid sha256:c6f94b2592487c75…, size 72862
    assert first.url.endswith("/1658cd342dff90010aa843eaeebd53610a08b1dc/AudioWAV/1001_DFA_ANG_XX.wav")
    assert (first.num_bytes, first.sha256) == (72862, "c6f94b2592487c75")
    seconds = sum((file.num_bytes - 44) / 2 / 16_000 for file in files)  # 16 bit, 16 kHz, mono behind 44 bytes
    assert seconds / 3600 == pytest.approx(CARD.hours, abs=0.005)
