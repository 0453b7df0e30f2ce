"""Answers to lab 5's exercises that are wrong, and what the check says of each."""

from __future__ import annotations

import math
import random
from itertools import product

import numpy as np


def joined(first, second, how="inner", convert=int):
    both = first.merge(second, on=["utterance", "speaker", "label"], how=how)
    right = {name: both["label"] == both[f"prediction_{side}"] for name, side in (("first", "x"), ("second", "y"))}
    return both[["utterance", "speaker"]].assign(**right).astype({"first": convert, "second": convert})


def by_row(first, second):
    right = {"first": first["label"] == first["prediction"], "second": second["label"] == second["prediction"]}
    columns = {name: values.astype(int).to_numpy() for name, values in right.items()}
    return first[["utterance", "speaker"]].head(5).assign(**{name: v[:5] for name, v in columns.items()})


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


RIGHT = {"A": "not supported", "B": "supported", "C": "not supported", "D": "cannot tell"}

WRONG = {
    "pair_up": [
        ((by_row,), "utterances in both tables are|join them by utterance"),
        ((lambda first, second: joined(first, second, convert=bool),), "does not subtract"),
        ((lambda first, second: joined(second, first),), "exchanged"),
        ((lambda first, second: 1 - joined(first, second).set_index("utterance")[["first", "second"]],), "'speaker'"),
        ((lambda first, second: joined(first, second, "outer"),), "leave out what has no partner"),
        ((lambda first, second: joined(first, second).assign(first=lambda t: 1 - t["first"],
                                                             second=lambda t: 1 - t["second"]),), "other way round"),
        ((lambda first, second: joined(first, second).drop(columns="utterance"),), "names are lost"),
        ((lambda first, second: joined(first, second).iloc[1:],), "yours has 4"),
        ((lambda first, second: first.merge(second, on="utterance").assign(first=1, second=1),), "two columns of"),
        ((lambda first, second: (1, 2),), "a DataFrame"),
        ((lambda first, second: joined(first, second).assign(first="sad"),), "should be 1 where"),
    ],
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
    "largest_mcnemar": [
        ((lambda one, other, total: split(one - min(one, other), other - min(one, other)),), "smallest p possible"),
        ((lambda one, other, total: min(1, split(one, other)),), "right under both"),
        ((lambda one, other, total: min(1, split(total - one, total - other)),), "too few right answers"),
        ((lambda one, other, total: 0.5,), "the largest is"),
        ((lambda one, other, total: np.nan,), "not a number"),
    ],
}  # fmt: skip
