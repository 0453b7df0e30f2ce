"""Benchmarks of training a model of wav2vec2-base's shape: our step beside the released code's, memory, reading.

They are meant for a GPU and run on a CPU too. Ours is the step of every run, `Trainer.step`. Utterances are noise of
IEMOCAP's lengths and weights are random, neither of which moves the time of a step. SpecAugment's masks, which take
none to speak of, are left out of both steps, and both have the loss of Eq. 3 as ours normalises it.
"""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import soundfile
import torch
from torch import Tensor, nn
from torch.utils.benchmark import Compare, Timer
from transformers import Wav2Vec2Config, Wav2Vec2Model

from mtlser import paper
from mtlser.config import DATA_FOLDER, EMOTIONS, SAMPLE_RATE_HZ, get_preset
from mtlser.corpus.dataset import build_dataset
from mtlser.model.backbone import write_model
from mtlser.model.losses import multitask_loss
from mtlser.runs.batches import cut, make_batch
from mtlser.runs.benchmark import Measured, Options
from mtlser.runs.evaluation import predict
from mtlser.runs.feed import Feed
from mtlser.runs.training import RunInputs, Trainer

CONFIG = replace(get_preset("iemocap").run, mask_time_probability=0.0, initialisation="random")
CONFIGS = {"float32": replace(CONFIG, precision="fp32"), "bf16": replace(CONFIG, precision="bf16")}
LENGTHS = json.loads((DATA_FOLDER / "iemocap_durations.json").read_text(encoding="utf-8"))["seconds"]
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
        "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}  # fmt: skip


def iemocap_lengths(num_utterances: int) -> np.ndarray:
    """Seconds drawn like IEMOCAP's: a lognormal with the audit's median and mean, within its extremes."""
    spread = np.sqrt(2 * np.log(LENGTHS["mean"] / LENGTHS["median"]))
    drawn = LENGTHS["median"] * np.exp(spread * np.random.default_rng(5).standard_normal(num_utterances))
    return drawn.clip(LENGTHS["shortest"], LENGTHS["longest"])


def noise_utterances(seconds: np.ndarray, folder: Path) -> pd.DataFrame:
    """A table for `build_dataset`: noise of those lengths, written into the folder, with random letters as words."""
    generator, rows = np.random.default_rng(0), []
    for number, length in enumerate(seconds):
        wav = folder / f"{number}.wav"
        soundfile.write(wav, generator.integers(-3000, 3000, int(length * SAMPLE_RATE_HZ), np.int16), SAMPLE_RATE_HZ)
        letters = "".join(generator.choice(list("ETAOIN SHRDLU"), int(length * 13)))  # as many as in read English
        rows.append((wav.stem, "noise", EMOTIONS[number % len(EMOTIONS)], letters, wav))
    return pd.DataFrame(rows, columns=["utterance", "speaker", "emotion", "transcript", "wav"])


def noise_inputs(seconds: np.ndarray, folder: Path, small: bool) -> RunInputs:
    """A run on noise, from random weights; all that it reads is written into the folder."""
    dataset, rows = build_dataset(noise_utterances(seconds, folder), folder), np.arange(len(seconds))
    write_model(folder / "backbone", {}, base_architecture(small))  # no weights: a run draws them
    return RunInputs("benchmark", dataset, rows, rows, str(folder / "backbone"), None)


def base_architecture(small: bool = False) -> Wav2Vec2Config:
    """wav2vec2-base: transformers' defaults, with the dropouts of facebook/wav2vec2-base's config.json."""
    dropouts = {"hidden_dropout": 0.1, "attention_dropout": 0.1, "feat_proj_dropout": 0.1, "activation_dropout": 0.0}
    return Wav2Vec2Config(**dropouts, final_dropout=0.0, layerdrop=0.0, mask_time_prob=0.0, **(TINY if small else {}))


