"""A tiny corpus of tones, a tiny backbone and a plan over them: the experiment's own code in seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from transformers import Wav2Vec2Config

from mtlser.config import EMOTIONS, SAMPLE_RATE_HZ, get_preset
from mtlser.runs.corpora import Corpus
from mtlser.runs.plan import Plan, table4
from mtlser.runs.settings import Settings
from tiny_models import init_random_backbone

WORDS = ("RAIN", "SUN", "WE WENT", "IT'S COLD", "NO", "")


def tiny_utterances(
    folder: Path, speakers=("Ses01F", "Ses01M", "Ses02F", "Ses02M"), per_speaker: int = 6
) -> pd.DataFrame:
    """A table as `load_release` gives it, with wavs of a tone in noise that tells the emotion."""
    rng = np.random.default_rng(0)
    rows = []
    for speaker in speakers:
        for number in range(per_speaker):
            dialog = f"{speaker[:5]}{'FM'[number % 2]}_impro01"
            utterance = f"{dialog}_{speaker[-1]}{number:03d}"
            label = number % len(EMOTIONS)
            seconds = 0.5 + 0.1 * (number % 3)
            time = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
            samples = 0.3 * np.sin(2 * np.pi * 200 * (label + 1) * time) + 0.05 * rng.standard_normal(len(time))
            wav = folder / f"{utterance}.wav"
            folder.mkdir(parents=True, exist_ok=True)
            soundfile.write(wav, samples.astype(np.float32), SAMPLE_RATE_HZ, subtype="PCM_16")
            text = WORDS[number % len(WORDS)]
            rows.append((utterance, dialog, speaker[:5], speaker, EMOTIONS[label], text, str(wav), 0.0, seconds))
    columns = ["utterance", "dialog", "session", "speaker", "emotion", "transcript", "wav"]
    columns += ["start_seconds", "end_seconds"]
    return pd.DataFrame(rows, columns=columns).sort_values("utterance", ignore_index=True)


TINY_ARCHITECTURE = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "conv_dim": (8, 8, 8),
    "conv_kernel": (10, 8, 8), "conv_stride": (10, 8, 8), "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2, "hidden_dropout": 0.1, "vocab_size": 32,
}  # fmt: skip


def tiny_backbone(folder: Path) -> Path:
    """An untrained backbone of some thousand parameters, with dropout, at 40 ms frames."""
    return init_random_backbone(folder, Wav2Vec2Config(**TINY_ARCHITECTURE), seed=1)


class GivenCorpus(Corpus):
    """A corpus whose table is given instead of read."""

    exists = True


def tiny_plan(folder: Path, utterances: pd.DataFrame, **settings) -> Plan:
    """The smoke preset's plan over those utterances instead of its corpus, with the tiny backbone."""
    defaults = {
        "artifacts": folder / "artifacts",
        "results": folder / "results",
        "backbone": str(tiny_backbone(folder / "backbone")),
        "progress": folder / "progress.log",
    }
    chosen = Settings(**(defaults | settings))
    corpus = GivenCorpus(get_preset("smoke"), None, False, chosen.artifacts)
    vars(corpus)["utterances"] = utterances  # as if read
    return replace(table4("smoke", chosen), corpus=corpus)
