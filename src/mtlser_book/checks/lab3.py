"""Checks of lab 3, one loss from two. Tensors are tiny; probabilities are chosen so that losses follow by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtlser.runs.batches import Batch
from mtlser_book.checks import NotWritten, Wrong, ask, check, close, number, show

TOLERANCE = 1e-4

# Two utterances, three frames at most, features of size 2: the second has one frame and two of padding.
FEATURES = torch.tensor([[[1.0, 0.0], [2.0, 1.0], [3.0, -1.0]], [[0.0, 4.0], [50.0, 50.0], [50.0, 50.0]]])
FRAME_LENGTHS = torch.tensor([3, 1])
NUM_EMOTIONS, NUM_CHARACTERS = 4, 5

# Three utterances, two frames, a blank and two characters. The second utterance has one frame, then padding.
#   "1"  from .5 .3 .2 | .2 .7 .1: paths 11, _1, 1_ = .21 + .35 + .06 = .62
#   "2"  from .1 .3 .6: .6
#   "12" from .2 .5 .3 | .1 .3 .6: .5 · .6 = .3
PROBABILITIES = torch.tensor(
    [[[0.5, 0.3, 0.2], [0.2, 0.7, 0.1]], [[0.1, 0.3, 0.6], [0.7, 0.2, 0.1]], [[0.2, 0.5, 0.3], [0.1, 0.3, 0.6]]]
)
CTC_LOGITS = PROBABILITIES.log() + torch.tensor([[[1.0], [-2.0]]])  # logits are no logarithms of probabilities yet
CTC_FRAMES = torch.tensor([2, 1, 2])
TARGETS, TARGET_LENGTHS = torch.tensor([[1, 0], [2, 0], [1, 2]]), torch.tensor([1, 1, 2])
OF_TEXTS = (0.62, 0.6, 0.3)
CTC = -sum(map(math.log, OF_TEXTS)) / 3

# Softmax gives 1/2, 1/4, 1/8, 1/8 for both utterances; the labels take 1/2 and 1/4.
EMOTION_LOGITS = torch.tensor([[1 / 2, 1 / 4, 1 / 8, 1 / 8]] * 2).log() + 3.0
LABELS = torch.tensor([0, 1])
CE = (math.log(2) + math.log(4)) / 2


class FakeEncoder(nn.Module):
    """Stands for the encoder: hidden states are the features with a third value, their sum; padding stays."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]))

    def forward_features(self, features: Tensor, frame_lengths: Tensor, mask_time: Tensor | None = None) -> Tensor:
        """(B, T, 2), (B,) -> (B, T, 3)."""
        return features @ self.weight


class Probe(nn.Module):
    """A model of two parameters whose gradients are known; copies are itself, so that a check sees it change."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = FakeEncoder()
        self.emotion = nn.Parameter(torch.zeros(NUM_EMOTIONS))
        self.characters = nn.Parameter(torch.zeros(3))

    def __deepcopy__(self, memo: dict) -> Probe:
        return self

    def forward(self, features: Tensor, frame_lengths: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.encoder.forward_features(features, frame_lengths)  # (B, T, 3)
        pooled = F.pad(hidden.mean(dim=1), (0, 1))  # (B, 4)
        return pooled + 9 * self.emotion, hidden + 9 * self.characters


class Descent(torch.optim.SGD):
    """Plain gradient descent with rate 1: a step is the gradient. Copies are itself."""

    def __deepcopy__(self, memo: dict) -> Descent:
        return self


def _batch() -> Batch:
    """Two utterances for `Probe`."""
    features = torch.tensor([[[0.4, -0.2], [0.1, 0.3]], [[-0.3, 0.2], [0.5, 0.1]]])
    lengths = torch.tensor([2, 2])
    targets, target_lengths = torch.tensor([[1, 2], [2, 0]]), torch.tensor([2, 1])
    return Batch(np.arange(2), features, lengths, torch.tensor([3, 3]), targets, target_lengths)


def _losses(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Cross-entropy and CTC of a batch, means over its utterances."""
    emotion_logits, ctc_logits = model(batch.inputs, batch.input_lengths)
    return F.cross_entropy(emotion_logits, batch.labels), _ctc(ctc_logits.log_softmax(-1), batch.input_lengths,
                                                               batch.targets, batch.target_lengths)  # fmt: skip


