"""From samples to frames: the receptive field and the frame rate that follow from kernels and strides.

Shapes follow the legend in `mtlser.model.multitask`: S samples, T frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
from transformers import PreTrainedConfig, Wav2Vec2Config

from mtlser.config import SAMPLE_RATE_HZ
from mtlser.model.backbone import frame_window
from mtlser.model.whisper import FRAME_SAMPLES


@dataclass(frozen=True)
class FrameLayout:
    """How samples become frames: frame t covers samples [stride * t, stride * t + window)."""

    stride: int
    window: int

    @classmethod
    def of(cls, config: PreTrainedConfig) -> FrameLayout:
        """Composed from the convolutions' kernels and strides.

        Whisper's frames lie around samples 0, 320, … of audio filled up with zeros: one sample is enough for a frame.
        """
        stride = FRAME_SAMPLES if config.model_type == "whisper" else math.prod(config.conv_stride)
        return cls(stride, frame_window(config))

    def num_frames(self, num_samples: int) -> int:
        """Frames of that many samples."""
        return max(0, (num_samples - self.window) // self.stride + 1)

    def num_samples(self, num_frames: int) -> int:
        """The fewest samples that give that many frames."""
        return (num_frames - 1) * self.stride + self.window


def receptive_field(config: Wav2Vec2Config, num_samples: int | None = None) -> pd.DataFrame:
    """One row per convolution: what one of its outputs hears, and how far the next one is.

    Columns: convolution (1, 2, …), kernel, stride, window_samples, window_ms, step_samples, step_ms; with
    `num_samples`, also the number of `outputs` of a waveform that long. Convolutions alone: group norm, positional
    convolution and attention look further.
    """
    table = pd.DataFrame({"kernel": list(config.conv_kernel), "stride": list(config.conv_stride)})
    table.insert(0, "convolution", range(1, len(table) + 1))
    steps = table["stride"].cumprod()
    # One output of a layer spans `kernel` outputs of the layer below, which lie `steps / stride` samples apart.
    windows = 1 + ((table["kernel"] - 1) * steps // table["stride"]).cumsum()
    for name, samples in (("window", windows), ("step", steps)):
        table[f"{name}_samples"], table[f"{name}_ms"] = samples, 1000 * samples / SAMPLE_RATE_HZ
    if num_samples is not None:
        table["outputs"] = ((num_samples - windows) // steps + 1).clip(lower=0)
    return table
