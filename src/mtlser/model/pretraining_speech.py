"""Synthetic speech for pretraining, and what is asked of its hidden frames.

Voices, accents and sentences are others than the pocket corpus has. HuBERT (Hsu et al., 2021) asks for clusters of
MFCCs (phones), which discard pitch; emotion needs pitch, hence a second stream of clusters, of pitch and energy
(prosody). Both are computed from the clean signal while the model hears the noisy one. Only probes know what was said.

Legend of shapes: S samples, T frames, N frames of all utterances together.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.fft import dct
from sklearn.cluster import MiniBatchKMeans
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from mtlser.config import DATA_FOLDER, SAMPLE_RATE_HZ
from mtlser.corpus.espeak import Speech, synthesise_aligned
from mtlser.corpus.prosody import pitch_and_energy
from mtlser.model.frames import FrameLayout

_DATA = json.loads((DATA_FOLDER / "pretraining_speech.json").read_text(encoding="utf-8"))
# The pocket corpus speaks American English; none of these accents is American.
ACCENTS: list[str] = _DATA["accents"].split()
TRAINING_VARIANTS: list[str] = _DATA["training_variants"].split()
HELD_OUT_VARIANTS: list[str] = _DATA["held_out_variants"].split()  # never trained on
_WORD_CLASSES: dict[str, list[str]] = {name: words.split() for name, words in _DATA["words"].items()}
_WORDS = sorted(set().union(*_WORD_CLASSES.values()))
_PUNCTUATION = (".", ".", ".", "", "!", "?")
_WINDOW, _HOP = 400, 160  # samples, 25 and 10 ms, as HuBERT has its MFCCs
_MEL_FILTERS = mel_filter_bank(257, 40, 60.0, 7600.0, SAMPLE_RATE_HZ, norm="slaney", mel_scale="slaney")
_HANN = window_function(_WINDOW, "hann")
_STRESS = str.maketrans("", "", "ˈˌ")
PAUSE = "pause"


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


@dataclass(frozen=True)
class Utterance:
    """What was drawn; samples (S,) int16 with noise; the clusters of each frame; and what only probes ask for."""

    draw: Draw
    samples: np.ndarray
    phones: np.ndarray  # (T,) uint8
    prosody: np.ndarray  # (T,) uint8
    phonemes: np.ndarray  # (T,) that espeak-ng spoke, in IPA without stress, or PAUSE
    mean_log_pitch: float  # of F0 in Hz, over voiced frames; NaN without any

    def waveform(self) -> np.ndarray:
        """(S,) float32 with zero mean and unit variance, as wav2vec 2.0 has its input."""
        waveform = self.samples.astype(np.float32) / 32768
        return (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)


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
        words = [str(word) for word in random.choice(_WORDS, size=random.integers(7, 12))]
    else:  # a shape of sentences that are not meant to make sense: no word tells which comes next
        words = [str(random.choice(_WORD_CLASSES[name])) for name in str(random.choice(_DATA["patterns"])).split()]
    if random.random() < 0.3:  # a comma makes a phrase boundary
        words[random.integers(1, len(words) - 2)] += ","
    return " ".join(words) + str(random.choice(_PUNCTUATION))


def add_noise(samples: np.ndarray, snr_db: float, slope: float, random: np.random.Generator) -> np.ndarray:
    """`samples` (S,) with noise `snr_db` below their mean power; the noise's amplitude falls as frequency ** -slope."""
    if not np.isfinite(snr_db):
        return samples
    spectrum = np.fft.rfft(random.standard_normal(len(samples)))
    noise = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), len(spectrum) / 80) ** slope, n=len(samples))
    return samples + noise * np.sqrt(np.mean(samples**2) / np.mean(noise**2) / 10 ** (snr_db / 10))


