"""Benchmark of training: our step against the released code's."""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn
from transformers.utils.logging import disable_progress_bar

from mtlser import paper
from mtlser.config import get_preset
from mtlser.corpus.dataset import SpeechDataset
from mtlser.corpus.text import encode
from mtlser.forkserver import Process
from mtlser.model import products
from mtlser.model.backbone import init_random_backbone
from mtlser.runs.benchmark import Measured, Options, median_ratios, num_threads
from mtlser.runs.benchmark_children import answer, children, tell
from mtlser.runs.benchmark_inputs import (
    SEED,
    base_architecture,
    iemocap_lengths,
    make_trainer,
    noise_dataset,
    own_config,
    own_precisions,
    prepare,
    replace_lengths,
    timed,
)
from mtlser.runs.released_step import ReleasedStep
from mtlser.runs.training import _Trainer

OPERATIONS = {  # of torch, by kind
    "products and convolutions": ("mm", "addmm", "addmm_", "bmm", "baddbmm", "_fft_r2c", "_fft_c2r", "_fft_c2c",
                                  "mkldnn_convolution", "convolution_backward", "_slow_conv2d_forward",
                                  "cudnn_convolution"),
    "activations, softmax and norms": ("gelu", "gelu_backward", "_softmax", "_softmax_backward_data",
                                       "native_layer_norm", "native_layer_norm_backward", "native_group_norm",
                                       "native_group_norm_backward"),
    "random numbers": ("bernoulli_", "random_", "ge", "native_dropout"),
    "copies and conversions": ("copy_", "cat", "fill_", "zero_"),
    "optimiser": ("_fused_adamw_", "linalg_vector_norm"),
}  # fmt: skip
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
MATRIX_SIZES = {"cpu": 2048, "cuda": 8192}  # of the product that the machine's own rate is measured with


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
            batches = np.arange(len(seconds)).reshape(-1, size)
            for variant, step in variants.items():  # the state of a long run: memory of its largest batch is there
                options.say(f"  {variant}: every batch once before the clock starts")
                for batch in batches:
                    step(batch)
            for repeat, batch in enumerate(batches):
                for variant, step in variants.items():
                    name = variant.removeprefix("ours_")
                    yardstick = partial(matrix_rates, DTYPES[name], options) if name in DTYPES else dict
                    before, spent, after = yardstick(), step(batch), yardstick()
                    samples[variant].append(seconds[batch].sum() / spent)
                    for way in before:  # a machine that others share is not as fast at every moment
                        rates[name, way].append(max(before[way], after[way]))
                    rate = f"{variant} {samples[variant][-1]:.3g} audio-seconds a second"
                    options.say(f"  {repeat + 1} of {options.repeats}: {rate}")
        own = {name: step for name, step in variants.items() if name not in (*released, "evaluation")}
        spent = {name: operation_seconds(partial(step, np.arange(size))) for name, step in own.items()}
        flops, saved = flops_per_audio_second(dataset, backbone, folder, int(np.argsort(seconds)[size // 2]))
        difference = gradient_difference(dataset, backbone, folder, np.arange(size))
    found = _step_measured(samples, rates, flops, saved, difference, options, float(seconds.sum()))
    found.details["operations"] = spent
    return found


def _step_measured(samples, machine, flops, saved, difference, options, seconds) -> Measured:
    rates = {name: statistics.median(values) for name, values in samples.items()}
    base = "released_fp16" if options.device == "cuda" else "released"
    steps = {name: values for name, values in samples.items() if name != "evaluation"}
    found = {f"rate_{name.removeprefix('ours_')}": value for name, value in rates.items()}
    found |= {f"ratio_{name.removeprefix('ours_')}": v for name, v in median_ratios(steps, base).items()}
    own = [name for name in DTYPES if f"ours_{name}" in samples]
    for name in own:
        fastest = [max(ways) for ways in zip(machine[name, "torch"], machine[name, "linear"], strict=True)]
        found[f"product_gflops_{name}"] = statistics.median(fastest) / 1e9
        found[f"torch_product_gflops_{name}"] = statistics.median(machine[name, "torch"]) / 1e9
        computed = flops - saved if name == "float32" else flops  # what is saved is no speed
        found[f"gflop_computed_{name}"] = computed / 1e9
        shares = [step * computed / product for step, product in zip(samples[f"ours_{name}"], fastest, strict=True)]
        found[f"utilisation_{name}"] = statistics.median(shares)
    best = own[-1]
    gains = {
        "packed_ratio": (f"ours_{best}", f"padded_{best}"),
        "product_ratio": ("ours_float32", "product_float32"),
        "convolution_ratio": ("ours_float32", "convolution_float32"),
    }
    for name, (after, before) in gains.items():
        if before in samples:
            found[name] = median_ratios({after: samples[after], before: samples[before]}, before)[after]
    found |= {"gflop_per_audio_second": flops / 1e9, "gradient_difference": difference}
    found["table4_hours"] = table4_seconds(rates[f"ours_{best}"], rates["evaluation"]) / 3600
    details = {
        "samples": {name: [round(float(value), 4) for value in values] for name, values in samples.items()},
        "audio_seconds": round(seconds, 1),
        "utterances": get_preset("iemocap").run.batch_size * options.repeats,
        "precision": best,  # of padding, of evaluation and of Table 4's time
        "tf32": bool(torch.backends.cuda.matmul.allow_tf32) if options.device == "cuda" else None,
    }
    return Measured(found, details)


def operation_seconds(step: Callable[[], object]) -> dict[str, float]:
    """Seconds of a step by kind of operation (OPERATIONS), of the thread that starts them; all else is "other"."""
    from torch.profiler import ProfilerActivity, profile

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler announces itself
    step()  # the variant before it left other memory behind
    with profile(activities=[ProfilerActivity.CPU]) as found:
        step()
    spent = dict.fromkeys((*OPERATIONS, "other"), 0.0)
    for event in found.key_averages():
        kind = next((kind for kind, names in OPERATIONS.items() if event.key.removeprefix("aten::") in names), "other")
        spent[kind] += event.self_cpu_time_total / 1e6
    return {kind: round(seconds, 4) for kind, seconds in spent.items()}


def table4_seconds(training_rate: float, evaluation_rate: float) -> float:
    """Seconds of Table 4 on IEMOCAP, one run after the other: nine folds trained and one evaluated in each epoch."""
    preset = get_preset("iemocap")
    num_folds = len(paper.SPEAKER_TEST_SIZES)
    corpus = paper.IEMOCAP_HOURS * 3600 * len(preset.alphas) * preset.run.epochs * len(preset.seeds)
    return corpus * (num_folds - 1) / training_rate + corpus / evaluation_rate


def own_variants(dataset: SpeechDataset, backbone: str, folder: Path) -> dict[str, Callable[[np.ndarray], float]]:
    """Our steps on the utterances of those rows, and their evaluation; each returns its seconds.

    On a CPU also what two choices saved: the step with padding, and float32 with torch's own matrix products or its own
    convolutions, whichever this processor does not take. Padding and evaluation are measured in the last of
    `own_precisions`.
    """
    trainers = {name: make_trainer(own_config(name), dataset, backbone, folder) for name in own_precisions()}
    for trainer in trainers.values():
        trainer.model.train()
    best = list(trainers)[-1]
    fastest = trainers[best]

    def step(trainer: _Trainer, rows: np.ndarray) -> float:
        return timed(lambda: trainer._step(rows, 1))

    def evaluate(rows: np.ndarray) -> float:
        fastest.inputs = replace(fastest.inputs, test=rows)
        seconds = timed(fastest.evaluate)
        fastest.model.train()
        return seconds

    def step_with(owner: object, name: str, value: object, trainer: _Trainer, rows: np.ndarray) -> float:
        """A step while a choice of ours is undone."""
        ours = getattr(owner, name)
        setattr(owner, name, value)
        try:
            return step(trainer, rows)
        finally:
            setattr(owner, name, ours)

    variants = {f"ours_{name}": partial(step, trainer) for name, trainer in trainers.items()}
    if fastest.device.type == "cpu":
        float32 = trainers["float32"]
        if products.convolves():
            variants["product_float32"] = partial(step_with, products, "linear", nn.Module.__call__, float32)
        else:
            variants["convolution_float32"] = partial(step_with, products, "multiplies", lambda hidden: False, float32)
        variants[f"padded_{best}"] = partial(step_with, fastest, "packed", False, fastest)
    return variants | {"evaluation": evaluate}


@contextmanager
def released_processes(seconds: np.ndarray, backbone: str, options: Options):
    """The released code's step in a new process, with the system's memory settings and not a worker's.

    Yields variant → function of rows that returns the seconds of a step. On a GPU there is a second variant in fp16.
    """
    names = ("released", "released_fp16") if options.device == "cuda" else ("released",)
    given = {"threads": num_threads(options), "seconds": seconds.tolist(), "backbone": backbone}

    def ask(process: Process, rows: np.ndarray) -> float:
        tell(process, rows.tolist())
        return answer(process)

    each = [given | {"fp16": name == "released_fp16"} for name in names]
    with children("mtlser.runs.benchmark_step:released_child", each, fork=options.small) as processes:
        yield {name: partial(ask, process) for name, process in zip(names, processes, strict=True)}


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


def matrix_rates(dtype: torch.dtype, options: Options) -> dict[str, float]:
    """Operations a second of a large product, two for each multiplication and addition: torch's own and `linear`'s.

    The best of five each. Nothing that multiplies matrices can be faster than the faster of them.
    """
    size = MATRIX_SIZES[options.device] // (4 if options.small else 1)
    layer = nn.Linear(size, size, bias=False, device=options.device, dtype=dtype)
    hidden = torch.randn(size, size, device=options.device).to(dtype)
    with torch.no_grad():
        best = {
            "torch": min(timed(lambda: hidden @ layer.weight) for _ in range(5)),
            "linear": min(timed(lambda: products.linear(layer, hidden)) for _ in range(5)),
        }
    return {way: 2 * size**3 / seconds for way, seconds in best.items()}


def flops_per_audio_second(dataset: SpeechDataset, backbone: str, folder: Path, row: int) -> tuple[float, float]:
    """Operations that training an utterance takes, by second: three times those counted in its forward pass.

    And those of them that our step in float32 on this machine does without, since it transforms the positional
    convolution; the few that the transforms take are not counted.
    """
    from torch.utils.flop_counter import FlopCounterMode

    trainer = make_trainer(own_config("float32"), dataset, backbone, folder)
    trainer.packed = False
    batch = trainer._batch(np.array([row]))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        trainer.model(batch.inputs, batch.input_lengths)
    modules = {name.rpartition(".")[2]: sum(found.values()) for name, found in counter.get_flop_counts().items()}
    flops, saved = counter.get_total_flops(), modules["pos_conv_embed"] if products.multiplies(batch.inputs) else 0
    return 3 * flops / dataset.seconds(row), 3 * saved / dataset.seconds(row)


def gradient_difference(dataset: SpeechDataset, backbone: str, folder: Path, rows: np.ndarray) -> float:
    """Relative distance of two gradients in float32, without dropout: a packed batch, and its utterances one by one.

    One by one they go through the padded path, with nothing to pad: transformers' modules in torch's own products.
    """
    config = replace(own_config("float32"), dropout=0.0, layerdrop=0.0, max_gradient_norm=1e9)
    gradients = []
    shorter = replace_lengths(dataset, 0.5)
    for is_packed, limit in ((True, 1e9), (False, 1e-3)):
        trainer = make_trainer(replace(config, micro_batch_seconds=limit), shorter, backbone, folder)
        trainer.optimizer.step = lambda: None
        trainer.model.train()
        trainer.packed = is_packed
        trainer._step(rows, 1)
        grads = [p.grad for p in trainer.model.parameters() if p.grad is not None]
        gradients.append(torch.cat([grad.flatten() for grad in grads]))
    return ((gradients[0] - gradients[1]).norm() / gradients[1].norm()).item()