class Released(nn.Module):
    """The released code's model and step, rebuilt from its description (the audit's differences 4, 5, 11, 15 and 22).

    It pads without a mask, computes activations again for the backward pass, writes attention out as matrices, pools by
    the mean, and has a loop over parameters in AdamW.
    """

    def __init__(self, architecture: Wav2Vec2Config, feed: Feed) -> None:
        super().__init__()
        self.encoder = Wav2Vec2Model(architecture)
        self.encoder.set_attn_implementation("eager")
        self.encoder.activation_checkpointing_enable()
        self.emotion_head = nn.Linear(architecture.hidden_size, len(EMOTIONS))
        self.ctc_head = nn.Linear(architecture.hidden_size, architecture.vocab_size)
        self.feed = feed  # of ours, whose corpus and device it shares
        rate = {"lr": CONFIG.learning_rate, "weight_decay": CONFIG.weight_decay}
        self.optimizer = torch.optim.AdamW(self.to(feed.device).parameters(), **rate, foreach=False)

    def forward(self, waveforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Padded waveforms (B, S) -> emotion logits (B, E), CTC logits (B, T, V), frames (B,), padding's among them."""
        hidden = self.encoder(waveforms).last_hidden_state  # (B, T, H)
        frame_lengths = torch.full((len(hidden),), hidden.shape[1])
        return self.emotion_head(hidden.mean(dim=1)), self.ctc_head(hidden), frame_lengths

    def step(self, rows: np.ndarray, dtype: torch.dtype = torch.float32) -> None:
        """One optimiser step on rows of the corpus, in micro-batches of 2 in the order they come.

        `dtype`: of the products, by autocast; float16 without the scaling of gradients.
        """
        device = self.feed.device
        self.optimizer.zero_grad()
        for pair in cut(rows, 2):
            batch = make_batch(self.feed.dataset, pair, self.feed.inputs).to(device)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                emotion_logits, ctc_logits, frame_lengths = self(batch.inputs)
            multitask_loss(
                emotion_logits.float(), ctc_logits.float(), frame_lengths, batch.labels, batch.targets,
                batch.target_lengths, CONFIG.alpha, num_utterances=len(rows),
            ).total.backward()  # fmt: skip
        nn.utils.clip_grad_norm_(self.parameters(), CONFIG.max_gradient_norm, foreach=False)
        self.optimizer.step()


def training_step(options: Options) -> Measured:
    """Audio-seconds a second of whole optimiser steps on the same batches, variant after variant in every repeat."""
    seconds = iemocap_lengths(CONFIG.batch_size * options.repeats) / (4 if options.small else 1)
    best, on_gpu = options.precisions[-1], options.device == "cuda"  # best: of evaluation and of Table 4's time
    timings, rates = [], pd.DataFrame()
    with TemporaryDirectory() as name:
        inputs = noise_inputs(seconds, Path(name), options.small)
        trainers = {one: Trainer(CONFIGS[one], inputs, Path(name)) for one in options.precisions}
        feed = trainers[best].feed
        released = Released(base_architecture(options.small), feed).step
        variants = {"released": released}
        if on_gpu:
            variants["released_fp16"] = partial(released, dtype=torch.float16)
        base = list(variants)[-1]
        variants |= {f"ours_{one}": partial(trainer.step, epoch=1) for one, trainer in trainers.items()}
        variants["evaluation"] = partial(predict, feed)  # which leaves the model in evaluation mode
        for number, rows in enumerate(cut(inputs.train, CONFIG.batch_size)):
            for variant, step in variants.items():
                names = {"label": "training step", "sub_label": variant, "description": f"batch {number + 1}"}
                given = {"step": step, "rows": rows, "model": feed.model}
                timer = Timer("step(rows)", "model.train()", globals=given, num_threads=options.threads, **names)
                timings.append(timer.blocked_autorange())  # once untimed, then for a fifth of a second, at least once
                rates.loc[number, variant] = seconds[rows].sum() / timings[-1].median
            options.say(str(Compare(timings)))
    details = {
        "samples": rates.round(4).to_dict("list"), "audio_seconds": round(float(seconds.sum()), 1),
        "utterances": len(seconds), "precision": best,
        "tf32": torch.backends.cuda.matmul.allow_tf32 if on_gpu else None,
    }  # fmt: skip
    return step_figures(rates, base, best), details


def step_figures(rates: pd.DataFrame, base: str, best: str) -> dict[str, float]:
    """Medians over batches (rows) of each variant's rate, and of its ratio to `base` on the same batch.

    Also hours of Table 4 on IEMOCAP, one run after the other: nine folds trained and one evaluated in each epoch.
    """
    rates = rates.rename(columns=lambda name: name.removeprefix("ours_"))
    ratios = rates.drop(columns=[base, "evaluation"]).div(rates[base], axis=0)
    found = rates.median().add_prefix("rate_").to_dict() | ratios.median().add_prefix("ratio_").to_dict()
    trained = (len(paper.SPEAKER_TEST_SIZES) - 1) / found[f"rate_{best}"]
    return found | {"table4_hours": table4_seconds() * (trained + 1 / found["rate_evaluation"]) / 3600}


def table4_seconds() -> float:
    """Seconds of audio that all runs of Table 4 on IEMOCAP read of one fold."""
    preset = get_preset("iemocap")
    return paper.IEMOCAP_HOURS * 3600 * len(preset.alphas) * preset.run.epochs * len(preset.seeds)


def memory(options: Options) -> Measured:
    """Peak memory of a process that takes two steps with IEMOCAP's longest utterance among seven of mean length."""
    seconds = np.array([LENGTHS["longest"]] + [LENGTHS["mean"]] * (CONFIG.batch_size - 1))
    seconds, found = seconds / (4 if options.small else 1), {}
    with TemporaryDirectory() as name:
        inputs = noise_inputs(seconds, Path(name), options.small)
        for precision in options.precisions:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:  # a new one: a peak only grows
                peak = process.submit(peak_of_two_steps, inputs, precision, options.threads).result()
            found[f"peak_gib_{precision}"] = peak / 2**30
    return found, {"longest_seconds": float(seconds[0]), "batch": len(seconds)}


def peak_of_two_steps(inputs: RunInputs, precision: str, threads: int) -> int:
    """Bytes that this process, or its GPU where it has one, held at most in two steps on the batch of all inputs.

    Raises OSError for the memory of a process where there is no Linux.
    """
    torch.set_num_threads(threads)
    trainer = Trainer(CONFIGS[precision], inputs, Path())
    for _ in range(2):
        trainer.step(inputs.train, epoch=1)
    if trainer.device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text()  # `getrusage` counts the parent's memory too
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


def several_runs(options: Options) -> Measured:
    """Audio-seconds a second of 1, 2 and 4 processes that train at the same time on one device.

    Also hours of Table 4 on IEMOCAP with the most of them; a tested second is taken for a third of a trained one.
    """
    seconds, found = iemocap_lengths(CONFIG.batch_size * 4) / (4 if options.small else 1), {}
    precision, duration = options.precisions[-1], 0.1 if options.small else 20.0
    with TemporaryDirectory() as name:
        inputs = noise_inputs(seconds, Path(name), options.small)
        for count in (1, 2) if options.small else (1, 2, 4):
            context = get_context("spawn")
            with context.Manager() as manager, ProcessPoolExecutor(count, mp_context=context) as processes:
                together = [manager.Barrier(count), inputs, precision, options.threads, duration]
                rates = list(processes.map(rate_beside_others, *zip(*[together] * count, strict=True)))
            found[f"rate_{count}"] = found["rate_aggregate"] = sum(rates)
    found["table4_hours"] = table4_seconds() * (len(paper.SPEAKER_TEST_SIZES) - 1 + 1 / 3) / sum(rates) / 3600
    return found, {"precision": precision, "seconds_measured": duration}


def rate_beside_others(barrier, inputs: RunInputs, precision: str, threads: int, duration: float) -> float:
    """Audio-seconds a second of this process's steps, begun when every process of the barrier has warmed up."""
    torch.set_num_threads(threads)
    trainer = Trainer(CONFIGS[precision], inputs, Path())
    batches = cycle(cut(inputs.train, CONFIG.batch_size))
    trainer.step(next(batches), epoch=1)
    barrier.wait()
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < duration:
        rows = next(batches)
        trainer.step(rows, epoch=1)  # which reads the loss, and so waits for the device
        done += int(inputs.dataset.table["num_samples"].iloc[rows].sum())
    return done / SAMPLE_RATE_HZ / (time.perf_counter() - started)


def loader(options: Options) -> Measured:
    """Utterances a second from a store of noise of IEMOCAP's lengths, in random order."""
    seconds = iemocap_lengths(20 if options.small else 1000)
    with TemporaryDirectory() as name:
        dataset = build_dataset(noise_utterances(seconds, Path(name)), Path(name) / "store")
        order = np.random.default_rng(0).permutation(len(seconds))
        timer = Timer("for row in order: dataset.waveform(row)", globals={"dataset": dataset, "order": order})
        read = median(len(order) / timer.blocked_autorange().median for _ in range(options.repeats))
    return {"utterances_per_second": read}, {
        "utterances": len(seconds),
        "audio_seconds": round(float(seconds.sum()), 1),
    }
