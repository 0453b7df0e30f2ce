"""Text and voice settings → speech samples by espeak-ng, the same for the same settings in any order."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import espeakng_loader
import numpy as np
import soxr

from mtlser.config import SAMPLE_RATE_HZ
from mtlser.corpus import espeak_process

Progress = Callable[[int, int], None]  # called with (done, total)

_SILENCE = 0.003  # of the loudest sample (-50 dB): below it espeak-ng is pausing, not speaking


class EspeakError(RuntimeError):
    """espeak-ng could not speak; the message names the text and the voice."""


@dataclass(frozen=True)
class Speech:
    """One utterance to speak. espeak-ng's own scales, except where a unit is given."""

    text: str
    voice: str = "en-us"  # language, with a variant: "en-us+f1"; see `variants`
    rate_wpm: int = 160  # words per minute; 80 to 450
    pitch: int = 50  # 0 to 99
    pitch_range: int = 50  # 0 (monotone) to 99
    volume: int = 60  # 100 is espeak-ng's default, which clips a few voices

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise EspeakError("nothing to speak: the text is empty")
        variant = self.voice.partition("+")[2]
        if variant and variant not in variants():
            raise EspeakError(f"espeak-ng has no voice variant {variant!r}; it has {', '.join(variants())}")
        for name, low, high in (("rate_wpm", 80, 450), ("pitch", 0, 99), ("pitch_range", 0, 99), ("volume", 1, 200)):
            if not low <= getattr(self, name) <= high:
                raise EspeakError(f"{name}={getattr(self, name)} is not in {low} to {high}, for the text {self.text!r}")


@cache
def variants() -> tuple[str, ...]:
    """The voice variants that the installed espeak-ng has, e.g. "f1", "m3", sorted."""
    folder = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    return tuple(sorted(path.name for path in folder.iterdir()))


@cache
def version() -> str:
    """Version of the installed espeak-ng, e.g. "1.52.0"."""
    library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
    library.espeak_Info.restype = ctypes.c_char_p
    return library.espeak_Info(None).decode().split()[0]


def synthesise(
    speeches: Sequence[Speech], *, progress: Progress | None = None, workers: int | None = None
) -> Iterator[np.ndarray]:
    """Yields each speech as (samples,) float32 mono 16 kHz in [-1, 1], in order, silence at both ends removed.

    Each is spoken in a process of its own that has not spoken before (see `espeak_process`), so its samples depend on
    nothing but the speech. `workers` processes (default: the cores there are) speak at the same time.
    Raises EspeakError where espeak-ng gives no samples.
    """
    for done, (samples, _) in enumerate(synthesise_aligned(speeches, workers=workers), start=1):
        yield samples
        if progress:
            progress(done, len(speeches))


def synthesise_aligned(
    speeches: Sequence[Speech], *, workers: int | None = None
) -> Iterator[tuple[np.ndarray, list[tuple[float, str]]]]:
    """As `synthesise`, with (start in seconds, phoneme in IPA) of each phoneme that espeak-ng spoke, "" for a pause."""
    num_workers = max(1, min(workers or os.cpu_count() or 1, len(speeches)))
    with ExitStack() as stack:
        processes = [_start(speeches[n::num_workers], stack) for n in range(num_workers)]
        for n, speech in enumerate(speeches):
            samples, rate_hz, phonemes = _read_answer(processes[n % num_workers], speech)
            # espeak-ng ends each sentence with a pause of a length of its own.
            loud = np.flatnonzero(np.abs(samples) > _SILENCE * np.abs(samples).max())
            first, last = int(loud[0]), int(loud[-1]) + 1
            # In float64, so that rounding to 16 bits afterwards gives the same bytes on different processors.
            speech_alone = soxr.resample(samples[first:last], rate_hz, SAMPLE_RATE_HZ, quality="HQ")
            starts = [(max(0.0, (sample - first) / rate_hz), name) for sample, name in phonemes if sample < last]
            yield np.clip(speech_alone, -1.0, 1.0).astype(np.float32), starts


def _start(speeches: Sequence[Speech], stack: ExitStack) -> subprocess.Popen[bytes]:
    """A speaking process, ended when `stack` closes. Its requests are a file: two pipes could both fill up."""
    requests = stack.enter_context(tempfile.TemporaryFile())
    requests.writelines(json.dumps(asdict(speech)).encode() + b"\n" for speech in speeches)
    requests.seek(0)
    paths = str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path())
    command = [sys.executable, "-I", "-S", espeak_process.__file__, *paths]
    process = stack.enter_context(subprocess.Popen(command, stdin=requests, stdout=subprocess.PIPE))  # waits for it
    stack.callback(process.kill)  # before waiting
    return process


def _read_answer(process: subprocess.Popen[bytes], speech: Speech) -> tuple[np.ndarray, int, list[tuple[int, str]]]:
    """Samples (float64, in [-1, 1]), their rate, and (first sample, phoneme), for the process's next request."""
    line = process.stdout.readline()
    if not line.endswith(b"\n"):
        raise EspeakError(f"espeak-ng's process ended early, at {speech.text!r} with voice {speech.voice!r}")
    answer = json.loads(line)
    samples = np.frombuffer(process.stdout.read(answer["num_bytes"]), dtype="<i2") / 32768.0
    if not samples.any():
        raise EspeakError(f"espeak-ng gave no sound for {speech.text!r} with voice {speech.voice!r}")
    return samples, answer["sample_rate_hz"], answer["phonemes"]
