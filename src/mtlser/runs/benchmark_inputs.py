"""What the benchmarks of training are given: utterances of noise with IEMOCAP's lengths, a model of random weights.

Neither moves the time of a step.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import Wav2Vec2Config
from transformers.utils.logging import disable_progress_bar

from mtlser.config import DATA_FOLDER, EMOTIONS, SAMPLE_RATE_HZ, RunConfig, get_preset
from mtlser.corpus.dataset import SpeechDataset
from mtlser.processes import has_fast_bfloat16, keep_freed_memory
from mtlser.runs.benchmark import Options, num_threads
from mtlser.runs.training import RunInputs, _Trainer

SEED = 5
CHARACTERS_PER_SECOND = 13  # of a transcript, about that of read English
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
        "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}  # fmt: skip


def iemocap_lengths(num_utterances: int, seed: int = SEED) -> np.ndarray:
    """Seconds drawn like IEMOCAP's: a lognormal with the audit's median and mean, within its extremes."""
    known = json.loads((DATA_FOLDER / "iemocap_durations.json").read_text(encoding="utf-8"))["seconds"]
    spread = np.sqrt(2 * np.log(known["mean"] / known["median"]))
    drawn = known["median"] * np.exp(spread * np.random.default_rng(seed).standard_normal(num_utterances))
    return drawn.clip(known["shortest"], known["longest"])


def longest_seconds() -> float:
    """The longest utterance of IEMOCAP's four classes."""
    return json.loads((DATA_FOLDER / "iemocap_durations.json").read_text(encoding="utf-8"))["seconds"]["longest"]


def base_architecture(small: bool = False) -> Wav2Vec2Config:
    """wav2vec2-base: transformers' defaults, with the dropouts of facebook/wav2vec2-base's config.json."""
    dropouts = {"hidden_dropout": 0.1, "attention_dropout": 0.1, "feat_proj_dropout": 0.1, "activation_dropout": 0.0}
    return Wav2Vec2Config(**dropouts, final_dropout=0.0, layerdrop=0.0, **(TINY if small else {}))


def noise_dataset(seconds: Sequence[float], folder: Path, seed: int = SEED) -> SpeechDataset:
    """Utterances of noise of those lengths, each with an emotion and a text of random letters."""
    generator = np.random.default_rng(seed)
    num_samples = [int(length * SAMPLE_RATE_HZ) for length in seconds]
    texts = ["".join(generator.choice(list("ETAOINSHR "), int(n * CHARACTERS_PER_SECOND))).strip() for n in seconds]
    table = pd.DataFrame({
        "utterance": [f"noise_{number}" for number in range(len(seconds))], "speaker": "noise",
        "emotion": [EMOTIONS[number % len(EMOTIONS)] for number in range(len(seconds))],
        "label": [number % len(EMOTIONS) for number in range(len(seconds))],
        "text": texts, "num_samples": num_samples, "audio_sha256": "",
    })  # fmt: skip
    return SpeechDataset(folder, table, generator.integers(-3000, 3000, sum(num_samples), dtype=np.int16))


def make_trainer(config: RunConfig, dataset: SpeechDataset, backbone: str, folder: Path) -> _Trainer:
    """The trainer of a run on those utterances, as `runs.training` makes it."""
    rows = np.arange(len(dataset.table))
    inputs = RunInputs("benchmark", dataset, rows, rows, backbone, None, {}, "noise")
    return _Trainer(config, inputs, folder, lambda event: None)


def timed(function: Callable[[], object]) -> float:
    """Seconds of a call, on a GPU until its work is done."""
    synchronise = torch.cuda.synchronize if torch.cuda.is_available() else int
    synchronise()
    started = time.perf_counter()
    function()
    synchronise()
    return time.perf_counter() - started


def replace_lengths(dataset: SpeechDataset, share: float) -> SpeechDataset:
    """Noise again, each utterance shortened to a share of its length: the check takes less of the time."""
    return noise_dataset(share * dataset.table["num_samples"].to_numpy() / SAMPLE_RATE_HZ, dataset.folder)


def prepare(options: Options) -> None:
    """Threads and memory as the options and a worker have them; no progress bars of transformers' among ours."""
    disable_progress_bar()
    torch.set_num_threads(num_threads(options))
    keep_freed_memory()


def own_precisions() -> list[str]:
    """What our step is measured in, the fastest last: "float32", and "bf16" where the device computes it itself."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return ["float32", "bf16"] if has_fast_bfloat16(device) else ["float32"]


def own_config(precision: str) -> RunConfig:
    """The paper's run in one of `own_precisions`."""
    return replace(get_preset("iemocap").run, precision={"float32": "fp32"}.get(precision, precision))