def _ctc(log_probs: Tensor, frames: Tensor, targets: Tensor, lengths: Tensor, reduction: str = "sum") -> Tensor:
    loss = F.ctc_loss(log_probs.transpose(0, 1), targets, frames, lengths, blank=0, reduction=reduction)
    return loss / len(lengths) if reduction == "sum" else loss


@check
def two_heads(function: Any) -> str:
    """Emotion logits from the pooled frames, character logits from each frame."""
    encoder = FakeEncoder()
    model = ask(function, encoder, 3, NUM_EMOTIONS, NUM_CHARACTERS)
    if not isinstance(model, nn.Module):
        raise Wrong(f"TwoHeads(…) should make a torch module; it makes {show(model)}")
    head = getattr(model, "ctc_head", None)
    if head is None or head is ...:
        others = [name for name, _ in model.named_children() if name not in ("encoder", "emotion_head")]
        if others:
            raise Wrong(f"the new head should be called self.ctc_head; here it is {others[0]}")
        raise NotWritten("TwoHeads has no self.ctc_head yet")
    if not isinstance(head, nn.Linear):
        raise Wrong(f"self.ctc_head should be an nn.Linear; it is {show(head)}")
    if (head.in_features, head.out_features) != (3, NUM_CHARACTERS):
        raise Wrong(
            f"with hidden_size 3 and num_characters {NUM_CHARACTERS}, self.ctc_head should map 3 values to "
            f"{NUM_CHARACTERS}; it maps {head.in_features} to {head.out_features}"
        )
    answer = ask(model, FEATURES, FRAME_LENGTHS)
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise Wrong(f"forward should return two things, emotion logits and character logits; it gives {show(answer)}")
    emotion_logits, ctc_logits = answer
    hidden = encoder.forward_features(FEATURES, FRAME_LENGTHS)
    shapes = [tuple(getattr(part, "shape", ())) for part in answer]
    if shapes == [(2, 3, NUM_CHARACTERS), (2, NUM_EMOTIONS)]:
        raise Wrong("the two answers come in the wrong order: emotion logits first")
    if shapes[1] == (2, NUM_CHARACTERS):
        raise Wrong("the CTC head was given the pooled frames; it answers for each frame, so give it `hidden`")
    if shapes != [(2, NUM_EMOTIONS), (2, 3, NUM_CHARACTERS)]:
        raise Wrong(f"the shapes should be (2, {NUM_EMOTIONS}) and (2, 3, {NUM_CHARACTERS}); they are {shapes}")
    means = torch.stack([row[:length].mean(dim=0) for row, length in zip(hidden, FRAME_LENGTHS, strict=True)])
    if not torch.allclose(emotion_logits, model.emotion_head(means), atol=TOLERANCE):
        raise Wrong("the emotion logits have changed: they should come from `mean_over_frames`, as before")
    if not torch.allclose(ctc_logits, head(hidden), atol=TOLERANCE):
        raise Wrong("the character logits should be self.ctc_head(hidden) and nothing more: no softmax, no pooling")
    return "one encoder, two answers: one for an utterance, one for each frame"


