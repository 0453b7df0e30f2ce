"""What hidden frames are asked for: a cluster of spectral shape (phones) and one of pitch and energy (prosody).

HuBERT (Hsu et al., 2021) asks for clusters of MFCCs only, which discard pitch; emotion needs pitch, hence the second
stream.
Both streams are computed from the clean signal while the model hears the noisy one, and have the model's frame rate:
frame t of the encoder covers samples [640 t, 640 t + 720).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import dct
from sklearn.cluster import MiniBatchKMeans
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from mtlser.config import SAMPLE_RATE_HZ
from mtlser.model.frames import FrameLayout
from mtlser.model.pretraining_corpus import SpeechCorpus

WINDOW = 400  # samples, 25 ms, HuBERT's MFCC window
HOP = 160  # samples, 10 ms
NUM_MEL = 40
NUM_MFCC = 13
_MEL_FILTERS = mel_filter_bank(257, NUM_MEL, 60.0, 7600.0, SAMPLE_RATE_HZ, norm="slaney", mel_scale="slaney")
_HANN = window_function(WINDOW, "hann")

PITCH_WINDOW = 960  # samples, 60 ms: three periods of the lowest pitch that is looked for
LOWEST_PITCH_HZ = 55.0
HIGHEST_PITCH_HZ = 500.0
VOICED_CORRELATION = 0.55  # autocorrelation above which a frame counts as voiced
SILENT_DB = -35.0  # below the utterance's loudest frames


def mfcc_features(samples: np.ndarray, num_frames: int, frame_stride: int) -> np.ndarray:
    """(S,) → (T, 39): 13 MFCCs, deltas, second deltas every 10 ms, averaged over encoder frames, normalised.

    Normalising per utterance takes out most of the voice and of the channel, so that few clusters suffice for phones.
    """
    power = spectrogram(
        samples,
        _HANN,
        WINDOW,
        HOP,
        fft_length=512,
        power=2.0,
        center=False,
        mel_filters=_MEL_FILTERS,
        mel_floor=1e-8,
        log_mel="log",
    ).T  # (10 ms steps, NUM_MEL)
    cepstra = dct(power, type=2, norm="ortho", axis=1)[:, :NUM_MFCC]
    deltas = np.gradient(cepstra, axis=0)
    steps = np.concatenate([cepstra, 2 * deltas, 4 * np.gradient(deltas, axis=0)], axis=1)  # (steps, 39)
    per_frame = frame_stride // HOP
    rows = np.minimum(np.arange(num_frames * per_frame), len(steps) - 1)
    features = steps[rows].reshape(num_frames, per_frame, -1).mean(axis=1)
    return ((features - features.mean(axis=0)) / (features.std(axis=0) + 1e-3)).astype(np.float32)


def pitch_and_energy(samples: np.ndarray, num_frames: int, frame_stride: int) -> tuple[np.ndarray, np.ndarray]:
    """(S,) → log of F0 in Hz (T,), NaN where unvoiced; energy (T,) in dB relative to its 95th percentile.

    F0 is the shortest lag whose normalised autocorrelation comes within 12% of the highest (else octaves below win).
    """
    padded = np.pad(samples, (0, max(0, (num_frames - 1) * frame_stride + PITCH_WINDOW - len(samples))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, PITCH_WINDOW)[::frame_stride][:num_frames].astype(
        np.float64
    )
    energy = 10 * np.log10(np.mean(windows**2, axis=1) + 1e-9)
    energy -= np.percentile(energy, 95)
    correlation = _normalised_autocorrelation(windows - windows.mean(axis=1, keepdims=True))
    shortest, longest = int(SAMPLE_RATE_HZ / HIGHEST_PITCH_HZ), int(SAMPLE_RATE_HZ / LOWEST_PITCH_HZ)
    inside = correlation[:, shortest : longest + 1]  # (T, lags)
    is_peak = np.zeros_like(inside, dtype=bool)
    is_peak[:, 1:-1] = (inside[:, 1:-1] >= inside[:, :-2]) & (inside[:, 1:-1] > inside[:, 2:])
    peaks = np.where(is_peak, inside, -1.0)
    best = peaks.max(axis=1)
    lag = shortest + np.argmax(peaks >= 0.88 * best[:, None], axis=1)
    voiced = (best > VOICED_CORRELATION) & (energy > SILENT_DB)
    return np.where(voiced, np.log(SAMPLE_RATE_HZ / lag), np.nan), energy


def _normalised_autocorrelation(windows: np.ndarray) -> np.ndarray:
    """(T, W) zero-mean windows → (T, W // 2) autocorrelation, each lag divided by the energies of its two parts."""
    length = windows.shape[1]
    spectrum = np.fft.rfft(windows, n=2 * length, axis=1)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, : length // 2]
    power = np.cumsum(windows**2, axis=1)
    total = power[:, -1:]
    lags = np.arange(1, length // 2)
    head, tail = power[:, length - 1 - lags], total - power[:, lags - 1]
    energies = np.concatenate([total, np.sqrt(head * tail)], axis=1)
    return correlation / (energies + 1e-9)


def prosody_features(log_pitch: np.ndarray, energy_db: np.ndarray) -> np.ndarray:
    """log-F0 (T,) with NaN, energy (T,) → (T, 4): voicing, log-F0, its change, energy; pitch decides most."""
    voiced = np.isfinite(log_pitch)
    pitch = np.where(voiced, (np.nan_to_num(log_pitch) - np.log(150.0)) / 0.35, 0.0)
    change = np.where(voiced & np.roll(voiced, 1), pitch - np.roll(pitch, 1), 0.0)
    change[:1] = 0.0
    columns = [3.0 * voiced, 2.0 * pitch, np.clip(2.0 * change, -1.5, 1.5), np.clip(energy_db, -40, 5) / 12]
    return np.stack(columns, axis=1).astype(np.float32)


@dataclass(frozen=True)
class Targets:
    """Of every encoder frame, all utterances concatenated: cluster ids, and log-F0 (NaN where unvoiced) for the probe.

    starts (utterances + 1,): first frame of each utterance, and the total last.
    """

    phones: np.ndarray
    prosody: np.ndarray
    log_pitch: np.ndarray
    starts: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each utterance."""
        return np.diff(self.starts)

    def of(self, index: int) -> slice:
        """Where one utterance's frames are."""
        return slice(int(self.starts[index]), int(self.starts[index + 1]))


def make_targets(speech: SpeechCorpus, layout: FrameLayout, num_phones: int, num_prosody: int, seed: int) -> Targets:
    """Targets of every utterance; clusters are fitted on the training utterances alone."""
    spectral, prosodic, pitches = [], [], []
    for i in range(len(speech)):
        clean = speech.waveform(i, clean=True)
        num_frames = layout.num_frames(len(clean))
        spectral.append(mfcc_features(clean, num_frames, layout.stride))
        log_pitch, energy_db = pitch_and_energy(clean, num_frames, layout.stride)
        prosodic.append(prosody_features(log_pitch, energy_db))
        pitches.append(log_pitch)
    starts = np.cumsum([0] + [len(pitch) for pitch in pitches])
    training = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in speech.indices("training")])
    phones = cluster(np.concatenate(spectral), training, num_phones, seed)
    prosody = cluster(np.concatenate(prosodic), training, num_prosody, seed)
    return Targets(phones, prosody, np.concatenate(pitches), starts)


def cluster(features: np.ndarray, fit_rows: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """Cluster ids (N,) uint8 of `features` (N, D), k-means fitted on at most 100,000 of `fit_rows`."""
    if len(fit_rows) > 100_000:
        fit_rows = np.sort(np.random.default_rng(seed).choice(fit_rows, 100_000, replace=False))
    model = MiniBatchKMeans(num_clusters, random_state=seed, batch_size=4096, n_init=3, max_iter=60)
    return model.fit(features[fit_rows]).predict(features).astype(np.uint8)
