"""Checks of lab 1, hear it, see it. Tables are data frames; pitch is in Hz; arousal is "high" or "low"."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from mtlser.config import EMOTIONS, SAMPLE_RATE_HZ
from mtlser.corpus.espeak import Speech
from mtlser.corpus.pocket_examples import SENTENCES
from mtlser.corpus.pocket_plan import AROUSAL, VALENCE
from mtlser.corpus.text import encode, normalise
from mtlser_book.checks import NotWritten, Wrong, ask, check, close, number, show

NAN = math.nan
WORDS = (3, 12)  # in a sentence of one's own, at least and at most

# Three speakers and their pitches, in mixed order: own medians 200, 110 and 300 Hz.
PITCHES = pd.DataFrame(
    {
        "speaker": ["B", "A", "C", "A", "B", "C", "A", "B", "C"],
        "pitch_hz": [110.0, 200.0, 300.0, 400.0, 55.0, 300.0, 100.0, 220.0, 150.0],
    },
    index=[7, 3, 5, 1, 9, 11, 13, 15, 17],
)
SEMITONES = [0.0, 0.0, 0.0, 12.0, -12.0, 0.0, -12.0, 12.0, -12.0]

# Ten utterances with invented cues, unlike the corpus's: each column tells something, both together more.
CUES = pd.DataFrame(
    [("high", "positive", "happy")] * 3 + [("high", "negative", "angry")] * 2 + [("low", "positive", "neutral")]
    + [("low", "negative", "sad")] * 2 + [("low", "positive", "happy"), ("high", "negative", "sad")],
    columns=["arousal", "valence", "emotion"],
)  # fmt: skip
SHARES = {(): 0.4, ("arousal",): 0.5, ("valence",): 0.7, ("arousal", "valence"): 0.8}

# Three voices with invented numbers: P shows arousal by pitch, R by rate, D by both and lies higher than either.
_SHOWN = ("high", "low", "low", "high", "low", "high", "high", "low")
_JITTER = (0.3, -0.2, 0.1, -0.3, 0.2, 0.0, -0.1, 0.0)
_VOICES = {"P": ((98.0, 126.0), (12.0, 12.0)), "R": ((130.0, 130.0), (12.0, 15.0)), "D": ((170.0, 205.0), (9.0, 11.0))}
VOICES = pd.DataFrame(
    [
        (speaker, pitches[shown == "high"] + 4 * jitter, rates[shown == "high"] + jitter, shown)
        for shown, jitter in zip(_SHOWN, _JITTER, strict=True)
        for speaker, (pitches, rates) in _VOICES.items()
    ],
    columns=["speaker", "pitch_hz", "letters_per_second", "arousal"],
)
HEARD_AT_LEAST = 0.9


def _other(emotion: str, cue: dict[str, str], same: dict[str, str]) -> str:
    """The emotion that shows the other side of `cue` and the same of `same`."""
    return next(other for other in EMOTIONS if cue[other] != cue[emotion] and same[other] == same[emotion])


@check
def prediction(cues: Any) -> str:
    """Each emotion's arousal, as its prosody shows it, and its valence, as its words do."""
    if not isinstance(cues, dict) or set(cues) != set(EMOTIONS):
        raise Wrong(f"this should be a dictionary with the keys {', '.join(EMOTIONS)}; it is {show(cues)}")
    for emotion, pair in cues.items():
        if pair is ... or isinstance(pair, (tuple, list)) and any(part is ... for part in pair):
            raise NotWritten(f"{emotion} has `...` in it")
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise Wrong(f'{emotion} should have a pair such as ("high", "positive"); it has {show(pair)}')
        if pair[0] in VALENCE.values() and pair[1] in AROUSAL.values():
            raise Wrong(f"{emotion}: the order is (arousal, valence), and {show(pair)} has it the other way round")
        if pair[0] not in AROUSAL.values() or pair[1] not in VALENCE.values():
            raise Wrong(f'{emotion}: arousal is "high" or "low", valence "positive" or "negative", not {show(pair)}')
    for emotion, (arousal, valence) in cues.items():
        if arousal != AROUSAL[emotion]:
            other = _other(emotion, AROUSAL, VALENCE)
            raise Wrong(f"{emotion}: play it, then {other} by the same voice. Which is faster and higher?")
        if valence != VALENCE[emotion]:
            raise Wrong(f"{emotion}: read what is said. Is “{SENTENCES[VALENCE[emotion]]}” {valence}?")
    return "prosody splits happy and angry from neutral and sad; words split happy and neutral from angry and sad"


