"""A corpus of one's own: a folder of audio with a `metadata.csv`, as Hugging Face's audiofolder has it."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pandas as pd

from mtlser.corpus.iemocap import ReleaseError
from mtlser.corpus.reading import as_table
from mtlser.corpus.text import encode, normalise

METADATA = "metadata.csv"
SPEAKER = re.compile(r"\w[\w.-]{0,39}")
COLUMNS = ("file_name", "speaker", "emotion", "transcription")

# Labels as corpora write them, in lower case. None: another emotion, which the paper's four classes leave out.
EMOTION_OF_LABEL = {
    **dict.fromkeys(("neutral", "neutrality", "neu", "n"), "neutral"),
    **dict.fromkeys(("happy", "happiness", "joy", "hap", "excited", "excitement", "exc", "h"), "happy"),
    **dict.fromkeys(("angry", "anger", "ang", "a"), "angry"),
    **dict.fromkeys(("sad", "sadness", "s"), "sad"),
    **dict.fromkeys(
        ("fear", "fearful", "disgust", "disgusted", "surprise", "surprised", "calm", "boredom", "bored", "frustrated",
         "frustration", "contempt", "other", "unknown", "xxx")
    ),
}  # fmt: skip


def read(folder: Path) -> pd.DataFrame:
    """The utterances of the four classes that `metadata.csv` lists: file_name (below the folder), speaker, emotion,
    transcription (may be empty: the utterance is then left out of CTC and WER).

    Raises ReleaseError that lists every line with an unknown label, a missing speaker, a repeated file, or a
    transcription of other characters than A-Z and '.
    """
    path = Path(folder) / METADATA
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            lines, given = [(reader.line_num, row) for row in reader], reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReleaseError(f"{path} can't be read as UTF-8 text with commas ({error})") from error
    if missing := [name for name in COLUMNS if name not in given]:
        raise ReleaseError(f"{path}: no column {', '.join(missing)} in its first line; it needs {', '.join(COLUMNS)}")
    rows, problems, seen = [], [], {}
    for line, row in lines:
        values = {name: (row[name] or "").strip() for name in COLUMNS}
        name, label = values["file_name"], values["emotion"].lower()
        utterance = name.removesuffix(Path(name).suffix)
        if reason := _problem(values, label, seen.get(utterance)):
            problems.append(f"  line {line}: {reason}")
        elif EMOTION_OF_LABEL[label]:
            rows.append(
                {
                    "utterance": utterance,
                    "speaker": values["speaker"],
                    "emotion": EMOTION_OF_LABEL[label],
                    "transcript": values["transcription"],
                    "wav": str(path.parent / name),
                }
            )
        seen.setdefault(utterance, line)
    if problems:
        more = f"\n  … and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise ReleaseError("\n".join([f"{path}: {len(problems)} lines can't be used:", *problems[:20]]) + more)
    if len({row["speaker"] for row in rows}) < 2:
        raise ReleaseError(f"{path}: one speaker is tested while others train, so at least two speakers are needed")
    return as_table(rows)


def _problem(values: dict[str, str], label: str, first: int | None) -> str | None:
    """What is wrong with a line, or None. `first`: an earlier line with the same file."""
    if label not in EMOTION_OF_LABEL:
        return f"emotion {values['emotion']!r} is not known; write one of {', '.join(EMOTION_OF_LABEL)}"
    for column in ("file_name", "speaker"):
        if not values[column]:
            return f"{column} is empty"
    if not SPEAKER.fullmatch(values["speaker"]):
        return f"speaker {values['speaker']!r} names folds and folders: use letters, digits, _, . and -, 40 at most"
    if Path(values["file_name"]).is_absolute() or ".." in Path(values["file_name"]).parts:
        return f"file_name {values['file_name']!r} must lie below the folder"
    if first is not None:
        return f"{values['file_name']} stands in line {first} too, by its name without suffix"
    try:
        encode(normalise(values["transcription"]))
    except ValueError as error:
        return str(error)
    return None
