"""Predictions, what sums them up, and the probe of both losses' gradients."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from mtlser.runs.evaluation import is_collapsed, predict, probe_gradients, summarise
from mtlser.runs.records import PREDICTION_COLUMNS
from test_feed import backbone, feed, speech  # noqa: F401  (fixtures)


def test_predictions_come_in_the_order_asked_and_depend_on_no_other(speech, backbone):  # noqa: F811
    one, rows = feed(speech, backbone), np.array([9, 2, 7])
    found = predict(one, rows)
    assert found.columns.tolist() == list(PREDICTION_COLUMNS)
    assert found["utterance"].tolist() == speech.table["utterance"].iloc[rows].tolist()
    for row, index in enumerate(rows):
        alone = predict(one, np.array([index])).iloc[0]
        np.testing.assert_allclose(found["logits"][row], alone["logits"], atol=1e-5)
        assert (found["hypothesis"][row], found["words"][row]) == (alone["hypothesis"], alone["words"])


@pytest.mark.parametrize("freeze", [False, True])
def test_with_released_padding_the_batches_of_evaluation_are_cut_in_order(speech, backbone, monkeypatch, freeze):  # noqa: F811
    one = feed(speech, backbone, encoder_padding="released", freeze_convolutions=freeze, batch_size=2)
    rows = np.array([1, 0, 3, 4, 5])  # pairs of 0.7 and 0.5, 0.6 and 0.5 seconds, and one alone
    found = predict(one, rows)
    pairs = pd.concat([predict(one, pair) for pair in (rows[:2], rows[2:4], rows[4:])], ignore_index=True)
    monkeypatch.setattr("mtlser.runs.evaluation.EVALUATION_SECONDS", 0.1)
    for other in (pairs, predict(one, rows)):
        for mine, theirs in zip(found["logits"], other["logits"], strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-5)
    alone = predict(one, np.array([0]))
    assert np.abs(alone["logits"][0] - found["logits"][1]).max() > 1e-5  # its padding counted


def test_the_probe_adds_up_over_parts_that_fit_into_memory(speech, backbone, monkeypatch):  # noqa: F811
    whole = feed(speech, backbone)
    parts = feed(speech, backbone, micro_batch_seconds=1.2)
    held, original = [], parts.outputs
    monkeypatch.setattr(parts, "outputs", lambda batch, mask=None: (held.append(batch), original(batch, mask))[1])
    one, other = probe_gradients(whole, np.arange(24)), probe_gradients(parts, np.arange(24))
    assert len(held) > 1 and all(batch.input_lengths.sum() <= 1.2 * 16_000 for batch in held)
    assert sum(len(batch.indices) for batch in held) == 8
    for name, value in one.items():
        assert other[name] == pytest.approx(value, rel=1e-3)
    assert other == probe_gradients(parts, np.arange(24))  # the same utterances each time


def test_the_probe_is_the_gradient_of_each_loss(speech, backbone):  # noqa: F811
    one = feed(speech, backbone)
    found = probe_gradients(one, np.arange(4))
    [batch] = one.parts(np.arange(4), 40.0)
    loss = one.loss(batch, None, 1.0, 4)
    norms, flat = [], []
    for part in (loss.ce, loss.ctc):
        gradients = torch.autograd.grad(part, one.model.encoder_parameters(), retain_graph=True, allow_unused=True)
        flat.append(torch.cat([g.flatten() for g in gradients if g is not None]))
        norms.append(float(flat[-1].norm()))
    assert [found["gradient_norm_ce"], found["gradient_norm_ctc"]] == pytest.approx(norms, rel=1e-3)
    assert -1 <= found["gradient_cosine"] <= 1


def test_a_run_of_one_class_is_flagged():
    table = pd.DataFrame(
        {"label": ["sad", "happy"] * 20, "prediction": ["sad"] * 39 + ["happy"], "reference": "A", "hypothesis": "A"}
    )
    assert is_collapsed(table) and not is_collapsed(table.assign(prediction=["sad", "happy"] * 20))
    assert summarise(table)["num_correct"] == 21
    assert summarise(table)["wer"] == summarise(table)["cer"] == 0
