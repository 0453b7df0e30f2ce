"""The Berlin Database of Emotional Speech (EmoDB): ten German sentences, acted by five women and five men."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mtlser.corpus.cards import Card
from mtlser.corpus.iemocap import ReleaseError
from mtlser.corpus.reading import as_table, audio_files

CARD = Card(
    name="emodb",
    title="EmoDB",
    language="German",
    texts="10 sentences, each spoken in every emotion",
    licence="CC BY 4.0",
    licence_address="https://creativecommons.org/licenses/by/4.0/",
    citation="Burkhardt, Paeschke, Rolfes, Sendlmeier, Weiss: A Database of German Emotional Speech. Interspeech 2005, "
    "1517-1520",
    source="https://doi.org/10.5281/zenodo.7447302",
    by_emotion={"neutral": 79, "happy": 71, "angry": 127, "sad": 62},
    num_speakers=10,
    hours=0.265,
)

# Names are SSTTTEv: speaker, text, emotion (L boredom, E disgust and A fear are left out), version.
EMOTION_OF_CODE = {"N": "neutral", "F": "happy", "W": "angry", "T": "sad"}
OTHER_CODES = "LEA"
MEN = ("03", "10", "11", "12", "15")
WOMEN = ("08", "09", "13", "14", "16")

SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen.",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}


def read(folder: Path) -> pd.DataFrame:
    """The utterances of the four classes below a folder (its `wav`, as the archive has it, or files of the same names).

    Raises ReleaseError for a name that EmoDB doesn't have.
    """
    rows = []
    for name, path in audio_files(folder).items():
        speaker, text, code = name[:2], name[2:5], name[5:6]
        if speaker not in MEN + WOMEN or text not in SENTENCES or code not in {*EMOTION_OF_CODE, *OTHER_CODES}:
            raise ReleaseError(f"{path}: EmoDB's names are like 03a01Wa: speaker, text, emotion, version")
        if code in EMOTION_OF_CODE:
            rows.append(
                {
                    "utterance": name,
                    "speaker": speaker,
                    "emotion": EMOTION_OF_CODE[code],
                    "transcript": SENTENCES[text],
                    "wav": str(path),
                    "sex": "male" if speaker in MEN else "female",
                    "text_id": text,
                }
            )
    return as_table(rows)
