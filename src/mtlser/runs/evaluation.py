"""What a trained model says of the test fold, the numbers that sum it up, and how its two losses pull.

Shapes follow the legend in `mtlser.model.multitask`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from mtlser.config import EMOTIONS
from mtlser.corpus.text import greedy_decode
from mtlser.runs import metrics, records
from mtlser.runs.batches import cut, random_generator
from mtlser.runs.feed import Feed

COLLAPSED_SHARE = 0.95  # of test utterances given one class: the run is flagged
EVALUATION_SECONDS = 120.0  # padded audio in memory at once without gradients
PROBE_UTTERANCES = 8  # of the training fold, whose gradients are compared at every epoch


@torch.no_grad()
def predict(feed: Feed, test: np.ndarray) -> pd.DataFrame:
    """Predictions for those rows, in their order (records.PREDICTION_COLUMNS).

    With exact padding they depend on no other utterance. With "released" padding they depend on the longest of their
    batch: batches are then cut from the rows in their order, as large as in training.
    """
    feed.model.eval()
    rows = {}
    for batch in cut(test, feed.config.batch_size) if feed.released else [test]:
        for part in feed.parts(batch, EVALUATION_SECONDS):
            emotion_logits, ctc_logits, frame_lengths = feed.outputs(part)
            best = ctc_logits.argmax(-1).cpu().numpy()  # (B, T)
            logits = emotion_logits.float().cpu().numpy()  # (B, E)
            for row, index in enumerate(part.indices):
                example = feed.dataset.table.iloc[index]
                rows[index] = _prediction(example, logits[row], best[row, : int(frame_lengths[row])])
    return pd.DataFrame([rows[index] for index in test], columns=list(records.PREDICTION_COLUMNS))


def _prediction(example: pd.Series, logits: np.ndarray, characters: np.ndarray) -> dict:
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


def summarise(predictions: pd.DataFrame) -> dict:
    """The final numbers of a run from its predictions: Eq. 4 on this fold, UA, macro-F1, WER, CER, number correct."""
    labels, predicted = predictions["label"].tolist(), predictions["prediction"].tolist()
    references, hypotheses = predictions["reference"].tolist(), predictions["hypothesis"].tolist()
    return {
        "accuracy": metrics.weighted_accuracy(labels, predicted),
        "uar": metrics.unweighted_accuracy(labels, predicted),
        "macro_f1": metrics.macro_f1(labels, predicted),
        "wer": metrics.wer(references, hypotheses),
        "cer": metrics.cer(references, hypotheses),
        "num_correct": sum(a == b for a, b in zip(labels, predicted, strict=True)),
    }


def is_collapsed(predictions: pd.DataFrame) -> bool:
    """Whether nearly all utterances were given one class."""
    return bool(predictions["prediction"].value_counts(normalize=True).max() >= COLLAPSED_SHARE)


def probe_gradients(feed: Feed, train: np.ndarray) -> dict[str, float]:
    """Norms of both losses' gradients at the encoder's parameters, and their cosine, on a fixed batch of those rows.

    Parts of the batch hold at most `micro_batch_seconds`, as in training, and their gradients add up.
    """
    feed.model.eval()
    generator = random_generator(feed.config.seed, feed.config.fold, "probe")
    size = min(PROBE_UTTERANCES, len(train))
    parameters = feed.model.encoder_parameters()
    ce, ctc = torch.zeros(2, sum(p.numel() for p in parameters), device=feed.device)
    for part in feed.parts(generator.choice(train, size, replace=False), feed.config.micro_batch_seconds):
        loss = feed.loss(part, None, 1.0, size)
        for total, own in ((ce, loss.ce), (ctc, loss.ctc)):
            gradients = torch.autograd.grad(own, parameters, retain_graph=own is loss.ce, materialize_grads=True)
            total += torch.cat([gradient.flatten().float() for gradient in gradients])
    return {
        "gradient_norm_ce": ce.norm().item(),
        "gradient_norm_ctc": ctc.norm().item(),
        "gradient_cosine": torch.nn.functional.cosine_similarity(ce, ctc, dim=0).item(),
    }
