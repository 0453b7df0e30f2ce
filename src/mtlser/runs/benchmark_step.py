"""Benchmarks of training a model of wav2vec2-base's shape: our step beside the released code's, and its memory.

They are meant for a GPU and run on a CPU too. Utterances are noise of IEMOCAP's lengths and weights are random, neither
of which moves the time of a step. SpecAugment's masks, which take none to speak of, are left out of both steps, and
both have the loss of Eq. 3 as ours normalises it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.optim import Optimizer
from torch.utils.benchmark import Compare, Timer
from transformers import Wav2Vec2Config, Wav2Vec2Model

from mtlser import paper
from mtlser.config import DATA_FOLDER, EMOTIONS, SAMPLE_RATE_HZ, get_preset
from mtlser.model.losses import multitask_loss
from mtlser.model.multitask import MultitaskModel
from mtlser.runs.batches import micro_batches
from mtlser.runs.benchmark import Measured, Options
from mtlser.runs.training import make_optimizer

SEED = 5
CONFIG = get_preset("iemocap").run
LENGTHS = json.loads((DATA_FOLDER / "iemocap_durations.json").read_text(encoding="utf-8"))["seconds"]
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
CHARACTERS_PER_SECOND = 13  # of a transcript, about that of read English
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
        "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}  # fmt: skip


class Noise(NamedTuple):
    """Utterances of an effective batch: waveforms (S,) each, labels (B,), characters (B, L) and their numbers (B,)."""

    waveforms: list[Tensor]
    labels: Tensor
    targets: Tensor
    target_lengths: Tensor


def make_noise(seconds: np.ndarray, device: str) -> Noise:
    """Utterances of noise of those lengths on the device, each with an emotion and random letters."""
    waveforms = [torch.randn(int(length * SAMPLE_RATE_HZ), device=device) for length in seconds]
    target_lengths = torch.tensor(seconds * CHARACTERS_PER_SECOND).long().clamp(min=1)
    targets = torch.randint(5, 32, (len(seconds), int(target_lengths.max())), device=device)
    return Noise(waveforms, torch.arange(len(seconds), device=device) % len(EMOTIONS), targets, target_lengths)


def iemocap_lengths(num_utterances: int) -> np.ndarray:
    """Seconds drawn like IEMOCAP's: a lognormal with the audit's median and mean, within its extremes."""
    spread = np.sqrt(2 * np.log(LENGTHS["mean"] / LENGTHS["median"]))
    drawn = LENGTHS["median"] * np.exp(spread * np.random.default_rng(SEED).standard_normal(num_utterances))
    return drawn.clip(LENGTHS["shortest"], LENGTHS["longest"])


def base_architecture(small: bool = False) -> Wav2Vec2Config:
    """wav2vec2-base: transformers' defaults, with the dropouts of facebook/wav2vec2-base's config.json."""
    dropouts = {"hidden_dropout": 0.1, "attention_dropout": 0.1, "feat_proj_dropout": 0.1, "activation_dropout": 0.0}
    return Wav2Vec2Config(**dropouts, final_dropout=0.0, layerdrop=0.0, mask_time_prob=0.0, **(TINY if small else {}))


class ReleasedModel(nn.Module):
    """The released code's model, rebuilt from its description (the audit's differences 4, 5, 11 and 15).

    It pads without an attention mask, computes activations again for the backward pass, writes attention out as
    matrices, and pools by the mean. Difference 22, a loop over parameters in AdamW, is in `training_step`.
    """

    def __init__(self, architecture: Wav2Vec2Config) -> None:
        super().__init__()
        self.encoder = Wav2Vec2Model(architecture)
        self.encoder.set_attn_implementation("eager")
        self.encoder.activation_checkpointing_enable()
        self.emotion_head = nn.Linear(architecture.hidden_size, len(EMOTIONS))
        self.ctc_head = nn.Linear(architecture.hidden_size, architecture.vocab_size)

    def forward(self, waveforms: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Waveforms (S,) each -> emotion logits (B, E), CTC logits (B, T, V), frames (B,), with those of padding."""
        hidden = self.encoder(pad_sequence(waveforms, batch_first=True)).last_hidden_state  # (B, T, H)
        frame_lengths = torch.full((len(hidden),), hidden.shape[1])
        return self.emotion_head(hidden.mean(dim=1)), self.ctc_head(hidden), frame_lengths


