"""Writes a folder in the shape of an IEMOCAP release: its layout, its known counts, its oddities, none of its content.

Sentences are invented and audio is noise; only numbers that are published about the corpus are reproduced. The loader
is tested and measured on it.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtlser.config import DATA_FOLDER, EMOTIONS

# "IEMOCAP, as a loader must read it" (the audit): codes of the four classes within happy, and of the turns left out.
NUM_EXCITED = 1041
OTHER_CODES = {"fru": 1849, "xxx": 2507, "sur": 107, "fea": 40, "oth": 3, "dis": 2}  # 10,039 turns in all
NUM_TAG_ONLY = 31
NUM_LAUGHTER, NUM_BREATHING, NUM_GARBAGE = 120, 27, 21
NAMED_SPEAKER_SHARE = 0.503  # of a released fold's test utterances, spoken by the actor it is named after
MEDIAN_SECONDS, MEAN_SECONDS, MIN_SECONDS, MAX_SECONDS = 3.58, 4.55, 0.585, 34.139
CODES = {"neutral": "neu", "angry": "ang", "sad": "sad"}

SCENES = ["impro01", "impro02", "impro03", "impro04", "impro05", "impro06", "impro07", "impro08"]
SCRIPTS = ["script01_1", "script01_2", "script01_3", "script02_1", "script02_2", "script03_1", "script03_2"]
FINGERPRINT = "sha256_of_sorted_utterance_emotion_lines"
# 28 + 30 + 32 + 30 + 31 = 151 dialogs; the ones with a suffix are why no fixed character position finds a speaker.
DIALOGS = {
    **{f"Ses{n:02}{actor}": [*SCENES, *SCRIPTS] for n in range(1, 6) for actor in "FM"},
    "Ses01F": [*SCENES[:7], *SCRIPTS],
    "Ses01M": [*SCENES[:7], *SCRIPTS],
    "Ses03M": [*SCENES[:4], "impro05a", "impro05b", *SCENES[5:], "impro08b", *SCRIPTS],
    "Ses05M": [*SCENES, "script01_1", "script01_1b", *SCRIPTS[1:]],
}

SHORT_LINES = ["Yeah.", "Okay.", "No.", "What?", "I don't know.", "All right.", "Oh, well.", "That's fine."]
WORDS = (
    "the lantern keeps turning over slow rivers while nobody asks whether green kites belong to painters or bakers "
    "and seven o'clock finds us walking home under half-built bridges with warm bread some maps a borrowed drum "
    "don't tell my cousin that velvet chairs were cheap because winter never quite arrived before noon"
).split()


@dataclass(frozen=True)
class Turn:
    """One labelled turn of a dialog. `code` is the release's emotion code."""

    utterance: str
    dialog: str
    code: str
    start_seconds: float
    end_seconds: float
    transcript: str


@dataclass(frozen=True)
class ReleaseTree:
    """A written tree: its release folder, its turns, and the counts to expect of it (its own fingerprint)."""

    release: Path
    turns: tuple[Turn, ...]
    expected: dict


def write_release_tree(folder: Path, *, real_lengths: bool = False, seed: int = 0) -> ReleaseTree:
    """Writes `folder`/IEMOCAP_full_release with the known counts and every oddity.

    wavs are tiny (0.05 s) unless `real_lengths`, which draws lengths like IEMOCAP's: 1.4 GB.
    """
    turns = known_turns(seed)
    release = write_turns(Path(folder), turns, real_lengths=real_lengths)
    return ReleaseTree(release, tuple(turns), known_counts() | {FINGERPRINT: fingerprint(turns)})


def known_counts() -> dict:
    """data/iemocap_counts.json, read without the loader."""
    return json.loads((DATA_FOLDER / "iemocap_counts.json").read_text(encoding="utf-8"))


def emotion_of(code: str) -> str | None:
    """The class of a code, None for one of the codes left out; written apart from the loader's own table."""
    return {"neu": "neutral", "ang": "angry", "sad": "sad", "hap": "happy", "exc": "happy"}.get(code)


def known_turns(seed: int = 0) -> list[Turn]:
    """10,039 turns with IEMOCAP's counts by session, speaker, released fold, emotion and kind at once."""
    generator = random.Random(seed)
    parts: dict[str, list[tuple[str, str]]] = {}  # dialog -> (gender, code)
    for prefix, kind, gender, code, count in [*_four_class_cells(), *_other_cells()]:
        names = [f"{prefix}_{name}" for name in DIALOGS[prefix] if name.startswith(kind)]
        offset = generator.randrange(len(names))
        for position in range(count):
            parts.setdefault(names[(position + offset) % len(names)], []).append((gender, code))
    lines = _transcripts(generator, sum(map(len, parts.values())))
    turns: list[Turn] = []
    for dialog in sorted(parts):
        generator.shuffle(parts[dialog])
        turns += _dialog_turns(dialog, parts[dialog], lines, generator)
    return _with_tags(turns, generator)


