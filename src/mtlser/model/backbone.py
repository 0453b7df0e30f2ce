"""A pretrained encoder in a folder or on the hub: found, identified, and read as checked weights."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from mtlser.config import DATA_FOLDER, POCKET_BACKBONE
from mtlser.corpus.text import ALPHABET
from mtlser.files import file_digest, file_state, whole_file

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # in order of preference

# "model_type" of a config.json → transformers' configuration, and what names of weights may begin with.
CONFIGURATIONS = {
    "wav2vec2": "Wav2Vec2Config", "hubert": "HubertConfig", "wavlm": "WavLMConfig", "whisper": "WhisperConfig"
}  # fmt: skip
PREFIXES = {"wav2vec2": ("wav2vec2.",), "hubert": ("hubert.",), "wavlm": ("wavlm.",), "whisper": ("model.", "encoder.")}

# Parts of self-supervised training and of a fine-tuned CTC head, which a backbone does without, and Whisper's decoder.
OTHER_PARTS = ("quantizer.", "project_q.", "project_hid.", "lm_head.", "model.decoder.", "decoder.", "proj_out.")

# Old and new name of the two parts of the weight-normalised positional convolution (torch renamed them in 2.1).
WEIGHT_NORM_NAMES = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}


class BackboneError(ValueError):
    """A backbone or model can't be found or read; the message says what to fetch, or which keys are wrong."""


@dataclass(frozen=True)
class Card:
    """What is known of a backbone that has a name (`data/backbones.toml`)."""

    heard: str  # in pretraining
    hours: str  # of it
    frame_milliseconds: int
    licence: str
    hears: str  # "normalised" or "raw" waveforms
    note: str = ""
    # The weights on the hub. Whisper's have no file, since files differ in precision and in what else they hold, and no
    # revision: any file with this encoder in float32 will do.
    revision: str | None = None
    file: str | None = None
    num_bytes: int | None = None
    sha256: str | None = None


CARDS = {
    name: Card(**fields)
    for name, fields in tomllib.loads((DATA_FOLDER / "backbones.toml").read_text(encoding="utf-8")).items()
}


def _published(name: str | Path, revision: str | None) -> Card | None:
    """The card of a name whose weights on the hub are known, at that revision; None gives the one that is known."""
    card = CARDS.get(str(name))
    if card is None or card.num_bytes is None or Path(name).is_dir():
        return None
    return card if card.revision in (None, revision or card.revision) else None


@dataclass(frozen=True)
class Backbone:
    """Two files, and the digest that the weights must have where one is known."""

    config: Path
    weights: Path
    published: Card | None = None

    @property
    def weights_digest(self) -> str:
        """SHA-256 of the weights file; of Whisper, of its encoder's tensors (`backbone_digest`)."""
        return _digest(self, file_state(self.weights))


def find_backbone(path_or_hub_name: str | Path, revision: str | None = None) -> Backbone:
    """The files of "pocket-backbone", of a folder, or of a hub name at a revision (downloaded if need be).

    Raises BackboneError that says what is missing and what to do.
    """
    name = str(path_or_hub_name)
    folder, published = POCKET_BACKBONE if name == POCKET_BACKBONE.name else Path(name).expanduser(), None
    if not folder.is_dir():
        is_place = name not in CARDS and Path(name).parent.is_dir()  # a folder's name with a mistake in it
        if is_place or name.count("/") != 1 or name.startswith((".", "/", "~")):
            raise BackboneError(f"{folder} is not a folder; give one that holds config.json and {WEIGHT_FILES[0]}")
        published = _published(name, revision)
        folder = _download(name, revision or (published and published.revision), published)
    weights = next((folder / file for file in WEIGHT_FILES if (folder / file).is_file()), None)
    if weights is None or not (folder / "config.json").is_file():
        raise BackboneError(f"{folder} needs config.json and one of {', '.join(WEIGHT_FILES)}")
    return Backbone(folder / "config.json", weights, published)


def _download(name: str, revision: str | None, published: Card | None) -> Path:
    """The hub's folder of that revision, from its cache where it is there."""
    from huggingface_hub import snapshot_download

    try:
        for weights in WEIGHT_FILES:  # the second only where the first is not there
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=["config.json", weights]))
            if (folder / weights).is_file():
                break
        return folder
    except Exception as error:  # of the client's several libraries: no network, no such revision, disk full
        of_revision, weights = revision or "main", " or ".join(WEIGHT_FILES)
        if published and published.file:
            weights = f"{published.file} ({published.num_bytes:,} bytes, sha256 {published.sha256})"
        raise BackboneError(
            f"{name} at revision {of_revision} is not on this machine and could not be downloaded. Fetch config.json "
            f"and {weights} from https://huggingface.co/{name}/tree/{of_revision}, put both into any folder, and pass "
            "that folder as the backbone: BACKBONE=<folder>"
        ) from error


