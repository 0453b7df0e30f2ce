"""A trained model turns any audio file into an emotion and a transcript."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtlser.config import EMOTIONS, MAX_SECONDS, SAMPLE_RATE_HZ
from mtlser.corpus.audio import AudioError, audio_seconds, normalise_waveform, read_audio
from mtlser.corpus.text import BLANK, decode, greedy_decode
from mtlser.model.backbone import BackboneError
from mtlser.model.frames import FrameLayout
from mtlser.model.multitask import MultitaskModel

# A waveform whose samples differ by less than two steps of 16 bits is silence: normalising would blow up its rounding.
SILENCE = 2 / 32768


@dataclass(frozen=True)
class Frames:
    """What the CTC head says at each of T frames, before decoding."""

    seconds: tuple[float, ...]  # centre of what the frame hears (receptive field of the convolutions)
    characters: tuple[str, ...]  # likeliest symbol but the blank: a letter, "'", or " " between words
    probabilities: tuple[float, ...]  # of that symbol
    blank_probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Recognition:
    """What the model says about one file."""

    emotion: str  # the most probable
    probabilities: dict[str, float]  # of each emotion; they sum to 1
    transcript: str  # greedy CTC decoding, "" where only blanks were recognised
    num_frames: int
    frame_seconds: float  # from one frame to the next
    seconds: float  # of audio
    frames: Frames

    def to_dict(self, *, frames: bool = False) -> dict[str, Any]:
        """Plain values with four decimals, ready for JSON; the view of single frames only where asked for."""
        values = json.loads(json.dumps(asdict(self)), parse_float=lambda digits: round(float(digits), 4))
        if not frames:
            del values["frames"]
        return values


class Recognizer:
    """P[emotion | waveform] and the transcript beside it (section 3.2, inference); needs no gold transcript."""

    def __init__(self, model: MultitaskModel, max_seconds: float = MAX_SECONDS) -> None:
        self.model = model.eval()
        self.max_seconds = min(max_seconds, model.wav2vec2.max_seconds)
        self.layout = FrameLayout.of(model.config)
        self.frame_seconds = self.layout.stride / SAMPLE_RATE_HZ
        self._characters = [id_ for id_ in range(model.config.vocab_size) if decode([id_])]  # ids that stand for one

    @classmethod
    def from_pretrained(cls, path: str | Path, max_seconds: float = MAX_SECONDS) -> Recognizer:
        """From a folder that `MultitaskModel.save_pretrained` wrote. Raises BackboneError for any other.

        `max_seconds`: longer files are refused; memory grows with the square of the duration.
        """
        return cls(MultitaskModel.from_pretrained(path), max_seconds)

    @torch.inference_mode()
    def __call__(self, file: str | Path) -> Recognition:
        """Recognises a wav, flac, ogg or mp3 file of any sampling rate and number of channels.

        One of the emotions is always given, also for music or noise: the model knows no "none of them".
        Raises AudioError for a file that is missing, no audio, empty, silent, shorter than one frame, longer than
        `max_seconds`, or that holds NaN or infinite samples; BackboneError for a model whose answer is not finite.
        """
        samples = self._read(file)  # (S,)
        lengths = torch.tensor([len(samples)])
        heard = samples if self.model.wav2vec2.hears_raw else normalise_waveform(samples)
        waveform = torch.from_numpy(heard)[None]  # (1, S)
        emotion_logits, ctc_logits, _ = self.model(waveform.to(self.model.ctc_head.weight), lengths)
        if not (emotion_logits.isfinite().all() and ctc_logits.isfinite().all()):
            raise BackboneError("the model's answer is not finite: it is damaged, or its weights are far too large")
        probabilities = emotion_logits[0].softmax(dim=0).tolist()  # E
        return Recognition(
            emotion=EMOTIONS[probabilities.index(max(probabilities))],
            probabilities=dict(zip(EMOTIONS, probabilities, strict=True)),
            transcript=greedy_decode(ctc_logits[0].argmax(dim=-1).tolist()),
            num_frames=ctc_logits.shape[1],
            frame_seconds=self.frame_seconds,
            seconds=len(samples) / SAMPLE_RATE_HZ,
            frames=self._frames(ctc_logits[0]),
        )

    def _read(self, file: str | Path) -> np.ndarray:
        """(S,) samples that can be recognised. Raises AudioError."""
        self._check_seconds(file, audio_seconds(file))  # by the header, before anything is decoded
        samples = read_audio(file)
        self._check_seconds(file, len(samples) / SAMPLE_RATE_HZ)  # a header may say less than there is
        if len(samples) < (window := self.layout.window):
            found = f"{len(samples)} samples are too few"
            raise AudioError(file, f"{found}: one frame takes {window} at 16 kHz, {window / SAMPLE_RATE_HZ:.3f} s")
        if np.ptp(samples) < SILENCE:
            raise AudioError(file, "is silent: there is nothing to recognise")
        return samples

    def _check_seconds(self, file: str | Path, seconds: float) -> None:
        if seconds > self.max_seconds:
            limit = f"at most {self.max_seconds:g} s are recognised at once"
            advice = "cut it into single utterances, one file each, and give all of them"
            raise AudioError(file, f"lasts {seconds:.0f} s, and {limit}: {advice}")

    def _frames(self, ctc_logits: Tensor) -> Frames:
        """Logits (T, V) → what each frame says."""
        probabilities = ctc_logits.float().softmax(dim=-1)  # (T, V)
        best, places = probabilities[:, self._characters].max(dim=-1)
        centre = self.layout.window / 2
        return Frames(
            seconds=tuple((frame * self.layout.stride + centre) / SAMPLE_RATE_HZ for frame in range(len(best))),
            characters=tuple(decode([self._characters[place]]) for place in places.tolist()),
            probabilities=tuple(best.tolist()),
            blank_probabilities=tuple(probabilities[:, BLANK].tolist()),
        )
