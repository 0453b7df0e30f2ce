"""The pocket corpus's grammar: about 100 words, thousands of short sentences, half of them of each valence.

Words that carry valence come in pairs of the same grammatical role, number of letters and number of syllables, so that
neither a sentence's length nor its form tells its valence: only the words do.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Valence = Literal["positive", "negative"]
VALENCES: tuple[Valence, ...] = ("positive", "negative")


def _pairs(words: str) -> tuple[tuple[str, str], ...]:
    return tuple(tuple(pair.split("/")) for pair in words.split())


# Slot → pairs of a positive and a negative word. All words of a sentence are of the same valence.
VALENCE_WORDS = {
    "adjective": _pairs(
        "good/poor warm/cold kind/mean sweet/harsh noble/cruel lovely/rotten gentle/bitter pretty/filthy"
    ),
    "noun": _pairs("gift/debt smile/crime prize/crash dream/wound treat/fraud friend/threat"),
    "done_to_person": _pairs("helped/robbed hugged/cursed adored/abused trusted/cheated"),
    "done_to_thing": _pairs("fixed/broke mended/ruined cleaned/smashed enjoyed/damaged"),
    "manner": _pairs("gladly/rudely nicely/grimly"),
}

NEUTRAL_WORDS: dict[str, tuple[str, ...]] = {
    "owner": ("my", "our", "your", "his", "her", "their"),
    "person": ("brother", "sister", "mother", "father", "teacher", "doctor", "driver", "neighbor"),
    "thing": ("house", "table", "window", "letter", "garden", "kitchen", "office", "dinner"),
    "who": ("he", "she", "they", "we"),
    "which": ("the", "this", "that"),
    "when": ("today", "again", "tonight", "yesterday"),
}

# Sentences that a line of a script, said by several actors, mostly is: 63% of IEMOCAP's repeated texts are this short.
SHORT_TEMPLATES = (
    "what a {adjective} {noun}",
    "{which} {thing} was {adjective}",
    "{who} {done_to_person} {owner} {person}",
    "{who} {done_to_thing} {which} {thing}",
    "{who} had a {noun}",
)
TEMPLATES = (
    "{owner} {person} {done_to_person} us {when}",
    "the {adjective} {person} {done_to_person} us {when}",
    "we had a {adjective} {thing} {when}",
    "they gave {owner} {person} a {adjective} {noun}",
    "it was such a {adjective} {noun} {when}",
    "{who} {manner} {done_to_person} {owner} {person}",
    "{owner} {person} got a {noun} {when}",
    "{which} {adjective} {thing} was so {adjective}",
    "{who} {done_to_thing} the {adjective} {thing} {when}",
    "{owner} {person} {done_to_person} us in the {thing}",
    "{who} {manner} {done_to_thing} {owner} {thing}",
    "you and {owner} {person} had a {noun}",
)


def make_sentence(valence: Valence, templates: tuple[str, ...], generator: np.random.Generator) -> str:
    """A random sentence that shows the valence in one or two words, e.g. "They gave my sister a lovely gift."

    Punctuation is the same in all of them: espeak-ng would say it.
    """
    words = str(generator.choice(templates)).split()
    sentence = " ".join(_fill(word, valence, generator) for word in words)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _fill(word: str, valence: Valence, generator: np.random.Generator) -> str:
    """A word of a template, or a random word for its slot."""
    slot = word.strip("{}")
    if slot == word:
        return word
    words = VALENCE_WORDS.get(slot) or NEUTRAL_WORDS[slot]
    chosen = words[generator.integers(len(words))]
    return chosen if slot in NEUTRAL_WORDS else chosen[VALENCES.index(valence)]
