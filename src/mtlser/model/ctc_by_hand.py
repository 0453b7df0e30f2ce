"""CTC without a library: every path, what it collapses to, and the forward sums, on an example of five frames.

A path is a string with one symbol per frame; `BLANK` stands for CTC's blank. Probabilities are a data frame with one
row per frame (1, 2, …) and one column per symbol, the blank first. Source: Graves et al. 2006, sections 3 and 4.1.
For reading, not for speed: the loss that trains is `losses.ctc`, and tests compare the two.
"""

from __future__ import annotations

import math
from itertools import groupby, product

import numpy as np
import pandas as pd
import torch

from mtlser.model import losses

BLANK = "_"
MAX_PATHS = 100_000  # of an enumeration

# Five frames that mostly say S, E, E, blank, E; chosen so that the word needs the blank between its two E.
WORD = "SEE"
PROBABILITIES = pd.DataFrame(
    [[0.1, 0.8, 0.1], [0.2, 0.3, 0.5], [0.1, 0.1, 0.8], [0.6, 0.1, 0.3], [0.2, 0.1, 0.7]],
    index=pd.RangeIndex(1, 6, name="frame"),
    columns=[BLANK, "S", "E"],
)


def collapse(path: str) -> str:
    """The text of a path: equal neighbours become one, then blanks go. "SEE_E" -> "SEE"."""
    return "".join(symbol for symbol, _ in groupby(path) if symbol != BLANK)


def all_paths(probabilities: pd.DataFrame) -> list[str]:
    """Every path: one symbol for each frame, V ** T in all. Raises ValueError for more than MAX_PATHS."""
    num_frames, num_symbols = probabilities.shape
    if num_symbols**num_frames > MAX_PATHS:
        raise ValueError(f"{num_symbols} symbols in {num_frames} frames make more than {MAX_PATHS} paths")
    return ["".join(path) for path in product(probabilities.columns, repeat=num_frames)]


def path_probability(probabilities: pd.DataFrame, path: str) -> float:
    """The product of the path's symbols' probabilities: CTC takes frames as independent, given the waveform."""
    return math.prod(probabilities.at[frame, symbol] for frame, symbol in zip(probabilities.index, path, strict=True))


def paths_of(probabilities: pd.DataFrame, text: str) -> pd.DataFrame:
    """The paths that collapse to `text`, likeliest first: columns path, probability."""
    paths = [path for path in all_paths(probabilities) if collapse(path) == text]
    table = pd.DataFrame({"path": paths, "probability": [path_probability(probabilities, path) for path in paths]})
    return table.sort_values("probability", ascending=False, ignore_index=True)


def texts(probabilities: pd.DataFrame) -> pd.DataFrame:
    """Every text that some path collapses to, likeliest first: columns text, paths, probability. They sum to 1."""
    paths = [(collapse(path), path_probability(probabilities, path)) for path in all_paths(probabilities)]
    table = pd.DataFrame(paths, columns=["text", "probability"]).groupby("text", as_index=False)
    table = table.agg(paths=("probability", "size"), probability=("probability", "sum"))
    return table.sort_values("probability", ascending=False, ignore_index=True)


def with_blanks(text: str) -> str:
    """The states of the forward algorithm: a blank before, between and after the letters. "SEE" -> "_S_E_E_"."""
    return BLANK + "".join(letter + BLANK for letter in text)


def forward_sums(probabilities: pd.DataFrame, text: str) -> pd.DataFrame:
    """Rows: the states of `with_blanks(text)`; columns: frames. The summed probability of all beginnings up to there.

    A beginning reaches a state by staying, by one step, or by skipping a blank between two different letters. This
    takes T · (2 L + 1) sums where enumeration takes V ** T products (Graves et al. 2006, Eq. 6).
    """
    states = with_blanks(text)
    sums = np.zeros((len(states), len(probabilities)))
    sums[:2, 0] = [probabilities.iloc[0][symbol] for symbol in states[:2]]
    for t in range(1, len(probabilities)):
        for s, symbol in enumerate(states):
            before = sums[max(s - 1, 0) : s + 1, t - 1].sum()
            if s > 1 and symbol not in (BLANK, states[s - 2]):
                before += sums[s - 2, t - 1]
            sums[s, t] = before * probabilities.iloc[t][symbol]
    return pd.DataFrame(sums, index=list(states), columns=probabilities.index)


def likelihood(sums: pd.DataFrame) -> float:
    """Probability of the text from its forward sums: in the last frame, at the last letter or the blank after it."""
    return float(sums.iloc[-2:, -1].sum())


def library_loss(probabilities: pd.DataFrame, text: str) -> float:
    """`losses.ctc`, in nats, on the same probabilities: their logarithms are logits whose softmax they are."""
    logits = torch.from_numpy(np.log(probabilities.to_numpy()))[None]  # (1, T, V)
    target = torch.tensor([[probabilities.columns.get_loc(letter) for letter in text]], dtype=torch.long)
    found, _ = losses.ctc(logits, torch.tensor([len(probabilities)]), target, torch.tensor([len(text)]))
    return float(found)


def compare(probabilities: pd.DataFrame, text: str) -> pd.DataFrame:
    """Three ways to one number: columns method, probability of the text, loss = −log of it, in nats."""
    table = pd.DataFrame(
        [
            ("every path, added up", paths_of(probabilities, text)["probability"].sum()),
            ("forward sums", likelihood(forward_sums(probabilities, text))),
            ("mtlser.model.losses.ctc", math.exp(-library_loss(probabilities, text))),
        ],
        columns=["method", "probability"],
    )
    return table.assign(loss=-np.log(table["probability"]))