@check
def ctc_loss(function: Any) -> str:
    """CTC, summed over characters, averaged over the utterances of a batch."""
    found = number(ask(function, CTC_LOGITS, CTC_FRAMES, TARGETS, TARGET_LENGTHS), "the CTC loss")
    if close(found, CTC, TOLERANCE):
        return "summed over characters, averaged over utterances, without the padding"
    texts = f"three texts have the probabilities {', '.join(map(str, OF_TEXTS))}"
    given = f"{texts}; the mean of −log is {CTC:.4f}, and this gives {found:.4f}"
    logs, other = CTC_LOGITS.log_softmax(-1), CTC_LOGITS.log_softmax(1)
    rest = CTC_FRAMES, TARGETS, TARGET_LENGTHS
    all_frames = torch.full_like(CTC_FRAMES, CTC_LOGITS.shape[1])
    for reason, mistaken in (
        ("the sum over the utterances was not divided by their number", 3 * CTC),
        ('each was divided by its number of characters, as reduction="mean" does', _ctc(logs, *rest, reduction="mean")),
        ("logits are no log probabilities: take log_softmax over the characters first", _ctc(CTC_LOGITS, *rest)),
        ("that took the softmax without its logarithm", _ctc(logs.exp(), *rest)),
        ("that took the softmax over the frames; the characters are the last dimension", _ctc(other, *rest)),
        ("padding was counted: frame_lengths says where each utterance ends", _ctc(logs, all_frames, *rest[1:])),
        ("the sign is turned round", -CTC),
    ):  # fmt: skip
        if close(found, float(mistaken), TOLERANCE):
            raise Wrong(f"{given}: {reason}")
    raise Wrong(f"{given}: are the log probabilities of shape (T, B, V), and is the blank 0?")


@check
def total_loss(function: Any) -> str:
    """Eq. 3: the mean cross-entropy, and alpha times CTC."""
    for ctc, alpha in ((2.0, 0.1), (2.0, 0.0), (5.0, 1.0)):
        found = number(ask(function, EMOTION_LOGITS, LABELS, torch.tensor(ctc), alpha), "the loss")
        expected = CE + alpha * ctc
        given = f"CE is {CE:.4f}, CTC {ctc:g}, alpha {alpha:g}: together {expected:.4f}; this gives {found:.4f}"
        if close(found, expected, TOLERANCE):
            continue
        twice = float(F.cross_entropy(EMOTION_LOGITS.softmax(-1), LABELS))
        for reason, mistaken in (
            ("alpha multiplies CTC, not the cross-entropy", alpha * CE + ctc),
            ("that weighs CE by 1 − alpha; Eq. 3 leaves it as it is", (1 - alpha) * CE + alpha * ctc),
            ("alpha is missing", CE + ctc),
            ("that is CTC's part alone", alpha * ctc),
            ("the cross-entropy is a sum over utterances; take their mean, torch's default", 2 * CE + alpha * ctc),
            ("there are two softmaxes: torch's cross_entropy applies its own", twice + alpha * ctc),
            ("the two were multiplied", CE * alpha * ctc),
        ):  # fmt: skip
            if close(found, mistaken, TOLERANCE):
                raise Wrong(f"{given}: {reason}")
        raise Wrong(f"{given}: is it F.cross_entropy(emotion_logits, labels) + alpha * ctc?")
    return "L = CE + alpha · CTC"


@check
def step(function: Any) -> str:
    """One step of training: fresh gradients of the total loss, clipped to norm 1, then the optimizer's step."""
    batch = _batch()
    for alpha in (0.0, 0.1, 1.0):
        for repeats in (1, 2):
            found, loss, moved = _stepped(function, batch, alpha, repeats)
            expected, expected_loss = _expected_steps(batch, alpha, repeats)
            if torch.allclose(moved, expected, atol=TOLERANCE):
                if close(found, expected_loss, TOLERANCE):
                    continue
                raise Wrong(f"the step is right; return its loss as a number, {expected_loss:.4f}, not {show(loss)}")
            _step_mistake(batch, alpha, repeats, moved)
    return "fresh gradients, clipped to norm 1, one step"


def _stepped(function: Any, batch: Batch, alpha: float, repeats: int) -> tuple[float, Any, Tensor]:
    """The student's last loss, and the parameters after `repeats` steps from zero."""
    torch.manual_seed(0)
    model = Probe()
    optimizer = Descent(model.parameters(), lr=1.0)
    before = _flat(model)
    for _ in range(repeats):
        loss = ask(function, model, optimizer, replace(batch), alpha)
    return number(loss, "the loss that step returns"), loss, _flat(model) - before


def _flat(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).clone()


