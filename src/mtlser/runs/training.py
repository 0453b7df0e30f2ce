"""One run: train, evaluate, checkpoint, resume.

The loop is explicit because the book teaches it: for each batch, L = L_CE + alpha * L_CTC, its gradient clipped, one
step of AdamW along a linear warm-up and decay. The last epoch is the result; the test curve is for Figure 2 alone.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator

from mtlser.config import EMOTIONS, RECIPE_VERSION, RunConfig
from mtlser.corpus.dataset import (
    Batch,
    HeldUtterances,
    SpeechDataset,
    convolution_features,
    epoch_batches,
    make_batch,
    micro_batches,
    random_generator,
    waveforms_on,
)
from mtlser.corpus.text import greedy_decode
from mtlser.model.encoder import time_mask
from mtlser.model.losses import multitask_loss
from mtlser.model.multitask import MultitaskModel
from mtlser.processes import has_fast_bfloat16
from mtlser.runs import metrics, records
from mtlser.runs.checkpoints import load_checkpoint, save_checkpoint
from mtlser.storage import write_json, write_table

COLLAPSED_SHARE = 0.95  # of test utterances given one class: the run is flagged
CHECKPOINT_SECONDS = 60.0  # at most this much work is lost to a kill, plus an epoch
EVALUATION_SECONDS = 120.0  # padded audio in memory at once without gradients
PROBE_UTTERANCES = 8  # of the training fold, whose gradients are compared at every epoch

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
    digests: dict[str, str]
    corpus: str  # in words, e.g. "pocket corpus (synthetic)"
    instrument: str | None = None  # name of the frozen instrument, where the run is measured with one
    launched_by: str = "mtlser"


def learning_rate_factor(step: int, num_steps: int, warmup_ratio: float) -> float:
    """Share of the peak learning rate at a step counted from 0: linear warm-up, then linear decay to 0.

    Table 1 gives the warm-up; the decay is the released code's, inherited from its library (departure "optimiser").
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
    folder.mkdir(parents=True, exist_ok=True)
    run = _describe(config, inputs)
    write_json(folder / "run.json", run)
    try:
        trainer = _Trainer(config, inputs, folder, progress or (lambda event: None))
        predictions = trainer.fit(checkpoint_seconds)
    except Diverged as error:
        write_table(folder / "history.parquet", trainer.history_table())
        return _finish(run, folder, trainer, "diverged", error=str(error))
    except Exception as error:
        write_json(folder / "run.json", run | {"status": "failed", "error": f"{type(error).__name__}: {error}"})
        raise
    write_table(folder / "history.parquet", trainer.history_table())
    write_table(folder / "predictions.parquet", predictions)
    if keep_weights:
        trainer.model.save_pretrained(folder / "model")
    final = {name: None if value != value else value for name, value in summarise(predictions).items()}  # NaN: no words
    return _finish(run, folder, trainer, "done", final=final)


