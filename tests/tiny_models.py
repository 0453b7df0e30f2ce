"""Tiny wav2vec 2.0 configurations and batches for tests of the model, in both families."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2Model

from mtlser.model import MultitaskModel
from mtlser.model.backbone import write_model

# The two families of wav2vec 2.0: base's (group norm, post-norm) and large's (layer norm, pre-norm).
FAMILIES = {
    "group": {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False},
    "layer": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
}
LENGTHS = (1600, 1000, 640, 333, 1600, 40, 777, 1234)  # samples; the shortest has one frame


def tiny_config(family: str = "group", **changes) -> Wav2Vec2Config:
    """Two layers, 16 hidden, three convolutions: a frame every 20 samples, 40 samples for the first."""
    fields = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "conv_dim": (8, 8, 8),
        "conv_kernel": (10, 3, 3),
        "conv_stride": (5, 2, 2),
        "num_conv_pos_embeddings": 6,
        "num_conv_pos_embedding_groups": 2,
        "hidden_dropout": 0.0,
        "activation_dropout": 0.0,
        "attention_dropout": 0.0,
        "feat_proj_dropout": 0.0,
        "final_dropout": 0.0,
        "layerdrop": 0.0,
        "vocab_size": 32,
    }
    return Wav2Vec2Config(**fields | FAMILIES[family] | changes)


def with_random_norms(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The model in evaluation mode, its norms' affine parameters moved away from one and zero."""
    model = model.to(dtype).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def waveforms(lengths: tuple[int, ...] = LENGTHS, dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:
    """One waveform (S,) of noise for each length."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, generator=generator, dtype=torch.float64).to(dtype) for length in lengths]


def padded(parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Waveforms -> (B, S) with zeros after each end, and lengths (B,)."""
    return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True), torch.tensor([len(part) for part in parts])


def from_backbone(path, **settings) -> MultitaskModel:
    """`MultitaskModel.from_backbone` with settings that a test need not name."""
    return MultitaskModel.from_backbone(path, **{"pooling": "mean", "encoder_padding": "exact", "seed": 0} | settings)


def init_random_backbone(folder: Path, config: Wav2Vec2Config, seed: int = 0) -> Path:
    """Writes an untrained backbone of that architecture: model.safetensors, config.json in `folder`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Wav2Vec2Model(config)
    write_model(Path(folder), model.state_dict(), config)
    return Path(folder)
