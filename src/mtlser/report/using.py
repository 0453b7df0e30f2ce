"""What the chapter on using the model shows: answers to files, good and bad, frame by frame, and the model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import soxr

from mtlser.config import SAMPLE_RATE_HZ
from mtlser.corpus.audio import AudioError, write_wav
from mtlser.corpus.pocket_examples import Example, speak_examples
from mtlser.report import figures, speech_figures
from mtlser.report.corpus import EXAMPLES
from mtlser.report.display import NOT_RUN, Html, line, percent
from mtlser.runs import kept
from mtlser.runs.records import CORPUS_NAMES
from mtlser.runs.settings import Settings

_FORMATS = (("wav", 16_000, "mono"), ("flac", 44_100, "stereo"), ("ogg", 22_050, "mono"), ("mp3", 48_000, "stereo"))


@dataclass(frozen=True)
class Demonstration:
    """A kept model of synthetic speech and its recognizer, both None where no run kept one; `source` for captions."""

    model: kept.KeptModel | None = None
    recognizer: Any = None
    source: str = NOT_RUN.capitalize()


def demonstration(preset: str, settings: Settings | None = None) -> Demonstration:
    """The newest kept model of a synthetic preset. A model of IEMOCAP is never shown: it may say its transcripts."""
    settings = settings or Settings.from_environment()
    models = kept.kept_models(settings.artifacts, "pocket" if preset == "iemocap" else preset)
    if not models:
        return Demonstration()
    from mtlser.model import Recognizer

    source = f"Model: {models[0].description}; speech made for this page (synthetic)"
    return Demonstration(models[0], Recognizer.from_pretrained(models[0].folder), source)


def examples(demo: Demonstration) -> list[Example]:
    """One sentence in four emotions, by the speaker whom the model never heard."""
    fold = demo.model.run["config"]["fold"] if demo.model else ""
    return speak_examples(EXAMPLES, speakers=[fold if len(fold) == 6 else "Ses01F"])  # a session's has five letters


def write_examples(spoken: Sequence[Example], folder: Path) -> dict[str, Path]:
    """Writes each as a wav; what is said, in words → its path."""
    paths = {f"{example.emotion}: “{example.text}”": folder / f"{example.emotion}.wav" for example in spoken}
    for example, path in zip(spoken, paths.values(), strict=True):
        write_wav(path, example.samples)
    return paths


def write_formats(example: Example, folder: Path) -> dict[str, Path]:
    """The same utterance in every format that is read, at several sampling rates, mono and stereo."""
    paths = {f"{form}, {rate} Hz, {channels}": folder / f"speech.{form}" for form, rate, channels in _FORMATS}
    for path, (_, rate, channels) in zip(paths.values(), _FORMATS, strict=True):
        samples = soxr.resample(example.samples, SAMPLE_RATE_HZ, rate)
        soundfile.write(path, np.repeat(samples[:, None], 2 if channels == "stereo" else 1, axis=1), rate)
    return paths


def write_bad_files(folder: Path) -> dict[str, Path]:
    """Files that can't be answered, each with what is wrong with it. The first one does not exist."""
    names = {"no such file": "missing.wav", "a text": "letter.wav", "no byte": "nothing.wav", "no sample": "empty.wav",
             "silence": "silent.wav", "a hundredth of a second": "blink.wav", "an hour": "lecture.flac",
             "not a number": "nan.wav"}  # fmt: skip
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, SAMPLE_RATE_HZ).astype(np.float32)
    (folder / "letter.wav").write_text("Dear reader,\n", encoding="utf-8")
    (folder / "nothing.wav").write_bytes(b"")
    soundfile.write(folder / "empty.wav", noise[:0], SAMPLE_RATE_HZ)
    soundfile.write(folder / "silent.wav", 0 * noise[::2], SAMPLE_RATE_HZ)
    soundfile.write(folder / "blink.wav", noise[: SAMPLE_RATE_HZ // 100], SAMPLE_RATE_HZ)
    soundfile.write(folder / "lecture.flac", np.zeros(8000 * 3600, dtype=np.int16), 8000)
    noise[100] = np.nan
    soundfile.write(folder / "nan.wav", noise, SAMPLE_RATE_HZ, subtype="FLOAT")
    return {what: folder / name for what, name in names.items()}


def answers(demo: Demonstration, files: Mapping[str, Path]) -> pd.DataFrame:
    """One row a file: what it is, the emotion and its probability, the transcript; no rows without a model."""
    rows = []
    for name, path in files.items() if demo.recognizer else ():
        found = demo.recognizer(path)
        shares = {emotion: f"{100 * share:.0f}%" for emotion, share in found.probabilities.items()}
        rows.append({"file": name, "recognised": found.emotion, **shares, "transcript": found.transcript or "(none)"})
    return pd.DataFrame(rows)


def refusals(demo: Demonstration, files: Mapping[str, Path]) -> pd.DataFrame:
    """One row a file: what it is, and the error without the folder; no rows without a model."""
    rows = []
    for name, path in files.items() if demo.recognizer else ():
        try:
            rows.append({"file": name, "error": f"none: {demo.recognizer(path).emotion}"})
        except AudioError as refused:
            rows.append({"file": name, "error": f"{path.name}: {refused.reason}"})
    return pd.DataFrame(rows)


def frame_table(frames: Any) -> pd.DataFrame:
    """`Recognition.frames` as columns seconds, character ("" where the blank is likelier), probability, …"""
    columns = {"seconds": frames.seconds, "character": frames.characters, "probability": frames.probabilities}
    table = pd.DataFrame(columns | {"blank_probability": frames.blank_probabilities})
    return table.assign(character=table["character"].where(table["probability"] > table["blank_probability"], ""))


def frames(demo: Demonstration, files: Mapping[str, Path], title: str) -> Html:
    """The first file frame by frame, as a figure."""
    if demo.recognizer is None:
        return line(f"{title}: {NOT_RUN}")
    name, path = next(iter(files.items()))
    found = demo.recognizer(path)
    alt = ("Over time, a line for the probability of the blank, and where a character is likelier than the blank a bar "
           f"with that character. Read together they give: {found.transcript or 'nothing'}.")  # fmt: skip
    title = f"{title}, {name.split(':')[0]}"
    return figures.show(speech_figures.frames, frame_table(found.frames), title, alt, demo.source)


def card(demo: Demonstration) -> pd.DataFrame:
    """The model card, from the record of the run: what the model is, and on what it was trained and tested."""
    if demo.model is None:
        return pd.DataFrame(columns=["question", "answer"])
    run, config = demo.model.run, demo.model.run["config"]
    final, corpus = run["final"], CORPUS_NAMES[config["preset"]]
    size = sum(parameter.numel() for parameter in demo.recognizer.model.parameters())
    unheard = {"speaker": "a speaker", "session": "two speakers"}.get(config["protocol"])
    rows = {
        "what it is": f"wav2vec 2.0 architecture with an emotion head and a CTC head, {size:,} parameters, a frame "
        f"every {1000 * demo.recognizer.frame_seconds:.0f} ms",
        "run": f"{run['run_id']}, code revision {run['revision']}",
        "training": f"{run['num_train']} utterances of the {corpus}, protocol {config['protocol']}; α = "
        f"{config['alpha']:g}, {config['pooling']} pooling, {config['epochs']} epochs, learning rate "
        f"{config['learning_rate']:g}, seed {config['seed']}; {run['seconds'] / 60:.1f} minutes",
        "test": f"{run['num_test']} utterances of {config['fold']}, "
        f"{unheard + ' whom training never heard' if unheard else 'speakers whom training heard too'}: accuracy "
        f"{percent(final['accuracy'])}, UA {percent(final['uar'])}, WER {final['wer']:.4f}",
    }
    return pd.DataFrame(rows.items(), columns=["question", "answer"])
