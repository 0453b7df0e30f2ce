"""Every way a backbone comes in, and what is said when it can't."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining, Wav2Vec2Model, WhisperConfig

from mtlser.config import PRESETS
from mtlser.model import BackboneError, backbone_digest
from mtlser.model.backbone import CARDS, WEIGHT_NORM_NAMES, Card, frame_window
from mtlser.model.frames import FrameLayout
from tiny_models import from_backbone, init_random_backbone, tiny_config


@pytest.fixture
def backbone(tmp_path):
    return init_random_backbone(tmp_path / "backbone", tiny_config(), seed=1)


def pretraining_checkpoint(old_names: bool = False) -> dict[str, torch.Tensor]:
    """A checkpoint as the hub has them: prefix `wav2vec2.`, heads of self-supervised training, either conv naming."""
    torch.manual_seed(2)
    config = tiny_config(codevector_dim=8, proj_codevector_dim=8, num_codevectors_per_group=4)
    weights = {name: tensor.clone() for name, tensor in Wav2Vec2ForPreTraining(config).state_dict().items()}
    if old_names:
        for old, new in WEIGHT_NORM_NAMES.items():
            [key] = [key for key in weights if key.endswith(new)]
            weights[key.replace(new, old)] = weights.pop(key)
    return weights


@pytest.mark.parametrize("old_names", [False, True])
@pytest.mark.parametrize("prefix", ["wav2vec2.", ""])
def test_either_naming_loads_the_same_model(tmp_path, old_names, prefix):
    weights = pretraining_checkpoint(old_names)
    assert any(key.startswith("quantizer.") for key in weights)
    assert any(key.endswith("weight_g") for key in weights) == old_names
    weights = {key.replace("wav2vec2.", prefix): tensor for key, tensor in weights.items()}
    save_file(weights, tmp_path / "model.safetensors")
    tiny_config().save_pretrained(tmp_path)
    model = from_backbone(tmp_path)
    expected = pretraining_checkpoint()
    for name, tensor in model.wav2vec2.state_dict().items():
        assert torch.equal(tensor, expected[f"wav2vec2.{name}"])


def test_a_pickled_backbone_loads(tmp_path):
    torch.save(pretraining_checkpoint(old_names=True), tmp_path / "pytorch_model.bin")
    tiny_config().save_pretrained(tmp_path)
    model, expected = from_backbone(tmp_path), pretraining_checkpoint()
    for name, tensor in model.wav2vec2.state_dict().items():
        assert torch.equal(tensor, expected[f"wav2vec2.{name}"])


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    torch.save({"a": subprocess.Popen}, tmp_path / "pytorch_model.bin")
    tiny_config().save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match="pytorch_model.bin"):
        from_backbone(tmp_path)


def test_half_precision_weights_become_float32(backbone):
    weights = load_file(backbone / "model.safetensors")
    save_file({name: tensor.half() for name, tensor in weights.items()}, backbone / "model.safetensors")
    assert {parameter.dtype for parameter in from_backbone(backbone).parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("masked_spec_embed"), r"Missing key.*\"masked_spec_embed\""),
        (lambda w: w.update({"classifier.weight": torch.zeros(2)}), r"Unexpected key.*\"classifier\.weight\""),
        (lambda w: w.update({"masked_spec_embed": torch.zeros(3)}), r"mismatch for masked_spec_embed: .*\[3\].*\[16\]"),
    ],
)
def test_wrong_keys_are_named(backbone, change, message):
    weights = load_file(backbone / "model.safetensors")
    change(weights)
    save_file(weights, backbone / "model.safetensors")
    with pytest.raises(BackboneError, match=message):
        from_backbone(backbone)


def test_damaged_and_missing_files_are_named(backbone):
    (backbone / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(BackboneError, match="model.safetensors"):
        from_backbone(backbone)
    (backbone / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match="pytorch_model.bin"):
        from_backbone(backbone)
    with pytest.raises(BackboneError, match="no-such-folder"):
        from_backbone(backbone / "no-such-folder")
    (backbone / "config.json").write_text("{")
    (backbone / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(BackboneError, match="config.json"):
        from_backbone(backbone)


def test_a_configuration_of_another_model_is_refused_and_old_fields_are_not(backbone):
    path = backbone / "config.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"freeze_feat_extract_train": True, "mask_channel_prob": 0.0}))
    assert from_backbone(backbone).config.hidden_size == 16
    path.write_text(json.dumps(fields | {"model_type": "bert"}))
    with pytest.raises(BackboneError, match='"model_type" must be "wav2vec2", "hubert", "wavlm", "whisper"'):
        from_backbone(backbone)


def test_without_network_it_says_what_to_fetch_and_where_to_put_it(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    preset = PRESETS["iemocap"]
    with pytest.raises(BackboneError) as caught:
        from_backbone(preset.backbone, revision=preset.backbone_revision)
    for part in (
        "facebook/wav2vec2-base", "0b5b8e868dd84f03fd87d01f9c4ff0f080fecfe8", "config.json", "pytorch_model.bin",
        "380,267,417", "3249fe98bfc62fcbc26067f724716a6ec49d12c4728a2af1df659013905dff21", "BACKBONE=<folder>",
    ):  # fmt: skip
        assert part in str(caught.value)


def pinned(sha256: str) -> Card:
    return Card("", "1", 20, "", "normalised", revision="abc", file="model.safetensors", num_bytes=1, sha256=sha256)


def test_a_published_file_is_checked(monkeypatch, backbone):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **kwargs: str(backbone))
    assert from_backbone("someone/model", revision="abc").config.hidden_size == 16
    content = hashlib.sha256((backbone / "model.safetensors").read_bytes()).hexdigest()
    monkeypatch.setitem(CARDS, "someone/model", pinned(content))
    assert from_backbone("someone/model", revision="abc").config.hidden_size == 16
    monkeypatch.setitem(CARDS, "someone/model", pinned("0" * 64))
    with pytest.raises(BackboneError, match="sha256"):
        from_backbone("someone/model", revision="abc")


def test_written_weights_may_be_read_by_whoever_may_read_the_configuration(backbone):
    modes = {path.name: path.stat().st_mode for path in backbone.iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]


def test_stock_transformers_reads_what_is_written(backbone):
    stock = Wav2Vec2Model.from_pretrained(backbone)
    for name, tensor in from_backbone(backbone).wav2vec2.state_dict().items():
        assert torch.equal(tensor, stock.state_dict()[name])


def test_the_digest_is_that_of_the_weights_and_known_for_the_published_revision(backbone):
    content = (backbone / "model.safetensors").read_bytes()
    assert backbone_digest(backbone) == hashlib.sha256(content).hexdigest()
    preset = PRESETS["iemocap"]
    card = CARDS[preset.backbone]
    assert preset.backbone_revision == card.revision
    assert backbone_digest(preset.backbone, card.revision) == backbone_digest(preset.backbone) == card.sha256


def test_a_published_name_is_fetched_at_its_revision_and_one_file_of_weights(monkeypatch, backbone):
    asked = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **how: asked.append(how) or str(backbone))
    with pytest.raises(BackboneError, match="damaged"):  # another content than was published
        from_backbone("facebook/wav2vec2-base")
    from_backbone("facebook/wav2vec2-large")
    files = ["config.json", "model.safetensors"]
    revision = CARDS["facebook/wav2vec2-base"].revision
    assert asked == [{"revision": revision, "allow_patterns": files}, {"revision": None, "allow_patterns": files}]
    (backbone / "model.safetensors").rename(backbone / "pytorch_model.bin")
    with pytest.raises(BackboneError, match="can't be read as weights"):
        from_backbone("facebook/wav2vec2-large")
    assert [how["allow_patterns"][1] for how in asked[2:]] == ["model.safetensors", "pytorch_model.bin"]


def test_a_file_that_changed_has_another_digest(backbone):
    before = backbone_digest(backbone)
    init_random_backbone(backbone, tiny_config(), seed=2)
    assert backbone_digest(backbone) != before


def test_the_digest_does_not_import_torch(backbone):
    code = "import sys; import mtlser.model as m; m.backbone_digest(sys.argv[1]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(backbone)], check=True)


def test_a_relative_folder_with_a_mistake_is_not_looked_up_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    with pytest.raises(BackboneError, match="models/base is not a folder"):
        from_backbone("models/base")


@pytest.mark.parametrize("config", [tiny_config(), Wav2Vec2Config(), WhisperConfig()], ids=lambda c: str(c.model_type))
def test_a_frame_s_window_is_that_of_its_layout(config):
    assert frame_window(config) == FrameLayout.of(config).window
