"""Benchmarks of training: our step against the released code's, its memory, and where a pocket step goes.

Weights are random and audio is noise: neither moves the time of a step. Lengths are drawn like IEMOCAP's.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from transformers import Wav2Vec2Config
from transformers.utils.logging import disable_progress_bar

from mtlser import paper
from mtlser.config import DATA_FOLDER, EMOTIONS, SAMPLE_RATE_HZ, RunConfig, get_preset
from mtlser.corpus.dataset import SpeechDataset
from mtlser.corpus.text import encode
from mtlser.model.backbone import init_random_backbone
from mtlser.processes import keep_freed_memory
from mtlser.runs.benchmark import STEP_PARTS, Measured, Options, median_ratios, num_threads
from mtlser.runs.released_step import ReleasedStep
from mtlser.runs.training import RunInputs, _Trainer

SEED = 5
CHARACTERS_PER_SECOND = 13  # of a transcript, about that of read English
MATRIX_SIZE = 2048  # of the product that the machine's own rate is measured with
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


def training_step(options: Options) -> Measured:
    """Audio-seconds a second of whole optimiser steps on the same batches, variant after variant in every repeat."""
    prepare(options)
    size = get_preset("iemocap").run.batch_size
    seconds = iemocap_lengths(size * options.repeats) / (4 if options.small else 1)
    with TemporaryDirectory() as name:
        folder = Path(name)
        dataset = noise_dataset(seconds, folder)
        backbone = str(init_random_backbone(folder / "backbone", base_architecture(options.small), SEED))
        samples, rates = defaultdict(list), defaultdict(list)
        with released_processes(seconds, backbone, options) as released:
            variants = released | own_variants(dataset, backbone, folder)
            for step in variants.values():  # warm up on the shortest two
                step(np.argsort(seconds)[:2])
            for repeat in range(options.repeats):
                batch = np.arange(size) + size * repeat
                for kind in ("float32", "bfloat16"):
                    rates[kind].append(matrix_rate(getattr(torch, kind), options.device))
                for variant, step in variants.items():
                    samples[variant].append(seconds[batch].sum() / step(batch))
                    rate = f"{variant} {samples[variant][-1]:.3g} audio-seconds a second"
                    options.say(f"  {repeat + 1} of {options.repeats}: {rate}")
        products = {kind: statistics.median(values) for kind, values in rates.items()}
        flops = flops_per_audio_second(dataset, backbone, folder, int(np.argsort(seconds)[size // 2]))
        difference = gradient_difference(dataset, backbone, folder, np.arange(size))
    return _step_measured(samples, products, flops, difference, options, float(seconds.sum()))


def _step_measured(samples, products, flops, difference, options, seconds) -> Measured:
    rates = {name: statistics.median(values) for name, values in samples.items()}
    base = "released_fp16" if options.device == "cuda" else "released"
    steps = {name: values for name, values in samples.items() if name != "evaluation"}
    found = {f"rate_{name.removeprefix('ours_')}": value for name, value in rates.items()}
    found |= {f"ratio_{name.removeprefix('ours_')}": v for name, v in median_ratios(steps, base).items()}
    for name, kind in (("float32", "float32"), ("bf16", "bfloat16")):
        found[f"product_gflops_{name}"] = products[kind] / 1e9
        found[f"utilisation_{name}"] = rates[f"ours_{name}"] * flops / products[kind]
    if "padded_bf16" in samples:
        gains = zip(samples["ours_bf16"], samples["padded_bf16"], strict=True)
        found["split_ratio"] = statistics.median(ours / padded for ours, padded in gains)
    found |= {"gflop_per_audio_second": flops / 1e9, "gradient_difference": difference}
    found["table4_hours"] = table4_seconds(rates["ours_bf16"], rates["evaluation"]) / 3600
    details = {
        "samples": {name: [round(value, 4) for value in values] for name, values in samples.items()},
        "audio_seconds": round(seconds, 1),
        "utterances": get_preset("iemocap").run.batch_size * options.repeats,
        "tf32": bool(torch.backends.cuda.matmul.allow_tf32) if options.device == "cuda" else None,
    }
    return Measured(found, details)


def table4_seconds(training_rate: float, evaluation_rate: float) -> float:
    """Seconds of Table 4 on IEMOCAP, one run after the other: nine folds trained and one evaluated in each epoch."""
    preset = get_preset("iemocap")
    num_folds = len(paper.SPEAKER_TEST_SIZES)
    corpus = paper.IEMOCAP_HOURS * 3600 * len(preset.alphas) * preset.run.epochs * len(preset.seeds)
    return corpus * (num_folds - 1) / training_rate + corpus / evaluation_rate


def own_variants(dataset: SpeechDataset, backbone: str, folder: Path) -> dict[str, Callable[[np.ndarray], float]]:
    """Our steps on the utterances of those rows, and their evaluation; each returns its seconds."""
    config = get_preset("iemocap").run
    # A part of its own costs less in float32, where no gradient is converted, than padding does.
    float32 = replace(config, precision="fp32", micro_batch_padding_seconds=config.micro_batch_padding_seconds / 5)
    float32, bf16 = (make_trainer(c, dataset, backbone, folder) for c in (float32, replace(config, precision="bf16")))
    unbounded = replace(bf16.config, micro_batch_padding_seconds=config.micro_batch_seconds)

    def evaluate(rows: np.ndarray) -> float:
        bf16.inputs = replace(bf16.inputs, test=rows)
        seconds = timed(bf16.evaluate)
        bf16.model.train()
        return seconds

    def padded(rows: np.ndarray) -> float:
        split, bf16.config = bf16.config, unbounded
        seconds = timed(lambda: bf16._step(rows, 1))
        bf16.config = split
        return seconds

    float32.model.train()
    bf16.model.train()
    variants = {
        "ours_float32": lambda rows: timed(lambda: float32._step(rows, 1)),
        "ours_bf16": lambda rows: timed(lambda: bf16._step(rows, 1)),
    }
    if bf16.device.type == "cpu":  # on a GPU padding is never bounded
        variants["padded_bf16"] = padded
    return variants | {"evaluation": evaluate}


@contextmanager
def released_processes(seconds: np.ndarray, backbone: str, options: Options):
    """The released code's step in a process of its own, with the system's memory settings and not a worker's.

    Yields variant → function of rows that returns the seconds of a step. On a GPU there is a second variant in fp16.
    """
    code = "from mtlser.runs.benchmark_step import released_child as child; child()"
    variants, processes = {}, []
    for name in ("released", "released_fp16") if options.device == "cuda" else ("released",):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen([sys.executable, "-c", code], text=True, **pipes)
        processes.append(process)
        given = {"threads": num_threads(options), "seconds": seconds.tolist(), "backbone": backbone}
        process.stdin.write(json.dumps(given | {"fp16": name == "released_fp16"}) + "\n")
        variants[name] = partial(_ask_child, process)
    try:
        yield variants
    finally:
        for process in processes:
            process.communicate()


def _ask_child(process: subprocess.Popen, rows: np.ndarray) -> float:
    process.stdin.write(json.dumps(rows.tolist()) + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise RuntimeError(f"the released code's step ended with code {process.wait()}; its message is above")
    return float(answer)


def released_child() -> None:
    """Rows in, seconds of the released code's step out, a line each, until the input ends."""
    given = json.loads(sys.stdin.readline())
    disable_progress_bar()
    torch.set_num_threads(given["threads"])
    dataset = noise_dataset(given["seconds"], Path())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    released = ReleasedStep(given["backbone"], get_preset("iemocap").run, device, given["fp16"])
    for line in sys.stdin:
        rows = json.loads(line)
        waveforms = [torch.from_numpy(dataset.waveform(row)) for row in rows]
        labels = torch.tensor(dataset.table["label"].to_numpy()[rows])
        targets = [torch.tensor(encode(dataset.table["text"].iat[row])) for row in rows]
        print(timed(lambda w=waveforms, x=labels, y=targets: released.step(w, x, y)), flush=True)


