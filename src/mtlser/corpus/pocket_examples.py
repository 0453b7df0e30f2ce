"""One sentence in four emotions and several voices, freshly spoken as the pocket corpus speaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtlser.config import EMOTIONS, PocketCorpusConfig
from mtlser.corpus import espeak
from mtlser.corpus.pocket import record_speech
from mtlser.corpus.pocket_plan import AROUSAL, VALENCE, generator, make_prosody, make_voices

# Of the corpus's grammar (`pocket_text`), one word apart; no utterance of the corpora says either, so that a model
# meets them for the first time.
SENTENCES = {"positive": "My sister helped us in the garden.", "negative": "My sister robbed us in the garden."}

# A woman's and a man's voice; the first shows arousal mostly by pitch, the second mostly by rate.
SPEAKERS = ("Ses01F", "Ses02M")

_PEAK = 0.7  # all equally loud: level tells nothing, here as for the model


@dataclass(frozen=True)
class Example:
    """One sentence as one voice says it with one emotion. `samples` (S,) float32, mono, 16 kHz."""

    speaker: str
    emotion: str
    arousal: str  # shown by the prosody
    valence: str  # shown by the words
    text: str
    samples: np.ndarray


def speak_examples(
    settings: PocketCorpusConfig, speakers: Sequence[str] = SPEAKERS, emotions: Sequence[str] = EMOTIONS
) -> list[Example]:
    """Each emotion by each speaker, ordered by emotion; both cues are shown rightly and without chance variation.

    Deterministic for the settings. Raises KeyError for an unknown speaker or emotion.
    """
    voices = make_voices(settings)
    pairs = [(emotion, speaker) for emotion in emotions for speaker in speakers]
    speeches = [
        espeak.Speech(SENTENCES[VALENCE[e]], voices[s].name, *make_prosody(settings, voices[s], AROUSAL[e]))
        for e, s in pairs
    ]
    examples = []
    for (emotion, speaker), speech, spoken in zip(pairs, speeches, espeak.synthesise(speeches, workers=1), strict=True):
        # The corpus's margins and noise, the same for every emotion of a speaker.
        samples = record_speech(spoken, "", False, generator(settings, "example", speaker), settings)
        samples = (samples * (_PEAK / np.abs(samples).max())).astype(np.float32)
        examples.append(Example(speaker, emotion, AROUSAL[emotion], VALENCE[emotion], speech.text, samples))
    return examples