def backbone_digest(path_or_hub_name: str | Path, revision: str | None = None) -> str:
    """SHA-256 of the weights file: what run ids hold. Needs neither torch nor, for a known revision, the file.

    Of Whisper: of its encoder's tensors by sorted name, each name followed by its float32 values, little-endian. So it
    is the same for every file that holds that encoder, in whatever precision, with or without the decoder.
    """
    published = _published(path_or_hub_name, revision)
    return published.sha256 if published else find_backbone(path_or_hub_name, revision).weights_digest


@cache
def _digest(backbone: Backbone, state: str) -> str:
    """As `backbone_digest`; the state of the weights says when they must be read again."""
    if _read_fields(backbone.config)["model_type"] != "whisper":
        return file_digest(backbone.weights)
    content = hashlib.sha256()
    for name, tensor in sorted(_read_encoder(backbone).items()):
        content.update(name.encode() + tensor.float().numpy().astype("<f4").tobytes())
    return content.hexdigest()


def published_name(digest: str) -> str | None:
    """The name of the card whose weights have that digest, wherever they lie; None where none has."""
    return next((name for name, card in CARDS.items() if card.sha256 == digest), None)


def read_weights(backbone: Backbone) -> dict[str, Tensor]:
    """Weights by the names of transformers' encoder; heads of pretraining and decoders are left out.

    Raises BackboneError, as `read_tensors`, and for a published file with other content than it was published with.
    """
    if backbone.published and backbone.weights_digest != backbone.published.sha256:
        raise BackboneError(f"{backbone.weights} is damaged: its sha256 is not {backbone.published.sha256}; delete it")
    return _read_encoder(backbone)


def _read_encoder(backbone: Backbone) -> dict[str, Tensor]:
    prefixes = PREFIXES[_read_fields(backbone.config)["model_type"]]
    weights = read_tensors(backbone.weights)
    return {_rename(key, prefixes): tensor for key, tensor in weights.items() if not key.startswith(OTHER_PARTS)}


def _rename(key: str, prefixes: tuple[str, ...]) -> str:
    """A checkpoint's key → the key of today's encoder: of Wav2Vec2Model, or of WhisperEncoder."""
    for prefix in prefixes:
        key = key.removeprefix(prefix)
    stem, _, last = key.rpartition(".")
    return f"{stem}.{WEIGHT_NORM_NAMES.get(last, last)}" if stem else last


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name, of a .safetensors file or of a pickled one, read with `weights_only=True`.

    Raises BackboneError for a file that is damaged or holds anything else.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, EOFError, RuntimeError, UnpicklingError) as error:
        raise BackboneError(f"{path} can't be read as weights and nothing else: {error}") from error


def read_config(path: Path) -> PreTrainedConfig:
    """The architecture in a config.json. HuBERT's is wav2vec 2.0's; Whisper's vocabulary becomes the CTC head's.

    Raises BackboneError for a file that is damaged or of another model.
    """
    import transformers

    fields = _read_fields(path)
    if fields["model_type"] == "hubert":
        fields = transformers.HubertConfig.from_dict(fields).to_dict() | {"model_type": "wav2vec2"}
        if fields["conv_pos_batch_norm"] or not fields["feat_proj_layer_norm"]:
            raise BackboneError(f"{path}: HuBERT with conv_pos_batch_norm or without feat_proj_layer_norm is not read")
    if fields["model_type"] == "whisper":
        tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"))
        fields |= {"vocab_size": len(ALPHABET), "dtype": "float32", "decoder_start_token_id": 0, **tokens}
    try:
        return getattr(transformers, CONFIGURATIONS[fields["model_type"]]).from_dict(fields)
    except Exception as error:  # of transformers' checks, for numbers that no model can have
        raise BackboneError(f"{path} describes no model: {error}") from error


def frame_window(config: PreTrainedConfig) -> int:
    """Samples without which there is no frame: what the convolutions span. Whisper, which fills up, needs one."""
    window = step = 1
    for kernel, stride in zip(getattr(config, "conv_kernel", ()), getattr(config, "conv_stride", ()), strict=True):
        window, step = window + (kernel - 1) * step, step * stride
    return window


def _read_fields(path: Path) -> dict:
    """What a config.json holds. Raises BackboneError as `read_config`."""
    try:
        fields = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackboneError(f"{path} can't be read: {error}") from error
    if not isinstance(fields, dict) or fields.get("model_type") not in CONFIGURATIONS:
        known = ", ".join(f'"{name}"' for name in CONFIGURATIONS)
        raise BackboneError(f'{path} describes no model that can be read: "model_type" must be {known}')
    return fields


def write_model(folder: Path, weights: dict[str, Tensor], config: PreTrainedConfig) -> None:
    """Writes model.safetensors and config.json into the folder, each whole; the configuration comes last."""
    from safetensors.torch import save

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with whole_file(Path(folder) / "model.safetensors") as partial:
        # By bytes: safetensors' save_file makes files that only their owner can read. Transformers asks for the format.
        partial.write_bytes(save(weights, metadata={"format": "pt"}))
    with whole_file(Path(folder) / "config.json") as partial:
        partial.write_text(config.to_json_string(use_diff=False), encoding="utf-8")
