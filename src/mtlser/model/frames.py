"""From samples to frames: the receptive field and the frame rate that follow from kernels and strides.

Shapes follow the legend in `mtlser.model.multitask`: S samples, T frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from transformers import Wav2Vec2Config

from mtlser.config import SAMPLE_RATE_HZ


@dataclass(frozen=True)
class FrameLayout:
    """How samples become frames: frame t covers samples [stride * t, stride * t + window)."""

    stride: int
    window: int

    @classmethod
    def of(cls, config: Wav2Vec2Config) -> FrameLayout:
        """Composed from the convolutions' kernels and strides."""
        return _layouts(config)[-1]

    def num_frames(self, num_samples: int) -> int:
        """Frames of that many samples."""
        return max(0, (num_samples - self.window) // self.stride + 1)

    def num_samples(self, num_frames: int) -> int:
        """The fewest samples that give that many frames."""
        return (num_frames - 1) * self.stride + self.window


def _layouts(config: Wav2Vec2Config) -> list[FrameLayout]:
    """The layout of each convolution's output.

    One output of a layer spans `kernel` outputs of the layer below, which lie `stride` samples apart.
    """
    layouts = [FrameLayout(stride=1, window=1)]
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        below = layouts[-1]
        layouts.append(FrameLayout(below.stride * stride, below.window + (kernel - 1) * below.stride))
    return layouts[1:]


def receptive_field(config: Wav2Vec2Config, num_samples: int | None = None) -> pd.DataFrame:
    """One row per convolution: what one of its outputs hears, and how far the next one is.

    Columns: convolution (1, 2, …), kernel, stride, window_samples, window_ms, step_samples, step_ms; with
    `num_samples`, also the number of `outputs` of a waveform that long. Convolutions alone: group norm, positional
    convolution and attention look further.
    """
    rows = []
    layers = zip(config.conv_kernel, config.conv_stride, _layouts(config), strict=True)
    for number, (kernel, stride, layout) in enumerate(layers, start=1):
        row = {"convolution": number, "kernel": kernel, "stride": stride}
        for name, samples in (("window", layout.window), ("step", layout.stride)):
            row |= {f"{name}_samples": samples, f"{name}_ms": 1000 * samples / SAMPLE_RATE_HZ}
        rows.append(row if num_samples is None else row | {"outputs": layout.num_frames(num_samples)})
    return pd.DataFrame(rows)
