"""Synthetic speech for pretraining, of voices, accents and sentences that the pocket corpus does not have.

The words are spoken, then forgotten: of the clean samples come the targets, of the noisy ones the model's input. Only
the probe of speaking rate counts the letters that were spoken.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mtlser.config import DATA_FOLDER
from mtlser.corpus.espeak import Progress, Speech, synthesise

_DATA = json.loads((DATA_FOLDER / "pretraining_speech.json").read_text(encoding="utf-8"))
# The pocket corpus speaks American English; none of these accents is American.
ACCENTS: list[str] = _DATA["accents"].split()
TRAINING_VARIANTS: list[str] = _DATA["training_variants"].split()
HELD_OUT_VARIANTS: list[str] = _DATA["held_out_variants"].split()  # never trained on
# Shapes of sentences that are not meant to make sense: no word tells which comes next.
PATTERNS: list[str] = _DATA["patterns"]
WORD_CLASSES: dict[str, list[str]] = {name: words.split() for name, words in _DATA["words"].items()}
WORDS = sorted({word for words in WORD_CLASSES.values() for word in words})
PUNCTUATION = (".", ".", ".", "", "!", "?")


@dataclass(frozen=True)
class SpeechConfig:
    """What is synthesised. The ranges are wider than the pocket corpus uses, so that fine-tuning never leaves them."""

    seed: int = 2021
    num_training: int = 6000  # some five hours
    num_probe: int = 600  # of HELD_OUT_VARIANTS
    random_words_share: float = 0.5  # utterances whose words follow no pattern at all
    rate_wpm: tuple[int, int] = (105, 240)
    pitch: tuple[int, int] = (15, 90)  # espeak-ng's 0 to 99, 50 is the voice's own
    pitch_range: tuple[int, int] = (15, 95)  # espeak-ng's 0 (monotone) to 99
    snr_db: tuple[float, float] = (8.0, 35.0)  # of noise scaled to the utterance
    clean_share: float = 0.15  # utterances without noise


@dataclass(frozen=True)
class Draw:
    """One utterance to synthesise, and the noise that its listener hears with it."""

    speech: Speech
    snr_db: float  # infinite: no noise
    noise_slope: float  # of the noise's amplitude spectrum: 0 white, 1: amplitude falls as 1 / frequency
    held_out: bool  # of a voice that is never trained on


def draw_utterances(settings: SpeechConfig) -> list[Draw]:
    """Every utterance of the corpus, each from its own generator, so that one does not depend on how many there are."""
    return [
        _draw(settings, bool(part), np.random.default_rng([settings.seed, part, i]))
        for part, count in enumerate((settings.num_training, settings.num_probe))
        for i in range(count)
    ]


def _draw(settings: SpeechConfig, held_out: bool, random: np.random.Generator) -> Draw:
    speech = Speech(
        text=_draw_text(settings, random),
        voice=f"{random.choice(ACCENTS)}+{random.choice(HELD_OUT_VARIANTS if held_out else TRAINING_VARIANTS)}",
        rate_wpm=int(random.integers(*settings.rate_wpm)),
        pitch=int(random.integers(*settings.pitch)),
        pitch_range=int(random.integers(*settings.pitch_range)),
    )
    clean = random.random() < settings.clean_share
    snr_db = float("inf") if clean else float(random.uniform(*settings.snr_db))
    return Draw(speech, snr_db, float(random.uniform(0, 1)), held_out)


def _draw_text(settings: SpeechConfig, random: np.random.Generator) -> str:
    """A sentence of 6 to 11 words, lower case, with final punctuation (it changes espeak-ng's intonation)."""
    if random.random() < settings.random_words_share:
        words = [str(word) for word in random.choice(WORDS, size=random.integers(7, 12))]
    else:
        words = [str(random.choice(WORD_CLASSES[name])) for name in str(random.choice(PATTERNS)).split()]
    if random.random() < 0.3:  # a comma makes a phrase boundary
        words[random.integers(1, len(words) - 2)] += ","
    return " ".join(words) + str(random.choice(PUNCTUATION))


def speak(
    settings: SpeechConfig, draws: Sequence[Draw], progress: Progress | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each utterance as (S,) int16 with its noise, and (S,) int16 without, at the same gain."""
    spoken = synthesise([draw.speech for draw in draws], progress=progress)
    for i, (draw, clean) in enumerate(zip(draws, spoken, strict=True)):
        noisy = add_noise(clean, draw.snr_db, draw.noise_slope, np.random.default_rng([settings.seed, 2, i]))
        scale = 0.9 * 32767 / max(np.abs(noisy).max(), np.abs(clean).max())
        yield np.rint(noisy * scale).astype(np.int16), np.rint(clean * scale).astype(np.int16)


def add_noise(samples: np.ndarray, snr_db: float, slope: float, random: np.random.Generator) -> np.ndarray:
    """`samples` (S,) with noise `snr_db` below their mean power; the noise's amplitude falls as frequency ** -slope."""
    if not np.isfinite(snr_db):
        return samples
    spectrum = np.fft.rfft(random.standard_normal(len(samples)))
    noise = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), len(spectrum) / 80) ** slope, n=len(samples))
    return samples + noise * np.sqrt(np.mean(samples**2) / np.mean(noise**2) / 10 ** (snr_db / 10))
