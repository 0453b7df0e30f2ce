"""What hidden frames are asked for: a cluster of spectral shape (phones) and one of pitch and energy (prosody).

HuBERT (Hsu et al., 2021) asks for clusters of MFCCs only, which discard pitch; emotion needs pitch, hence the second
stream. Both are computed from the clean signal while the model hears the noisy one, and have the model's frame rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import dct
from sklearn.cluster import MiniBatchKMeans
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from mtlser.config import SAMPLE_RATE_HZ
from mtlser.corpus.espeak import Progress
from mtlser.corpus.pretraining_speech import Draw, SpeechConfig, draw_utterances, speak
from mtlser.corpus.prosody import pitch_and_energy
from mtlser.model.frames import FrameLayout

WINDOW = 400  # samples, 25 ms, HuBERT's MFCC window
HOP = 160  # samples, 10 ms
NUM_MFCC = 13
_MEL_FILTERS = mel_filter_bank(257, 40, 60.0, 7600.0, SAMPLE_RATE_HZ, norm="slaney", mel_scale="slaney")
_HANN = window_function(WINDOW, "hann")


@dataclass(frozen=True)
class Utterance:
    """What was drawn; samples (S,) int16 with noise; of each frame the ids of its clusters, and log-F0 for a probe."""

    draw: Draw
    samples: np.ndarray
    phones: np.ndarray
    prosody: np.ndarray
    log_pitch: np.ndarray  # NaN where unvoiced

    def waveform(self) -> np.ndarray:
        """(S,) float32 with zero mean and unit variance, as wav2vec 2.0 has its input."""
        waveform = self.samples.astype(np.float32) / 32768
        return (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)


def make_utterances(
    speech: SpeechConfig, num_phones: int, num_prosody: int, seed: int, layout: FrameLayout,
    progress: Progress | None = None,
) -> list[Utterance]:  # fmt: skip
    """The whole corpus with targets; clusters are fitted on the training utterances alone."""
    draws, samples, spectral, prosodic, pitches = draw_utterances(speech), [], [], [], []
    for noisy, clean in speak(speech, draws, progress):
        waveform, num_frames = clean.astype(np.float32) / 32768, layout.num_frames(len(clean))
        log_pitch, energy_db = pitch_and_energy(waveform, num_frames, layout.stride)
        samples.append(noisy)
        spectral.append(mfcc_features(waveform, num_frames, layout.stride))
        prosodic.append(prosody_features(log_pitch, energy_db))
        pitches.append(log_pitch)
    num_training = sum(len(pitch) for pitch in pitches[: speech.num_training])  # frames, which come first
    ends = np.cumsum([len(pitch) for pitch in pitches])[:-1]
    ids = [
        np.split(cluster(np.concatenate(features), num_training, num_clusters, seed), ends)
        for features, num_clusters in ((spectral, num_phones), (prosodic, num_prosody))
    ]
    return [Utterance(*parts) for parts in zip(draws, samples, *ids, pitches, strict=True)]


def mfcc_features(samples: np.ndarray, num_frames: int, frame_stride: int) -> np.ndarray:
    """(S,) → (T, 39): 13 MFCCs, deltas, second deltas every 10 ms, averaged over encoder frames, normalised.

    Normalising per utterance takes out most of the voice and of the channel, so that few clusters suffice for phones.
    """
    options = {"fft_length": 512, "power": 2.0, "center": False, "mel_floor": 1e-8, "log_mel": "log"}
    power = spectrogram(samples, _HANN, WINDOW, HOP, mel_filters=_MEL_FILTERS, **options).T  # (10 ms steps, 40)
    cepstra = dct(power, type=2, norm="ortho", axis=1)[:, :NUM_MFCC]
    deltas = np.gradient(cepstra, axis=0)
    steps = np.concatenate([cepstra, 2 * deltas, 4 * np.gradient(deltas, axis=0)], axis=1)  # (steps, 39)
    per_frame = frame_stride // HOP
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


def cluster(features: np.ndarray, num_fit: int, num_clusters: int, seed: int) -> np.ndarray:
    """Cluster ids (N,) uint8 of `features` (N, D), k-means fitted on at most 100,000 of the first `num_fit` rows."""
    rows = np.arange(num_fit)
    if num_fit > 100_000:
        rows = np.sort(np.random.default_rng(seed).choice(rows, 100_000, replace=False))
    model = MiniBatchKMeans(num_clusters, random_state=seed, batch_size=4096, n_init=3, max_iter=60)
    return model.fit(features[rows]).predict(features).astype(np.uint8)
