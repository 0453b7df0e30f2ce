"""The two heads against stock transformers, gradients against accumulation, and every way a backbone comes in."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from mtlser.model import BackboneError, MultitaskModel, multitask_loss, time_mask
from tiny_models import FAMILIES, from_backbone, init_random_backbone, padded, tiny_config, waveforms

TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-9}
every_family = pytest.mark.parametrize("family", FAMILIES)
every_pooling = pytest.mark.parametrize("pooling", ["sum", "mean"])
TEXTS = ([5, 6, 7], [8, 8], [], [9], [10, 11, 4, 12], [5, 5], [6], [31, 4, 4])  # the sixth has one frame: infeasible


def random_model(family: str = "group", pooling: str = "sum", dtype: torch.dtype = torch.float64, **changes):
    torch.manual_seed(5)
    return MultitaskModel(tiny_config(family, pooling=pooling, **changes)).to(dtype).eval()


@pytest.fixture
def backbone(tmp_path):
    return init_random_backbone(tmp_path / "backbone", tiny_config(), seed=1)


# The model


@every_family
@every_pooling
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_outputs_do_not_depend_on_the_batch(family, pooling, dtype):
    model, parts = random_model(family, pooling, dtype), waveforms(dtype=dtype)
    emotion_logits, ctc_logits, frame_lengths = model(*padded(parts))
    assert emotion_logits.shape == (8, 4) and ctc_logits.shape == (8, int(frame_lengths.max()), 32)
    for row, part in enumerate(parts):
        emotions, characters, [length] = model(*padded([part]))
        torch.testing.assert_close(emotion_logits[row], emotions[0], rtol=0, atol=TOLERANCES[dtype])
        torch.testing.assert_close(ctc_logits[row, :length], characters[0], rtol=0, atol=TOLERANCES[dtype])


@every_family
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_ctc_logits_are_those_of_stock_transformers(family, dtype):
    model, [part, *_] = random_model(family, dtype=dtype), waveforms(dtype=dtype)
    stock = Wav2Vec2ForCTC(tiny_config(family)).to(dtype).eval()
    stock.wav2vec2.load_state_dict(model.wav2vec2.state_dict())
    stock.lm_head.load_state_dict(model.ctc_head.state_dict())
    torch.testing.assert_close(model(*padded([part]))[1], stock(part[None]).logits, rtol=0, atol=TOLERANCES[dtype])


def test_pooling_by_hand():
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [[1.0, 1.0], [2.0, 5.0], [9.0, 9.0]]])
    lengths = torch.tensor([3, 2])
    assert random_model(pooling="sum").pool(hidden, lengths).tolist() == [[9.0, 12.0], [3.0, 6.0]]
    assert random_model(pooling="mean").pool(hidden, lengths).tolist() == [[3.0, 4.0], [1.5, 3.0]]
    released = random_model(pooling="mean", encoder_padding="released")
    assert released.pool(hidden, torch.tensor([3, 3])).tolist() == [[3.0, 4.0], [4.0, 5.0]]


def test_emotion_logits_are_a_linear_map_of_the_pooled_encoder_output():
    model, inputs = random_model(pooling="sum"), padded(waveforms()[:1])
    hidden, _ = model.wav2vec2(*inputs)
    expected = hidden[0].sum(0) @ model.emotion_head.weight.T + model.emotion_head.bias
    torch.testing.assert_close(model(*inputs)[0][0], expected, rtol=0, atol=1e-12)


def test_features_computed_first_give_the_same_outputs():
    model, inputs = random_model(), padded(waveforms())
    mask = time_mask(
        model.wav2vec2.frame_lengths(inputs[1]), 0.5, 4, 1, [np.random.default_rng(row) for row in range(8)]
    )
    apart = model.forward_features(*model.wav2vec2.convolve(*inputs), mask)
    whole = model(*inputs, mask)
    valid = torch.arange(whole[1].shape[1]) < whole[2][:, None]
    torch.testing.assert_close(whole[0], apart[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(whole[1][valid], apart[1][valid], rtol=0, atol=1e-12)
    assert torch.equal(whole[2], apart[2])


def gradients(model: MultitaskModel, groups: list[list[int]], alpha: float) -> dict[str, torch.Tensor]:
    """Gradients accumulated over groups of utterances of one effective batch; masks are each utterance's own."""
    model.zero_grad()
    parts, num_utterances = waveforms(), sum(len(group) for group in groups)
    for group in groups:
        inputs, lengths = padded([parts[row] for row in group])
        generators = [np.random.default_rng(row) for row in group]
        mask = time_mask(model.wav2vec2.frame_lengths(lengths), 0.05, 10, 2, generators)
        targets, target_lengths = padded([torch.tensor(TEXTS[row], dtype=torch.long) for row in group])
        labels = torch.tensor([row % 4 for row in group])
        outputs = model(inputs, lengths, mask)
        loss = multitask_loss(*outputs, labels, targets, target_lengths, alpha, num_utterances=num_utterances)
        loss.total.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@every_family