def matrix_rate(dtype: torch.dtype, device: str) -> float:
    """Operations a second of a large matrix product, two for each multiplication and addition: the best of five."""
    one, other = (torch.randn(MATRIX_SIZE, MATRIX_SIZE, device=device).to(dtype) for _ in range(2))
    best = min(timed(lambda: one @ other) for _ in range(5))
    return 2 * MATRIX_SIZE**3 / best


def flops_per_audio_second(dataset: SpeechDataset, backbone: str, folder: Path, row: int) -> float:
    """Operations that training an utterance takes, by second: three times those counted in its forward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    trainer = make_trainer(get_preset("iemocap").run, dataset, backbone, folder)
    batch = trainer._batch(np.array([row]))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        trainer.model(batch.inputs, batch.input_lengths)
    return 3 * counter.get_total_flops() / dataset.seconds(row)


def gradient_difference(dataset: SpeechDataset, backbone: str, folder: Path, rows: np.ndarray) -> float:
    """Relative distance of two gradients in float32, without dropout: a padded batch, and its utterances one by one."""
    config = replace(get_preset("iemocap").run, precision="fp32", dropout=0.0, layerdrop=0.0, max_gradient_norm=1e9)
    gradients = []
    shorter = replace_lengths(dataset, 0.5)
    for limits in ((1e9, 1e9), (1e-3, 0.0)):
        changed = replace(config, micro_batch_seconds=limits[0], micro_batch_padding_seconds=limits[1])
        trainer = make_trainer(changed, shorter, backbone, folder)
        trainer.optimizer.step = lambda: None
        trainer.model.train()
        trainer._step(rows, 1)
        grads = [p.grad for p in trainer.model.parameters() if p.grad is not None]
        gradients.append(torch.cat([grad.flatten() for grad in grads]))
    return ((gradients[0] - gradients[1]).norm() / gradients[1].norm()).item()


def replace_lengths(dataset: SpeechDataset, share: float) -> SpeechDataset:
    """Noise again, each utterance shortened to a share of its length: the check takes less of the time."""
    return noise_dataset(share * dataset.table["num_samples"].to_numpy() / SAMPLE_RATE_HZ, dataset.folder)


def prepare(options: Options) -> None:
    """Threads and memory as the options and a worker have them; no progress bars of transformers' among ours."""
    disable_progress_bar()
    torch.set_num_threads(num_threads(options))
    keep_freed_memory()


