"""One run: train, evaluate, checkpoint, resume.

The loop is explicit because the book teaches it: for each batch, L = L_CE + alpha * L_CTC, its gradient clipped, one
step of AdamW along a linear warm-up and decay. The last epoch is the result; the test curve is for Figure 2 alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from platform import node

import numpy as np
import pandas as pd
import torch

from mtlser import machine
from mtlser.config import RECIPE_VERSION, RunConfig
from mtlser.corpus.dataset import SpeechDataset
from mtlser.files import write_json, write_table
from mtlser.model.multitask import MultitaskModel
from mtlser.runs import records
from mtlser.runs.batches import Batch, epoch_batches, exchanged_texts, random_generator
from mtlser.runs.checkpoints import load_checkpoint, save_checkpoint
from mtlser.runs.evaluation import is_collapsed, predict, probe_gradients, summarise
from mtlser.runs.feed import Feed

CHECKPOINT_SECONDS = 60.0  # at most about this much work is lost to a kill, plus an epoch
CHECKPOINT_SHARE = 0.02  # of the time, at most, goes into writing checkpoints
STEPS_UNREAD = 20  # whose losses stay on a GPU before they are read, so that it never waits for the CPU

Progress = Callable[[dict], None]


class Diverged(RuntimeError):
    """A loss or gradient is not finite; the message names the batch's utterances."""


@dataclass(frozen=True)
class RunInputs:
    """What a run reads besides its configuration. `train` and `test` are row numbers of the dataset."""

    run_id: str
    dataset: SpeechDataset
    train: np.ndarray
    test: np.ndarray
    backbone: str
    backbone_revision: str | None
    record: dict = field(default_factory=dict)  # what `run.json` says of them: digests, corpus, who launched it …


def learning_rate_factor(step: int, num_steps: int, warmup_ratio: float) -> float:
    """Share of the peak learning rate at a step counted from 0: linear warm-up, then linear decay to 0.

    Table 1 gives the warm-up; the decay is the released code's, inherited from its library (departure "optimiser").
    Departs from transformers' schedule, whose first step has rate 0 (step / warm-up steps, these rounded up).
    """
    warmup_steps = max(1, round(num_steps * warmup_ratio)) if warmup_ratio > 0 else 0
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return (num_steps - step) / max(1, num_steps - warmup_steps)


def make_optimizer(model: MultitaskModel, config: RunConfig) -> torch.optim.AdamW:
    """AdamW with Table 1's values over all parameters that train; weight decay 0 (departure "optimiser")."""
    return torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=config.peak_learning_rate,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon,
        weight_decay=config.weight_decay,
        fused=True,
    )


