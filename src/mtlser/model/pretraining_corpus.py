"""Synthetic speech for pretraining, of voices, accents and sentences that the pocket corpus does not have.

The words are spoken, then forgotten: training sees samples only, clean for the targets and noisy for the model's input.
Only the probe of speaking rate counts the letters that were spoken.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mtlser.config import DATA_FOLDER, SAMPLE_RATE_HZ
from mtlser.corpus.espeak import Progress, Speech, synthesise
from mtlser.storage import digest, whole_file

# Raised when the words, voices or draws below change, so that a corpus on disk is never mistaken for another.
GENERATOR_VERSION = 1

# The pocket corpus speaks American English; none of these accents is American.
ACCENTS = ("en", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd")
TRAINING_VARIANTS = (
    "Alicia Andrea Andy Annie Denis Diogo Gene Jacky Lee Marco Mario Michael Mike adam anika antonio aunty belinda "
    "benjamin boris david ed ian john linda marcelo max miguel norbert pablo paul quincy rob sandro steph travis victor"
).split()
PROBE_VARIANTS = ("Alex", "Henrique", "edward", "grandma", "robert", "shelby", "Nguyen", "zac")  # never trained on

WORD_CLASSES: dict[str, list[str]] = {
    word_class: words.split()
    for word_class, words in json.loads((DATA_FOLDER / "pretraining_words.json").read_text(encoding="utf-8")).items()
}
WORDS = sorted({word for words in WORD_CLASSES.values() for word in words})
# Shapes of sentences that are not meant to make sense: no word tells which comes next.
PATTERNS = (
    "determiner adjective noun verb determiner noun",
    "pronoun verb determiner adjective noun preposition determiner noun",
    "pronoun adverb verb determiner noun preposition determiner adjective noun",
    "determiner noun preposition determiner noun verb determiner adjective noun",
    "pronoun verb number noun preposition determiner noun",
    "verb determiner noun preposition determiner adjective noun adverb pronoun verb",
    "adverb adjective noun verb pronoun conjunction pronoun verb determiner noun",
    "number adjective noun verb preposition determiner noun",
    "pronoun verb determiner noun adverb preposition determiner noun",
    "determiner noun pronoun verb adverb adjective noun",
)
PUNCTUATION = (".", ".", ".", "", "!", "?")


@dataclass(frozen=True)
class SpeechConfig:
    """What is synthesised. The ranges are wider than the pocket corpus uses, so that fine-tuning never leaves them."""

    seed: int = 2021
    num_training: int = 6000  # some 4.5 hours
    num_probe: int = 600  # voices of PROBE_VARIANTS
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
    split: str  # "training" or "probe"

    @property
    def num_letters(self) -> int:
        """Letters spoken: what the probe of speaking rate counts."""
        return sum(character.isalpha() for character in self.speech.text)


def draw_utterances(settings: SpeechConfig) -> list[Draw]:
    """Every utterance of the corpus, each from its own generator, so that one does not depend on how many there are."""
    counts = {"training": settings.num_training, "probe": settings.num_probe}
    return [
        _draw(settings, split, np.random.default_rng([settings.seed, part, i]))
        for part, (split, count) in enumerate(counts.items())
        for i in range(count)
    ]


def _draw(settings: SpeechConfig, split: str, random: np.random.Generator) -> Draw:
    variants = TRAINING_VARIANTS if split == "training" else PROBE_VARIANTS
    speech = Speech(
        text=_draw_text(settings, random),
        voice=f"{random.choice(ACCENTS)}+{random.choice(variants)}",
        rate_wpm=int(random.integers(*settings.rate_wpm)),
        pitch=int(random.integers(*settings.pitch)),
        pitch_range=int(random.integers(*settings.pitch_range)),
    )
    clean = random.random() < settings.clean_share
    snr_db = float("inf") if clean else float(random.uniform(*settings.snr_db))
    return Draw(speech, snr_db, float(random.uniform(0, 1)), split)


def _draw_text(settings: SpeechConfig, random: np.random.Generator) -> str:
    """A sentence of 6 to 11 words, lower case, with final punctuation (it changes espeak-ng's intonation)."""
    if random.random() < settings.random_words_share:
        words = [str(word) for word in random.choice(WORDS, size=random.integers(7, 12))]
    else:
        words = [str(random.choice(WORD_CLASSES[name])) for name in str(random.choice(PATTERNS)).split()]
    if random.random() < 0.3:  # a comma makes a phrase boundary
        words[random.integers(1, len(words) - 2)] += ","
    return " ".join(words) + str(random.choice(PUNCTUATION))


def add_noise(samples: np.ndarray, snr_db: float, slope: float, random: np.random.Generator) -> np.ndarray:
    """`samples` (S,) with noise `snr_db` below their mean power; the noise's amplitude falls as frequency ** -slope."""
    if not np.isfinite(snr_db):
        return samples
    spectrum = np.fft.rfft(random.standard_normal(len(samples)))
    noise = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), len(spectrum) / 80) ** slope, n=len(samples))
    return samples + noise * np.sqrt(np.mean(samples**2) / np.mean(noise**2) / 10 ** (snr_db / 10))


