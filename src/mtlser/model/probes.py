"""What a pretrained encoder's frozen output holds, judged on voices that were never trained on.

Linear functions are fitted on training voices; clusters of frames are compared with the phonemes that espeak-ng spoke,
which training never sees. Legend of shapes: N frames of all utterances together, T frames of one, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import homogeneity_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtlser.config import SAMPLE_RATE_HZ
from mtlser.model.pretraining import MaskedPredictor
from mtlser.model.pretraining_speech import Utterance, cluster

NUM_FRAMES = 12_000  # that the probes of frames are fitted on, at most


def purity(clusters: np.ndarray, phonemes: np.ndarray) -> dict[str, float]:
    """Clusters (N,) and phonemes (N,) → the three measures of Hsu et al. (2021), section V.B.

    phone_purity: share of frames whose phoneme is their cluster's commonest; cluster_purity: share whose cluster is
    their phoneme's commonest; pnmi: mutual information over the phonemes' entropy, 0 to 1.
    """
    counts = contingency_matrix(phonemes, clusters)
    return {
        "phone_purity": float(counts.max(axis=0).sum() / counts.sum()),
        "cluster_purity": float(counts.max(axis=1).sum() / counts.sum()),
        "pnmi": float(homogeneity_score(phonemes, clusters)),
    }


@torch.no_grad()
def layer_outputs(model: MaskedPredictor, utterances: Sequence[Utterance], layer: int = -1) -> list[np.ndarray]:
    """Output (T, H) of a transformer layer (default: the last) for each whole utterance, nothing hidden."""
    outputs: list[np.ndarray] = []
    module = model.eval().encoder.encoder.layers[layer]
    with module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output[0].numpy())):
        for utterance in utterances:
            model(model.convolve(utterance.waveform()[None]))
    return outputs


def own_clusters(
    model: MaskedPredictor, fit: Sequence[Utterance], test: Sequence[Utterance], num_clusters: int, seed: int
) -> np.ndarray:
    """Cluster ids (N,) of the third layer's output (HuBERT: 6 of 12) for the frames of `test`, fitted on `fit`."""
    fitted, tested = (np.concatenate(layer_outputs(model, part, layer=2)) for part in (fit, test))
    return cluster(np.concatenate([fitted, tested]), len(fitted), num_clusters, seed)[len(fitted) :]


def probe(model: MaskedPredictor, fit: Sequence[Utterance], test: Sequence[Utterance]) -> dict[str, float]:
    """Linear probes of the output, fitted on `fit`, scored on `test`.

    pitch_r2, rate_r2: of an utterance's mean log-F0 and of its letters per second, from the mean over its frames;
    rate_from_sum_r2: the same from the sum over frames, the paper's pooling; phone_accuracy: of each frame's MFCC
    cluster; phoneme_accuracy: of the phoneme that espeak-ng speaks in each frame.
    """
    fitted, tested = _examples(model, fit), _examples(model, test)
    values = {}
    for name, (features, wanted) in fitted.items():
        if name.endswith("r2"):
            reader = RidgeCV(np.logspace(-2, 4, 13))
        else:
            reader = LogisticRegression(C=0.1, tol=1e-3, max_iter=500)
            rows = np.random.default_rng(0).choice(len(wanted), min(NUM_FRAMES, len(wanted)), replace=False)
            features, wanted = features[rows], wanted[rows]
        score = make_pipeline(StandardScaler(), reader).fit(features, wanted).score(*tested[name])
        values[name] = round(float(score), 4)
    return values


def _examples(model: MaskedPredictor, utterances: Sequence[Utterance]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What each probe reads, and what it is to say."""
    outputs = layer_outputs(model, utterances)
    frames = np.concatenate(outputs)
    means, sums = (np.stack([getattr(own, pool)(axis=0) for own in outputs]) for pool in ("mean", "sum"))
    pitch = np.array([utterance.mean_log_pitch for utterance in utterances])
    letters = np.array([sum(map(str.isalpha, utterance.draw.speech.text)) for utterance in utterances])
    rate = letters * SAMPLE_RATE_HZ / np.array([len(utterance.samples) for utterance in utterances])
    return {
        "pitch_r2": (means[np.isfinite(pitch)], pitch[np.isfinite(pitch)]),
        "rate_r2": (means, rate),
        "rate_from_sum_r2": (sums, rate),
        "phone_accuracy": (frames, np.concatenate([utterance.phones for utterance in utterances])),
        "phoneme_accuracy": (frames, np.concatenate([utterance.phonemes for utterance in utterances])),
    }
