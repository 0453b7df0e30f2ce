"""Answers to lab 1's exercises that are wrong, and what the check says of each."""

from __future__ import annotations

import numpy as np

from mtlser.corpus.espeak import Speech

RIGHT = {
    "neutral": ("low", "positive"),
    "happy": ("high", "positive"),
    "angry": ("high", "negative"),
    "sad": ("low", "negative"),
}


def semitones(pitch, own):
    return 12 * np.log2(pitch / own)


def own(table, how="median"):
    return table.groupby("speaker")["pitch_hz"].transform(how)


def grouped(table, cues):
    groups = [group for _, group in table.groupby(cues)] if cues else [table]
    return [group["emotion"].value_counts() for group in groups]


def above(values, wanted=True):
    return ["high" if value == wanted else "low" for value in values]


def speech(text, arousal, **changes):
    high = {"rate_wpm": 180, "pitch": 60, "pitch_range": 70} | changes
    return Speech(text, **(high if arousal == "high" else {"rate_wpm": 150}))


# exercise -> (the work that its check is given, what the message has to say)
WRONG = {
    "prediction": [
        ((RIGHT | {"angry": ("low", "negative")},), "angry: play it, then sad"),
        ((RIGHT | {"neutral": ("low", "negative")},), "neutral: read what is said"),
        ((RIGHT | {"sad": ("negative", "low")},), r"the order is \(arousal, valence\)"),
        ((RIGHT | {"neutral": ("low", "neutral")},), 'valence "positive" or "negative"'),
        (({"happy": ("high", "positive")},), "with the keys neutral, happy"),
        ((RIGHT | {"sad": "low"},), "should have a pair"),
    ],
    "median_pitch": [
        ((np.median,), "unvoiced frames are nan"),
        ((lambda contour: np.nanmean(contour),), "that is the mean"),
        ((lambda contour: np.median(np.nan_to_num(contour)),), "counted as 0 Hz"),
        ((lambda contour: np.nanmax(contour),), "take the middle"),
        ((lambda contour: contour[~np.isnan(contour)],), "should be one number"),
    ],
    "letters_per_second": [
        ((lambda text, samples: len(text) / (len(samples) / 16_000),), "spaces and the full stop"),
        ((lambda text, samples: len(text.strip(".")) / (len(samples) / 16_000),), "spaces were counted"),
        ((lambda text, samples: len(text.replace(" ", "")) / (len(samples) / 16_000),), "full stop was counted"),
        ((lambda text, samples: len(text.split()) / (len(samples) / 16_000),), "words were counted"),
        ((lambda text, samples: sum(map(str.isalpha, text)) / len(samples),), "per sample"),
        ((lambda text, samples: sum(map(str.isalpha, text)),), "divide by the seconds"),
        ((lambda text, samples: len(samples) / 16_000 / sum(map(str.isalpha, text)),), "the inverse"),
    ],
    "semitones_above_own": [
        ((lambda table: semitones(table["pitch_hz"], table["pitch_hz"].median()),), "take each one's own"),
        ((lambda table: table["pitch_hz"] - own(table),), "difference in Hz"),
        ((lambda table: table["pitch_hz"] / own(table),), "that is the ratio"),
        ((lambda table: np.log2(table["pitch_hz"] / own(table)),), "those are octaves"),
        ((lambda table: 12 * np.log(table["pitch_hz"] / own(table)),), "natural logarithm"),
        ((lambda table: semitones(table["pitch_hz"], own(table, "mean")),), "the speaker's mean"),
        ((lambda table: semitones(own(table), table["pitch_hz"]),), "turned round"),
        ((lambda table: sorted(semitones(table["pitch_hz"], own(table))),), "in another order"),
        ((lambda table: semitones(table["pitch_hz"], own(table)).head(3),), "should give 9 values"),
        ((lambda table: 12.0,), "one value for each row"),
    ],
    "share_told": [
        ((lambda table, cues: sum(c.max() for c in grouped(table, cues)),), "divide by the number of utterances"),
        ((lambda table, cues: np.mean([c.max() / c.sum() for c in grouped(table, cues)]),), "not equally large"),
        ((lambda table, cues: 0.4,), "the cues were not used"),
        ((lambda table, cues: 0.25,), "commonest emotion of all"),
        ((lambda table, cues: {0: 0.4, 1: 0.5 if "arousal" in cues else 0.7, 2: 0.35}[len(cues)],), "were multiplied"),
        ((lambda table, cues: 0.4 if not cues else 0.9,), "of the commonest"),
        ((lambda table, cues: grouped(table, cues)[0],), "should be one number"),
    ],
    "my_texts": [
        (({"positive": "We had 2 dreams.", "negative": "We had 2 wounds."},), "cannot write this.*2"),
        (({"positive": "My sister helped us in the garden", "negative": "So she did."},), "this page's sentence"),
        (({"positive": "We had a dream.", "negative": "They had a wound."},), "differ in 2 words"),
        (({"positive": "We had a dream.", "negative": "We had a dream."},), "differ in 0 words"),
        (({"positive": "We had a treat.", "negative": "We had a debt."},), "TREAT has 5 letters"),
        (({"positive": "We had a nice treat.", "negative": "We had a fraud."},), "more words than the other"),
        (({"positive": "Great!", "negative": "Awful!"},), "take 3 to 12 words"),
        ((["We had a dream.", "We had a wound."],), "with the keys 'positive' and 'negative'"),
    ],
    "my_speech": [
        ((lambda text, arousal: Speech("Good morning.", rate_wpm=150),), "should say the text it is given"),
        ((lambda text, arousal: Speech(text),), "the same settings"),
        ((lambda text, arousal: speech(text, "low" if arousal == "high" else "high"),), "rate_wpm is 180 for low"),
        ((lambda text, arousal: speech(text, arousal, pitch=52),), "pitch is 50 for low arousal and 52"),
        ((lambda text, arousal: speech(text, arousal, pitch_range=50),), "livelier"),
        ((lambda text, arousal: speech(text, arousal, voice="en-us+f1"),), "another speaker"),
        ((lambda text, arousal: (150, 50, 50),), r"should give a Speech"),
        ((lambda text, arousal: speech(text, arousal, pitch=120),), "raises EspeakError: pitch=120"),
    ],
    "guess_arousal": [
        ((lambda table: above(table["pitch_hz"] > table["pitch_hz"].median()),), "speaker D|speaker R"),
        ((lambda table: above(table["pitch_hz"] > own(table)),), "speaker R: that voice hardly changes its pitch"),
        (
            (lambda table: above(table["letters_per_second"] > table["letters_per_second"].median()),),
            "compare it with itself|speaker P",
        ),
        ((lambda table: ["high"] * len(table),), "every guess is 'high'"),
        ((lambda table: table["pitch_hz"] > own(table),), 'should be "high" or "low"'),
        ((lambda table: ["high"],), "should give 24 values"),
    ],
}