def own_step(
    model: MultitaskModel, optimizer: Optimizer, noise: Noise, dtype: torch.dtype = torch.float32, packed: bool = True
) -> None:
    """Our step, from the public parts that runs train with: packed or padded."""
    seconds = [len(waveform) / SAMPLE_RATE_HZ for waveform in noise.waveforms]
    parts = micro_batches(np.arange(len(seconds)), seconds, CONFIG.micro_batch_seconds, packed=packed)
    take_step(noise, parts, partial(own_forward, model, packed), optimizer, dtype)


def own_forward(model: MultitaskModel, packed: bool, waveforms: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """As `ReleasedModel.forward`, of our model, which sees no padding."""
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    if packed:
        return model.forward_packed(torch.cat(waveforms), lengths)
    return model(pad_sequence(waveforms, batch_first=True), lengths)


def take_step(
    noise: Noise, parts: Iterable, forward: Callable, optimizer: Optimizer, dtype: torch.dtype = torch.float32
) -> None:
    """One optimiser step on an effective batch that is cut into parts, each the rows of some utterances.

    `forward`: see `ReleasedModel.forward`. `dtype`: of the products, by autocast around all parts, so that the weights
    are rounded once a step.
    """
    device = noise.labels.device.type
    optimizer.zero_grad()
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
        for rows in parts:
            emotion_logits, ctc_logits, frame_lengths = forward([noise.waveforms[row] for row in rows])
            loss = multitask_loss(
                emotion_logits.float(), ctc_logits.float(), frame_lengths, noise.labels[rows], noise.targets[rows],
                noise.target_lengths[rows], CONFIG.alpha, num_utterances=len(noise.labels),
            )  # fmt: skip
            with torch.autocast(device, enabled=False):
                loss.total.backward()
    parameters, foreach = optimizer.param_groups[0]["params"], optimizer.defaults["foreach"]
    nn.utils.clip_grad_norm_(parameters, CONFIG.max_gradient_norm, foreach=foreach)
    optimizer.step()


@torch.no_grad()
def evaluate(model: MultitaskModel, noise: Noise, dtype: torch.dtype = torch.float32) -> Tensor:
    """The likeliest characters at each frame: (B, T)."""
    model.eval()
    with torch.autocast(noise.labels.device.type, dtype, enabled=dtype != torch.float32):
        _, ctc_logits, _ = own_forward(model, True, noise.waveforms)
    model.train()
    return ctc_logits.argmax(-1).cpu()


def training_step(options: Options) -> Measured:
    """Audio-seconds a second of whole optimiser steps on the same batches, variant after variant in every repeat."""
    lengths = iemocap_lengths(CONFIG.batch_size * options.repeats) / (4 if options.small else 1)
    architecture, best = base_architecture(options.small), options.precisions[-1]
    model = MultitaskModel(architecture).to(options.device).train()
    own = partial(own_step, model, make_optimizer(model, CONFIG))
    baseline = ReleasedModel(architecture).to(options.device).train()
    parameters = {"lr": CONFIG.learning_rate, "weight_decay": CONFIG.weight_decay, "foreach": False}
    released = partial(  # micro-batches of 2 in the order they come; in fp16 without the scaling of gradients
        take_step,
        parts=np.arange(CONFIG.batch_size).reshape(-1, 2),
        forward=baseline,
        optimizer=torch.optim.AdamW(baseline.parameters(), **parameters),
    )
    variants = {"released": released}
    if options.device == "cuda":
        variants["released_fp16"] = partial(released, dtype=torch.float16)
    base = list(variants)[-1]
    variants |= {f"ours_{precision}": partial(own, dtype=DTYPES[precision]) for precision in options.precisions}
    variants[f"padded_{best}"] = partial(own, dtype=DTYPES[best], packed=False)
    variants["evaluation"] = partial(evaluate, model, dtype=DTYPES[best])
    timings, rates = [], pd.DataFrame(columns=list(variants), dtype=float)
    for number, seconds in enumerate(np.split(lengths, options.repeats)):
        noise = make_noise(seconds, options.device)
        for variant, step in variants.items():
            names = {"label": "training step", "sub_label": variant, "description": f"batch {number + 1}"}
            given = {"step": step, "noise": noise}
            timer = Timer("step(noise)", globals=given, num_threads=options.threads, **names)
            timings.append(timer.blocked_autorange())  # once untimed, then for a fifth of a second, at least once
            rates.loc[number, variant] = seconds.sum() / timings[-1].median
        options.say(str(Compare(timings)))
    details = {
        "samples": rates.round(4).to_dict("list"),
        "audio_seconds": round(float(lengths.sum()), 1),
        "utterances": len(lengths),
        "precision": best,  # of padding, of evaluation and of Table 4's time
        "tf32": torch.backends.cuda.matmul.allow_tf32 if options.device == "cuda" else None,
    }
    return step_figures(rates, base, best), details


def step_figures(rates: pd.DataFrame, base: str, best: str) -> dict[str, float]:
    """Medians over batches (rows) of each variant's rate, and of its ratio to `base` on the same batch."""
    rates = rates.rename(columns=lambda name: name.removeprefix("ours_"))
    ratios = rates.drop(columns=[base, "evaluation"]).div(rates[base], axis=0)
    found = rates.median().add_prefix("rate_").to_dict() | ratios.median().add_prefix("ratio_").to_dict()
    found["packed_ratio"] = (rates[best] / rates[f"padded_{best}"]).median()
    found["table4_hours"] = table4_seconds(found[f"rate_{best}"], found["rate_evaluation"]) / 3600
    return found


def table4_seconds(training_rate: float, evaluation_rate: float) -> float:
    """Seconds of Table 4 on IEMOCAP, one run after the other: nine folds trained and one evaluated in each epoch."""
    preset = get_preset("iemocap")
    corpus = paper.IEMOCAP_HOURS * 3600 * len(preset.alphas) * preset.run.epochs * len(preset.seeds)
    return corpus * (len(paper.SPEAKER_TEST_SIZES) - 1) / training_rate + corpus / evaluation_rate


def memory(options: Options) -> Measured:
    """Peak memory of a process that takes two steps with IEMOCAP's longest utterance among seven of mean length."""
    seconds = np.array([LENGTHS["longest"]] + [LENGTHS["mean"]] * (CONFIG.batch_size - 1))
    seconds = seconds / (4 if options.small else 1)
    found = {}
    for precision in options.precisions:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:  # a new one: a peak only grows
            given = (seconds, precision, options.threads, options.device, options.small)
            found[f"peak_gib_{precision}"] = process.submit(peak_of_two_steps, *given).result() / 2**30
    return found, {"longest_seconds": float(seconds[0]), "batch": len(seconds)}


def peak_of_two_steps(seconds: np.ndarray, precision: str, threads: int, device: str, small: bool) -> int:
    """Bytes that this process, or its GPU where that is the device, held at most in two steps on such utterances."""
    torch.set_num_threads(threads)
    model = MultitaskModel(base_architecture(small)).to(device).train()
    optimizer = make_optimizer(model, CONFIG)
    for _ in range(2):
        own_step(model, optimizer, make_noise(seconds, device), DTYPES[precision])
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")  # on Linux, where `getrusage` counts the parent's memory too
    if status.exists():
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1])
    import resource  # here, since Windows has none

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