def _describe(config: RunConfig, inputs: RunInputs) -> dict:
    return {
        "run_id": inputs.run_id,
        "status": "running",
        "config": config.to_dict(),
        "recipe_version": RECIPE_VERSION,
        "inputs": inputs.digests,
        "corpus": inputs.corpus,
        "instrument": inputs.instrument,
        "num_train": len(inputs.train),
        "num_test": len(inputs.test),
        "versions": records.versions(),
        "hardware": records.hardware(),
        "revision": records.revision(),
        "launched_by": inputs.launched_by,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _finish(run: dict, folder: Path, trainer: _Trainer, status: str, **more) -> str:
    write_json(
        folder / "run.json",
        run
        | {
            "status": status,
            "collapsed": bool(more.get("final", {}).pop("collapsed", False)),
            "num_infeasible": trainer.num_infeasible,
            "device": trainer.device_name,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(sum(row["seconds"] for row in trainer.history), 2),
        }
        | more,
    )
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return status


def summarise(predictions: pd.DataFrame) -> dict:
    """The final numbers of a run from its predictions: Eq. 4 on this fold, UA, macro-F1, WER, CER, collapse."""
    labels, predicted = predictions["label"].tolist(), predictions["prediction"].tolist()
    references, hypotheses = predictions["reference"].tolist(), predictions["hypothesis"].tolist()
    return {
        "accuracy": metrics.weighted_accuracy(labels, predicted),
        "uar": metrics.unweighted_accuracy(labels, predicted),
        "macro_f1": metrics.macro_f1(labels, predicted),
        "wer": metrics.wer(references, hypotheses),
        "cer": metrics.cer(references, hypotheses),
        "num_correct": sum(a == b for a, b in zip(labels, predicted, strict=True)),
        "collapsed": bool(predictions["prediction"].value_counts(normalize=True).max() >= COLLAPSED_SHARE),
    }


class _Trainer:
    """The state of one run: model, optimiser, history, and where in the schedule it stands."""

    def __init__(self, config: RunConfig, inputs: RunInputs, folder: Path, progress: Progress) -> None:
        self.config, self.inputs, self.progress = config, inputs, progress
        self.checkpoint_path = folder / "checkpoint.pt"
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.device = self.accelerator.device
        self.device_name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        self.history: list[dict] = []
        self.num_infeasible = 0

        seed = int(random_generator(config.seed, config.fold, "model").integers(2**31))  # never alpha
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
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
        self.features: HeldUtterances | None = None
        self.waveforms: HeldUtterances | None = None  # in a GPU's memory
        if config.freeze_convolutions:
            self.model.freeze_convolutions()
            self.features = convolution_features(self.model, inputs.dataset)
        elif self.device.type == "cuda":
            self.waveforms = waveforms_on(self.device, inputs.dataset)
        # Cached features are short and alike in length, and "released" padding has to be there to be read.
        self.packed = self.features is None and config.encoder_padding == "exact"
        if config.precision == "bf16" and not has_fast_bfloat16(self.device):
            self.progress({"note": f"no instructions for bfloat16 ({self.device_name}): PRECISION=fp32 is faster here"})
        self.model.to(self.device)
        self.optimizer = make_optimizer(self.model, config)
        self.num_steps = config.epochs * -(-len(inputs.train) // config.batch_size)

    def fit(self, checkpoint_seconds: float) -> pd.DataFrame:
        """Trains the epochs that are left and returns the predictions of the last."""
        self._resume()
        saved = time.monotonic()
        predictions = None
        for epoch in range(len(self.history), self.config.epochs):
            started = time.monotonic()
            losses = self._train_epoch(epoch)
            predictions = self.evaluate()
            row = {"epoch": epoch + 1, **losses, **self._probe_gradients()}
            final = summarise(predictions)
            row |= {name: final[name] for name in ("accuracy", "uar", "wer")}
            row["seconds"] = time.monotonic() - started
            self.history.append(row)
            self.progress({"epoch": epoch + 1, "epochs": self.config.epochs, **row})
            if time.monotonic() - saved >= checkpoint_seconds:
                self._save()
                saved = time.monotonic()
        return self.evaluate() if predictions is None else predictions

    def _train_epoch(self, epoch: int) -> dict:
        """One pass over the training fold; mean losses per utterance and the last learning rate."""
        self.model.train()
        config, sums = self.config, np.zeros(3)
        lengths = self.inputs.dataset.table["num_samples"].to_numpy()
        batches = epoch_batches(
            self.inputs.train, config.batch_size, config.seed, config.fold, epoch, lengths, config.length_bucket
        )
        for number, indices in enumerate(batches):
            factor = learning_rate_factor(epoch * len(batches) + number, self.num_steps, config.warmup_ratio)
            for group in self.optimizer.param_groups:
                group["lr"] = config.peak_learning_rate * factor
            sums += self._step(indices, epoch) * len(indices)
        loss, ce, ctc = (sums / len(self.inputs.train)).tolist()
        return {"loss": loss, "loss_ce": ce, "loss_ctc": ctc, "learning_rate": self.optimizer.param_groups[0]["lr"]}

    def _step(self, indices: np.ndarray, epoch: int) -> np.ndarray:
        """One optimiser step on one effective batch; returns (L, L_CE, L_CTC) averaged over its utterances."""
        self.optimizer.zero_grad(set_to_none=True)
        padding = self.config.micro_batch_padding_seconds if self.device.type == "cpu" else np.inf
        parts = self._micro_batches(indices, self._part_seconds(indices), padding)
        mine = parts[self.accelerator.process_index :: self.accelerator.num_processes]
        sums = torch.zeros(3, device=self.device)
        with self._autocast():  # around all parts: the weights are rounded to bfloat16 once a step
            for part in mine:
                batch = self._batch(part)
                loss = self._loss(batch, self._masks(part, epoch), self.config.alpha, len(indices))
                with self._autocast(False):
                    loss.total.backward()
                sums += torch.stack([loss.total.detach(), loss.ce.detach(), loss.ctc.detach()]).float()
                if epoch == 0:
                    self.num_infeasible += int(loss.num_infeasible)
        parameters = self.optimizer.param_groups[0]["params"]
        if self.accelerator.num_processes > 1:
            sums = self.accelerator.reduce(sums, "sum")
            for p in parameters:  # the loss is normalised by the whole batch, so the ranks' gradients add
                p.grad = self.accelerator.reduce(torch.zeros_like(p) if p.grad is None else p.grad, "sum")
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.max_gradient_norm)
        if not torch.isfinite(sums).all() or not torch.isfinite(norm):
            names = ", ".join(self.inputs.dataset.table["utterance"].iloc[indices])
            raise Diverged(
                f"epoch {epoch + 1}: loss {sums[0].item()} (CE {sums[1].item()}, CTC {sums[2].item()}), gradient norm "
                f"{norm.item()}, in the batch of {names}"
            )
        self.optimizer.step()
        return sums.cpu().numpy().astype(float)

    def _micro_batches(self, indices: np.ndarray, max_seconds: float, padding: float = np.inf) -> list[np.ndarray]:
        seconds = [self.inputs.dataset.seconds(i) for i in indices]
        return micro_batches(indices, seconds, max_seconds, padding, self.packed)

    def _part_seconds(self, indices: np.ndarray) -> float:
        """Audio of one part of a step: what memory allows, and less where several processes share a batch."""
        limit, processes = self.config.micro_batch_seconds, self.accelerator.num_processes
        if processes == 1:
            return limit
        return min(limit, sum(self.inputs.dataset.seconds(i) for i in indices) / processes)

    def _autocast(self, enabled: bool = True) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled and self.config.precision == "bf16")

    def _batch(self, indices: np.ndarray) -> Batch:
        return make_batch(self.inputs.dataset, indices, self.features or self.waveforms, self.packed).to(self.device)

    def _forward(self, batch: Batch, mask: torch.Tensor | None):
        forward = self.model if self.features is None else self.model.forward_features
        forward = self.model.forward_packed if self.packed else forward
        with self._autocast():
            return forward(batch.inputs, batch.input_lengths, mask)

    def _loss(self, batch: Batch, mask: torch.Tensor | None, alpha: float, num_utterances: int):
        emotion_logits, ctc_logits, frame_lengths = self._forward(batch, mask)
        return multitask_loss(
            emotion_logits.float(), ctc_logits.float(), frame_lengths, batch.labels, batch.targets,
            batch.target_lengths, alpha, num_utterances=num_utterances,
        )  # fmt: skip

    def _masks(self, indices: np.ndarray, epoch: int) -> torch.Tensor | None:
        """SpecAugment's masks (B, T), drawn for each utterance from (seed, fold, epoch, utterance)."""
        config, dataset = self.config, self.inputs.dataset
        if config.mask_time_probability == 0:
            return None
        if self.features is None:
            num_samples = torch.tensor([dataset.table["num_samples"].iat[i] for i in indices])
            frame_lengths = self.model.frame_lengths(num_samples)
        else:
            frame_lengths = torch.tensor([self.features.lengths[i] for i in indices])
        names = dataset.table["utterance"].iloc[indices]
        generators = [random_generator(config.seed, config.fold, "mask", epoch, name) for name in names]
        mask = time_mask(
            frame_lengths, config.mask_time_probability, config.mask_time_length, config.mask_time_min_masks, generators
        )
        return mask.to(self.device)

    @torch.no_grad()
    def evaluate(self) -> pd.DataFrame:
        """Predictions for the test fold, in the dataset's order (records.PREDICTION_COLUMNS)."""
        self.model.eval()
        rows = {}
        for part in self._micro_batches(self.inputs.test, EVALUATION_SECONDS):
            emotion_logits, ctc_logits, frame_lengths = self._forward(self._batch(part), None)
            best = ctc_logits.argmax(-1).cpu().numpy()  # (B, T)
            logits = emotion_logits.float().cpu().numpy()  # (B, E)
            for row, index in enumerate(part):
                rows[index] = self._prediction(index, logits[row], best[row, : int(frame_lengths[row])])
        return pd.DataFrame([rows[index] for index in self.inputs.test], columns=list(records.PREDICTION_COLUMNS))

    def _prediction(self, index: int, logits: np.ndarray, characters: np.ndarray) -> dict:
        example = self.inputs.dataset.table.iloc[index]
        hypothesis = greedy_decode(characters.tolist())
        errors, words = metrics.word_errors(example["text"], hypothesis)
        return {
            "utterance": example["utterance"],
            "speaker": example["speaker"],
            "label": example["emotion"],
            "prediction": EMOTIONS[int(logits.argmax())],
            "logits": logits,
            "reference": example["text"],
            "hypothesis": hypothesis,
            "word_errors": errors,
            "words": words,
        }

    def _probe_gradients(self) -> dict:
        """Norms of both losses' gradients at the encoder's parameters, and their cosine, on a fixed batch."""
        self.model.eval()
        generator = random_generator(self.config.seed, self.config.fold, "probe")
        size = min(PROBE_UTTERANCES, len(self.inputs.train))
        batch = self._batch(generator.choice(self.inputs.train, size, replace=False))
        loss = self._loss(batch, None, 1.0, size)
        parameters = list(self.model.encoder_parameters())
        ce, ctc = (
            torch.cat([g.flatten().float() for g in torch.autograd.grad(part, parameters, retain_graph=True,
                                                                        materialize_grads=True)])
            for part in (loss.ce, loss.ctc)
        )  # fmt: skip
        cosine = torch.nn.functional.cosine_similarity(ce, ctc, dim=0)
        return {
            "gradient_norm_ce": ce.norm().item(),
            "gradient_norm_ctc": ctc.norm().item(),
            "gradient_cosine": cosine.item(),
        }

    def history_table(self) -> pd.DataFrame:
        """One row for each epoch so far (records.HISTORY_COLUMNS)."""
        return pd.DataFrame(self.history, columns=list(records.HISTORY_COLUMNS))

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
