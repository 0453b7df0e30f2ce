"""Answers to lab 2's exercises that are wrong, and what the check says of each."""

from __future__ import annotations

import math
from itertools import groupby, product

import torch

FRAMES = [{"_": 0.1, "E": 0.8, "G": 0.1}, {"_": 0.5, "E": 0.3, "G": 0.2}, {"_": 0.2, "E": 0.1, "G": 0.7}]


def spelled(path):
    return "".join(symbol for symbol, _ in groupby(path) if symbol != "_")


def paths(frames, text):
    return [path for path in map("".join, product(frames[0], repeat=len(frames))) if spelled(path) == text]


def chance(frames, path):
    return math.prod(frame[symbol] for frame, symbol in zip(frames, path, strict=True))


def forward(frames, text, *, starts=2, ends=2, skip=lambda symbol, other: symbol not in ("_", other)):
    states = "_" + "".join(letter + "_" for letter in text)
    sums = [frames[0][symbol] if s < starts else 0.0 for s, symbol in enumerate(states)]
    for frame in frames[1:]:
        before = [sum(sums[max(0, s - 1) : s + 1]) for s in range(len(states))]
        for s in range(2, len(states)):
            before[s] += sums[s - 2] if skip(states[s], states[s - 2]) else 0.0
        sums = [value * frame[symbol] for value, symbol in zip(before, states, strict=True)]
    return sum(sums[-ends:])


def forward_in_place(frames, text):
    states = "_" + "".join(letter + "_" for letter in text)
    sums = [frames[0][symbol] if s < 2 else 0.0 for s, symbol in enumerate(states)]
    for frame in frames[1:]:
        for s, symbol in enumerate(states):
            skip = s > 1 and symbol not in ("_", states[s - 2])
            sums[s] = frame[symbol] * sum(sums[max(0, s - 1 - skip) : s + 1])
    return sum(sums[-2:])


def from_one(frames, text):
    return forward([dict.fromkeys(frames[0], 1.0), *frames[1:]], text)


def loss(frames, text, reduction="sum", logarithms=True, shift=0):
    columns = list(frames[0])
    values = torch.tensor([[frame[symbol] for symbol in columns] for frame in frames], dtype=torch.float64)[:, None]
    targets = torch.tensor([[(columns.index(letter) - shift) % 3 or 1 for letter in text]])
    lengths = torch.tensor([len(frames)]), torch.tensor([len(text)])
    given = values.log() if logarithms else values
    return torch.nn.functional.ctc_loss(given, targets, *lengths, reduction=reduction).item()


def log_of_product(frames, text):
    found = forward(frames, text)
    return math.log(found) if found else -math.inf


# exercise -> (the work that its check is given, what the message has to say)
WRONG = {
    "collapse": [
        ((lambda path: "".join(s for s, _ in groupby(path.replace("_", ""))),), "merge neighbours before you remove"),
        ((lambda path: path.replace("_", ""),), "equal neighbours become one"),
        ((lambda path: "".join(s for s, _ in groupby(path)),), "blanks go"),
        (
            (lambda path: "".join(dict.fromkeys(path.replace("_", ""))),),
            "merge neighbours before|only neighbours merge",
        ),
        ((lambda path: list(spelled(path)),), "should be a string"),
        (("EGG",), "should be a function"),
        ((lambda path: path[9],), "raises IndexError"),
    ],
    "path_probability": [
        ((lambda frames, path: sum(frame[s] for frame, s in zip(frames, path, strict=True)),), "were added"),
        ((lambda frames, path: chance(frames[:-1], path[:-1]),), "the last frame is missing"),
        ((lambda frames, path: math.log(chance(frames, path)),), "whose product is"),
        ((lambda frames, path: [frame[s] for frame, s in zip(frames, path, strict=True)],), "should be one number"),
    ],
    "text_probability": [
        (
            (lambda frames, text: max((chance(frames, p) for p in paths(frames, text)), default=0),),
            "likeliest path alone",
        ),
        ((lambda frames, text: len(paths(frames, text)),), "number of paths"),
        ((lambda frames, text: -math.log(sum(chance(frames, p) for p in paths(frames, text))),), "the loss"),
        ((lambda frames, text: chance(frames, text.ljust(len(frames), "_")),), "paths spell it|likeliest path alone"),
    ],
    "greedy": [
        ((FRAMES, "E_G", "EG"), "collapse it"),
        ((FRAMES, "GE", "EG"), "do not spell 'GE'"),
        ((FRAMES, "EG", "E"), "there is a text with"),
        (([{"_": 0.4, "E": 0.6}, {"_": 0.6, "E": 0.4}, {"_": 0.6, "E": 0.4}], "E", 1), "should be a string"),
        (([{"_": 0.6, "E": 0.4}] * 2, "", ""), "another text has more probability"),
    ],
    "forward": [
        ((lambda frames, text: forward(frames, text, ends=1),), "last letter only|raises|should give"),
        ((lambda frames, text: forward(frames, text, starts=1),), "begins in the blank only"),
        ((lambda frames, text: forward(frames, text, skip=lambda symbol, other: symbol != "_"),), "two equal letters"),
        ((lambda frames, text: forward(frames, text, skip=lambda symbol, other: False),), "No blank was ever skipped"),
        ((lambda frames, text: forward(frames[:4], text),), "not on forty"),
        ((from_one,), "begins with 1"),
        ((forward_in_place,), "build a new list from the old one"),
        ((lambda frames, text: 1.0,), "number of paths|by hand with the rule"),
    ],
    "torch_loss": [
        ((lambda frames, text: loss(frames, text, "mean"),), "divided by the 2 letters"),
        ((lambda frames, text: math.exp(-loss(frames, text)),), "that is the probability"),
        ((lambda frames, text: loss(frames, text, logarithms=False),), "wants logarithms"),
        ((lambda frames, text: loss(frames, text, shift=1),), "the order of `symbols`"),
        ((lambda frames, text: torch.zeros(2),), "should be one number"),
    ],
    "log_forward": [
        ((lambda frames, text: -math.log(forward(frames, text)),), "this is the loss"),
        ((lambda frames, text: forward(frames, text),), "its logarithm is asked for"),
        ((log_of_product,), "underflowed"),
        ((lambda frames, text: math.log10(forward(frames, text)),), "should give"),
        ((lambda frames, text: math.nan,), "not a number"),
    ],
}
