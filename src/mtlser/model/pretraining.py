"""The pocket backbone's recipe: masked prediction of two kinds of clusters, on synthetic speech, without transcripts.

    python -m mtlser.model.pretraining --threads 1

HuBERT's objective (Hsu et al., 2021) at the architecture of wav2vec 2.0's base family: spans of frames are hidden after
the feature projection, and the encoder predicts the hidden frames' clusters (`pretraining_targets`). Two stages: first
everything is trained, on crops of equal length (no padding, so nothing to be exact about); then the convolutions are
frozen, as they will be in fine-tuning, and the transformer goes on with whole utterances, which is cheaper.

Legend of shapes: B utterances, S samples, T frames, C convolution channels, H hidden size, K clusters.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Config

from mtlser.config import POCKET_BACKBONE
from mtlser.model.pretraining_contrastive import ContrastivePredictor
from mtlser.model.pretraining_corpus import SpeechCorpus, make_speech
from mtlser.model.pretraining_objective import (
    Batch,
    MaskedPredictor,
    PretrainingConfig,
    convolution_features,
    draw_mask,
    layer_states,
    pocket_architecture,
)
from mtlser.model.pretraining_report import code_revision, write_backbone
from mtlser.model.pretraining_targets import FrameLayout, Targets, cluster, make_targets
from mtlser.processes import keep_freed_memory
from mtlser.storage import whole_file

PRETRAINING_FOLDER = Path("artifacts/pretraining")


class PretrainingError(ValueError):
    """A checkpoint does not belong to this recipe; the message names the file and what to do."""


class Batches:
    """Training batches, each a function of (seed, step) alone, so that a resumed run draws the same ones."""

    def __init__(self, config: PretrainingConfig, speech: SpeechCorpus, targets: Targets, layout: FrameLayout) -> None:
        self.config, self.speech, self.targets, self.layout = config, speech, targets, layout
        training = speech.indices("training")
        num_frames = targets.lengths[training]
        self.indices = training[num_frames >= config.crop_frames]
        self.by_length = training[np.argsort(num_frames, kind="stable")]

    def crops(self, step: int) -> Batch:
        """Crops of equal length, each normalised as its whole utterance would be."""
        random = np.random.default_rng([self.config.seed, step])
        chosen = random.choice(self.indices, self.config.batch_size)
        frames = self.config.crop_frames
        starts = [int(random.integers(0, self.targets.lengths[i] - frames + 1)) for i in chosen]
        waveforms = [self._crop(i, start * self.layout.stride) for i, start in zip(chosen, starts, strict=True)]
        return self._batch(random, chosen, starts, frames, waveforms=torch.from_numpy(np.stack(waveforms)))

    def _crop(self, index: int, first_sample: int) -> np.ndarray:
        num_samples = self.layout.num_samples(self.config.crop_frames)
        crop = self.speech.waveform(index)[first_sample : first_sample + num_samples]
        mean, deviation = self.speech.statistics[index]
        return (crop - mean) / deviation

    def whole(self, step: int, features: dict[int, Tensor]) -> Batch:
        """Utterances of nearly one length, cut to the shortest of them, from features (T, C) by utterance."""
        random = np.random.default_rng([self.config.seed, step])
        size = self.config.batch_size
        first = int(random.integers(0, len(self.by_length) - size + 1))
        chosen = self.by_length[first : first + size]
        frames = min(int(self.targets.lengths[chosen].min()), self.config.longest_frames)
        starts = [int(random.integers(0, self.targets.lengths[i] - frames + 1)) for i in chosen]
        cut = [features[int(i)][start : start + frames] for i, start in zip(chosen, starts, strict=True)]
        return self._batch(random, chosen, starts, frames, features=torch.stack(cut))

    def with_phones(self, phones: np.ndarray) -> Batches:
        """The same batches with other phone clusters of every frame."""
        return Batches(self.config, self.speech, replace(self.targets, phones=phones), self.layout)

    def _batch(
        self, random: np.random.Generator, chosen: np.ndarray, starts: list[int], frames: int, **inputs: Tensor
    ) -> Batch:
        rows = np.stack(
            [self.targets.starts[i] + start + np.arange(frames) for i, start in zip(chosen, starts, strict=True)]
        )
        phones, prosody = (
            torch.from_numpy(ids[rows].astype(np.int64)) for ids in (self.targets.phones, self.targets.prosody)
        )
        return Batch(draw_mask(random, len(chosen), frames, self.config), phones, prosody, **inputs)


def new_model(architecture: Wav2Vec2Config, config: PretrainingConfig) -> MaskedPredictor | ContrastivePredictor:
    """The encoder with random weights, and what the objective adds to it."""
    if config.objective == "contrastive":
        return ContrastivePredictor(architecture)
    return MaskedPredictor(architecture, config.num_phone_clusters, config.num_prosody_clusters)


def own_clusters(model: MaskedPredictor, speech: SpeechCorpus, config: PretrainingConfig) -> np.ndarray:
    """Cluster ids (all frames,) of a layer's output for the clean signal; k-means fitted on training utterances alone.

    HuBERT's second pass (Hsu et al., 2021, section III.B); it starts a new model, this one goes on with the first's.
    """
    states = [layer_states(model, speech, i, config.second_pass_layer, clean=True) for i in range(len(speech))]
    training = np.concatenate([np.full(len(s), i in speech.training_set) for i, s in enumerate(states)])
    return cluster(np.concatenate(states), np.flatnonzero(training), config.num_phone_clusters, config.seed)


class Pretraining:
    """One pretraining, resumable after any step: model, optimiser, how many steps are done, and the curve so far."""

    def __init__(self, config: PretrainingConfig, batches: Batches, architecture: Wav2Vec2Config) -> None:
        torch.manual_seed(config.seed)
        self.config, self.batches = config, batches
        self.model = new_model(architecture, config)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.learning_rate,
            betas=config.adam_betas,
            eps=config.adam_epsilon,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.step = 0
        self.seconds = 0.0
        self.curve: list[dict[str, float]] = []  # means over the steps since the entry before
        self._recent: list[dict[str, float]] = []
        self._features: dict[int, Tensor] | None = None

    def run(self, steps: int | None = None, *, on_step: Callable[[Pretraining], None] | None = None) -> None:
        """Trains until `steps` steps are done (default: all)."""
        self.model.train()
        while self.step < (self.config.steps if steps is None else steps):
            started = time.perf_counter()
            self._train_step()
            self.seconds += time.perf_counter() - started
            if on_step:
                on_step(self)

    def _train_step(self) -> None:
        config = self.config
        if self.step == config.first_pass_steps and config.objective == "masked prediction":
            self._start_second_pass()
        if self.step < config.convolution_steps:
            batch = self.batches.crops(self.step)
            features = self.model.convolve(batch.waveforms)
        else:
            batch = self.batches.whole(self.step, self._frozen_features())
            features = batch.features
        loss, values = self.model.losses(features, batch, config)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), config.max_gradient_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate_at(self.step)
        self.optimiser.step()
        self._remember(values)

    def _remember(self, values: dict[str, float]) -> None:
        self.step += 1
        self._recent.append(values)
        if self.step % max(1, self.config.steps // 90) == 0 or self.step == self.config.steps:
            means = {name: np.mean([row[name] for row in self._recent]) for name in values}
            self.curve.append({"step": self.step} | {name: round(float(mean), 4) for name, mean in means.items()})
            self._recent = []

    def _start_second_pass(self) -> None:
        """From here on, hidden frames are asked for clusters of what the model itself makes of the clean signal."""
        config, batches = self.config, self.batches
        phones = own_clusters(self.model, batches.speech, config)
        self.batches = batches.with_phones(phones)
        self.model.start_second_pass(config.seed)

    @torch.no_grad()
    def _frozen_features(self) -> dict[int, Tensor]:
        """Convolution features (T, C) of every training utterance; computed once, when the convolutions are final."""
        if self._features is None:
            speech = self.batches.speech
            self._features = {int(i): convolution_features(self.model, speech, int(i)) for i in self.batches.by_length}
        return self._features

    def save(self, path: Path) -> None:
        """Writes everything that `load` needs, whole."""
        state = {
            "config": json.dumps(asdict(self.config)),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "curve": self.curve,
            "recent": self._recent,
            "phones": torch.from_numpy(self.batches.targets.phones),
        }
        with whole_file(path) as partial:
            torch.save(state, partial)

    def load(self, path: Path) -> None:
        """Continues from a checkpoint of the same recipe. Raises PretrainingError for another's."""
        state = torch.load(path, weights_only=True)
        if state["config"] != json.dumps(asdict(self.config)):
            raise PretrainingError(f"{path} was written by a different recipe; delete it, or give another --folder")
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.curve, self._recent = state["curve"], state["recent"]
        self.batches = self.batches.with_phones(state["phones"].numpy())


