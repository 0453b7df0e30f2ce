"""WavLM and HuBERT against stock transformers, and alone against in a batch: base's and large's kinds, tiny.

The base sizes themselves, with random weights, take two minutes; they write what they found to the file that is named:

    BASE_SIZES=book/results/maintainers/base_sizes.json python -m pytest tests/test_wavlm_hubert.py -k base_sizes
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model, WavLMConfig, WavLMModel

from mtlser.files import write_json
from mtlser.machine import hardware, versions
from mtlser.model import BackboneError, MultitaskModel
from mtlser.model.multitask import make_encoder
from tiny_models import FAMILIES, from_backbone, padded, tiny_config, waveforms, with_random_norms

STOCK = {"wavlm": (WavLMConfig, WavLMModel), "hubert": (HubertConfig, HubertModel)}
every_size = pytest.mark.parametrize("size", FAMILIES)  # "group" as base, "layer" as large


def stock(kind: str, size: str, **changes) -> WavLMModel | HubertModel:
    """transformers' model, tiny and random, in float64."""
    configuration, model = STOCK[kind]
    fields = tiny_config(size).to_dict() | {"model_type": kind, "num_buckets": 12, "max_bucket_distance": 30} | changes
    torch.manual_seed(4)
    return with_random_norms(model(configuration.from_dict(fields)), torch.float64)


def ours(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Our encoder with the weights of a stock model, by way of files as the hub has them."""
    model.save_pretrained(folder)
    encoder = from_backbone(folder).wav2vec2.eval().to(model.dtype)
    encoder.load_state_dict(model.state_dict())  # files are read as float32
    return encoder


def gradients(model: torch.nn.Module, hidden: list[Tensor]) -> dict[str, Tensor]:
    """Of a sum over frames (T, H) of some utterances."""
    model.zero_grad()
    sum((h * torch.linspace(-1, 1, h.shape[-1], dtype=h.dtype)).pow(3).sum() for h in hidden).backward(
        retain_graph=True
    )
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def farthest(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference between frames (T, H) of some utterances."""
    return max(float((a - b).detach().abs().max()) for a, b in zip(found, expected, strict=True))


def difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest of two gradients, relative to the largest entry."""
    assert found.keys() == expected.keys()
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    return max(float((found[name] - expected[name]).abs().max()) for name in expected) / scale


def differences(model: torch.nn.Module, encoder: torch.nn.Module, parts: list[Tensor]) -> dict[str, float]:
    """How far a batch is from utterances alone, and those from the stock model: hidden frames and gradients."""
    alone = [encoder(*padded([part]))[0][0] for part in parts]
    expected = [model(part[None]).last_hidden_state[0] for part in parts]
    together, lengths = encoder(*padded(parts))
    features, _ = encoder.convolve(*padded(parts))
    by_features = encoder.forward_features(features, lengths)
    of_alone, found = gradients(encoder, alone), {}
    for name, hidden in (("packed", together), ("padded", by_features)):
        rows = [row[:length] for row, length in zip(hidden, lengths, strict=True)]
        found[f"{name} forward"] = farthest(rows, alone)
        found[f"{name} gradient"] = difference(gradients(encoder, rows), of_alone)
    found["stock forward"] = farthest(alone, expected)
    found["stock gradient"] = difference(of_alone, gradients(model, expected))
    return found


@every_size
@pytest.mark.parametrize("kind", STOCK)
def test_it_is_stock_transformers_and_no_utterance_depends_on_its_batch(tmp_path, kind, size):
    model = stock(kind, size)
    found = differences(model, ours(model, tmp_path), waveforms())
    assert len(found) == 6 and max(found.values()) < 1e-9, found


def test_the_bias_reaches_beyond_its_exact_distances(tmp_path):
    """80 frames are farther apart than the buckets' three exact distances and the longest, 30."""
    encoder = ours(stock("wavlm", "group"), tmp_path)
    bias = encoder.encoder.layers[0].attention.compute_bias(80, 80)
    assert len(bias[0, 0].unique()) == 6 and len(bias[0].unique()) == 11  # 5 buckets each way, and distance 0


@every_size
def test_bf16_autocast_is_finite_and_close(tmp_path, size):
    encoder = ours(stock("wavlm", size), tmp_path).float()
    inputs, lengths = padded(waveforms(dtype=torch.float32))
    exact, frame_lengths = encoder(inputs, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        rough, _ = encoder(inputs, lengths)
    valid = torch.arange(exact.shape[1]) < frame_lengths[:, None]
    assert rough.isfinite().all() and (rough.float() - exact)[valid].abs().mean() < 0.05


@pytest.mark.parametrize("kind", STOCK)
def test_a_backbone_comes_in_and_a_model_comes_back_from_disk(tmp_path, kind):
    stock(kind, "group").float().save_pretrained(tmp_path / "backbone")
    model = from_backbone(tmp_path / "backbone", dropout=0.25, layerdrop=0.0).eval()
    assert model.wav2vec2.encoder.layers[0].attention.dropout == 0.25
    model.save_pretrained(tmp_path / "model")
    again, inputs = MultitaskModel.from_pretrained(tmp_path / "model").eval(), padded(waveforms(dtype=torch.float32))
    for saved, loaded in zip(model(*inputs), again(*inputs), strict=True):
        assert torch.equal(saved, loaded)
    random = from_backbone(tmp_path / "backbone", pretrained=False)
    spread = random.wav2vec2.encoder.layers[1].attention.q_proj.weight.std().item()
    assert spread == pytest.approx(0.02, rel=0.2)  # as every linear layer of transformers begins


def test_wavlm_of_base_size_alone_hears_raw_samples(tmp_path):
    raw = {}
    for kind in STOCK:
        for size in FAMILIES:
            raw[kind, size] = ours(stock(kind, size), tmp_path / f"{kind}-{size}").hears_raw
    assert [names for names, hears_raw in raw.items() if hears_raw] == [("wavlm", "group")]


@pytest.mark.parametrize("changes", [{"conv_pos_batch_norm": True}, {"feat_proj_layer_norm": False}])
def test_another_hubert_is_refused(tmp_path, changes):
    stock("hubert", "group").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(BackboneError, match=r"config\.json: HuBERT with conv_pos_batch_norm or without"):
        from_backbone(tmp_path)


@pytest.mark.skipif("BASE_SIZES" not in os.environ, reason="not run: takes two minutes; BASE_SIZES=<file to write>")
def test_base_sizes():
    rows = []
    for kind, (configuration, make) in {**STOCK, "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model)}.items():
        started = time.perf_counter()
        torch.manual_seed(0)
        rates = dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "layerdrop"), 0.0)
        model = make(configuration(**rates)).double().eval()
        ours_config = Wav2Vec2Config(**rates) if kind == "hubert" else model.config
        encoder = make_encoder(ours_config).double().eval()
        encoder.load_state_dict(model.state_dict())
        found = differences(model, encoder, waveforms((16_000, 7000, 24_000)))
        rows.append({"encoder": kind, "parameters": model.num_parameters(), "differences": found})
        rows[-1]["seconds"] = round(time.perf_counter() - started, 1)
        assert max(found.values()) < 1e-9, found
    about = {"what": "base sizes, random weights, float64: largest differences", "encoders": rows}
    write_json(Path(os.environ["BASE_SIZES"]), about | {"versions": versions(), "hardware": hardware()})
