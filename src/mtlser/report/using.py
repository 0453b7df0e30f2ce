"""What the chapter on using the model shows: answers to files, good and bad, and frame by frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mtlser.corpus.audio import AudioError
from mtlser.corpus.pocket import write_wav
from mtlser.corpus.pocket_examples import Example, speak_examples
from mtlser.report import figures, speech_figures
from mtlser.report.corpus import EXAMPLES
from mtlser.report.display import NOT_RUN, Html, line
from mtlser.runs import kept
from mtlser.runs.settings import Settings


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
