"""What the readers of open corpora share: audio files by name, and rows that become the common table."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from mtlser.corpus.audio import NUM_THREADS, AudioError, AudioFilesError, audio_seconds
from mtlser.corpus.iemocap import COLUMNS, ReleaseError

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
OPEN_COLUMNS = [*COLUMNS, "sex", "text_id"]


def audio_files(folder: Path, pattern: str = "*") -> dict[str, Path]:
    """Name without suffix -> file, of all audio files below the folder whose name fits; sorted.

    Names that start with a dot are left out. Raises ReleaseError where a name occurs twice, or never.
    """
    if not folder.is_dir():
        raise ReleaseError(f"{folder} is not a folder; give the one that holds the corpus")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob(pattern)):
        if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith("."):
            if path.stem in found:
                raise ReleaseError(f"{path.stem} lies twice under {folder}: {found[path.stem]} and {path}")
            found[path.stem] = path
    if not found:
        raise ReleaseError(f"{folder} holds no audio named {pattern} ({', '.join(AUDIO_SUFFIXES)})")
    return found


def as_table(rows: list[dict]) -> pd.DataFrame:
    """Rows with utterance, speaker, emotion, transcript, wav, sex, text_id -> the table of `load_release`, sorted.

    Dialog and session are empty, an utterance starts at 0 and ends with its file. `sex` and `text_id` may be "".
    Raises AudioFilesError that lists every file that is missing, cut short or no audio.
    """
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        seconds = list(pool.map(_seconds, [row["wav"] for row in rows]))
    if problems := [found for found in seconds if isinstance(found, AudioError)]:
        raise AudioFilesError(problems, len(rows))
    table = pd.DataFrame(rows).assign(dialog="", session="", start_seconds=0.0, end_seconds=seconds)
    table = table.sort_values("utterance", ignore_index=True).reindex(columns=OPEN_COLUMNS, fill_value="")
    return table.astype({name: "str" for name in OPEN_COLUMNS if not name.endswith("_seconds")})


def _seconds(path: Path) -> float | AudioError:
    try:
        return audio_seconds(path)
    except AudioError as error:
        return error