@every_pooling
@pytest.mark.parametrize("sizes", [(8,), (5, 3), (2,)], ids=str)
def test_gradients_equal_accumulated_batches_of_one(family, pooling, sizes):
    model = random_model(family, pooling).train()
    rows = iter(range(sum(sizes)))
    groups = [[next(rows) for _ in range(size)] for size in sizes]
    alone = gradients(model, [[row] for group in groups for row in group], alpha=0.1)
    together = gradients(model, groups, alpha=0.1)
    assert together.keys() == alone.keys() == dict(model.named_parameters()).keys()
    scale = max(gradient.abs().max() for gradient in alone.values())
    for name in alone:
        torch.testing.assert_close(together[name], alone[name], rtol=0, atol=1e-9 * float(scale), msg=name)


def test_alpha_zero_leaves_the_ctc_head_without_gradient():
    found = gradients(random_model(), [list(range(8))], alpha=0.0)
    assert not any(name.startswith("ctc_head") for name in found)
    assert "emotion_head.weight" in found


@every_family
@every_pooling
def test_bf16_autocast_trains_finite(family, pooling):
    model, parts = random_model(family, pooling, torch.float32).train(), waveforms(dtype=torch.float32)
    targets, target_lengths = padded([torch.tensor(text, dtype=torch.long) for text in TEXTS])
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(*padded(parts))
        loss = multitask_loss(*outputs, torch.arange(8) % 4, targets, target_lengths, 0.1)
    loss.total.backward()
    assert outputs[0].dtype == outputs[1].dtype == loss.total.dtype == torch.float32
    assert loss.total.isfinite() and all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_frozen_convolutions_stay_and_the_projection_trains():
    model = random_model()
    before = len(model.encoder_parameters())
    model.freeze_convolutions()
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {f"wav2vec2.feature_extractor.{name}" for name in model.wav2vec2.feature_extractor.state_dict()}
    assert len(model.encoder_parameters()) == before - len(frozen)
    assert model.wav2vec2.feature_projection.projection.weight.requires_grad


def test_wrong_pooling_is_refused():
    with pytest.raises(ValueError, match="pooling"):
        random_model(pooling="max")


# Models on disk


def test_a_saved_model_comes_back_whole(tmp_path):
    model, inputs = random_model(pooling="mean", dtype=torch.float32), padded(waveforms(dtype=torch.float32))
    model.save_pretrained(tmp_path / "model")
    again = MultitaskModel.from_pretrained(tmp_path / "model").eval()
    assert again.config.pooling == "mean" and again.config.num_emotions == 4
    assert again.config.encoder_padding == "exact"
    for saved, loaded in zip(model(*inputs), again(*inputs), strict=True):
        assert torch.equal(saved, loaded)
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"config.json", "model.safetensors"}