def memory(options: Options) -> Measured:
    """Peak memory of a process that takes two steps with IEMOCAP's longest utterance among seven of median length."""
    found: dict[str, float] = {}
    for precision in ("bf16", "fp32"):
        code = "import sys; from mtlser.runs.benchmark_step import memory_child as child; child(*sys.argv[1:])"
        words = [sys.executable, "-c", code, precision, str(num_threads(options)), str(int(options.small))]
        result = subprocess.run(words, capture_output=True, text=True)
        if result.returncode:
            lines = result.stderr.strip().splitlines() or ["no message: memory may have run out"]
            raise RuntimeError(f"the step in {precision} ended with code {result.returncode}: {lines[-1]}")
        name = "float32" if precision == "fp32" else precision
        found[f"peak_gib_{name}"] = float(result.stdout.split()[-1]) / 2**30
        options.say(f"  {name}: {found[f'peak_gib_{name}']:.2f} GiB")
    return Measured(found, {"longest_seconds": longest_seconds(), "batch": get_preset("iemocap").run.batch_size})


def memory_child(precision: str, threads: str, small: str) -> None:
    """Two steps in this process; prints its peak memory in bytes, the GPU's where there is one."""
    torch.set_num_threads(int(threads))
    config = replace(get_preset("iemocap").run, precision=precision)
    seconds = np.full(config.batch_size, iemocap_lengths(1001).mean())
    seconds[3] = longest_seconds() / (4 if small == "1" else 1)
    with TemporaryDirectory() as name:
        dataset = noise_dataset(seconds, Path(name))
        backbone = str(init_random_backbone(Path(name) / "backbone", base_architecture(small == "1"), SEED))
        trainer = make_trainer(config, dataset, backbone, Path(name))
        trainer.model.train()
        for _ in range(2):
            trainer._step(np.arange(len(seconds)), 1)
    print(torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_memory())


