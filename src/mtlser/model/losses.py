"""The multi-task loss of Eq. 3: L = L_CE + alpha · L_CTC.

Shapes follow the legend in `mtlser.model.multitask`: B utterances, T frames, V characters, L transcript length,
E emotions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

# <pad> of wav2vec2-base's alphabet serves as CTC's blank, as in `corpus.text.BLANK`.
BLANK = 0


@dataclass(frozen=True)
class MultitaskLoss:
    """`total` is to be differentiated; `ce` and `ctc` are its parts before weighting; all three are scalars."""

    total: Tensor
    ce: Tensor
    ctc: Tensor
    num_infeasible: int  # utterances with a transcript that their frames can't spell


def multitask_loss(
    emotion_logits: Tensor,
    ctc_logits: Tensor,
    frame_lengths: Tensor,
    labels: Tensor,
    targets: Tensor,
    target_lengths: Tensor,
    alpha: float,
    *,
    num_utterances: int | None = None,
) -> MultitaskLoss:
    """L = L_CE + alpha · L_CTC (Eq. 3), per utterance: both are sums over utterances, divided by their number.

    `emotion_logits` (B, E), `ctc_logits` (B, T, V), `frame_lengths` (B,) valid frames, `labels` (B,) in [0, E),
    `targets` (B, L) character ids, padded with anything, `target_lengths` (B,). `num_utterances` is the size of the
    whole effective batch, across micro-batches; by default B. Losses in nats.

    L_CTC is summed over characters: what alpha meant in the paper's batches of one. With alpha = 0 it is computed for
    the record but takes no part in the total, finite or not, and the CTC head gets no gradient at all.
    Half-precision logits are raised to float32 first. Lengths on the CPU save a GPU a synchronisation.

    Source: sections 3.2 and 4.2. Departs from the released code, which averages CE and sums CTC over each micro-batch
    (departure "ctc-scale"). Raises ValueError for alpha < 0, `num_utterances` < 1, and, before any loss, for a label or
    a transcript's character that the heads do not have (labels on a GPU, which isn't waited for, stop the device).
    """
    num_utterances = len(labels) if num_utterances is None else num_utterances
    if alpha < 0 or num_utterances < 1:
        raise ValueError(f"alpha must be at least 0 and num_utterances at least 1, not {alpha} and {num_utterances}")
    ce = cross_entropy(emotion_logits, labels).sum() / num_utterances
    with torch.set_grad_enabled(torch.is_grad_enabled() and alpha > 0):
        ctc_losses, num_infeasible = ctc(ctc_logits, frame_lengths, targets, target_lengths)
        ctc_loss = ctc_losses.sum() / num_utterances
    total = ce + alpha * ctc_loss if alpha > 0 else ce  # 0 · inf would be NaN
    return MultitaskLoss(total=total, ce=ce, ctc=ctc_loss, num_infeasible=num_infeasible)


def cross_entropy(emotion_logits: Tensor, labels: Tensor) -> Tensor:
    """L_CE of each utterance (Eq. 2): (B, E), (B,) -> (B,).

    The softmax of Eq. 2 is applied once, here (departure "double-softmax"). Raises as `multitask_loss`.
    """
    _check_ids(labels, emotion_logits.shape[-1], "labels")
    return F.cross_entropy(_at_least_float32(emotion_logits), labels.to(emotion_logits.device), reduction="none")


def ctc(ctc_logits: Tensor, frame_lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> tuple[Tensor, int]:
    """L_CTC of each utterance (Eq. 1), summed over its characters: (B, T, V), (B,), (B, L), (B,) -> (B,).

    Finite for every finite input. An empty transcript contributes zero; so does one that needs more frames than there
    are, and the second value returned counts those. Raises as `multitask_loss`.
    """
    frame_lengths, target_lengths = frame_lengths.cpu(), target_lengths.cpu()
    spelled = torch.arange(targets.shape[1]) < target_lengths[:, None]  # (B, L)
    _check_ids(targets.cpu()[spelled], ctc_logits.shape[-1], "character ids")
    feasible = frame_lengths >= frames_needed(targets.cpu(), target_lengths)
    used = feasible & (target_lengths > 0)
    # An unused utterance is given the empty transcript, whose loss is finite, and then weight zero. CTC's own
    # zero_infinity would do for the infeasible, but would also hide a model that has diverged.
    losses = F.ctc_loss(
        _at_least_float32(ctc_logits).log_softmax(dim=-1).transpose(0, 1),  # (T, B, V)
        targets.to(ctc_logits.device),
        frame_lengths,
        torch.where(used, target_lengths, 0),
        blank=BLANK,
        reduction="none",
    )
    return torch.where(used.to(losses.device), losses, 0.0), int((~feasible).sum())


def frames_needed(targets: Tensor, target_lengths: Tensor) -> Tensor:
    """Fewest frames that can spell a transcript: its characters, and a blank between equal neighbours.

    (B, L), (B,) -> (B,).
    """
    inside = torch.arange(1, max(targets.shape[1], 1), device=targets.device) < target_lengths[:, None]  # (B, L - 1)
    repeats = (targets[:, 1:] == targets[:, :-1]) & inside
    return target_lengths + repeats.sum(dim=1)


def _check_ids(ids: Tensor, count: int, what: str) -> None:
    """torch's losses read beyond the logits, or leave an utterance out, for ids outside of [0, count)."""
    inside = ((ids >= 0) & (ids < count)).all()
    if ids.is_cuda:
        torch._assert_async(inside)
    elif not inside:
        raise ValueError(f"{what} must be at least 0 and below {count}; found {ids.min()} to {ids.max()}")


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