def train(
    config: RunConfig,
    inputs: RunInputs,
    folder: Path,
    *,
    keep_weights: bool = False,
    progress: Progress | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> str:
    """Completes one run in its folder and returns its status, `done` or `diverged`.

    A run that was killed resumes from its checkpoint with the uninterrupted result, bitwise on a CPU. An error other
    than divergence is written to `run.json` as `failed` and raised.
    """
    run = _describe(config, inputs)
    write_json(folder / "run.json", run)
    try:
        trainer = Trainer(config, inputs, folder, progress)
        predictions = trainer.fit(checkpoint_seconds)
    except Diverged as error:
        return _finish(run, folder, trainer, "diverged", error=str(error))
    except Exception as error:
        write_json(folder / "run.json", run | {"status": "failed", "error": f"{type(error).__name__}: {error}"})
        raise
    write_table(folder / "predictions.parquet", predictions)
    if keep_weights:
        trainer.model.save_pretrained(folder / "model")
    final = {name: None if value != value else value for name, value in summarise(predictions).items()}  # NaN: no words
    return _finish(run, folder, trainer, "done", collapsed=is_collapsed(predictions), final=final)


def _describe(config: RunConfig, inputs: RunInputs) -> dict:
    return {
        "run_id": inputs.run_id,
        "status": "running",
        "config": config.to_dict(),
        "recipe_version": RECIPE_VERSION,
        **inputs.record,
        "num_train": len(inputs.train),
        "num_test": len(inputs.test),
        "versions": machine.versions(),
        "hardware": machine.hardware(),
        "revision": machine.revision(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _finish(run: dict, folder: Path, trainer: Trainer, status: str, collapsed: bool = False, **more) -> str:
    ended = {
        "status": status,
        "collapsed": collapsed,
        "num_infeasible": trainer.num_infeasible,
        "device": trainer.device_name,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(sum(row["seconds"] for row in trainer.history), 2),
    }
    write_table(folder / "history.parquet", pd.DataFrame(trainer.history, columns=list(records.HISTORY_COLUMNS)))
    write_json(folder / "run.json", run | ended | more)
    for name in ("checkpoint.pt", records.EPOCH):
        (folder / name).unlink(missing_ok=True)
    return status


class Trainer:
    """The state of one run: model, optimiser, history, and where in the schedule it stands."""

    def __init__(self, config: RunConfig, inputs: RunInputs, folder: Path, progress: Progress | None = None) -> None:
        """On the GPU if there is one. `folder` is where checkpoints go; nothing is written before `fit`."""
        self.config, self.inputs, self.progress = config, inputs, progress or (lambda event: None)
        self.checkpoint_path = folder / "checkpoint.pt"
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        on_gpu = self.device.type == "cuda"
        self.device_name = torch.cuda.get_device_name() if on_gpu else "cpu"
        if config.precision == "bf16" and on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
            self.progress({"note": f"no instructions for bfloat16 ({self.device_name}): PRECISION=fp32 is faster here"})
        self.history: list[dict] = []  # a row for each epoch so far (records.HISTORY_COLUMNS)
        self.num_infeasible = 0

        seed = int(random_generator(config.seed, config.fold, "model").integers(2**31))  # never alpha
        torch.manual_seed(seed)  # of dropout and LayerDrop, the only numbers drawn from a global generator
        self.model = MultitaskModel.from_backbone(
            inputs.backbone,
            revision=inputs.backbone_revision,
            pooling=config.pooling,
            encoder_padding=config.encoder_padding,
            dropout=config.dropout,
            layerdrop=config.layerdrop,
            pretrained=config.initialisation == "pretrained",
            seed=seed,
        )
        self.model.detaches_ctc = config.ctc_gradient != "shared"
        dataset = inputs.dataset
        if config.training_texts == "exchanged":
            dataset = dataset.with_texts(exchanged_texts(dataset.table, inputs.train, config.seed, config.fold))
        self.feed = Feed(self.model, dataset, config, self.device)
        self.optimizer = make_optimizer(self.model, config)
        self.num_steps = config.epochs * -(-len(inputs.train) // config.batch_size)

    def fit(self, checkpoint_seconds: float) -> pd.DataFrame:
        """Trains the epochs that are left and returns the predictions of the last."""
        self._resume()
        saved, cost = time.monotonic(), 0.0
        predictions = None
        for epoch in range(len(self.history), self.config.epochs):
            started = time.monotonic()
            losses = self._train_epoch(epoch)
            predictions = predict(self.feed, self.inputs.test)
            row = {"epoch": epoch + 1, **losses, **probe_gradients(self.feed, self.inputs.train)}
            final = summarise(predictions)
            row |= {name: final[name] for name in ("accuracy", "uar", "wer")}
            row["seconds"] = time.monotonic() - started
            self.history.append(row)
            write_json(self.checkpoint_path.with_name(records.EPOCH), [epoch + 1, row["seconds"], node()])
            self.progress({"epoch": epoch + 1, "epochs": self.config.epochs, **row})
            if time.monotonic() - saved >= max(checkpoint_seconds, cost / CHECKPOINT_SHARE):
                started = time.monotonic()
                self._save()
                saved = time.monotonic()
                cost = saved - started
        return predict(self.feed, self.inputs.test) if predictions is None else predictions

    def _train_epoch(self, epoch: int) -> dict:
        """One pass over the training fold; mean losses per utterance and the last learning rate."""
        self.model.train()
        config, sums = self.config, np.zeros(3)
        lengths = self.inputs.dataset.table["num_samples"].to_numpy()
        batches = epoch_batches(
            self.inputs.train, config.batch_size, config.seed, config.fold, epoch, lengths, config.length_bucket
        )
        unread: list[tuple[np.ndarray, torch.Tensor]] = []
        for number, (indices, parts) in enumerate(self._ahead(batches, epoch)):
            factor = learning_rate_factor(epoch * len(batches) + number, self.num_steps, config.warmup_ratio)
            for group in self.optimizer.param_groups:
                group["lr"] = config.peak_learning_rate * factor
            unread.append((indices, self._step(indices, parts, epoch)))
            if len(unread) == STEPS_UNREAD or self.device.type == "cpu" or number == len(batches) - 1:
                sums += self._read(unread, epoch)
                unread.clear()
        loss, ce, ctc = (sums / len(self.inputs.train)).tolist()
        return {"loss": loss, "loss_ce": ce, "loss_ctc": ctc, "learning_rate": self.optimizer.param_groups[0]["lr"]}

    def step(self, indices: np.ndarray, epoch: int) -> np.ndarray:
        """One optimiser step on one effective batch; (L, L_CE, L_CTC) averaged over its utterances.

        The model must be in training mode. Raises Diverged where the loss or its gradient is not finite; with alpha = 0
        CTC takes no part in either.
        """
        values = self._step(indices, self._parts(indices, epoch), epoch)
        return self._read([(indices, values)], epoch) / len(indices)

    def _parts(self, indices: np.ndarray, epoch: int) -> list[tuple[Batch, torch.Tensor | None]]:
        """The batch of those rows in parts that fit into memory, each with its mask, on the device."""
        padding = self.config.micro_batch_padding_seconds if self.device.type == "cpu" else np.inf
        parts = self.feed.parts(indices, self.config.micro_batch_seconds, padding)
        return [(part, self.feed.masks(part, epoch)) for part in parts]

    def _ahead(self, batches: list[np.ndarray], epoch: int) -> Iterator[tuple[np.ndarray, list]]:
        """Each batch with its parts; for a GPU the next one's are prepared while it computes this one's."""
        if self.device.type == "cpu":
            yield from ((indices, self._parts(indices, epoch)) for indices in batches)
            return
        with ThreadPoolExecutor(1) as preparer:
            following = preparer.submit(self._parts, batches[0], epoch)
            for indices, after in zip(batches, [*batches[1:], None], strict=True):
                parts = following.result()
                if after is not None:
                    following = preparer.submit(self._parts, after, epoch)
                yield indices, parts

    def _step(self, indices: np.ndarray, parts: list, epoch: int) -> torch.Tensor:
        """One step; (L, L_CE, L_CTC, norm of the gradient) on the device, not read yet."""
        self.optimizer.zero_grad(set_to_none=True)
        config, feed = self.config, self.feed
        sums = torch.zeros(3, device=self.device)
        with feed.autocast():  # around all parts: the weights are rounded to bfloat16 once a step
            for part, mask in parts:
                loss = feed.loss(part, mask, config.alpha, len(indices))
                with feed.autocast(False):
                    loss.total.backward()
                sums += torch.stack([loss.total.detach(), loss.ce.detach(), loss.ctc.detach()]).float()
                if epoch == 0:
                    self.num_infeasible += int(loss.num_infeasible)
        norm = self._clip()
        self.optimizer.step()
        return torch.cat([sums, norm[None].float()])

    def _read(self, steps: list[tuple[np.ndarray, torch.Tensor]], epoch: int) -> np.ndarray:
        """Sums over utterances of (L, L_CE, L_CTC) in those steps. Raises Diverged for the first that is not finite."""
        sums = np.zeros(3)
        values = torch.stack([values for _, values in steps]).cpu().numpy().astype(float)
        for (indices, _), (loss, ce, ctc, norm) in zip(steps, values, strict=True):
            if not np.isfinite([loss, norm]).all():
                names = ", ".join(self.inputs.dataset.table["utterance"].iloc[indices])
                where = f"gradient norm {norm}, in the batch of {names}"
                raise Diverged(f"epoch {epoch + 1}: loss {loss} (CE {ce}, CTC {ctc}), {where}")
            sums += np.array([loss, ce, ctc]) * len(indices)
        return sums

    def _clip(self) -> torch.Tensor:
        """Scales the gradient down to `max_gradient_norm`; its norm before. CTC's head may have a limit of its own."""
        parameters, parts = self.optimizer.param_groups[0]["params"], []
        if self.config.ctc_gradient == "head, clipped apart":
            parts = list(self.model.ctc_head.parameters())
            parameters = [p for p in parameters if all(p is not part for part in parts)]
        norms = [
            torch.nn.utils.clip_grad_norm_(part, self.config.max_gradient_norm) for part in (parameters, parts) if part
        ]
        return torch.stack(norms).norm()

    def _save(self) -> None:
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        state |= {"history": self.history, "num_infeasible": self.num_infeasible}
        save_checkpoint(self.checkpoint_path, self.inputs.run_id, state)

    def _resume(self) -> None:
        if self.checkpoint_path.exists():
            state = load_checkpoint(self.checkpoint_path, self.inputs.run_id)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.history, self.num_infeasible = state["history"], state["num_infeasible"]