@check
def median_pitch(function: Any) -> str:
    """The median of the voiced frames of a pitch contour."""
    for contour in ([NAN, 100.0, NAN, 110.0, 300.0], [90.0, 120.0, 200.0], [NAN, NAN, 80.0, 160.0, 100.0, 90.0]):
        given = np.array(contour)
        voiced = given[np.isfinite(given)]
        answer = ask(function, given)
        if isinstance(answer, (float, np.floating)) and math.isnan(answer):
            raise Wrong("the answer is nan: unvoiced frames are nan, and a median with them is nan too; leave them out")
        found, expected = number(answer, "the median pitch"), float(np.median(voiced))
        heard = f"of {contour} this gives {found:g} and should give {expected:g}"
        if close(found, expected):
            continue
        if close(found, float(np.median(np.nan_to_num(given)))):
            raise Wrong(f"{heard}: unvoiced frames were counted as 0 Hz; they have no pitch at all, so leave them out")
        if close(found, float(voiced.mean())):
            raise Wrong(f"{heard}: that is the mean, which one frame of a doubled pitch pulls up; take the median")
        raise Wrong(f"{heard}: sort the {len(voiced)} voiced frames and take the middle")
    return "unvoiced frames left out, and one wrong frame moves it little"


@check
def letters_per_second(function: Any) -> str:
    """Letters of a text over the seconds of its samples."""
    for text, num_letters, seconds in (("The door was open.", 14, 2.0), ("What a smile.", 10, 1.25)):
        found = number(ask(function, text, np.zeros(int(seconds * SAMPLE_RATE_HZ))), "the number of letters per second")
        expected = num_letters / seconds
        heard = f"for {text!r} in {seconds:g} seconds this gives {found:g} and should give {expected:g}"
        if close(found, expected):
            continue
        for reason, mistaken in (
            ("spaces and the full stop were counted; they aren't letters", len(text) / seconds),
            ("spaces were counted; they aren't letters", (len(text) - 1) / seconds),
            ("the full stop was counted; it isn't a letter", len(text.replace(" ", "")) / seconds),
            ("words were counted", len(text.split()) / seconds),
            ("that is per sample; one second has 16,000 of them", expected / SAMPLE_RATE_HZ),
            ("that is seconds per letter, the inverse", 1 / expected),
            ("that is the number of letters; divide by the seconds", num_letters),
        ):
            if close(found, mistaken):
                raise Wrong(f"{heard}: {reason}")
        raise Wrong(f"{heard}: it has {num_letters} letters")
    return "letters only, and per second"


@check
def semitones_above_own(function: Any) -> str:
    """Each utterance's pitch in semitones above its own speaker's median."""
    answer = ask(function, PITCHES)
    found = [number(value, "each of the values") for value in _column(answer, len(PITCHES))]
    if np.allclose(found, SEMITONES, atol=1e-6):
        return "relative to each speaker's own voice, in semitones"
    pitch, own = PITCHES["pitch_hz"], PITCHES.groupby("speaker")["pitch_hz"]
    octaves = np.array(SEMITONES) / 12
    median, mean = own.transform("median"), own.transform("mean")
    for reason, mistaken in (
        ("everybody was compared with the median of all; take each one's own", 12 * np.log2(pitch / pitch.median())),
        ("that is the difference in Hz; the ear hears ratios, so divide and take the logarithm", pitch - median),
        ("that is the ratio; take its logarithm to base 2, times 12", pitch / median),
        ("those are octaves; one has 12 semitones", octaves),
        ("that is the natural logarithm, times 12; an octave is 1 to base 2", 12 * np.log(2) * octaves),
        ("each was compared with the speaker's mean; take the median", 12 * np.log2(pitch / mean)),
        ("the sign is turned round: a higher pitch than one's own median is positive", -12 * octaves),
    ):  # fmt: skip
        if np.allclose(found, mistaken, atol=1e-6):
            raise Wrong(reason)
    if np.allclose(sorted(found), sorted(SEMITONES), atol=1e-6):
        raise Wrong("the values are right and in another order; keep the order of the table (`transform` does)")
    first = PITCHES.iloc[3]
    raise Wrong(
        f"speaker {first.speaker} has the pitches 200, 400, 100, with median 200: {first.pitch_hz:g} Hz is an octave "
        f"above, 12 semitones; this gives {found[3]:g}"
    )


def _column(answer: Any, length: int) -> list[Any]:
    """The values of a column, array or list. Raises Wrong for another length."""
    try:
        values = list(answer)
    except TypeError:
        raise Wrong(f"this should give one value for each row; it gives {show(answer)}") from None
    if len(values) != length:
        raise Wrong(f"a table of {length} rows should give {length} values, in its order; it gives {len(values)}")
    return values


@check
def share_told(function: Any) -> str:
    """The share of utterances of the commonest emotion among those that show the same cues."""
    for cues, expected in SHARES.items():
        found = number(ask(function, CUES, list(cues)), "the share")
        seen = f"from {', '.join(cues) or 'no cue'} this gives {found:.4f} and should give {expected:.4f}"
        if close(found, expected):
            continue
        if close(found, expected * len(CUES)):
            raise Wrong(f"{seen}: that is how many are right; divide by the number of utterances, {len(CUES)}")
        if not cues:
            raise Wrong(f"{seen}: who sees no cue says the commonest emotion of all, each time")
        groups = [group["emotion"].value_counts() for _, group in CUES.groupby(list(cues))]
        if close(found, float(np.mean([counts.max() / counts.sum() for counts in groups]))):
            raise Wrong(f"{seen}: that is the mean over groups, which are not equally large; add up, then divide once")
        if close(found, SHARES[()]):
            raise Wrong(f"{seen}: the cues were not used; each group that shows the same has its own commonest")
        if close(found, SHARES["arousal",] * SHARES["valence",]):
            raise Wrong(f"{seen}: the shares of the two cues were multiplied; look at both columns together")
        raise Wrong(f"{seen}: the {len(groups)} groups have {', '.join(str(c.max()) for c in groups)} of the commonest")
    return "the best that anyone can do who sees these cues and nothing else"


