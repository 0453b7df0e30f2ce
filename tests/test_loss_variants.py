"""Other reductions and the second softmax: by hand, and what they do to the gradient."""

from __future__ import annotations

import math

import pytest
import torch

from mtlser.config import ALPHAS
from mtlser.model import loss_variants, losses
from mtlser.model.losses import cross_entropy, multitask_loss


@pytest.fixture
def inputs() -> dict[str, torch.Tensor]:
    """Two utterances of 6 and 5 frames with 2 and 3 characters, V = 4."""
    generator = torch.Generator().manual_seed(0)
    return {
        "emotion_logits": torch.randn(2, 4, generator=generator, dtype=torch.float64).requires_grad_(),
        "ctc_logits": torch.randn(2, 6, 4, generator=generator, dtype=torch.float64).requires_grad_(),
        "frame_lengths": torch.tensor([6, 5]),
        "labels": torch.tensor([1, 3]),
        "targets": torch.tensor([[1, 2, 0], [3, 3, 1]]),
        "target_lengths": torch.tensor([2, 3]),
    }


def gradients(loss, inputs):
    return torch.autograd.grad(loss, [inputs["emotion_logits"], inputs["ctc_logits"]])


def released_loss(inputs, alpha):
    """As the released code reduces: cross-entropy is the batch's mean, CTC its sum (departure "ctc-scale")."""
    characters = (inputs[name] for name in ("ctc_logits", "frame_lengths", "targets", "target_lengths"))
    return cross_entropy(inputs["emotion_logits"], inputs["labels"]).mean() + alpha * losses.ctc(*characters)[0].sum()


def test_released_at_batch_two_is_ours_with_twice_the_alpha(inputs):
    released = gradients(released_loss(inputs, 0.1), inputs)
    ours = gradients(multitask_loss(**inputs, alpha=0.2).total, inputs)
    for one, other in zip(released, ours, strict=True):
        torch.testing.assert_close(one, other)


def test_released_for_one_utterance_is_ours(inputs):
    one = {name: tensor[:1] for name, tensor in inputs.items()}
    torch.testing.assert_close(released_loss(one, 0.1), multitask_loss(**one, alpha=0.1).total)


def test_reductions_of_two_utterances(inputs):
    first, second = loss_variants.per_utterance(inputs)["ctc"]
    table = loss_variants.reductions(inputs, 0.1)
    assert table["ctc"].tolist() == pytest.approx([(first + second) / 2, first + second, (first / 2 + second / 3) / 2])
    assert table["effective_alpha"][0] == pytest.approx(0.1)
    assert table["effective_alpha"][1] == pytest.approx(0.2)
    assert table["ce"].nunique() == 1
    expected = torch.nn.functional.ctc_loss(
        inputs["ctc_logits"].log_softmax(-1).transpose(0, 1), inputs["targets"], inputs["frame_lengths"],
        inputs["target_lengths"], reduction="mean",
    )  # fmt: skip
    assert table["ctc"][2] == pytest.approx(expected.item())


def test_alpha_grows_with_the_released_batch(inputs):
    table = loss_variants.batch_sizes(inputs, 0.1, (1, 2))
    assert table["released_alpha"].tolist() == pytest.approx([0.1, 0.2])
    assert table["batch_size"].tolist() == [1, 2]


def test_weighted_is_eq_3(inputs):
    table = loss_variants.weighted(inputs, ALPHAS)
    for alpha, ce, ctc, share in table.itertuples(index=False):
        total = multitask_loss(**inputs, alpha=alpha).total.item()
        assert ce + ctc == pytest.approx(total) and share == pytest.approx(ctc / total)
    assert table["ctc_share"].is_monotonic_increasing and table["ctc_share"][0] == 0


def test_an_empty_transcript_costs_nothing_per_character(inputs):
    empty = {name: tensor[:1] for name, tensor in inputs.items()} | {"target_lengths": torch.tensor([0])}
    assert loss_variants.per_utterance(empty)["ctc_per_character"].tolist() == [0]
    assert math.isnan(loss_variants.reductions(empty, 0.1)["effective_alpha"][0])


def test_two_softmaxes_by_hand():
    table = loss_variants.double_softmax((0, 50))
    # Nothing known: both give log 4. Certain: one gives 0, two the cross-entropy of the logits (1, 0, 0, 0).
    assert table["ce_once"].tolist() == pytest.approx([math.log(4), 0], abs=1e-12)
    assert table["ce_twice"].tolist() == pytest.approx([math.log(4), math.log(math.e + 3) - 1], abs=1e-12)
    # One: 1 - 1/4. Two: that of one, times the slope of the inner softmax, p (1 - p) + p * p averaged over the others.
    assert table["pull_once"][0] == pytest.approx(0.75)
    assert table["pull_twice"][0] == pytest.approx(0.1875)
    assert table["pull_twice"][1] < 1e-12
