"""What is known of a release, by IEMOCAP's counts or a pocket corpus's manifest, and how a copy differs from it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from mtlser.config import DATA_FOLDER, EMOTIONS, POCKET_GENERATOR_VERSION, PocketCorpusConfig

RELEASE_FOLDER = "IEMOCAP_full_release"
MANIFEST = "pocket_manifest.json"  # what a pocket corpus is written with: its settings, and its counts

FINGERPRINT = "sha256_of_sorted_utterance_emotion_lines"

# The keys of the counts, and the columns of `_with_groups` that they count.
_GROUPS = {"by_session": "session", "by_speaker": "speaker", "by_released_fold": "released fold"}
EXPECTED_KEYS = ("total", "by_emotion", "by_dialog_kind", *_GROUPS, "num_dialogs", FINGERPRINT)


@dataclass
class Findings:
    """What reading met besides utterances; `differences` alone refuse a copy, `hints` explain a refusal."""

    differences: list[dict] = field(default_factory=list)
    hints: list[dict] = field(default_factory=list)


def fingerprint(utterances: pd.DataFrame) -> str:
    """SHA-256 of the sorted lines `<utterance id> <emotion>` joined by newlines."""
    pairs = zip(utterances["utterance"], utterances["emotion"], strict=True)
    lines = sorted(f"{utterance} {emotion}" for utterance, emotion in pairs)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def count_utterances(utterances: pd.DataFrame) -> dict:
    """Counts and fingerprint in the shape of data/iemocap_counts.json."""
    table = _with_groups(utterances)
    return {
        "total": len(table),
        "by_emotion": _tally(table["emotion"]),
        "by_dialog_kind": _tally(table["kind"]),
        **{
            key: {group: _tally(rows) | {"total": len(rows)} for group, rows in table["emotion"].groupby(table[column])}
            for key, column in _GROUPS.items()
        },
        "num_dialogs": table["dialog"].nunique(),
        FINGERPRINT: fingerprint(table),
    }


def _with_groups(utterances: pd.DataFrame) -> pd.DataFrame:
    kinds = utterances["dialog"].str.contains("_impro").map({True: "impro", False: "script"})
    return utterances.assign(**{"kind": kinds, "released fold": utterances["dialog"].str[3:6]})


def _tally(values: pd.Series) -> dict[str, int]:
    return {str(value): int(count) for value, count in values.value_counts().items()}


def iemocap_counts() -> dict:
    """What is known of IEMOCAP's four classes: data/iemocap_counts.json."""
    return json.loads((DATA_FOLDER / "iemocap_counts.json").read_text(encoding="utf-8"))


def is_complete(folder: str | Path, settings: PocketCorpusConfig) -> bool:
    """Whether `folder` holds the whole pocket corpus of these settings: by its manifest, and no file missing."""
    release = Path(folder) / RELEASE_FOLDER
    try:
        manifest = json.loads((release / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    same = (manifest.get("generator_version"), manifest.get("settings")) == (POCKET_GENERATOR_VERSION, asdict(settings))
    return same and manifest.get("num_files") == count_files(release)


def count_files(release: Path) -> int:
    """Files of a pocket corpus besides the manifest, which is written last."""
    return sum(len(files) for _, _, files in os.walk(release)) - (release / MANIFEST).is_file()


def compare(utterances: pd.DataFrame, expected: Mapping, findings: Findings) -> pd.DataFrame:
    """Rows what, expected, found, dialogs; empty when nothing differs."""
    found, table = count_utterances(utterances), _with_groups(utterances)
    folds, found_folds = expected["by_released_fold"], found["by_released_fold"]
    differing = [fold for fold in folds.keys() | found_folds.keys() if folds.get(fold) != found_folds.get(fold)]
    if differing:  # what differs is in these dialogs, whatever else is counted
        table = table[table["released fold"].isin(differing)]
    rows = []
    for what, want, have, column, value in _count_rows(expected, found):
        if want != have:
            about = table if column is None else table[table[column] == value]
            rows.append(row_of(what, want, have, sorted(set(about["dialog"]))))
    rows += findings.differences
    if expected[FINGERPRINT] != found[FINGERPRINT]:
        row = row_of("fingerprint", expected[FINGERPRINT], found[FINGERPRINT])
        rows.append(row if rows else row | {"dialogs": "(counts agree: a hash can't tell which labels differ)"})
    if rows:
        rows += findings.hints
    return pd.DataFrame(rows, columns=["what", "expected", "found", "dialogs"])


def _count_rows(expected: Mapping, found: Mapping) -> Iterator[tuple]:
    """(what, expected, found, column and value of the rows that it is about) for each number that is known."""
    yield "utterances", expected["total"], found["total"], None, None
    yield "dialogs", expected["num_dialogs"], found["num_dialogs"], None, None
    for key, column, values in (("by_dialog_kind", "kind", ("impro", "script")), ("by_emotion", "emotion", EMOTIONS)):
        for value in values:
            yield f"utterances, {value}", expected[key].get(value, 0), found[key].get(value, 0), column, value
    for key, column in _GROUPS.items():
        for group in sorted(expected[key].keys() | found[key].keys()):
            for emotion in ("total", *EMOTIONS):
                want, have = (counts[key].get(group, {}).get(emotion, 0) for counts in (expected, found))
                what = f"utterances, {column} {group}" + ("" if emotion == "total" else f", {emotion}")
                yield what, want, have, column, group


def row_of(what: str, expected: object, found: object, dialogs: list[str] = ()) -> dict:
    """A row of a difference table."""
    return {"what": what, "expected": expected, "found": found, "dialogs": " ".join(dialogs)}


def format_table(table: pd.DataFrame) -> str:
    """The difference table as text: hashes and long lists of dialogs are cut; `ReleaseDiffers.table` has them whole."""
    rows = [table.columns, *([_cut(value) for value in row] for row in table.itertuples(index=False))]
    widths = [max(len(row[column]) for row in rows) for column in range(3)] + [0]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _cut(value: object) -> str:
    text = str(value)
    names = text.split()
    if len(names) > 4 and names[0].startswith("Ses"):
        return f"{' '.join(names[:3])} … {names[-1]} ({len(names)} dialogs)"
    return f"{text[:12]}…" if len(text) == 64 and len(names) == 1 else text