@dataclass(frozen=True)
class SpeechCorpus:
    """Synthesised utterances, one after the other in flat int16 arrays.

    samples: with noise, the model's input; clean: without, for the targets; starts (utterances + 1,): first sample of
    each utterance, and the total last; draws: what was synthesised, in the same order.
    """

    samples: np.ndarray
    clean: np.ndarray
    starts: np.ndarray
    draws: list[Draw]

    def __len__(self) -> int:
        return len(self.draws)

    def waveform(self, index: int, *, clean: bool = False) -> np.ndarray:
        """(S,) float32 in [-1, 1] of one utterance."""
        flat = self.clean if clean else self.samples
        return flat[self.starts[index] : self.starts[index + 1]].astype(np.float32) / 32768

    @cached_property
    def statistics(self) -> np.ndarray:
        """(utterances, 2) float32: mean and standard deviation, by which wav2vec 2.0 normalises an utterance."""
        waveforms = (self.waveform(i) for i in range(len(self)))
        return np.array([(w.mean(), np.sqrt(w.var() + 1e-7)) for w in waveforms], dtype=np.float32)

    def indices(self, split: str) -> np.ndarray:
        """Positions of the utterances of "training" or "probe"."""
        return np.flatnonzero([draw.split == split for draw in self.draws])

    @cached_property
    def training_set(self) -> frozenset[int]:
        """Positions of the training utterances, to ask whether one is among them."""
        return frozenset(self.indices("training").tolist())

    @property
    def seconds(self) -> float:
        """Duration of all utterances together."""
        return len(self.samples) / SAMPLE_RATE_HZ


def speech_key(settings: SpeechConfig) -> str:
    """Short hash of everything that decides the samples (except the version of espeak-ng)."""
    voices = [ACCENTS, TRAINING_VARIANTS, PROBE_VARIANTS]
    return digest(json.dumps([GENERATOR_VERSION, asdict(settings), WORD_CLASSES, PATTERNS, voices]))[:12]


def make_speech(
    settings: SpeechConfig, folder: Path, *, progress: Progress | None = None, workers: int = 1
) -> SpeechCorpus:
    """The corpus of `settings`, read from `folder` when it is there, synthesised and kept there when not."""
    path = Path(folder) / f"speech-{speech_key(settings)}.npz"
    draws = draw_utterances(settings)
    if not path.exists():
        spoken = synthesise([draw.speech for draw in draws], progress=progress, workers=workers)
        numbered = enumerate(zip(draws, spoken, strict=True))
        pairs = [_with_noise(settings, i, draw, samples) for i, (draw, samples) in numbered]
        noisy, clean = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        starts = np.cumsum([0] + [len(pair[0]) for pair in pairs])
        with whole_file(path) as partial, open(partial, "wb") as file:
            np.savez(file, samples=noisy, clean=clean, starts=starts)
    with np.load(path) as arrays:
        return SpeechCorpus(arrays["samples"], arrays["clean"], arrays["starts"], draws)


def _with_noise(settings: SpeechConfig, index: int, draw: Draw, clean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S,) int16 with noise and (S,) int16 without."""
    noisy = add_noise(clean, draw.snr_db, draw.noise_slope, np.random.default_rng([settings.seed, 2, index]))
    scale = 0.9 * 32767 / max(np.abs(noisy).max(), np.abs(clean).max())
    return np.rint(noisy * scale).astype(np.int16), np.rint(clean * scale).astype(np.int16)