def _dialog_turns(dialog: str, parts: list, lines: dict, generator: random.Random) -> list[Turn]:
    turns, numbers, clock = [], {"F": 0, "M": 0}, 6.29
    for gender, code in parts:
        utterance = f"{dialog}_{gender}{numbers[gender]:03}"
        seconds = _seconds(generator)
        script = lines["scripts"].get(dialog[7:], []) if "script" in dialog else []
        repeated = script and generator.random() < 0.35  # actors of every session read the same lines
        text = generator.choice(script) if repeated else lines["own"].pop()
        turns.append(Turn(utterance, dialog, code, round(clock, 4), round(clock + seconds, 4), text))
        numbers[gender] += 1
        clock += seconds + 0.4
    return turns


def _four_class_cells() -> list[tuple[str, str, str, str, int]]:
    """(dialog prefix, kind, gender of the speaker, code, count): each session's speaker × fold table, split."""
    counts = known_counts()
    cells, seen, named = [], 0, 0
    for session in counts["by_session"]:
        for emotion in EMOTIONS:
            female = counts["by_speaker"][f"{session}F"][emotion]
            fold_f = counts["by_released_fold"][f"{session[3:]}F"][emotion]
            total = counts["by_session"][session][emotion]
            seen += total
            both = round((NAMED_SPEAKER_SHARE * seen - named - total + female + fold_f) / 2)
            both = min(max(both, 0, female + fold_f - total), female, fold_f)
            named += 2 * both + total - female - fold_f
            table = {("F", "F"): both, ("M", "F"): female - both, ("F", "M"): fold_f - both}
            table["M", "M"] = total - female - fold_f + both
            cells += [(session + actor, gender, emotion, count) for (actor, gender), count in table.items()]
    cells = _split(cells, {"impro": counts["by_dialog_kind"]["impro"], "script": counts["by_dialog_kind"]["script"]})
    coded = []
    happy = [cell for cell in cells if cell[2] == "happy"]
    coded += _split(happy, {"hap": counts["by_emotion"]["happy"] - NUM_EXCITED, "exc": NUM_EXCITED})
    coded += [(*cell, CODES[cell[2]]) for cell in cells if cell[2] != "happy"]
    return [(prefix, kind, gender, code, count) for prefix, gender, _, count, kind, code in coded]


def _other_cells() -> list[tuple[str, str, str, str, int]]:
    places = [(prefix, kind, gender) for prefix in DIALOGS for kind in ("impro", "script") for gender in "FM"]
    shares = {code: np.bincount(np.arange(count) * 7 % 40, minlength=40) for code, count in OTHER_CODES.items()}
    return [(*place, code, int(share[i])) for code, share in shares.items() for i, place in enumerate(places)]


def _split(cells: list[tuple], parts: dict[str, int]) -> list[tuple]:
    """Each cell (…, count, more…) in two, sharing as the totals of `parts` do; the totals come out exactly."""
    (first, size), (second, _) = parts.items()
    total, seen, given, result = sum(cell[3] for cell in cells), 0, 0, []
    for cell in cells:
        seen += cell[3]
        share = seen * size // total - given
        given += share
        result.append((*cell[:3], share, *cell[4:], first))
        result.append((*cell[:3], cell[3] - share, *cell[4:], second))
    return result


def _seconds(generator: random.Random) -> float:
    sigma = np.sqrt(2 * np.log(MEAN_SECONDS / MEDIAN_SECONDS))
    return float(np.clip(MEDIAN_SECONDS * np.exp(generator.gauss(0, sigma)), MIN_SECONDS, MAX_SECONDS))


def _transcripts(generator: random.Random, count: int) -> dict:
    def sentence() -> str:
        words = generator.choices(WORDS, k=generator.randint(3, 14))
        return " ".join(words).capitalize() + generator.choice(".?!")

    own = [generator.choice(SHORT_LINES) if generator.random() < 0.12 else sentence() for _ in range(count)]
    own = [f"{text}  {sentence()}" if generator.random() < 0.3 else text for text in own]
    scripts = {name: [sentence() for _ in range(60)] for name in SCRIPTS}
    return {"own": own, "scripts": scripts | {"script01_1b": scripts["script01_1"]}}


def _with_tags(turns: list[Turn], generator: random.Random) -> list[Turn]:
    """The release's number of each tag among the four classes, in its letter cases; 31 transcripts are a tag alone."""
    tags = ["[LAUGHTER]"] * (NUM_LAUGHTER - 1) + ["[laughter]"] + ["[BREATHING]"] * NUM_BREATHING
    tags += ["[GARBAGE]"] * (NUM_GARBAGE - 8) + ["[Garbage]"] * 4 + ["[garbage]"] * 4
    generator.shuffle(tags)
    four_classes = [i for i, turn in enumerate(turns) if emotion_of(turn.code)]
    tagged = dict(zip(generator.sample(four_classes, len(tags)), tags, strict=True))
    for position, (i, tag) in enumerate(tagged.items()):
        turn, text = turns[i], turns[i].transcript
        with_tag = tag if position < NUM_TAG_ONLY else f"{tag} {text}" if position % 2 else f"{text} {tag}"
        turns[i] = Turn(turn.utterance, turn.dialog, turn.code, turn.start_seconds, turn.end_seconds, with_tag)
    return turns


