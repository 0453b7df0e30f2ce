"""The loss against hand computation, against every path of CTC, and at its edges."""

from __future__ import annotations

from itertools import groupby, product
from math import log

import pytest
import torch

from mtlser.model.losses import ctc, frames_needed, multitask_loss


def ctc_by_enumeration(logits: torch.Tensor, target: list[int]) -> float:
    """-log of the summed probability of all paths (T, V) that collapse to the target: Eq. 1, by its definition."""
    probabilities = logits.detach().softmax(-1)
    total = 0.0
    for path in product(range(logits.shape[1]), repeat=logits.shape[0]):
        if [character for character, _ in groupby(path) if character != 0] == target:
            total += float(torch.stack([probabilities[frame, c] for frame, c in enumerate(path)]).prod())
    return -log(total)


def inputs(num_utterances: int = 3, dtype: torch.dtype = torch.float64, requires_grad: bool = False) -> dict:
    """A batch of 3 at most: 4, 3 and 2 valid frames of V = 3 for targets [1, 2], [2, 2] and []."""
    torch.manual_seed(0)
    batch = {
        "emotion_logits": torch.randn(3, 4, dtype=dtype),
        "ctc_logits": torch.randn(3, 4, 3, dtype=dtype),
        "frame_lengths": torch.tensor([4, 3, 2]),
        "labels": torch.tensor([0, 3, 1]),
        "targets": torch.tensor([[1, 2], [2, 2], [0, 0]]),
        "target_lengths": torch.tensor([2, 2, 0]),
    }
    batch = {name: value[:num_utterances] for name, value in batch.items()}
    for name in ("emotion_logits", "ctc_logits"):
        batch[name].requires_grad_(requires_grad)
    return batch


