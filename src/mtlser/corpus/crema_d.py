"""CREMA-D: twelve English sentences, acted by 43 women and 48 men before a camera.

Its authors ask who uses it to fill in the form that their page links to.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from mtlser.corpus.cards import Card
from mtlser.corpus.iemocap import ReleaseError
from mtlser.corpus.reading import as_table, audio_files

CARD = Card(
    name="crema-d",
    title="CREMA-D",
    language="English",
    texts="12 sentences, each spoken in every emotion, one of them at three levels",
    licence="ODbL 1.0, its contents DbCL 1.0",
    licence_address="https://opendatacommons.org/licenses/odbl/1-0/",
    citation="Cao, Cooper, Keutmann, Gur, Nenkova, Verma: CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset. "
    "IEEE Transactions on Affective Computing 5(4), 2014, 377-390",
    source="https://github.com/CheyneyComputerScience/CREMA-D",
    by_emotion={"neutral": 1087, "happy": 1271, "angry": 1271, "sad": 1270},
    num_speakers=91,
    hours=3.39,
    digest="file_sha256",  # as the repository's pointers of Git LFS have it
    share_alike=True,
)

# 1001_DFA_ANG_XX: actor, sentence, the emotion that was asked for (disgust and fear are left out), its level.
_NAME = re.compile(r"(?P<actor>10\d\d)_(?P<text>[A-Z]{3})_(?P<emotion>ANG|DIS|FEA|HAP|NEU|SAD)_(?:LO|MD|HI|XX)")
EMOTION_OF_CODE = {"NEU": "neutral", "HAP": "happy", "ANG": "angry", "SAD": "sad"}
SILENT = "1076_MTI_SAD_XX"  # "no audio", says the corpus's README

# 1006_TIE_HAP_XX and 1006_TIE_NEU_XX are one recording with two labels (the same bytes); both are kept.

# Sex in VideoDemographics.csv; the other 48 are men.
WOMEN = (
    "1002 1003 1004 1006 1007 1008 1009 1010 1012 1013 1018 1020 1021 1024 1025 1028 1029 1030 1037 1043 1046 1047 "
    "1049 1052 1053 1054 1055 1056 1058 1060 1061 1063 1072 1073 1074 1075 1076 1078 1079 1082 1084 1089 1091"
).split()

SENTENCES = {
    "DFA": "Don't forget a jacket",
    "IEO": "It's eleven o'clock",
    "IOM": "I'm on my way to the meeting",
    "ITH": "I think I have a doctor's appointment",
    "ITS": "I think I've seen this before",
    "IWL": "I would like a new alarm clock",
    "IWW": "I wonder what this is about",
    "MTI": "Maybe tomorrow it will be cold",
    "TAI": "The airplane is almost full",
    "TIE": "That is exactly what happened",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}


def read(folder: Path) -> pd.DataFrame:
    """The utterances of the four classes among the wavs below a folder (the repository, its `AudioWAV`, or a copy).

    Raises ReleaseError for a name that CREMA-D doesn't have, and where Git LFS left pointers instead of audio.
    """
    rows = []
    for name, path in audio_files(folder, "*.wav").items():
        parts = _NAME.fullmatch(name)
        if parts is None or parts["text"] not in SENTENCES:
            raise ReleaseError(f"{path}: CREMA-D's names are like 1001_DFA_ANG_XX: actor, sentence, emotion, level")
        if parts["emotion"] in EMOTION_OF_CODE and name != SILENT:
            rows.append(
                {
                    "utterance": name,
                    "speaker": parts["actor"],
                    "emotion": EMOTION_OF_CODE[parts["emotion"]],
                    "transcript": SENTENCES[parts["text"]],
                    "wav": str(path),
                    "sex": "female" if parts["actor"] in WOMEN else "male",
                    "text_id": parts["text"],
                }
            )
    if rows and Path(rows[0]["wav"]).read_bytes().startswith(b"version https://git-lfs"):
        raise ReleaseError(f"{rows[0]['wav']} is a pointer, not audio; there: git lfs pull --include='AudioWAV/*'")
    return as_table(rows)
