"""An IEMOCAP release on disk becomes one table of utterances, checked against what is known of the corpus."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from mtlser.corpus.audio import AudioFilesError, audio_problems
from mtlser.corpus.release_counts import (
    EXPECTED_KEYS,
    MANIFEST,
    RELEASE_FOLDER,
    Findings,
    compare,
    fingerprint,
    format_table,
    iemocap_counts,
    row_of,
)  # fmt: skip

__all__ = ["ReleaseDiffers", "ReleaseError", "find_release", "fingerprint", "iemocap_counts", "load_release"]

NUM_SESSIONS = 5
COLUMNS = ["utterance", "dialog", "session", "speaker", "emotion", "transcript", "wav", "start_seconds", "end_seconds"]

# Section 4.1: four classes, excited merged into happy. None: a code of the release that the paper leaves out.
EMOTION_OF_CODE = {"neu": "neutral", "hap": "happy", "exc": "happy", "ang": "angry", "sad": "sad"} | dict.fromkeys(
    ("dis", "fea", "fru", "oth", "sur", "xxx")
)

# [140.2250 - 145.6000]<TAB>Ses01F_impro05_F019<TAB>ang<TAB>[1.5000, 4.0000, 4.5000]
_LABEL = re.compile(
    r"\[(?P<start>\d+(?:\.\d+)?) - (?P<end>\d+(?:\.\d+)?)\]\s+"
    r"(?P<utterance>(?P<dialog>(?P<session>Ses0[1-5])[FM]_\w+)_(?P<gender>[FM])[^\W_]*)\s+(?P<code>[a-z]{3})\s*(?:\[|$)"
)
# Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.    Stray lines ("M: …") have no such id.
_TRANSCRIPT = re.compile(r"(Ses\w+)\s*(?:\[\s*[\d.]+\s*-\s*[\d.]+\s*\]\s*:?|:)(.*)")

_log = logging.getLogger(__name__)


class ReleaseError(ValueError):
    """A folder is not a release that can be read; the message names the file and line, or what was looked for."""


class ReleaseDiffers(ReleaseError):
    """A release differs from what is known of it. `table` has columns what, expected, found, dialogs."""

    def __init__(self, release: Path, table: pd.DataFrame, expected_from: str, wav_report: str = ""):
        wavs = f"{wav_report}\nThese files are needed in any case.\n\n" if wav_report else ""
        super().__init__(
            f"{release} differs from {expected_from}:\n\n{format_table(table)}\n\n{wavs}"
            "To use this copy all the same, pass allow_different=True (with make: ALLOW_DIFFERENT=1); its results are "
            "then not about the known corpus, and say so."
        )
        self.table = table


def load_release(path: str | Path, *, allow_different: bool = False, expected: Mapping | None = None) -> pd.DataFrame:
    """The utterances of the four classes, sorted by id, columns COLUMNS; `wav` is a path, times are in the dialog.

    `path` is the release folder (it holds Session1 … Session5) or its parent. `expected` has the keys of
    data/iemocap_counts.json; by default the release's own pocket_manifest.json where there is one, else IEMOCAP's
    known counts. With `allow_different=True` a copy that differs is logged, and its differences are kept as records in
    the table's `attrs["differences"]`; an utterance without a transcript then has an empty one.

    Raises ReleaseDiffers (with the whole difference as `.table`), and ReleaseError for a folder without sessions, a
    malformed or repeated label (file and line), and wavs that are missing, unreadable, empty or not 16 kHz mono, all
    named at once.
    """
    release = find_release(path)
    expected, expected_from = _expectation(release, expected)
    utterances, findings = _read_utterances(release)
    problems = audio_problems(utterances["wav"])
    wav_report = str(AudioFilesError(problems, len(utterances))) if problems else ""
    table = compare(utterances, expected, findings)
    if len(table):
        if not allow_different:
            if problems:
                dialogs = sorted({Path(problem.path).parent.name for problem in problems})
                count = len(utterances)
                table.loc[len(table)] = row_of("wavs that can be read", count, count - len(problems), dialogs)
            raise ReleaseDiffers(release, table, expected_from, wav_report)
        _log.warning("%s differs from %s:\n%s", release, expected_from, format_table(table))
        utterances.attrs["differences"] = table.to_dict("records")
    if problems:
        raise ReleaseError(f"{release}: {wav_report}")
    return utterances


def find_release(path: str | Path) -> Path:
    """The folder that holds Session1 … Session5: `path` or its IEMOCAP_full_release. Raises ReleaseError otherwise."""
    path = Path(path).expanduser()
    for candidate in (path, path / RELEASE_FOLDER):
        if any((candidate / f"Session{n}").is_dir() for n in range(1, NUM_SESSIONS + 1)):
            return candidate
    state = "holds neither" if path.is_dir() else "is not a folder; a release holds"
    inside = f"Session1 … Session{NUM_SESSIONS} {'nor' if path.is_dir() else 'or'} {RELEASE_FOLDER}/Session1 …"
    raise ReleaseError(f"{path} {state} {inside}: give the release folder or its parent")


def _expectation(release: Path, expected: Mapping | None) -> tuple[Mapping, str]:
    manifest = release / MANIFEST
    source = "the expected counts"
    if expected is None and manifest.is_file():
        source = f"its own {MANIFEST}"
        try:
            expected = json.loads(manifest.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ReleaseError(f"{manifest} is not JSON ({error}); make the pocket corpus again") from error
    elif expected is None:
        expected, source = iemocap_counts(), "the known counts of IEMOCAP"
    if missing := [key for key in EXPECTED_KEYS if key not in expected]:
        raise ReleaseError(f"{release}: {source} lack {', '.join(missing)}")
    return expected, source


def _read_utterances(release: Path) -> tuple[pd.DataFrame, Findings]:
    findings = Findings()
    rows = [
        row for number in range(1, NUM_SESSIONS + 1) for row in _read_session(release / f"Session{number}", findings)
    ]
    places: dict[str, str] = {}
    for row in rows:
        if (first := places.setdefault(row["utterance"], row["place"])) != row["place"]:
            raise ReleaseError(f"utterance {row['utterance']} is labelled twice: {first} and {row['place']}")
    rows = [row for row in rows if row["emotion"]]
    _match_transcripts(rows, findings)
    utterances = pd.DataFrame(rows, columns=COLUMNS).sort_values("utterance", ignore_index=True)
    text_columns = [column for column in COLUMNS if not column.endswith("_seconds")]
    return utterances.astype({column: "str" for column in text_columns}), findings


def _read_session(session: Path, findings: Findings) -> list[dict]:
    if not session.is_dir():
        findings.hints.append(row_of(f"folder {session.name}", "present", "missing"))
        return []
    labels = _names(session, "dialog/EmoEvaluation", "Ses*.txt", findings)
    transcribed = _names(session, "dialog/transcriptions", "Ses*.txt", findings)
    recorded = _names(session, "sentences/wav", "Ses*", findings)
    for what, lacking in (
        ("label files", (transcribed | recorded).keys() - labels.keys()),
        ("transcription files", labels.keys() - transcribed.keys()),
        ("wav folders", labels.keys() - recorded.keys()),
    ):
        if lacking:
            found = f"{len(lacking)} missing"
            findings.hints.append(row_of(f"{what}, {session.name}", "one per dialog", found, sorted(lacking)))
    rows = []
    for dialog, file in labels.items():
        transcripts = _read_transcripts(transcribed[dialog], findings) if dialog in transcribed else {}
        before = len(rows)
        for row in _read_labels(file):
            row["transcript"] = transcripts.get(row["utterance"])
            row["wav"] = str(session / "sentences" / "wav" / dialog / f"{row['utterance']}.wav")
            rows.append(row)
        if len(rows) == before:
            findings.hints.append(row_of(f"labels in {file.name}", "some", "none", [dialog]))
    return rows


def _names(session: Path, folder: str, pattern: str, findings: Findings) -> dict[str, Path]:
    """Dialog name -> file or folder, sorted. The pattern leaves out names that start with a dot, such as ._Ses01F…"""
    if not (session / folder).is_dir():
        findings.hints.append(row_of(f"folder {session.name}/{folder}", "present", "missing"))
        return {}
    is_file = pattern.endswith(".txt")
    paths = sorted(path for path in (session / folder).glob(pattern) if path.is_file() == is_file)
    return {path.stem if is_file else path.name: path for path in paths}


def _read_labels(file: Path) -> Iterator[dict]:
    """One row per label line, which starts with `[` and a digit; every other line (%, C-E2, A-F1, …) is a rater's."""
    for number, line in enumerate(_lines(file), start=1):
        if not re.match(r"\[\d", line):
            continue
        label = _LABEL.match(line)
        if label is None or label["code"] not in EMOTION_OF_CODE:
            raise ReleaseError(
                f"{file}, line {number}: {line[:100]!r} starts like a label but isn't "
                "`[start - end]<TAB>utterance<TAB>emotion code<TAB>[…]` with one of the codes "
                f"{' '.join(sorted(EMOTION_OF_CODE))}"
            )
        yield {
            "utterance": label["utterance"],
            "dialog": label["dialog"],
            "session": label["session"],
            # The last part of the id names who speaks; the dialog's prefix names who wore the markers (difference 1).
            "speaker": label["session"] + label["gender"],
            "emotion": EMOTION_OF_CODE[label["code"]],
            "start_seconds": float(label["start"]),
            "end_seconds": float(label["end"]),
            "place": f"{file}, line {number}",
            "file": file.stem,
        }