@pytest.mark.parametrize("target", [[1, 2], [2, 2], [1], [1, 2, 1, 2], [2, 1, 1]])
def test_ctc_is_the_sum_over_all_paths(target):
    logits = torch.randn(1, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    losses, num_infeasible = ctc(logits, torch.tensor([4]), torch.tensor([target]), torch.tensor([len(target)]))
    assert losses.item() == pytest.approx(ctc_by_enumeration(logits[0], target), abs=1e-12)
    assert num_infeasible == 0


def test_ctc_by_hand():
    # Two frames, V = 3, uniform: the paths of [1] are 11, 10, 01, three of nine. In the padding: what must not count.
    logits = torch.zeros(1, 3, 3)
    logits[0, 2] = torch.tensor([50.0, -50.0, 9.0])
    losses, _ = ctc(logits, torch.tensor([2]), torch.tensor([[1, 2]]), torch.tensor([1]))
    assert losses.item() == pytest.approx(log(3), abs=1e-6)


def test_the_loss_is_cross_entropy_plus_alpha_ctc_per_utterance():
    batch = inputs()
    loss = multitask_loss(**batch, alpha=0.1)
    probabilities = batch["emotion_logits"].softmax(-1)
    ce = -sum(log(probabilities[row, label]) for row, label in enumerate([0, 3, 1])) / 3
    first, second = batch["ctc_logits"][0], batch["ctc_logits"][1, :3]
    characters = (ctc_by_enumeration(first, [1, 2]) + ctc_by_enumeration(second, [2, 2]) + 0) / 3
    assert loss.ce.item() == pytest.approx(ce, abs=1e-12)
    assert loss.ctc.item() == pytest.approx(characters, abs=1e-12)
    assert loss.total.item() == pytest.approx(ce + 0.1 * characters, abs=1e-12)
    assert loss.num_infeasible == 0


def test_cross_entropy_applies_softmax_once():
    emotion_logits = torch.tensor([[log(1.0), log(2.0), log(3.0), log(4.0)]])
    loss = multitask_loss(**inputs(1) | {"emotion_logits": emotion_logits, "labels": torch.tensor([2])}, alpha=0)
    assert loss.ce.item() == pytest.approx(-log(0.3), abs=1e-6)


def test_parts_of_a_batch_add_up_to_the_batch():
    batch = inputs()
    whole = multitask_loss(**batch, alpha=0.5)
    parts = [
        multitask_loss(**{name: value[rows] for name, value in batch.items()}, alpha=0.5, num_utterances=3)
        for rows in (slice(0, 2), slice(2, 3))
    ]
    for name in ("total", "ce", "ctc"):
        assert sum(getattr(part, name).item() for part in parts) == pytest.approx(getattr(whole, name).item())


def test_an_utterance_too_short_for_its_transcript_gives_zero_and_is_counted():
    batch = inputs(2, requires_grad=True) | {"frame_lengths": torch.tensor([1, 3])}
    loss = multitask_loss(**batch, alpha=1.0)
    loss.total.backward()
    assert loss.num_infeasible == 1
    assert loss.ctc.item() == pytest.approx(ctc_by_enumeration(batch["ctc_logits"][1, :3], [2, 2]) / 2, abs=1e-12)
    gradient = batch["ctc_logits"].grad
    assert gradient.isfinite().all() and (gradient[0] == 0).all() and (gradient[1, :3] != 0).any()


def test_an_empty_transcript_gives_zero_and_is_not_counted():
    batch = {name: value[2:] for name, value in inputs().items()}
    batch["ctc_logits"].requires_grad_()
    loss = multitask_loss(**batch, alpha=1.0)
    loss.total.backward()
    assert loss.ctc.item() == 0 and loss.num_infeasible == 0
    assert (batch["ctc_logits"].grad == 0).all()


def test_a_batch_of_empty_transcripts_may_have_no_target_column():
    batch = {name: value[2:] for name, value in inputs().items()} | {"targets": torch.zeros(1, 0, dtype=torch.long)}
    loss = multitask_loss(**batch, alpha=1.0)
    assert loss.ctc.item() == 0 and loss.num_infeasible == 0


def test_equal_neighbours_need_a_frame_between_them():
    targets = torch.tensor([[1, 2, 1], [1, 1, 1], [1, 1, 1], [0, 0, 0]])
    assert frames_needed(targets, torch.tensor([3, 3, 2, 0])).tolist() == [3, 5, 3, 0]
    logits = torch.zeros(2, 3, 3)
    losses, num_infeasible = ctc(logits, torch.tensor([3, 2]), torch.tensor([[2, 2], [2, 2]]), torch.tensor([2, 2]))
    assert num_infeasible == 1
    assert losses.tolist() == pytest.approx([3 * log(3), 0.0], abs=1e-6)  # 2_2 is the only path of 27


def test_alpha_zero_leaves_the_ctc_logits_without_gradient():
    batch = inputs(requires_grad=True)
    loss = multitask_loss(**batch, alpha=0.0)
    loss.total.backward()
    assert batch["ctc_logits"].grad is None and not loss.ctc.requires_grad
    assert batch["emotion_logits"].grad is not None
    assert loss.ctc.item() == multitask_loss(**inputs(), alpha=1.0).ctc.item()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_give_a_float32_loss(dtype):
    rough, fine = multitask_loss(**inputs(dtype=dtype), alpha=0.1), multitask_loss(**inputs(), alpha=0.1)
    assert rough.total.dtype == rough.ctc.dtype == torch.float32
    exact = inputs(dtype=dtype)
    exact |= {name: exact[name].double() for name in ("emotion_logits", "ctc_logits")}
    assert rough.total.item() == pytest.approx(multitask_loss(**exact, alpha=0.1).total.item(), rel=1e-5)
    assert fine.total.dtype == torch.float64


def test_extreme_logits_give_a_finite_loss_and_broken_ones_are_not_hidden():
    batch = inputs()
    extreme = multitask_loss(**batch | {"ctc_logits": batch["ctc_logits"].float() * 1e4}, alpha=1.0)
    assert extreme.total.isfinite()
    broken = multitask_loss(**batch | {"ctc_logits": batch["ctc_logits"] * torch.nan}, alpha=1.0)
    assert not broken.total.isfinite()


def test_at_alpha_zero_a_ctc_loss_that_is_not_finite_takes_no_part():
    batch = inputs(requires_grad=True)
    broken = batch | {"ctc_logits": batch["ctc_logits"] * float("nan")}
    loss = multitask_loss(**broken, alpha=0.0)
    assert loss.ctc.isnan() and torch.equal(loss.total, loss.ce)
    loss.total.backward()
    assert batch["emotion_logits"].grad.isfinite().all() and batch["ctc_logits"].grad is None
    assert not multitask_loss(**broken, alpha=0.1).total.isfinite()


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="alpha"):
        multitask_loss(**inputs(), alpha=-0.1)
    with pytest.raises(ValueError, match="num_utterances"):
        multitask_loss(**inputs(), alpha=0.1, num_utterances=0)


@pytest.mark.parametrize("alpha", [0.0, 0.1])
@pytest.mark.parametrize(("what", "bad"), [("labels", -100), ("labels", 4), ("targets", 3), ("targets", -100),
                                           ("targets", 10**8)])  # fmt: skip
def test_ids_that_the_heads_do_not_have_are_refused(what, bad, alpha):
    """torch reads beyond the logits for a character, and leaves out an utterance with the label -100."""
    given = inputs()
    given[what].view(-1)[1] = bad
    with pytest.raises(ValueError, match=f"must be at least 0 and below {4 if what == 'labels' else 3}"):
        multitask_loss(**given, alpha=alpha)


def test_a_target_is_padded_with_anything():
    given, other = inputs(), inputs()
    other["targets"][2] = 10**8  # of an empty transcript
    assert multitask_loss(**given, alpha=0.1).total == multitask_loss(**other, alpha=0.1).total
