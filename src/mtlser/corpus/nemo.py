"""nEMO: ninety Polish sentences, each acted in every emotion by nine speakers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mtlser.corpus.cards import Card
from mtlser.corpus.iemocap import ReleaseError
from mtlser.corpus.reading import as_table

CARD = Card(
    name="nemo",
    title="nEMO",
    language="Polish",
    texts="90 sentences, each spoken in every emotion",
    licence="CC BY-NC-SA 4.0",
    licence_address="https://creativecommons.org/licenses/by-nc-sa/4.0/",
    citation="Christop: nEMO: Dataset of Emotional Speech in Polish. LREC-COLING 2024, 12111-12116",
    source="https://github.com/amu-cai/nEMO",
    by_emotion={"neutral": 809, "happy": 749, "angry": 749, "sad": 769},
    num_speakers=9,
    hours=2.11,
    rate_hz=24_000,
    share_alike=True,
)

EMOTIONS_OF_CORPUS = {"neutral": "neutral", "happiness": "happy", "anger": "angry", "sadness": "sad"}
OTHER_EMOTIONS = ("fear", "surprised")
COLUMNS = ("file_id", "emotion", "raw_text", "speaker_id", "gender")

# Of Polish letters, those that Unicode doesn't take apart into a letter and an accent (departure "transliteration").
TRANSLITERATION = str.maketrans("łŁ", "lL")


def read(folder: Path) -> pd.DataFrame:
    """The utterances of the four classes of the folder that holds `data.tsv` and `samples`.

    Transcripts are in A-Z without accents, for the 32 characters of wav2vec2-base. Raises ReleaseError for a table
    without the known columns, or with another emotion (line).
    """
    path = Path(folder) / "data.tsv"
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ReleaseError(f"{path} can't be read ({error}); nEMO's folder holds data.tsv and samples") from error
    if missing := [name for name in COLUMNS if name not in table]:
        raise ReleaseError(f"{path} has no column {', '.join(missing)}")
    rows = []
    for line, row in enumerate(table.to_dict("records"), start=2):
        if row["emotion"] not in {*EMOTIONS_OF_CORPUS, *OTHER_EMOTIONS}:
            raise ReleaseError(f"{path}, line {line}: {row['emotion']!r} is no emotion of nEMO")
        if Path(row["file_id"]).name != row["file_id"]:
            raise ReleaseError(f"{path}, line {line}: {row['file_id']!r} is no name of a file in samples")
        if row["emotion"] in EMOTIONS_OF_CORPUS:
            name = row["file_id"].removesuffix(".wav")
            rows.append(
                {
                    "utterance": name,
                    "speaker": row["speaker_id"].strip(),
                    "emotion": EMOTIONS_OF_CORPUS[row["emotion"]],
                    "transcript": row["raw_text"].translate(TRANSLITERATION),
                    "wav": str(path.parent / "samples" / row["file_id"]),
                    "sex": row["gender"],
                    "text_id": name.rpartition("_")[2],
                }
            )
    return as_table(rows)