def _read_transcripts(file: Path, findings: Findings) -> dict[str, str]:
    transcripts: dict[str, str] = {}
    for line in _lines(file):
        match = _TRANSCRIPT.match(line)
        if match is None:
            continue
        utterance, transcript = match[1], match[2].strip()
        if transcripts.setdefault(utterance, transcript) != transcript and "XX" not in utterance:
            findings.differences.append(row_of(f"transcripts of {utterance}", 1, "2 that differ", [file.stem]))
    return transcripts


def _lines(file: Path) -> list[str]:
    """Lines without their ends (CRLF too). The release is ASCII but for a few bytes that are not UTF-8 either."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ReleaseError(f"{file} can't be read: {error.strerror}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")  # whose 0x92 is the apostrophe of DON'T
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _match_transcripts(rows: list[dict], findings: Findings) -> None:
    lacking: dict[str, list[str]] = {}
    for row in rows:
        if row["transcript"] is None:
            lacking.setdefault(row["dialog"], []).append(row["utterance"])
            row["transcript"] = ""
        if row["dialog"] != row["file"]:
            what = f"dialog of {row['utterance']}"
            findings.hints.append(row_of(what, row["dialog"], row["file"], [row["file"]]))
    for dialog, ids in lacking.items():
        num_labels = sum(row["dialog"] == dialog for row in rows)
        what = f"transcripts, {dialog}" + (f" ({', '.join(ids)})" if len(ids) <= 3 else "")
        findings.differences.append(row_of(what, num_labels, num_labels - len(ids), [dialog]))