def peak_memory() -> int:
    """Bytes that this process held at most, by the system's count."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes there, KiB on Linux


def pocket_step(options: Options) -> Measured:
    """Milliseconds of the parts of a pocket step, before and after what was done for it, in turns, on one thread."""
    torch.set_num_threads(1)  # as each of the workers that train several runs at once
    keep_freed_memory()
    config = get_preset("pocket").run
    generator = np.random.default_rng(SEED)
    seconds = generator.uniform(1.5, 3.5, 2 * config.batch_size if options.small else 8 * config.batch_size)
    backbone = get_preset("pocket").backbone
    before = replace(config, freeze_convolutions=False, dropout=0.1, layerdrop=None)
    samples: dict[str, dict[str, list[float]]] = {"before": defaultdict(list), "after": defaultdict(list)}
    found: dict[str, float] = {}
    with TemporaryDirectory() as name:
        dataset = noise_dataset(seconds, Path(name))
        trainers = {"before": make_trainer(before, dataset, backbone, Path(name))}
        trainers["before"].model.freeze_convolutions()  # frozen as they are now, and computed in every step
        trainers["after"] = make_trainer(config, dataset, backbone, Path(name))
        batches = np.arange(len(seconds)).reshape(-1, config.batch_size)
        for trainer in trainers.values():
            trainer.model.train()
            trainer._step(batches[0], 1)
        for _ in range(options.repeats):
            for batch in batches:
                for when, trainer in trainers.items():
                    for part, value in step_parts(trainer, batch).items():
                        samples[when][part].append(1000 * value)
        trainer = trainers["after"]
        trainer.model.eval()
        found["evaluation_ms"] = 1000 * statistics.median(timed(trainer.evaluate) for _ in range(options.repeats))
        probes = [timed(trainer._probe_gradients) for _ in range(options.repeats)]
        found["probe_ms"] = 1000 * statistics.median(probes)
    for when, parts in samples.items():
        found |= {f"{part}_ms_{when}": statistics.median(values) for part, values in parts.items()}
        found[f"step_ms_{when}"] = statistics.median(np.sum(list(parts.values()), axis=0))
    ratios = np.sum(list(samples["before"].values()), axis=0) / np.sum(list(samples["after"].values()), axis=0)
    found["step_ratio"] = float(np.median(ratios))
    return Measured(found, {"utterances": len(seconds), "mean_seconds": round(float(seconds.mean()), 2)})


def step_parts(trainer: _Trainer, batch: np.ndarray) -> dict[str, float]:
    """Seconds of the parts of one step: the trainer's own step, with a clock around its methods."""
    spent = dict.fromkeys(("_batch", "_masks", "_forward", "_loss", "step"), 0.0)

    def clocked(owner: object, name: str) -> None:
        original = getattr(owner, name)

        def call(*arguments):
            started = time.perf_counter()
            result = original(*arguments)
            spent[name] += time.perf_counter() - started
            return result

        setattr(owner, name, call)

    clocks = [*((trainer, name) for name in ("_batch", "_masks", "_forward", "_loss")), (trainer.optimizer, "step")]
    for owner, name in clocks:
        clocked(owner, name)
    try:
        whole = timed(lambda: trainer._step(batch, 1))
    finally:
        for owner, name in clocks:
            delattr(owner, name)
    prepared = spent["_batch"] + spent["_masks"]
    rest = whole - prepared - spent["_loss"] - spent["step"]
    values = (prepared, spent["_forward"], spent["_loss"] - spent["_forward"], rest, spent["step"])
    return dict(zip(STEP_PARTS, values, strict=True))
