"""Batches: their tensors, their order, and how memory cuts them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtlser.corpus.dataset import build_dataset
from mtlser.runs.batches import epoch_batches, exchanged_texts, make_batch, micro_batches, random_generator
from tiny import tiny_utterances


@pytest.fixture
def speech(tmp_path):
    return build_dataset(tiny_utterances(tmp_path / "wav"), tmp_path / "cache")


def test_a_batch_is_padded_with_zeros(speech):
    silent = speech.table["text"].tolist().index("")
    chosen = [silent, silent + 1, silent + 2]
    batch = make_batch(speech, chosen)
    for row, index in enumerate(chosen):
        length = int(batch.input_lengths[row])
        np.testing.assert_array_equal(batch.inputs[row, :length].numpy(), speech.waveform(index))
        assert not batch.inputs[row, length:].any()
    assert batch.target_lengths.tolist() == [len(speech.table["text"][i]) for i in chosen]
    assert 0 in batch.target_lengths.tolist()  # an utterance without text stays


def test_padding_that_counts_as_signal_is_as_long_as_asked(speech):
    batch = make_batch(speech, [3, 0], padded_to=20_000)
    assert batch.inputs.shape == (2, 20_000) and batch.input_lengths.tolist() == [20_000, 20_000]
    np.testing.assert_array_equal(batch.inputs[1, : len(speech.waveform(0))].numpy(), speech.waveform(0))


def test_inputs_that_were_computed_before_are_taken_as_they_are(speech):
    frames = {index: torch.rand(index, 7) for index in (3, 5)}
    batch = make_batch(speech, [5, 3], frames)
    assert batch.inputs.shape == (2, 5, 7) and batch.input_lengths.tolist() == [5, 3]
    assert torch.equal(batch.inputs[1, :3], frames[3]) and not batch.inputs[1, 3:].any()


def test_on_a_device_the_lengths_of_a_batch_stay_where_they_are_read(speech):
    moved = make_batch(speech, [0, 1, 2]).to("meta")
    assert {name: getattr(moved, name).device.type for name in ("inputs", "labels", "targets")} == dict.fromkeys(
        ("inputs", "labels", "targets"), "meta"
    )
    assert moved.input_lengths.device.type == moved.target_lengths.device.type == "cpu"


def test_parts_of_a_model_that_pads_nothing_count_no_padding():
    seconds = [3.0, 8.0, 3.5, 39.0, 4.0, 4.5]
    packed = [part.tolist() for part in micro_batches(np.arange(6), seconds, 40.0, 0.0, pads=False)]
    assert packed == [[0, 2, 4, 5, 1], [3]]


def test_order_depends_on_seed_fold_and_epoch_alone():
    train = np.arange(20)
    first = np.concatenate(epoch_batches(train, 8, 0, "Ses01F", 0))
    assert sorted(first) == list(train)
    assert [len(b) for b in epoch_batches(train, 8, 0, "Ses01F", 0)] == [8, 8, 4]
    np.testing.assert_array_equal(first, np.concatenate(epoch_batches(train, 8, 0, "Ses01F", 0)))
    for other in ((1, "Ses01F", 0), (0, "Ses01M", 0), (0, "Ses01F", 1)):
        assert (first != np.concatenate(epoch_batches(train, 8, *other))).any()


def test_batches_of_like_length_hold_every_row_once_and_pad_less():
    random = np.random.default_rng(0)
    lengths, train = random.integers(10, 100, 300), np.arange(20, 290)

    def padding(batches):
        return sum(lengths[b].max() * len(b) - lengths[b].sum() for b in batches)

    plain = epoch_batches(train, 8, 0, "Ses01F", 0)
    alike = epoch_batches(train, 8, 0, "Ses01F", 0, lengths, bucket=16)
    assert sorted(np.concatenate(alike)) == train.tolist() and max(map(len, alike)) == 8
    assert padding(alike) < padding(plain) / 3
    means = [lengths[b].mean() for b in alike]
    assert means != sorted(means)  # the batches are shuffled
    other = epoch_batches(train, 8, 0, "Ses01F", 1, lengths, bucket=16)
    assert [b.tolist() for b in alike] != [b.tolist() for b in other]
    again = epoch_batches(train, 8, 0, "Ses01F", 0, lengths, bucket=16)
    assert [b.tolist() for b in alike] == [b.tolist() for b in again]


def test_generators_of_different_names_differ():
    draws = {random_generator(0, *names).random() for names in (("a", "b"), ("ab",), ("b", "a"), ("a", 0), ("a", 1))}
    assert len(draws) == 5


@given(st.lists(st.floats(0.5, 35.0), min_size=1, max_size=12), st.floats(1.0, 60.0), st.floats(0.0, 20.0))
def test_micro_batches_partition_and_stay_under_the_limits(seconds, limit, padding_limit):
    indices = np.arange(100, 100 + len(seconds))
    parts = micro_batches(indices, seconds, limit, padding_limit)
    assert sorted(np.concatenate(parts)) == indices.tolist()
    for part in parts:
        lengths = [seconds[i - 100] for i in part]
        padded = max(lengths) * len(part)
        assert len(part) == 1 or padded <= limit and padded - sum(lengths) <= padding_limit + 1e-9


def test_micro_batches_join_utterances_of_like_length():
    seconds = [2.0, 9.0, 2.25, 34.0, 2.5, 8.75]
    assert [p.tolist() for p in micro_batches(np.arange(6), seconds, 40.0)] == [[0, 2, 4, 5], [1], [3]]
    assert [p.tolist() for p in micro_batches(np.arange(6), seconds, 40.0, 0.5)] == [[0, 2], [4], [5, 1], [3]]
    assert [p.tolist() for p in micro_batches(np.arange(6), seconds, 40.0, 0.0)] == [[0], [2], [4], [5], [1], [3]]


def test_exchanged_texts_are_other_sentences_of_like_length_and_no_function_of_the_own():
    sentences = ["a" * length for length in range(1, 31)]
    table = pd.DataFrame({"text": ["", *sentences * 3, "test"], "utterance": [f"u{n}" for n in range(92)]})
    rows = np.arange(91)
    texts = exchanged_texts(table, rows, 0, "fold")
    assert texts[0] == "" and texts[91] == "test" and table["text"][1] == "a"
    for old, new in zip(table["text"][1:91], texts[1:91], strict=True):
        assert new != old and new in sentences and abs(len(new) - len(old)) <= 10
    one, other = texts[1:31], texts[31:61]
    assert one != other  # the same sentences, exchanged otherwise
    assert texts == exchanged_texts(table, rows[::-1], 0, "fold") != exchanged_texts(table, rows, 1, "fold")
    with pytest.raises(ValueError, match=r"can't be exchanged among 1 sentence"):
        exchanged_texts(table, np.array([0, 1, 31]), 0, "fold")