@check
def my_texts(texts: Any) -> str:
    """Two sentences that differ in one word, which alone tells their valence."""
    if not isinstance(texts, dict) or set(texts) != {"positive", "negative"}:
        raise Wrong(f"this should be a dictionary with the keys 'positive' and 'negative'; it is {show(texts)}")
    for valence, text in texts.items():
        if text is ... or text is None:
            raise NotWritten(f"{valence} is still `...`")
        if not isinstance(text, str):
            raise Wrong(f"{valence} should be a string; it is {show(text)}")
        try:
            encode(normalise(text))
        except ValueError as error:
            raise Wrong(f"{valence}: the model cannot write this: {str(error).partition(', and pass')[0]}") from None
        num_words = len(normalise(text).split())
        if not WORDS[0] <= num_words <= WORDS[1]:
            raise Wrong(f"{valence}: take {WORDS[0]} to {WORDS[1]} words; {text!r} is of {num_words}")
        if normalise(text) in map(normalise, SENTENCES.values()):
            raise Wrong(f"{valence}: {text!r} is this page's sentence; make one of your own")
    pairs = list(zip(*(normalise(texts[valence]).split() for valence in ("positive", "negative")), strict=False))
    counts = {len(normalise(text).split()) for text in texts.values()}
    differing = [(one, other) for one, other in pairs if one != other]
    if len(counts) > 1:
        raise Wrong("one sentence has more words than the other, so that its length would tell; change a single word")
    if len(differing) != 1:
        raise Wrong(f"they differ in {len(differing)} words; one word alone should tell the valence")
    ((one, other),) = differing
    if len(one) != len(other):
        raise Wrong(f"{one} has {len(one)} letters and {other} {len(other)}: that would tell; find a pair as long")
    return f"{one} against {other} is all that tells"


@check
def my_speech(function: Any) -> str:
    """espeak-ng's settings for a text: faster, higher and livelier where arousal is high, else the same."""
    text = "The letter was on the table."
    spoken = {arousal: ask(function, text, arousal) for arousal in ("high", "low")}
    for arousal, speech in spoken.items():
        if not isinstance(speech, Speech):
            raise Wrong(f"my_speech(text, {arousal!r}) should give a Speech(…); it gives {show(speech)}")
        if speech.text != text:
            raise Wrong(f"my_speech({text!r}, {arousal!r}) says {speech.text!r}; it should say the text it is given")
    high, low = spoken["high"], spoken["low"]
    if high.voice != low.voice:
        raise Wrong(f"the voice changes, {low.voice} to {high.voice}: that is another speaker, not another mood")
    if high == low:
        raise Wrong("high and low arousal give the same settings; does the function use its `arousal`?")
    for name, what, least in (
        ("rate_wpm", "faster, by a tenth at least", 1.1 * low.rate_wpm),
        ("pitch", "higher, by 6 steps at least", low.pitch + 6),
        ("pitch_range", "livelier, by 10 steps at least", low.pitch_range + 10),
    ):
        if getattr(high, name) < least:
            values = f"{name} is {getattr(low, name)} for low arousal and {getattr(high, name)} for high"
            raise Wrong(f"{values}: high arousal is {what}")
    return "faster, higher and livelier, in one voice"


@check
def guess_arousal(function: Any) -> str:
    """The arousal of each utterance, guessed from its pitch and rate among those of its speaker."""
    found = _column(ask(function, VOICES.drop(columns="arousal")), len(VOICES))
    unknown = [value for value in found if value not in ("high", "low")]
    if unknown:
        raise Wrong(f'each guess should be "high" or "low"; there is {show(unknown[0])}')
    right = pd.Series([value == shown for value, shown in zip(found, VOICES["arousal"], strict=True)])
    shares = right.groupby(VOICES["speaker"]).mean()
    if right.mean() >= HEARD_AT_LEAST:
        return f"{right.mean():.0%} right, though each of the three voices has its own way"
    if len(set(found)) == 1:
        raise Wrong(f"every guess is {found[0]!r}")
    if right.mean() <= 1 - HEARD_AT_LEAST:
        raise Wrong("nearly every guess is the wrong way round: agitated is faster and higher")
    reasons = {
        "P": "that voice hardly changes its rate; use the pitch too",
        "R": "that voice hardly changes its pitch; use the rate too",
        "D": "that voice is high and slow always; compare it with itself",
    }
    worst = shares.idxmin()
    raise Wrong(f"{right.mean():.0%} right, and {shares[worst]:.0%} for speaker {worst}: {reasons[worst]}")