def _expected_steps(
    batch: Batch, alpha: float, repeats: int, *, clip: bool = True, fresh: bool = True, ctc_weight: float | None = None
) -> tuple[Tensor, float]:
    """How far the right step, or one with a mistake, moves the parameters, and its last loss."""
    model = Probe()
    optimizer = Descent(model.parameters(), lr=1.0)
    before = _flat(model)
    for _ in range(repeats):
        if fresh:
            optimizer.zero_grad()
        ce, ctc = _losses(model, batch)
        loss = ce + (alpha if ctc_weight is None else ctc_weight) * ctc
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return _flat(model) - before, loss.item()


def _step_mistake(batch: Batch, alpha: float, repeats: int, moved: Tensor) -> None:
    """Raises Wrong with the mistake that explains how the parameters moved."""
    if not moved.any():
        raise Wrong(
            "no parameter has moved: the gradient comes from loss.backward(), and optimizer.step() after it moves "
            "the parameters; optimizer.zero_grad() in between would undo the first"
        )
    for reason, mistake in (
        ("the step had the gradient's full length: clip it to norm 1, between backward and step", {"clip": False}),
        ("the gradient of the step before was still there: begin with optimizer.zero_grad()", {"fresh": False}),
        ("alpha had no effect: give it to total_loss", {"ctc_weight": 1.0}),
        ("CTC had no effect: the loss is total_loss(…) of both", {"ctc_weight": 0.0}),
        ("the gradient was neither cleared before nor clipped", {"fresh": False, "clip": False}),
    ):  # fmt: skip
        if torch.allclose(moved, _expected_steps(batch, alpha, repeats, **mistake)[0], atol=TOLERANCE):
            raise Wrong(reason)
    wanted = _expected_steps(batch, alpha, repeats)[0].norm()
    raise Wrong(
        f"with alpha {alpha:g} the parameters moved by {moved.norm():.4f} in {repeats} steps instead of {wanted:.4f}: "
        "zero_grad, losses, backward, clip, step, in this order?"
    )


@check
def pull(function: Any) -> str:
    """The norms of both losses' gradients at the encoder, before alpha, and their cosine."""
    model, batch = Probe(), _batch()
    answer = ask(function, model, replace(batch))
    if not isinstance(answer, (tuple, list)) or len(answer) != 3:
        raise Wrong(f"pull should return three numbers: two norms and a cosine; it gives {show(answer)}")
    found = [number(value, name) for value, name in zip(answer, ("CE's norm", "CTC's norm", "the cosine"), strict=True)]
    ce, ctc = _gradients(model, batch, list(model.encoder.parameters()))
    expected = [ce.norm().item(), ctc.norm().item(), F.cosine_similarity(ce, ctc, dim=0).item()]
    if all(close(one, other, 1e-3) for one, other in zip(found, expected, strict=True)):
        return "the pull of each loss on the encoder, and whether they pull the same way"
    whole = [gradient.norm().item() for gradient in _gradients(model, batch, list(model.parameters()))]
    if close(found[0], whole[0], 1e-3):
        raise Wrong("CE's norm is that over all parameters; take the encoder's alone, model.encoder.parameters()")
    if close(found[0], expected[0] ** 2, 1e-3):
        raise Wrong("that is the square of CE's norm; take its root")
    if close(found[0], expected[1], 1e-3) and close(found[1], expected[0], 1e-3):
        raise Wrong("the two norms are exchanged: first that of the cross-entropy")
    for position, name in enumerate(("CE's norm", "CTC's norm, before alpha,", "the cosine")):
        if not close(found[position], expected[position], 1e-3):
            raise Wrong(f"on a tiny model {name} is {expected[position]:.4f}; this gives {found[position]:.4f}")
    raise AssertionError  # one of them differs


def _gradients(model: nn.Module, batch: Batch, parameters: list[nn.Parameter]) -> list[Tensor]:
    """The flat gradients of both losses at some parameters."""
    return [
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, retain_graph=True,
                                                            materialize_grads=True)])
        for loss in _losses(model, batch)
    ]  # fmt: skip
