import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtlser.corpus import dataset as module
from mtlser.corpus.audio import AudioError, digest_audio, read_audio
from mtlser.corpus.dataset import (
    build_dataset,
    convolution_features,
    epoch_batches,
    load_dataset,
    make_batch,
    micro_batches,
    random_generator,
    waveforms_on,
)
from mtlser.model import MultitaskModel
from tiny import tiny_backbone, tiny_utterances


@pytest.fixture
def utterances(tmp_path):
    return tiny_utterances(tmp_path / "wav")


@pytest.fixture
def speech(tmp_path, utterances):
    return build_dataset(utterances, digest_audio(utterances["wav"]), tmp_path / "cache")


def test_samples_are_the_file_s(utterances, speech):
    for index in (0, 5, len(utterances) - 1):
        samples = read_audio(utterances["wav"][index])
        expected = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        np.testing.assert_allclose(speech.waveform(index), expected, atol=1e-4)
        assert speech.seconds(index) == len(samples) / 16_000


def test_a_second_call_reads_what_the_first_wrote(tmp_path, utterances, speech, monkeypatch):
    monkeypatch.setattr(module, "read_audio", lambda path: pytest.fail("read again"))
    again = build_dataset(utterances, digest_audio(utterances["wav"]), tmp_path / "cache")
    assert again.folder == speech.folder
    np.testing.assert_array_equal(again.samples, speech.samples)


def test_another_label_or_text_is_another_dataset(tmp_path, utterances, speech):
    sums = digest_audio(utterances["wav"])
    relabelled = utterances.assign(emotion=["sad", *utterances["emotion"][1:]])
    retold = utterances.assign(transcript=["OTHER", *utterances["transcript"][1:]])
    folders = {build_dataset(table, sums, tmp_path / "cache").folder for table in (utterances, relabelled, retold)}
    assert len(folders) == 3


def test_a_bad_wav_leaves_nothing_behind(tmp_path, utterances):
    sums = digest_audio(utterances["wav"])
    (tmp_path / "wav" / "noise.wav").write_bytes(b"not audio")
    broken = utterances.assign(wav=[*utterances["wav"][:-1], str(tmp_path / "wav" / "noise.wav")])
    with pytest.raises(AudioError, match=r"noise\.wav"):
        build_dataset(broken, sums, tmp_path / "empty")
    assert not (tmp_path / "empty").exists() or list((tmp_path / "empty").iterdir()) == []


def test_an_unknown_utterance_is_an_error(speech):
    with pytest.raises(KeyError):
        speech.indices(["Ses09F_impro01_F000"])


def test_features_are_the_model_s_and_are_kept(tmp_path, speech, monkeypatch):
    model = MultitaskModel.from_backbone(tiny_backbone(tmp_path / "backbone"), seed=0).eval()
    features = convolution_features(model, speech)
    waveforms = torch.from_numpy(speech.waveform(3))[None]
    with torch.no_grad():
        expected, lengths = model.convolve(waveforms, torch.tensor([waveforms.shape[1]]))
    torch.testing.assert_close(features.utterance(3), expected[0], rtol=0, atol=0)
    assert features.lengths[3] == lengths[0]
    monkeypatch.setattr(module, "_write_features", lambda *_: pytest.fail("computed again"))
    assert len(convolution_features(model, load_dataset(speech.folder)).lengths) == len(speech.table)


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


def test_waveforms_in_a_device_s_memory_are_those_of_the_dataset(speech):
    held = waveforms_on("cpu", speech)
    assert held.values.dtype == torch.float32
    for index in range(len(speech.table)):
        np.testing.assert_allclose(held.utterance(index).numpy(), speech.waveform(index), rtol=1e-6, atol=1e-7)
    one, other = (make_batch(speech, [3, 0, 5], source, packed=True) for source in (None, held))
    torch.testing.assert_close(other.inputs, one.inputs, rtol=1e-6, atol=1e-7)
    assert other.input_lengths.tolist() == one.input_lengths.tolist()


def test_a_packed_batch_is_the_utterances_one_after_the_other(speech):
    batch = make_batch(speech, [3, 0, 5], packed=True)
    for part, index in zip(batch.inputs.split(batch.input_lengths.tolist()), (3, 0, 5), strict=True):
        np.testing.assert_array_equal(part.numpy(), speech.waveform(index))


def test_on_a_device_the_lengths_of_a_batch_stay_where_they_are_read(speech):
    moved = make_batch(speech, [0, 1, 2]).to("meta")
    assert {name: getattr(moved, name).device.type for name in ("inputs", "labels", "targets")} == dict.fromkeys(
        ("inputs", "labels", "targets"), "meta"
    )
    assert moved.input_lengths.device.type == moved.target_lengths.device.type == "cpu"


def test_packed_parts_count_no_padding():
    seconds = [3.0, 8.0, 3.5, 39.0, 4.0, 4.5]
    packed = [part.tolist() for part in micro_batches(np.arange(6), seconds, 40.0, 0.0, packed=True)]
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
