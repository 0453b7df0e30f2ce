"""One utterance inside a tiny model: shapes, poolings, neighbours, and the tensors of a loss."""

from __future__ import annotations

import pytest
import torch
from transformers import Wav2Vec2Config

from mtlser.config import EMOTIONS
from mtlser.model import anatomy
from mtlser.model.encoder import ENCODER_PADDINGS
from mtlser.model.losses import multitask_loss
from mtlser.model.multitask import POOLINGS
from tiny import tiny_backbone, tiny_utterances
from tiny_models import from_backbone, waveforms


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture
def parts():
    return waveforms((9000, 12000, 20000), dtype=torch.float32)


def test_wav2vec2_base_is_what_the_paper_describes():
    table = anatomy.architecture({"wav2vec2-base": Wav2Vec2Config()})
    assert table["paper"].map(str).tolist() == table["wav2vec2-base"].map(str).tolist()
    assert table["section"].str.startswith("section ").all()


def test_stages_are_those_of_the_forward_pass(backbone, parts):
    model = from_backbone(backbone, pooling="sum").eval()
    table = anatomy.stages(model, parts[0]).set_index("symbol")
    emotion_logits, ctc_logits, frame_lengths = model(*anatomy.batch(parts[:1]))
    frames = int(frame_lengths)
    assert table.loc["x", "size"] == "1 × 9000" and table.loc["z", "size"] == f"1 × {frames} × 16"
    assert table.loc["ẑ", "size"] == "1 × 16"
    assert table.loc["c", "size"] == " × ".join(map(str, emotion_logits.shape)) == "1 × 4"
    assert table.loc["y", "size"] == " × ".join(map(str, ctc_logits.shape)) == f"1 × {frames} × 32"
    for legend, size in zip(table["legend"], table["size"], strict=True):
        assert legend.count(",") == size.count("×")


def test_stages_count_every_parameter_but_the_mask_embedding(backbone, parts):
    model = from_backbone(backbone)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert anatomy.stages(model, parts[0])["parameters"].sum() == total - model.wav2vec2.masked_spec_embed.numel()


def test_the_sum_is_the_mean_times_the_frames(backbone, parts):
    table = anatomy.pooling({name: from_backbone(backbone, pooling=name).eval() for name in POOLINGS}, parts)
    ratios = (table["logit_sum"] / table["logit_mean"]).tolist()
    assert ratios == pytest.approx(table["frames"].tolist(), rel=1e-4)
    assert (table["gradient_sum"] > table["gradient_mean"]).all()
    assert table["seconds"].tolist() == [len(part) / 16_000 for part in parts]


@pytest.fixture
def paddings(backbone):
    return {name: from_backbone(backbone, encoder_padding=name).eval() for name in ENCODER_PADDINGS}


def test_a_longer_neighbour_changes_the_released_encoder_alone(paddings, parts):
    table = anatomy.beside(paddings, parts[0], parts[2]).set_index("encoder_padding")
    assert (table.loc["exact", ["features_change", "pooled_change"]] < 1e-5).all()
    assert (table.loc["released", ["features_change", "pooled_change"]] > 1e-2).all()
    counted = paddings["exact"].wav2vec2.frame_lengths(torch.tensor([len(parts[0]), len(parts[2])])).tolist()
    assert table["frames"].tolist() == counted


def test_only_the_length_of_the_neighbour_counts(paddings, parts):
    change = len(parts[2]) - len(parts[0])
    silent = anatomy.neighbours(paddings, parts[0], [0.0, change / 16_000])
    heard = anatomy.beside(paddings, parts[0], parts[2])
    late = silent[silent["seconds"] > 0].reset_index(drop=True)
    assert late["features_change"].tolist() == pytest.approx(heard["features_change"].tolist(), abs=1e-5)
    assert (silent.loc[silent["seconds"] == 0, "features_change"] < 1e-5).all()


def test_shortest_median_and_longest(tmp_path):
    utterances = tiny_utterances(tmp_path, speakers=("Ses01F",))  # 0.5, 0.6, 0.7 s, twice each
    lengths = [len(samples) / 16_000 for samples in anatomy.short_middle_long(utterances)]
    assert lengths == [0.5, 0.6, 0.7]
    rows = anatomy.middle_rows(utterances, 2)
    assert (rows["end_seconds"] - rows["start_seconds"]).tolist() == pytest.approx([0.6, 0.7])


def test_loss_inputs_are_what_the_loss_takes(backbone, tmp_path):
    utterances = tiny_utterances(tmp_path, speakers=("Ses01F",))
    inputs = anatomy.loss_inputs(from_backbone(backbone), utterances)
    loss = multitask_loss(**inputs, alpha=0.1)
    assert loss.total.isfinite() and loss.ctc > 0
    texts = [len(text) for text in utterances["transcript"]]
    assert inputs["target_lengths"].tolist() == texts
    assert [EMOTIONS[label] for label in inputs["labels"]] == utterances["emotion"].tolist()
