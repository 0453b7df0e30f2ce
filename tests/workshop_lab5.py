"""Answers to lab 5's exercises that are wrong, and what the check says of each."""

from __future__ import annotations

import math
import random
from itertools import product

import numpy as np


def counted(pairs, one=(1, 0), other=(0, 1)):
    return tuple(int(((pairs["first"] == a) & (pairs["second"] == b)).sum()) for a, b in (one, other))


def split(only_first, only_second, sides=2, more=1):
    total, fewer = only_first + only_second, min(only_first, only_second)
    return sides * sum(math.comb(total, k) for k in range(fewer + more)) / 2**total


def small_powers(only_first, only_second):
    total, fewer = only_first + only_second, min(only_first, only_second)
    return min(1, 2 * sum(math.comb(total, k) * 0.5**total for k in range(fewer + 1)))


def flips(differences, far=lambda value, observed: abs(value) >= abs(observed)):
    patterns = product((1, -1), repeat=len(differences))
    sums = [sum(sign * d for sign, d in zip(signs, differences, strict=True)) for signs in patterns]
    return sum(far(value, sum(differences)) for value in sums) / len(sums)


def drawn(differences):
    draw = random.Random(0)
    sums = [sum(draw.choice((1, -1)) * d for d in differences) for _ in range(999)]
    return (1 + sum(abs(value) >= abs(sum(differences)) for value in sums)) / 1001


CAUSES = {"machine": "the training", "rate": "the learning rate", "p": "the voices"}

RIGHT = {"A": "not supported", "B": "supported", "C": "not supported", "D": "cannot tell"}

WRONG = {
    "discordant": [
        ((lambda pairs: counted(pairs)[::-1],), "exchanged"),
        ((lambda pairs: (pairs["first"].sum(), pairs["second"].sum()),), "that both got right"),
        ((lambda pairs: counted(pairs, (1, 1), (0, 0)),), "on which the two agree"),
        ((lambda pairs: sum(counted(pairs)),), "two numbers"),
        ((lambda pairs: (1, 1),), "yours are 1 and 1"),
    ],
    "mcnemar": [
        ((split,), "at most 1"),
        ((lambda one, other: split(one, other, sides=1),), "that is one side"),
        ((lambda one, other: split(one, other, more=0),), "at least as uneven"),
        ((lambda one, other: 1 - min(1, split(one, other)),), "that is 1 − p"),
        ((lambda one, other: math.comb(one + other, one) / 2 ** (one + other),), "exactly this split"),
        ((lambda one, other: math.erfc(abs(one - other) / math.sqrt(2 * (one + other))),), "chi-squared"),
        ((small_powers,), "OverflowError.*whole numbers|keep whole numbers"),
        ((lambda one, other: min(1, split(one, other)) if one + other else 0.5,), "p is 1"),
        ((lambda one, other: 0.2,), "fair coins"),
    ],
    "flip_signs": [
        ((lambda differences: flips(differences, lambda value, seen: abs(value) > abs(seen)),), "exactly as far"),
        ((lambda differences: flips(differences, lambda value, seen: value >= seen),), "one side"),
        ((lambda differences: flips(differences) * 2 ** len(differences),), "That is their number"),
        ((lambda differences: 1 - flips(differences),), "less"),
        ((drawn,), "draw none at random"),
        ((lambda differences: 1.0,), "in every combination"),
        ((lambda differences: differences,), "should be one number"),
    ],
    "verdicts": [
        ((RIGHT | {"A": "supported"},), "flips whole speakers"),
        ((RIGHT | {"A": "cannot tell"},), "Which p is it"),
        ((RIGHT | {"B": "not supported"},), "for every voice"),
        ((RIGHT | {"B": "cannot tell"},), "can be made"),
        ((RIGHT | {"C": "supported"},), "four times"),
        ((RIGHT | {"C": "cannot tell"},), "for their number"),
        ((RIGHT | {"D": "supported"},), "under one protocol"),
        ((RIGHT | {"D": "not supported"},), "Can any test be made"),
        ((RIGHT | {"D": "maybe"},), "is none of supported"),
        ((RIGHT | {"C": ...},), "C has no verdict yet"),
        (({"A": "supported"},), "keys A, B, C, D"),
    ],
    "reasons": [
        ((CAUSES | {"machine": "the voices"},), "same utterances"),
        ((CAUSES | {"machine": "the learning rate"},), "only the processor"),
        ((CAUSES | {"machine": "all three"},), "voices and learning rate"),
        ((CAUSES | {"rate": "the voices"},), "at both rates"),
        ((CAUSES | {"rate": "the training"},), "changed on purpose"),
        ((CAUSES | {"rate": "all three"},), "at both rates"),
        ((CAUSES | {"p": "the training"},), "trained already"),
        ((CAUSES | {"p": "the learning rate"},), "nothing of any other"),
        ((CAUSES | {"p": "all three"},), "whose signs"),
        ((CAUSES | {"p": "chance"},), "is none of"),
        (({"p": "the voices"},), "keys machine, rate, p"),
    ],
    "largest_mcnemar": [
        ((lambda one, other, total: split(one - min(one, other), other - min(one, other)),), "smallest p possible"),
        ((lambda one, other, total: min(1, split(one, other)),), "right under both"),
        ((lambda one, other, total: min(1, split(total - one, total - other)),), "too few right answers"),
        ((lambda one, other, total: 0.5,), "the largest is"),
        ((lambda one, other, total: np.nan,), "not a number"),
    ],
}  # fmt: skip
