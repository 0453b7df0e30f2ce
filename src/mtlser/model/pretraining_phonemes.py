"""How well clusters of frames tell the phonemes that espeak-ng spoke: purity and mutual information, as HuBERT reports.

The phonemes serve measurement only. Training never sees them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import mutual_info_score

from mtlser.config import SAMPLE_RATE_HZ
from mtlser.corpus.espeak import synthesise_aligned
from mtlser.model.frames import FrameLayout
from mtlser.model.pretraining_corpus import SpeechCorpus

PAUSE = "pause"
_STRESS = str.maketrans("", "", "ˈˌ")


def spoken_phonemes(speech: SpeechCorpus, indices: Sequence[int], layout: FrameLayout) -> list[np.ndarray]:
    """The phoneme (T,) that espeak-ng speaks in each frame of those utterances, in IPA without stress, or "pause"."""
    draws = [speech.draws[i].speech for i in indices]
    spoken = synthesise_aligned(draws, workers=1)
    return [frame_phonemes(starts, layout.num_frames(len(samples)), layout) for samples, starts in spoken]


def frame_phonemes(starts: Sequence[tuple[float, str]], num_frames: int, layout: FrameLayout) -> np.ndarray:
    """(start in seconds, phoneme) in order → (T,) the phoneme at each frame's middle; before the first: the first."""
    names = np.array([name.translate(_STRESS) or PAUSE for _, name in starts])
    middles = (np.arange(num_frames) * layout.stride + layout.window / 2) / SAMPLE_RATE_HZ
    positions = np.searchsorted([start for start, _ in starts], middles, side="right") - 1
    return names[np.maximum(positions, 0)]


def purity(clusters: np.ndarray, phonemes: np.ndarray) -> dict[str, float]:
    """Clusters (N,) and phonemes (N,) → the three measures of Hsu et al. (2021), section V.B.

    phone_purity: share of frames whose phoneme is their cluster's commonest; cluster_purity: share whose cluster is
    their phoneme's commonest; pnmi: mutual information over the phonemes' entropy, 0 to 1.
    """
    counts = pd.crosstab(clusters, phonemes).to_numpy()
    shares = counts.sum(axis=0) / counts.sum()
    entropy = -float(np.sum(shares * np.log(shares)))
    return {
        "phone_purity": float(counts.max(axis=1).sum() / counts.sum()),
        "cluster_purity": float(counts.max(axis=0).sum() / counts.sum()),
        "pnmi": float(mutual_info_score(clusters, phonemes) / entropy) if entropy else 0.0,
    }
