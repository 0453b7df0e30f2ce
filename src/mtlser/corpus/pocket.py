"""Writes the pocket corpus as a release in IEMOCAP's layout, with a manifest that the release's check reads.

The pocket corpus is a calibrated instrument, not evidence about IEMOCAP: its settings decide how much words, prosody,
voices and repeated texts tell of the emotion.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from filelock import FileLock

from mtlser.config import POCKET_GENERATOR_VERSION, SAMPLE_RATE_HZ, PocketCorpusConfig
from mtlser.corpus import espeak
from mtlser.corpus.audio import AudioError
from mtlser.corpus.espeak import Progress
from mtlser.corpus.iemocap import ReleaseError
from mtlser.corpus.pocket_plan import bayes_accuracy, generator, plan_corpus
from mtlser.corpus.release_counts import MANIFEST, RELEASE_FOLDER, count_files, count_utterances, is_complete
from mtlser.files import digest, file_digest, whole_file, whole_folder, write_json

CUES = "pocket_cues.csv"

_CUE_COLUMNS = "utterance speaker emotion arousal valence text_kind voice rate_wpm pitch pitch_range transcript".split()

_LEVEL = 0.06  # root mean square of the speech, before the gain; leaves room for peaks
_GAIN_DB = 6.0  # each utterance is up to this much louder or softer, whatever its emotion
_MARGIN_SECONDS = (0.08, 0.16)  # noise before and after, as the release's cuts leave
_SOUND_SECONDS = {"LAUGHTER": 0.7, "BREATHING": 0.5, "GARBAGE": 0.3}
_GAP_SECONDS = 0.4  # between turns of a dialog
_OTHER_CODES = ("fru", "xxx", "sur", "fea", "oth", "dis")  # turns that the four classes leave out
_OTHER_SECONDS = 0.3
_WRITTEN_EMOTION = {"neu": "Neutral", "hap": "Happiness", "exc": "Excited", "ang": "Anger", "sad": "Sadness"}


def write_release(
    folder: str | Path, settings: PocketCorpusConfig, *, progress: Progress | None = None, workers: int | None = None
) -> Path:
    """Makes `<folder>/IEMOCAP_full_release` for these settings and returns its path; one that is there is left alone.

    It has its name only when whole: a killed run leaves nothing that passes as complete, and the next run removes what
    it left. A pocket corpus of other settings is replaced; raises ReleaseError, and touches nothing, where the release
    of that name is no pocket corpus. `workers` processes speak at the same time (default: the cores there are).
    """
    folder = Path(folder)
    release = folder / RELEASE_FOLDER
    if is_complete(folder, settings):
        return release
    if release.exists() and not (release / MANIFEST).is_file():
        raise ReleaseError(f"{release} is no pocket corpus (no {MANIFEST}) and is left as it is: choose a folder")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".pocket.lock"):  # so that whatever is half-written here was left by a killed run
        for leftover in folder.glob(f"{RELEASE_FOLDER}.*.partial"):
            shutil.rmtree(leftover)
        if not is_complete(folder, settings):  # another process may have made it while this one waited
            old = release.with_name(f"{release.name}.old.partial")
            with whole_folder(release) as partial:
                _write_corpus(partial, settings, progress, workers)
                if release.exists():
                    os.replace(release, old)
            shutil.rmtree(old, ignore_errors=True)
    return release


def _write_corpus(release: Path, settings: PocketCorpusConfig, progress: Progress | None, workers: int | None) -> None:
    """Everything of a release into an empty place: audio, labels, transcriptions, cues, and the manifest last."""
    plan = plan_corpus(settings)
    plan["wav"] = [str(_wav_path(release, u.dialog, u.utterance)) for u in plan.itertuples()]
    plan["seconds"] = list(_write_audio(plan, settings, progress, workers))
    for dialog, utterances in plan.groupby("dialog"):
        _write_dialog(release, str(dialog), utterances)
    _write_oddities(release)
    plan[_CUE_COLUMNS].to_csv(release / CUES, index=False, lineterminator="\n")
    manifest = {
        "kind": "pocket",
        "generator_version": POCKET_GENERATOR_VERSION,
        "settings": asdict(settings),
        "espeak_version": espeak.version(),
        "bayes_accuracy": bayes_accuracy(settings),
        "num_files": count_files(release),
        "seconds": round(float(plan["seconds"].sum()), 1),
        "sha256_of_audio": digest(*map(file_digest, plan["wav"])),
        **count_utterances(plan),
    }
    write_json(release / MANIFEST, manifest)


def _wav_path(release: Path, dialog: str, utterance: str) -> Path:
    return release / f"Session{dialog[4]}" / "sentences" / "wav" / dialog / f"{utterance}.wav"


# Audio


def _write_audio(
    plan: pd.DataFrame, settings: PocketCorpusConfig, progress: Progress | None, workers: int | None
) -> Iterator[float]:
    """Writes each utterance's wav; yields its seconds."""
    spoken = plan[plan.text != ""]
    speeches = [espeak.Speech(u.text, u.voice, u.rate_wpm, u.pitch, u.pitch_range) for u in spoken.itertuples()]
    with closing(espeak.synthesise(speeches, workers=workers)) as spoken_samples:
        for done, u in enumerate(plan.itertuples(), start=1):
            speech = next(spoken_samples) if u.text else np.zeros(0)
            draw = generator(settings, "audio", u.utterance)
            samples = record_speech(speech, u.tag.strip("[]").upper(), u.tag_first, draw, settings)
            write_wav(u.wav, samples)
            yield len(samples) / SAMPLE_RATE_HZ
            if progress:
                progress(done, len(plan))