def test_saving_again_replaces(tmp_path):
    first, second = random_model(dtype=torch.float32), random_model(dtype=torch.float32)
    torch.nn.init.ones_(second.ctc_head.bias)
    first.save_pretrained(tmp_path)
    second.save_pretrained(tmp_path)
    assert MultitaskModel.from_pretrained(tmp_path).ctc_head.bias.sum() == 32


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(BackboneError, match="config.json"):
        MultitaskModel.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("emotions", ["calm", "loud", "low", "high"]), ("num_emotions", 3), ("vocab_size", 28),
     ("num_attention_heads", 3), ("conv_kernel", [10]), ("hidden_act", "nothing"), ("pooling", "max"),
     ("hidden_size", -1), ("layer_norm_eps", "much")],
)  # fmt: skip
def test_a_model_with_other_heads_or_an_impossible_configuration_is_refused_by_name(tmp_path, name, value):
    random_model(dtype=torch.float32).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(BackboneError, match=re.escape(str(path))):
        MultitaskModel.from_pretrained(tmp_path)


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path):
    model = random_model(dtype=torch.float32)
    torch.nn.init.constant_(model.ctc_head.bias, float("nan"))
    model.save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match=r"model\.safetensors is damaged: .* in ctc_head\.bias"):
        MultitaskModel.from_pretrained(tmp_path)


# Backbones


def test_a_backbone_gives_its_weights_and_settings(backbone):
    model = from_backbone(backbone, pooling="sum", encoder_padding="released", dropout=0.25, layerdrop=0.5)
    weights = load_file(backbone / "model.safetensors")
    for name, tensor in model.wav2vec2.state_dict().items():
        assert torch.equal(tensor, weights[name])
    config = model.config
    assert (config.pooling, config.encoder_padding, config.layerdrop) == ("sum", "released", 0.5)
    assert {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)} == {0.25}
    assert model.wav2vec2.encoder.layers[0].attention.dropout == 0.25
    assert all(parameter.requires_grad and not parameter.is_meta for parameter in model.parameters())


def test_none_keeps_the_dropouts_of_the_backbone(tmp_path):
    config = tiny_config(hidden_dropout=0.1, layerdrop=0.05)
    model = from_backbone(init_random_backbone(tmp_path, config))
    assert model.wav2vec2.encoder.dropout.p == 0.1
    assert model.config.layerdrop == 0.05


def test_heads_depend_on_the_seed_alone(backbone, tmp_path):
    def heads(path, **settings):
        torch.rand(3)
        model = from_backbone(path, **settings)
        return torch.cat([model.emotion_head.weight, model.ctc_head.weight]).detach()

    first, other = heads(backbone), init_random_backbone(tmp_path / "other", tiny_config("layer"), seed=9)
    assert torch.equal(first, heads(other, dropout=0.5, pooling="sum"))
    assert not torch.equal(first, heads(backbone, seed=1))
    assert first.std().item() == pytest.approx(0.02, rel=0.1)
    assert from_backbone(backbone).ctc_head.bias.abs().sum() == 0


def test_loading_draws_nothing_from_torch(backbone):
    torch.manual_seed(0)
    from_backbone(backbone)
    drawn = torch.rand(2)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(2))


def test_the_package_names_what_it_has():
    import mtlser.model

    assert callable(mtlser.model.MultitaskLoss)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = mtlser.model.no_such_name


def test_configuration_on_disk_is_transformers_own(tmp_path):
    random_model(dtype=torch.float32).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "wav2vec2"
    assert Wav2Vec2Config.from_pretrained(tmp_path).pooling == "sum"


@pytest.mark.parametrize("size", [28, 40])
def test_a_backbone_s_vocabulary_is_not_the_head_s(tmp_path, size):
    """Its own CTC head is left out, and ours spells 32 characters."""
    folder = init_random_backbone(tmp_path / "backbone", tiny_config(vocab_size=size), seed=1)
    assert from_backbone(folder).ctc_head.out_features == 32