def make_utterances(
    speech: SpeechConfig, num_phones: int, num_prosody: int, seed: int, layout: FrameLayout
) -> list[Utterance]:
    """The whole corpus with targets; clusters are fitted on the training utterances alone."""
    draws, samples, spectral, prosodic, read = draw_utterances(speech), [], [], [], []
    spoken = synthesise_aligned([draw.speech for draw in draws])
    for i, (draw, (clean, phonemes)) in enumerate(zip(draws, spoken, strict=True)):
        noisy = add_noise(clean, draw.snr_db, draw.noise_slope, np.random.default_rng([speech.seed, 2, i]))
        scale = 0.9 * 32767 / max(np.abs(noisy).max(), np.abs(clean).max())
        samples.append(np.rint(noisy * scale).astype(np.int16))
        heard, num_frames = np.rint(clean * scale).astype(np.float32) / 32768, layout.num_frames(len(clean))
        log_pitch, energy_db = pitch_and_energy(heard, num_frames, layout.stride)
        voiced = log_pitch[np.isfinite(log_pitch)]
        spectral.append(mfcc_features(heard, num_frames, layout.stride))
        prosodic.append(prosody_features(log_pitch, energy_db))
        read.append((frame_phonemes(phonemes, num_frames, layout), float(voiced.mean()) if len(voiced) else np.nan))
    ends = np.cumsum([len(features) for features in spectral])  # frames; training utterances come first
    phones, prosody = (
        np.split(cluster(np.concatenate(features), ends[speech.num_training - 1], num_clusters, seed), ends[:-1])
        for features, num_clusters in ((spectral, num_phones), (prosodic, num_prosody))
    )
    return [Utterance(*parts, *own) for *parts, own in zip(draws, samples, phones, prosody, read, strict=True)]


def mfcc_features(samples: np.ndarray, num_frames: int, frame_stride: int) -> np.ndarray:
    """(S,) → (T, 39): 13 MFCCs, deltas, second deltas every 10 ms, averaged over encoder frames, normalised.

    Normalising per utterance takes out most of the voice and of the channel, so that few clusters suffice for phones.
    """
    options = {"fft_length": 512, "power": 2.0, "center": False, "mel_floor": 1e-8, "log_mel": "log"}
    power = spectrogram(samples, _HANN, _WINDOW, _HOP, mel_filters=_MEL_FILTERS, **options).T  # (10 ms steps, 40)
    cepstra = dct(power, type=2, norm="ortho", axis=1)[:, :13]
    deltas = np.gradient(cepstra, axis=0)
    steps = np.concatenate([cepstra, 2 * deltas, 4 * np.gradient(deltas, axis=0)], axis=1)  # (steps, 39)
    per_frame = frame_stride // _HOP
    rows = np.minimum(np.arange(num_frames * per_frame), len(steps) - 1)
    features = steps[rows].reshape(num_frames, per_frame, -1).mean(axis=1)
    return ((features - features.mean(axis=0)) / (features.std(axis=0) + 1e-3)).astype(np.float32)


def prosody_features(log_pitch: np.ndarray, energy_db: np.ndarray) -> np.ndarray:
    """log-F0 (T,) with NaN, energy (T,) → (T, 4): voicing, log-F0, its change, energy; pitch decides most."""
    voiced = np.isfinite(log_pitch)
    pitch = np.where(voiced, (np.nan_to_num(log_pitch) - np.log(150.0)) / 0.35, 0.0)
    change = np.where(voiced & np.roll(voiced, 1), pitch - np.roll(pitch, 1), 0.0)
    change[:1] = 0.0
    columns = [3.0 * voiced, 2.0 * pitch, np.clip(2.0 * change, -1.5, 1.5), np.clip(energy_db, -40, 5) / 12]
    return np.stack(columns, axis=1).astype(np.float32)


def frame_phonemes(starts: Sequence[tuple[float, str]], num_frames: int, layout: FrameLayout) -> np.ndarray:
    """(start in seconds, phoneme) in order → (T,) the phoneme at each frame's middle; before the first: the first."""
    names = np.array([name.translate(_STRESS) or PAUSE for _, name in starts])
    middles = (np.arange(num_frames) * layout.stride + layout.window / 2) / SAMPLE_RATE_HZ
    positions = np.searchsorted([start for start, _ in starts], middles, side="right") - 1
    return names[np.maximum(positions, 0)]


def cluster(features: np.ndarray, num_fit: int, num_clusters: int, seed: int) -> np.ndarray:
    """Cluster ids (N,) uint8 of `features` (N, D), k-means fitted on at most 100,000 of the first `num_fit` rows."""
    rows = np.arange(num_fit)
    if num_fit > 100_000:
        rows = np.sort(np.random.default_rng(seed).choice(rows, 100_000, replace=False))
    model = MiniBatchKMeans(num_clusters, random_state=seed, batch_size=4096, n_init=3, max_iter=60)
    return model.fit(features[rows]).predict(features).astype(np.uint8)
