"""A trained model turns any audio file into an emotion and a transcript."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from mtlser.config import EMOTIONS, SAMPLE_RATE_HZ
from mtlser.corpus.audio import AudioError, normalise_waveform, read_audio
from mtlser.corpus.text import greedy_decode
from mtlser.model.multitask import MultitaskModel


@dataclass(frozen=True)
class Recognition:
    """What the model says about one file."""

    emotion: str  # the most probable
    probabilities: dict[str, float]  # of each emotion; they sum to 1
    transcript: str  # greedy CTC decoding, "" where only blanks were recognised
    num_frames: int
    frame_seconds: float  # from one frame to the next
    seconds: float  # of audio

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


class Recognizer:
    """P[emotion | waveform] and the transcript beside it (section 3.2, inference); needs no gold transcript."""

    def __init__(self, model: MultitaskModel) -> None:
        self.model = model.eval()
        self.emotions = tuple(getattr(model.config, "emotions", EMOTIONS))
        self.frame_seconds = prod(model.config.conv_stride) / SAMPLE_RATE_HZ

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Recognizer:
        """From a folder that `MultitaskModel.save_pretrained` wrote. Raises BackboneError for any other."""
        return cls(MultitaskModel.from_pretrained(path))

    @torch.inference_mode()
    def __call__(self, file: str | Path) -> Recognition:
        """Recognises a wav, flac, ogg or mp3 file of any sampling rate and number of channels.

        Raises AudioError for a file that can't be read, or is too short for one frame.
        """
        samples = read_audio(file)  # (S,)
        lengths = torch.tensor([len(samples)])
        if int(self.model.frame_lengths(lengths)) < 1:
            needed = self._samples_of_one_frame()
            raise AudioError(file, f"{len(samples)} samples are too few: one frame takes {needed} at 16 kHz")
        waveform = torch.from_numpy(normalise_waveform(samples))[None]  # (1, S)
        emotion_logits, ctc_logits, _ = self.model(waveform.to(self.model.ctc_head.weight), lengths)
        probabilities = emotion_logits[0].softmax(dim=0).tolist()  # E
        return Recognition(
            emotion=self.emotions[probabilities.index(max(probabilities))],
            probabilities=dict(zip(self.emotions, probabilities, strict=True)),
            transcript=greedy_decode(ctc_logits[0].argmax(dim=-1).tolist()),
            num_frames=ctc_logits.shape[1],
            frame_seconds=self.frame_seconds,
            seconds=len(samples) / SAMPLE_RATE_HZ,
        )

    def _samples_of_one_frame(self) -> int:
        num_samples, config = 1, self.model.config
        for kernel, stride in zip(config.conv_kernel[::-1], config.conv_stride[::-1], strict=True):
            num_samples = (num_samples - 1) * stride + kernel
        return num_samples