def main(arguments: list[str] | None = None) -> None:
    """Synthesises, trains (or goes on), probes, and writes weights, record and model card."""
    parser = argparse.ArgumentParser(prog="python -m mtlser.model.pretraining", description=__doc__.splitlines()[0])
    defaults = PretrainingConfig()
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--objective", choices=["masked prediction", "contrastive"], default=defaults.objective)
    parser.add_argument("--second-pass-share", type=float, default=defaults.second_pass_share, help="0: one pass")
    parser.add_argument("--convolution-share", type=float, default=defaults.convolution_share)
    parser.add_argument("--threads", type=int, default=1, help="another number of threads rounds differently")
    parser.add_argument("--folder", type=Path, default=PRETRAINING_FOLDER, help="of the speech, once synthesised")
    parser.add_argument("--checkpoint", type=Path, help="folder of the checkpoint; default: that of the speech")
    parser.add_argument("--output", type=Path, default=POCKET_BACKBONE, help="weights, record and model card")
    options = parser.parse_args(arguments)
    revision = code_revision()  # of the code that runs, not of what lies there at the end
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    names = ("steps", "objective", "second_pass_share", "convolution_share")
    config = PretrainingConfig(**{name: getattr(options, name) for name in names})
    layout = FrameLayout.of(pocket_architecture())
    speech = make_speech(config.speech, options.folder, progress=_print_progress("utterances spoken", 500))
    targets = make_targets(speech, layout, config.num_phone_clusters, config.num_prosody_clusters, config.seed)
    np.random.seed(config.seed)  # transformers draws distractors from numpy's one generator
    pretraining = Pretraining(config, Batches(config, speech, targets, layout), pocket_architecture())
    checkpoint = (options.checkpoint or options.folder) / "checkpoint.pt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        pretraining.load(checkpoint)
        print(f"going on after step {pretraining.step} of {config.steps}", flush=True)
    pretraining.run(on_step=_reporter(checkpoint))
    write_backbone(pretraining, targets, options.output, revision)
    print(f"wrote {options.output}", flush=True)


def _print_progress(what: str, every: int) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        if done % every == 0 or done == total:
            print(f"{done} of {total} {what}", flush=True)

    return report


def _reporter(checkpoint: Path, every: int = 100) -> Callable[[Pretraining], None]:
    """Prints the last entry of the curve with an estimate, and keeps a checkpoint every 500 steps."""
    recent: list[float] = [time.perf_counter()]

    def report(state: Pretraining) -> None:
        if state.step % every == 0 and state.curve:
            recent.append(time.perf_counter())
            minutes = (recent[-1] - recent[-2]) / every * (state.config.steps - state.step) / 60
            print(f"{json.dumps(state.curve[-1])}  {minutes:.1f} minutes left at this pace", flush=True)
        if state.step % 500 == 0 or state.step == state.config.steps:
            state.save(checkpoint)

    return report


if __name__ == "__main__":
    main()