def fingerprint(turns: Iterable[Turn]) -> str:
    """SHA-256 of the sorted lines `<utterance> <emotion>`, written apart from the loader's."""
    lines = sorted(f"{turn.utterance} {emotion_of(turn.code)}" for turn in turns if emotion_of(turn.code))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_turns(folder: Path, turns: Iterable[Turn], *, real_lengths: bool = False) -> Path:
    """Writes any turns as `folder`/IEMOCAP_full_release, with every oddity; returns the release folder."""
    release = Path(folder) / "IEMOCAP_full_release"
    by_dialog: dict[str, list[Turn]] = {}
    for turn in turns:
        by_dialog.setdefault(turn.dialog, []).append(turn)
    for number, (dialog, dialog_turns) in enumerate(sorted(by_dialog.items())):
        session = release / f"Session{int(dialog[3:5])}"
        labels = session / "dialog" / "EmoEvaluation"
        transcriptions = session / "dialog" / "transcriptions"
        wavs = session / "sentences" / "wav" / dialog
        for made in (labels, transcriptions, wavs):
            made.mkdir(parents=True, exist_ok=True)
        line_end = "\r\n" if number % 3 == 1 else "\n"
        _write_text(labels / f"{dialog}.txt", _label_lines(dialog_turns), line_end)
        _write_text(transcriptions / f"{dialog}.txt", _transcription_lines(dialog, dialog_turns), line_end)
        for turn in dialog_turns:
            seconds = turn.end_seconds - turn.start_seconds if real_lengths else 0.05
            (wavs / f"{turn.utterance}.wav").write_bytes(_wav(turn.utterance, seconds))
        _write_oddities(session, dialog)
    return release


def _write_text(path: Path, lines: list[str], line_end: str) -> None:
    path.write_bytes("".join(line + line_end for line in lines).encode("latin-1"))


def _label_lines(turns: list[Turn]) -> list[str]:
    lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    for turn in turns:
        times = f"[{turn.start_seconds:.4f} - {turn.end_seconds:.4f}]"
        lines += [
            f"{times}\t{turn.utterance}\t{turn.code}\t[2.5000, 2.5000, 2.5000]",
            "C-E2:\tNeutral;\t()",
            "C-F1:\tNeutral;\t(curious)",
            "A-E3:\tval 3; act 2; dom  2;\t()",
            "A-F1:\tval 3; act 2; dom  1;\t([laughs] 12)",
            "",
        ]
    return lines


def _transcription_lines(dialog: str, turns: list[Turn]) -> list[str]:
    lines = ["M: (off stage) Excuse me.", "F: [LAUGHTER]"]
    for turn in turns:
        times = f"[{turn.start_seconds:08.4f}-{turn.end_seconds:08.4f}]"
        lines.append(f"{turn.utterance} {times}: {turn.transcript}")
    # Not utterances of the corpus, and bytes that are not UTF-8.
    lines += [f"{dialog}_FXX0 [001.0000-002.0000]: Caf\xe9 noise.", f"{dialog}_MXX0 [001.0000-002.0000]: Hm.", ""]
    return lines


def _write_oddities(session: Path, dialog: str) -> None:
    """Files beside the real ones that a careless pattern would read: those of macOS, and raters' own folders."""
    labels = session / "dialog" / "EmoEvaluation"
    for folder in (labels, session / "dialog" / "transcriptions"):
        (folder / f"._{dialog}.txt").write_bytes(b"\x00\x05\x16\x07[1.0 - 2.0]\tMac OS X\xff")
    wavs = session / "sentences" / "wav"
    (wavs / dialog / f"._{dialog}_F000.wav").write_bytes(b"\x00\x05\x16\x07")
    (wavs / dialog / f"{dialog}_FXX0.wav").write_bytes(_wav("XX", 0.05))
    (wavs / f"._{dialog}").write_bytes(b"\x00\x05\x16\x07")
    (wavs / ".DS_Store").write_bytes(b"\x00")
    for name in ("Attribute", "Categorical", "Self-evaluation"):
        (labels / name).mkdir(exist_ok=True)
        line = f"[0.0000 - 9.0000]\t{dialog}_F000\tsur\t[1.0, 1.0, 1.0]\n"
        (labels / name / f"{dialog}_e1.txt").write_text(line, encoding="utf-8")


_NOISE = np.random.default_rng(0).integers(-3000, 3000, 35 * 16_000, dtype=np.int16)


def _wav(name: str, seconds: float) -> bytes:
    """A PCM16 16 kHz mono file whose samples depend on the name; the header is written by hand, for speed."""
    num_samples = round(seconds * 16_000)
    data = hashlib.sha256(name.encode()).digest() + _NOISE[:num_samples].tobytes()
    data = data[: 2 * num_samples]
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16)
    return b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVE" + fmt + b"data" + struct.pack("<I", len(data)) + data
