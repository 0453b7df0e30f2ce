"""Checks of lab 5, is it better? Pairs are 1 (right) and 0 (wrong) of two models on the same utterances."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from mtlser_book.checks import NotWritten, Wrong, ask, check, close, number, show


def _pairs(counts: tuple[int, int, int, int]) -> pd.DataFrame:
    kinds = [kind for kind, count in zip(((1, 0), (0, 1), (1, 1), (0, 0)), counts, strict=True) for _ in range(count)]
    return pd.DataFrame(kinds, columns=["first", "second"]).assign(speaker="A")


@check
def discordant(function: Any) -> str:
    """How many utterances only the first model, and only the second, got right."""
    for counts in ((3, 5, 7, 2), (4, 0, 1, 6)):
        only_first, only_second, both, neither = counts
        found = ask(function, _pairs(counts))
        try:
            one, other = (int(value) for value in found)
        except (TypeError, ValueError):
            raise Wrong(f"two numbers are asked for, (only_first, only_second); this is {show(found)}") from None
        said = f"{only_first} only the first, {only_second} only the second, {both} both, {neither} neither"
        if (one, other) == (only_second, only_first) != (only_first, only_second):
            raise Wrong(f"of {sum(counts)} utterances, {said}; yours are exchanged")
        if (one, other) == (only_first + both, only_second + both):
            raise Wrong(
                f"of {sum(counts)} utterances, {said}; yours, {one} and {other}, count those that both got right"
            )
        if (one, other) == (both, neither):
            raise Wrong(f"of {sum(counts)} utterances, {said}; you count those on which the two agree")
        if (one, other) != (only_first, only_second):
            raise Wrong(f"of {sum(counts)} utterances, {said}; yours are {one} and {other}")
    return "only where the models differ is there anything to compare"


def _split(only_first: int, only_second: int, *, sides: int = 2, strict: bool = False) -> float:
    """Probability that fair coins split at least as unevenly: the exact McNemar p, and mistakes of it as options."""
    total, fewer = only_first + only_second, min(only_first, only_second)
    return sides * sum(math.comb(total, k) for k in range(fewer + (not strict))) / 2**total


@check
def mcnemar(function: Any) -> str:
    """The exact two-sided McNemar p, from the two discordant counts."""
    for only_first, only_second in ((2, 8), (9, 4), (0, 6), (5, 5), (30, 52)):
        found = number(ask(function, only_first, only_second), "p")
        expected = min(1.0, _split(only_first, only_second))
        said = f"for {only_first} and {only_second} this gives {found:.6f} and should give {expected:.6f}"
        if close(found, expected):
            continue
        if found > 1:
            raise Wrong(f"{said}: a probability is at most 1; an even split is counted from both sides")
        if close(found, _split(only_first, only_second, sides=1)):
            raise Wrong(f"{said}: that is one side; an uneven split to the other side is as surprising, so double it")
        if close(found, _split(only_first, only_second, strict=True)):
            raise Wrong(f"{said}: the split that was seen belongs to those 'at least as uneven': range(fewer + 1)")
        if close(found, 1 - expected):
            raise Wrong(f"{said}: that is 1 − p")
        if close(found, math.comb(only_first + only_second, only_first) / 2 ** (only_first + only_second)):
            raise Wrong(f"{said}: that is the chance of exactly this split; add those that are more uneven")
        statistic = (only_first - only_second) ** 2 / (only_first + only_second)
        if close(found, math.erfc(math.sqrt(statistic / 2)), 1e-3):
            raise Wrong(f"{said}: that is the chi-squared approximation, which is rough for so few; count the splits")
        coins, fewer = only_first + only_second, min(only_first, only_second)
        raise Wrong(f"{said}. Of {coins} fair coins, how probable are {fewer} heads or fewer? Twice that")
    if not close(number(ask(function, 0, 0), "p"), 1.0):
        raise Wrong("for 0 and 0, two models that never differ, p is 1")
    try:
        large = number(ask(function, 700, 800), "p")
    except Wrong as wrong:
        raise Wrong(
            f"{wrong}. For many utterances keep whole numbers until the end: sum(…) / 2**n, no 0.5**n"
        ) from None
    if not close(large, _split(700, 800)):
        said = f"for 700 and 800 this gives {large:.6f} and should give {_split(700, 800):.6f}"
        raise Wrong(f"{said}: keep whole numbers until the end, sum(…) / 2**n")
    return "the chance of a split at least as uneven, if a fair coin chose the better model"


def _flips(differences: tuple[int, ...], *, strict: bool = False, sides: int = 2) -> float:
    """The share of sign patterns whose sum is at least as far from zero, and mistakes of it as options."""
    observed = sum(differences)
    sums = [
        sum(s * d for s, d in zip(signs, differences, strict=True))
        for signs in product((1, -1), repeat=len(differences))
    ]
    if sides == 1:
        return float(np.mean([value >= observed for value in sums]))
    return float(np.mean([abs(value) > abs(observed) if strict else abs(value) >= abs(observed) for value in sums]))


@check
def flip_signs(function: Any) -> str:
    """The exact p of sign flips over speakers."""
    for differences in ((3, 1), (5, -2, 4, 1), (-4, -1, -3, -6, 2), (0, 0, 7), (4, 4, -1, 3, 2, 0, 5)):
        found, expected = number(ask(function, list(differences)), "p"), _flips(differences)
        if close(found, expected):
            continue
        patterns = 2 ** len(differences)
        said = (
            f"for {list(differences)} {round(expected * patterns)} of {patterns} patterns reach {abs(sum(differences))}"
        )
        said = f"{said} or more, up or down: {expected:.4f}; yours is {found:.4f}"
        if close(found, _flips(differences, strict=True)):
            raise Wrong(f"{said}. You leave out those that are exactly as far; the one that was seen is among them: >=")
        if close(found, _flips(differences, sides=1)):
            raise Wrong(
                f"{said}. That is one side; a difference as large the other way counts too: use abs of both sums"
            )
        if close(found, expected * patterns):
            raise Wrong(f"{said}. That is their number; divide by the number of patterns")
        if close(found, 1 - expected):
            raise Wrong(f"{said}. That is the share of those that are *less* far")
        if 0 <= found <= 1 and not close(found * patterns, round(found * patterns)):
            raise Wrong(f"{said}. That is no share of {patterns} patterns: go through all of them, draw none at random")
        raise Wrong(f"{said}. Each speaker's difference keeps or changes its sign; add them up, in every combination")
    return "all patterns counted, the one that was seen included"


VERDICTS = ("supported", "not supported", "cannot tell")

# Claim -> its verdict, and what speaks against each other one.
EVIDENCE: dict[str, dict[str, str]] = {
    "A": {
        "supported": "its McNemar p is small, but the claim is about voices like these. Look at the gain of each "
        "speaker, and at the p that flips whole speakers",
        "cannot tell": "you have every utterance of both models, and the test that fits the claim. Which p is it?",
    },
    "B": {
        "not supported": "the gain is small, but is it there for every voice? Which test asks about voices?",
        "cannot tell": "you have every utterance of both models, so the test that fits the claim can be made",
    },
    "C": {
        "supported": "four models were tried and the best was picked. One p of 0.03 among four is not rare: four times "
        "the smallest p is what to compare with 0.05",
        "cannot tell": "all four comparisons are there; correct the smallest p for their number",
    },
    "D": {
        "supported": "were both models tested on the same utterances, and under one protocol? A difference between "
        "protocols (lab 4) would look the same",
        "not supported": "that would take a test whose p is large. Can any test be made from what the table holds?",
    },
}


def _check_keys(answers: Any, asked: Iterable[str], nothing: str) -> None:
    """Raises Wrong for anything but a dictionary with these keys, NotWritten that says `nothing` for no value."""
    if not isinstance(answers, dict) or set(answers) != set(asked):
        raise Wrong(f"a dictionary with the keys {', '.join(asked)} is asked for; this is {show(answers)}")
    if all(value is ... or value is None for value in answers.values()):
        raise NotWritten(nothing)


@check
def verdicts(answers: Any) -> str:
    """For each claim whether its table supports it."""
    _check_keys(answers, EVIDENCE, "no claim has a verdict")
    for claim, value in answers.items():
        if value is ... or value is None:
            raise Wrong(f"{claim} has no verdict yet")
        if value not in VERDICTS:
            raise Wrong(f"{claim}: {show(value)} is none of {', '.join(VERDICTS)}")
    wrong = [
        f"{claim}: {EVIDENCE[claim][value]}" for claim, value in sorted(answers.items()) if value in EVIDENCE[claim]
    ]
    if wrong:
        raise Wrong(f"{len(EVIDENCE) - len(wrong)} of {len(EVIDENCE)} stand. {wrong[0]}")
    return "one voice is not ten, four tries are not one, and two protocols are no pair"


CAUSES = ("the voices", "the training", "the learning rate", "all three")

# What is asked -> the answer, and what speaks against each other one.
REASONS: dict[str, tuple[str, dict[str, str]]] = {
    "machine": ("the training", {
        "the voices": "both machines' models answered the same utterances of the same ten voices",
        "the learning rate": "it is the same in both tables; only the processor was another one, and with it rounding",
        "all three": "voices and learning rate are the same in both tables",
    }),
    "rate": ("the learning rate", {
        "the voices": "the same ten voices were asked at both rates",
        "the training": "true of every two tables, but one setting was changed on purpose. Which?",
        "all three": "the voices are the same at both rates",
    }),
    "p": ("the voices", {
        "the training": "flip_signs is given the answers of models that are trained already: it cannot know what "
        "another training would have answered",
        "the learning rate": "flip_signs is given answers at one rate, and nothing of any other",
        "all three": "whose signs does it flip?",
    }),
}  # fmt: skip


@check
def reasons(answers: Any) -> str:
    """Why the same sentence gets another verdict, and what a p asks about."""
    _check_keys(answers, REASONS, "nothing is explained")
    for name, value in answers.items():
        right, against = REASONS[name]
        if value not in CAUSES:
            raise Wrong(f"{name}: {show(value)} is none of {', '.join(CAUSES)}")
        if value != right:
            raise Wrong(f"{name}: {against[value]}")
    return "a p covers what it draws again: here voices, neither another training nor another rate"


@check
def largest_mcnemar(function: Any) -> str:
    """The largest McNemar p that two accuracies on the same utterances allow."""
    for right_first, right_second, total in ((60, 70, 100), (70, 60, 100), (20, 45, 100), (5, 9, 10), (50, 50, 80)):
        found = number(ask(function, right_first, right_second, total), "p")
        fewest = max(0, right_first + right_second - total)  # utterances that both got right, at least
        most = min(right_first, right_second)
        possible = [min(1.0, _split(right_first - both, right_second - both)) for both in range(fewest, most + 1)]
        said = f"for {right_first} and {right_second} right of {total} this gives {found:.6f}"
        if close(found, max(possible)):
            continue
        if close(found, min(possible)) and len(possible) > 1:
            raise Wrong(f"{said}: that is the smallest p possible, when one model is right wherever the other is; the "
                        "largest is asked for")  # fmt: skip
        if close(found, min(1.0, _split(right_first, right_second))):
            raise Wrong(
                f"{said}: that takes no utterance as right under both; with these numbers at least {fewest} are"
            )
        if close(found, min(1.0, _split(total - right_first, total - right_second))):
            raise Wrong(
                f"{said}: that takes each utterance as right under at least one model; there are too few right answers"
            )
        raise Wrong(
            f"{said}; the largest is {max(possible):.6f}. Both are right on {fewest} to {most} utterances: try each"
        )
    return "whatever the models share, chance among utterances cannot give more than this"