def record_speech(
    speech: np.ndarray, tag: str, tag_first: bool, draw: np.random.Generator, settings: PocketCorpusConfig
) -> np.ndarray:
    """(S,) speech and the tag's sound between margins, with noise in proportion to the level, at a random gain."""
    parts = [_to_level(speech)] if len(speech) else []
    if tag:
        parts.insert(0 if tag_first else len(parts), _to_level(_sound(tag, draw)))
    margins = [np.zeros(int(seconds * SAMPLE_RATE_HZ)) for seconds in draw.uniform(*_MARGIN_SECONDS, size=2)]
    samples = np.concatenate([margins[0], *parts, margins[1]])
    noise = draw.standard_normal(len(samples)) * _LEVEL * 10 ** (-settings.noise_snr_db / 20)
    gain = 10 ** (draw.uniform(-_GAIN_DB, _GAIN_DB) / 20)
    samples = (samples + noise) * gain
    return samples * min(1.0, 0.99 / np.abs(samples).max())  # never clipped


def _to_level(samples: np.ndarray) -> np.ndarray:
    return samples.astype(np.float64) * (_LEVEL / np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def _sound(tag: str, draw: np.random.Generator) -> np.ndarray:
    """(S,) of a sound without words: laughter is noise in five bursts a second, breathing a swell, garbage a thud."""
    time = np.arange(int(_SOUND_SECONDS[tag] * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    noise = np.convolve(draw.standard_normal(len(time)), np.ones(8) / 8, mode="same")  # softened above 2 kHz
    envelope = {
        "LAUGHTER": np.maximum(np.sin(2 * np.pi * 5 * time), 0),
        "BREATHING": np.sin(np.pi * time / time[-1]) ** 2,
        "GARBAGE": np.exp(-time / 0.1),
    }
    return noise * envelope[tag]


# Files of a dialog, line by line as the release has them


def _write_dialog(release: Path, dialog: str, utterances: pd.DataFrame) -> None:
    """Labels and transcriptions of one dialog, and the audio of its turns that are of no class."""
    turns = _make_turns(dialog, utterances)
    for turn in turns:
        if turn["emotion"] is None:
            write_wav(_wav_path(release, dialog, turn["utterance"]), _other_turn(turn["utterance"]))
    session = release / f"Session{dialog[4]}" / "dialog"
    labels = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", "", *(_label(turn) for turn in turns)]
    _write_lines(session / "EmoEvaluation" / f"{dialog}.txt", labels)
    # One transcription per turn, with the stray lines of the release between them.
    first, *others = (f"{t['utterance']} [{t['start']:08.4f}-{t['end']:08.4f}]: {t['transcript']}" for t in turns)
    lines = [first, f"{dialog}_MXX0 [001.0000-001.5000]: Okay.", *others, "M: Okay.", "F: [LAUGHTER]"]
    _write_lines(session / "transcriptions" / f"{dialog}.txt", lines)


def _make_turns(dialog: str, utterances: pd.DataFrame) -> list[dict]:
    """All turns of a dialog in order, both speakers in turn, with their times in seconds."""
    columns = ["utterance", "emotion", "code", "transcript", "seconds"]
    turns = utterances[columns].to_dict("records")
    for letter in "FM":
        numbers = [int(u[-3:]) for u in utterances.utterance if u[-4] == letter]
        for number in range(0, max(numbers, default=0) + 1, 5):
            code = _OTHER_CODES[number // 5 % len(_OTHER_CODES)]
            name = f"{dialog}_{letter}{number:03d}"
            turns.append(dict(zip(columns, (name, None, code, "Okay.", _OTHER_SECONDS), strict=True)))
    turns.sort(key=lambda turn: (turn["utterance"][-3:], turn["utterance"]))
    start = 2.0
    for turn in turns:
        turn["start"], turn["end"] = start, start + turn["seconds"]
        start = turn["end"] + _GAP_SECONDS
    return turns


def _other_turn(utterance: str) -> np.ndarray:
    """(S,) noise: no one reads it, but the release has a file for every turn."""
    draw = np.random.default_rng(int(digest(utterance)[:8], 16))
    return 0.01 * draw.standard_normal(int(_OTHER_SECONDS * SAMPLE_RATE_HZ))


def _label(turn: dict) -> str:
    """A label line, the raters' lines that follow it, and an empty line."""
    written = _WRITTEN_EMOTION.get(turn["code"], "Other")
    return (
        f"[{turn['start']:.4f} - {turn['end']:.4f}]\t{turn['utterance']}\t{turn['code']}\t[3.0000, 3.0000, 3.0000]\n"
        f"C-E2:\t{written};\t()\nC-E4:\t{written};\t()\nC-F1:\tNeutral;\t()\n"
        "A-E3:\tval 3; act 3; dom  3;\t()\nA-F1:\tval 3; act 2; dom  1;\t()\n"
    )


def _write_oddities(release: Path) -> None:
    """What else lies in the release's folders: files that start with a dot, one rater's labels in a subfolder."""
    for session in sorted(release.iterdir()):
        labels, transcripts = session / "dialog" / "EmoEvaluation", session / "dialog" / "transcriptions"
        wavs = session / "sentences" / "wav"
        first = min(path.stem for path in labels.glob("Ses*.txt"))
        _write_lines(labels / "Categorical" / f"{first}_e2_cat.txt", [f"{first}_F001 :Neutral; ()"])
        for hidden in (labels / f"._{first}.txt", transcripts / f"._{first}.txt", wavs / first / f"._{first}_F001.wav"):
            hidden.write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")


def _write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="ascii", newline="\n")


def write_wav(path: str | Path, samples: np.ndarray) -> None:
    """Writes samples (S,) in [-1, 1] as 16 bit PCM, 16 kHz, mono; whole or not at all.

    `read_audio` returns them within half a step of 1 / 32768. Raises AudioError for empty or non-finite samples.
    """
    samples = np.asarray(samples, dtype=np.float64)
    if samples.ndim != 1 or samples.size == 0 or not np.isfinite(samples).all():
        raise AudioError(path, f"samples to write must be one row of finite numbers; their shape is {samples.shape}")
    steps = np.round(samples * 32768.0).clip(-32768, 32767).astype(np.int16)
    with whole_file(Path(path)) as partial:
        try:
            soundfile.write(str(partial), steps, SAMPLE_RATE_HZ, subtype="PCM_16", format="WAV")
        except soundfile.SoundFileError as error:  # which keeps the system's reason to itself
            raise OSError(f"{path} can't be written ({error}): is the disk full?") from error


def main() -> int:
    """Writes the corpus that two arguments describe: a folder, and the settings as JSON. Says how far it is."""

    def say(done: int, total: int) -> None:
        if done == total or done % 100 == 0:
            print(f"synthesised {done} of {total} utterances", file=sys.stderr, flush=True)

    try:
        write_release(sys.argv[1], PocketCorpusConfig(**json.loads(sys.argv[2])), progress=say)
    except (ReleaseError, espeak.EspeakError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
