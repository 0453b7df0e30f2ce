"""The speech of RAVDESS: two English sentences, acted by twelve women and twelve men."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from mtlser.corpus.cards import Card
from mtlser.corpus.iemocap import ReleaseError
from mtlser.corpus.reading import as_table, audio_files

CARD = Card(
    name="ravdess",
    title="RAVDESS (speech)",
    language="English",
    texts="2 sentences, each spoken twice in every emotion and intensity",
    licence="CC BY-NC-SA 4.0",
    licence_address="https://creativecommons.org/licenses/by-nc-sa/4.0/",
    citation="Livingstone, Russo: The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS). PLoS ONE "
    "13(5), 2018, e0196391",
    source="https://doi.org/10.5281/zenodo.1188976",
    by_emotion={"neutral": 96, "happy": 192, "angry": 192, "sad": 192},
    num_speakers=24,
    hours=0.69,
    rate_hz=48_000,
    # EmoBox's folds of actors (Ma et al., Interspeech 2024).
    groups=tuple(
        tuple(actors.split())
        for actors in ("01 11 20 21", "04 10 12 14", "08 09 19 23", "03 05 07 24", "02 15 16 18", "06 13 17 22")
    ),
    share_alike=True,
)

# 03-01-EE-II-SS-RR-AA: audio alone, speech, emotion, intensity, sentence, repetition, actor.
_NAME = re.compile(r"03-01-(?P<emotion>0[1-8])-0[12]-(?P<text>0[12])-0[12]-(?P<actor>[01]\d|2[0-4])")
EMOTION_OF_CODE = {"01": "neutral", "03": "happy", "04": "sad", "05": "angry"}  # calm is another emotion
SENTENCES = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}


def sex_of(actor: str) -> str:
    """Odd numbers are men (the corpus's own description)."""
    return "male" if int(actor) % 2 else "female"


def read(folder: Path) -> pd.DataFrame:
    """The utterances of the four classes below a folder (`Actor_01` … `Actor_24`, or files of the same names).

    Raises ReleaseError for any other audio: songs (03-02-…) are another corpus, and altered copies have other names.
    """
    rows = []
    for name, path in audio_files(folder).items():
        parts = _NAME.fullmatch(name)
        if parts is None:
            raise ReleaseError(
                f"{path}: RAVDESS's speech has names like 03-01-05-01-02-01-12, and no other audio beside"
            )
        if parts["emotion"] in EMOTION_OF_CODE:
            rows.append(
                {
                    "utterance": name,
                    "speaker": parts["actor"],
                    "emotion": EMOTION_OF_CODE[parts["emotion"]],
                    "transcript": SENTENCES[parts["text"]],
                    "wav": str(path),
                    "sex": sex_of(parts["actor"]),
                    "text_id": parts["text"],
                }
            )
    return as_table(rows)
