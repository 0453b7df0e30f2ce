"""The losses of Eq. 3 beside those that were not chosen: other reductions of CTC, and a second softmax.

Shapes follow the legend in `mtlser.model.multitask`. `inputs` are the tensors that `losses.multitask_loss` takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from mtlser.config import EMOTIONS
from mtlser.model.losses import cross_entropy, ctc, multitask_loss


def _ctc(inputs: Mapping[str, Tensor]) -> Tensor:
    return ctc(*(inputs[name] for name in ("ctc_logits", "frame_lengths", "targets", "target_lengths")))[0]  # (B,)


@torch.no_grad()
def per_utterance(inputs: Mapping[str, Tensor]) -> pd.DataFrame:
    """Both losses of each utterance, in nats: columns frames, characters, ce, ctc, ctc_per_character."""
    columns = {"frames": inputs["frame_lengths"], "characters": inputs["target_lengths"]}
    columns |= {"ce": cross_entropy(inputs["emotion_logits"], inputs["labels"]), "ctc": _ctc(inputs)}
    table = pd.DataFrame({name: column.tolist() for name, column in columns.items()})
    return table.assign(ctc_per_character=table["ctc"] / table["characters"].clip(lower=1))


@torch.no_grad()
def weighted(inputs: Mapping[str, Tensor], alphas: Sequence[float]) -> pd.DataFrame:
    """Eq. 3 on one batch for each alpha: columns alpha, ce, weighted_ctc (alpha · L_CTC), ctc_share of the total."""
    rows = []
    for alpha in alphas:
        loss = multitask_loss(**inputs, alpha=alpha)
        part = alpha * float(loss.ctc)
        rows.append({"alpha": alpha, "ce": float(loss.ce), "weighted_ctc": part, "ctc_share": part / float(loss.total)})
    return pd.DataFrame(rows)


@torch.no_grad()
def reductions(inputs: Mapping[str, Tensor], alpha: float) -> pd.DataFrame:
    """One batch, three reductions of CTC: columns reduction, ce, ctc, effective_alpha.

    The last is the alpha with which this book's reduction has the same loss, and so the same gradient.
    """
    losses = _ctc(inputs)
    ours = losses.mean()
    characters = inputs["target_lengths"].clamp(min=1).to(losses.device)
    rows = [
        ("this book: summed over characters, mean over utterances", ours),
        ("as released: summed over characters and over the batch", losses.sum()),
        ("torch's default: mean over characters, mean over utterances", (losses / characters).mean()),
    ]
    ce = float(cross_entropy(inputs["emotion_logits"], inputs["labels"]).mean())
    return pd.DataFrame(
        {"reduction": name, "ce": ce, "ctc": float(value), "effective_alpha": alpha * float(value / ours)}
        for name, value in rows
    )


def batch_sizes(inputs: Mapping[str, Tensor], alpha: float, sizes: Sequence[int]) -> pd.DataFrame:
    """The first utterances in batches of each size: columns batch_size, ctc (this book), released_ctc, released_alpha.

    `released_alpha` is what alpha amounts to in the released code, on this book's scale.
    """
    rows = []
    for size in sizes:
        ours, released, _ = reductions({name: x[:size] for name, x in inputs.items()}, alpha).itertuples()
        rows.append((size, ours.ctc, released.ctc, released.effective_alpha))
    return pd.DataFrame(rows, columns=["batch_size", "ctc", "released_ctc", "released_alpha"])


def double_softmax(margins: Sequence[float]) -> pd.DataFrame:
    """Cross-entropy of a right answer whose logit is ahead of all others by each margin, with one softmax and two.

    Columns: margin, ce_once, ce_twice, pull_once, pull_twice: the last two are the gradient at the right logit, without
    its sign. Two softmaxes are what comes of giving probabilities to a cross-entropy that expects logits (departure
    "double-softmax").
    """
    rows = []
    for margin in margins:
        logits = torch.tensor([[margin] + [0] * (len(EMOTIONS) - 1)], dtype=torch.float64, requires_grad=True)  # (1, E)
        losses = [F.cross_entropy(given, torch.tensor([0])) for given in (logits, logits.softmax(dim=-1))]
        pulls = [torch.autograd.grad(loss, logits)[0][0, 0].abs().item() for loss in losses]
        rows.append((margin, *(loss.item() for loss in losses), *pulls))
    return pd.DataFrame(rows, columns=["margin", "ce_once", "ce_twice", "pull_once", "pull_twice"])
