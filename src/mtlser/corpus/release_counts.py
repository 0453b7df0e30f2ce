"""What is known of a release's counts, and how a copy differs from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pandas as pd

from mtlser.config import DATA_FOLDER, EMOTIONS

FINGERPRINT = "sha256_of_sorted_utterance_emotion_lines"

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
    kinds = utterances["dialog"].str.contains("_impro").map({True: "impro", False: "script"})
    groups = {"by_session": utterances["session"], "by_speaker": utterances["speaker"]}
    groups["by_released_fold"] = utterances["dialog"].str[3:6]
    return {
        "total": len(utterances),
        "by_emotion": _tally(utterances["emotion"]),
        "by_dialog_kind": _tally(kinds),
        **{
            name: {group: _tally(rows) | {"total": len(rows)} for group, rows in utterances["emotion"].groupby(keys)}
            for name, keys in groups.items()
        },
        "num_dialogs": utterances["dialog"].nunique(),
        FINGERPRINT: fingerprint(utterances),
    }


def iemocap_counts() -> dict:
    """What is known of IEMOCAP's four classes: data/iemocap_counts.json."""
    return json.loads((DATA_FOLDER / "iemocap_counts.json").read_text(encoding="utf-8"))


def format_table(table: pd.DataFrame) -> str:
    """The difference table as text: hashes and long lists of dialogs are cut; `ReleaseDiffers.table` has them whole."""
    rows = [("what", "expected", "found", "dialogs")]
    for row in table.itertuples(index=False):
        rows.append((row.what, _cut_hash(row.expected), _cut_hash(row.found), _cut_list(row.dialogs)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)] + [0]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _cut_hash(value: object) -> str:
    return f"{value[:12]}…" if isinstance(value, str) and len(value) == 64 else str(value)


def _cut_list(dialogs: str) -> str:
    names = dialogs.split()
    if not names or not names[0].startswith("Ses") or len(names) <= 4:
        return dialogs
    return f"{' '.join(names[:3])} … {names[-1]} ({len(names)} dialogs)"


def compare(utterances: pd.DataFrame, expected: Mapping, findings: Findings) -> pd.DataFrame:
    """Rows what, expected, found, dialogs; empty when nothing differs."""
    found = count_utterances(utterances)
    differing_folds = {
        fold
        for fold in expected["by_released_fold"].keys() | found["by_released_fold"].keys()
        if expected["by_released_fold"].get(fold) != found["by_released_fold"].get(fold)
    }
    dialogs = utterances.drop_duplicates(["dialog", "speaker", "emotion"])
    if differing_folds:  # what differs is in these dialogs, whatever else is counted
        dialogs = dialogs[dialogs["dialog"].str[3:6].isin(differing_folds)]
    rows = [
        row_of(what, want, have, sorted(set(dialogs.loc[selected(dialogs), "dialog"])))
        for what, want, have, selected in _count_rows(expected, found)
        if want != have
    ]
    rows += findings.differences
    if expected[FINGERPRINT] != found[FINGERPRINT]:
        row = row_of("fingerprint", expected[FINGERPRINT], found[FINGERPRINT])
        rows.append(row if rows else row | {"dialogs": "(counts agree: a hash can't tell which labels differ)"})
    if rows:
        rows += findings.hints
    return pd.DataFrame(rows, columns=["what", "expected", "found", "dialogs"])


def _count_rows(expected: Mapping, found: Mapping) -> Iterator[tuple]:
    """(what, expected, found, which rows of a table it is about) for each number that is known."""

    def everything(table):
        return pd.Series(True, index=table.index)

    yield "utterances", expected["total"], found["total"], everything
    yield "dialogs", expected["num_dialogs"], found["num_dialogs"], everything
    for kind in ("impro", "script"):
        want, have = (counts["by_dialog_kind"].get(kind, 0) for counts in (expected, found))
        yield f"utterances, {kind}", want, have, lambda t, kind=kind: t["dialog"].str.contains(f"_{kind}")
    for emotion in EMOTIONS:
        want, have = (counts["by_emotion"].get(emotion, 0) for counts in (expected, found))
        yield f"utterances, {emotion}", want, have, lambda t, emotion=emotion: t["emotion"] == emotion
    for key, name in _GROUPS.items():
        for group in sorted(expected[key].keys() | found[key].keys()):
            for emotion in ("total", *EMOTIONS):
                want, have = (counts[key].get(group, {}).get(emotion, 0) for counts in (expected, found))
                what = f"utterances, {name} {group}" + ("" if emotion == "total" else f", {emotion}")
                yield what, want, have, lambda t, key=key, group=group: _group_of(t, key) == group


def _group_of(table: pd.DataFrame, key: str) -> pd.Series:
    return table["dialog"].str[3:6] if key == "by_released_fold" else table[key.removeprefix("by_")]


def row_of(what: str, expected: object, found: object, dialogs: list[str] = ()) -> dict:
    return {"what": what, "expected": expected, "found": found, "dialogs": " ".join(dialogs)}


def _tally(values: pd.Series) -> dict[str, int]:
    return {str(value): int(count) for value, count in values.value_counts().items()}
