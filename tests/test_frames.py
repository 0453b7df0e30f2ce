"""Receptive field and frame rate: by hand, for the two backbones, and against what convolutions really reach."""

from __future__ import annotations

import pytest
import torch
from transformers import Wav2Vec2Config

from mtlser.config import POCKET_BACKBONE
from mtlser.model.backbone import read_config
from mtlser.model.encoder import Encoder
from mtlser.model.frames import FrameLayout, receptive_field
from tiny_models import tiny_config


def test_two_convolutions_by_hand():
    # kernel 10, stride 5; then kernel 3, stride 2: three outputs that lie 5 samples apart span 10 + 2 * 5.
    config = Wav2Vec2Config(conv_dim=(4, 4), conv_kernel=(10, 3), conv_stride=(5, 2), num_feat_extract_layers=2)
    table = receptive_field(config, num_samples=40)
    assert table["window_samples"].tolist() == [10, 20]
    assert table["step_samples"].tolist() == [5, 10]
    assert table["outputs"].tolist() == [7, 3]
    assert table["window_ms"].tolist() == [10 / 16, 20 / 16]


def test_wav2vec2_base_hears_25_ms_every_20_ms():
    last = receptive_field(Wav2Vec2Config()).iloc[-1]  # the defaults are base's architecture
    assert (last["window_samples"], last["step_samples"]) == (400, 320)
    assert (last["window_ms"], last["step_ms"]) == (25.0, 20.0)
    assert last["convolution"] == 7


def test_the_pocket_backbone_has_a_frame_every_40_ms():
    last = receptive_field(read_config(POCKET_BACKBONE / "config.json")).iloc[-1]
    assert (last["window_samples"], last["step_samples"]) == (720, 640)
    assert (last["window_ms"], last["step_ms"]) == (45.0, 40.0)


def test_a_frame_reaches_its_window_and_not_a_sample_more():
    """The gradient of one frame, through the real convolutions without their norm, which looks along all of time."""
    config = tiny_config()
    layout = FrameLayout.of(config)
    torch.manual_seed(0)
    layers = Encoder(config).double().feature_extractor.conv_layers
    waveform = torch.randn(1, 1, 400, dtype=torch.float64, requires_grad=True)
    hidden = waveform
    for layer in layers:
        hidden = layer.conv(hidden)
    assert hidden.shape[-1] == layout.num_frames(400)
    hidden[0, :, 3].sum().backward()
    reached = waveform.grad[0, 0].nonzero().flatten()
    assert (reached.min(), reached.max() + 1) == (3 * layout.stride, 3 * layout.stride + layout.window)


@pytest.mark.parametrize("num_frames", [1, 2, 57])
def test_frames_and_samples_agree_with_the_encoder(num_frames):
    config = tiny_config()
    layout, encoder = FrameLayout.of(config), Encoder(config)
    fewest = layout.num_samples(num_frames)
    lengths = encoder.frame_lengths(torch.tensor([fewest - 1, fewest])).tolist()
    assert lengths == [num_frames - 1, num_frames]
    assert [layout.num_frames(fewest - 1), layout.num_frames(fewest)] == lengths
