"""Checks of lab 2, CTC by hand. Frames are a list of dictionaries symbol -> probability; "_" is the blank."""

from __future__ import annotations

import math
from itertools import groupby, product
from typing import Any

from mtlser_book.checks import Wrong, ask, check, close, number, show

Frames = list[dict[str, float]]

# Three frames of two letters, other than the lab's: a number copied from the page does not pass.
OTHER: Frames = [
    {"_": 0.5, "A": 0.3, "B": 0.2},
    {"_": 0.2, "A": 0.7, "B": 0.1},
    {"_": 0.3, "A": 0.1, "B": 0.6},
    {"_": 0.1, "A": 0.5, "B": 0.4},
]
TEXTS = ("AB", "A", "", "AA", "ABA", "BAB", "AABB")


def _collapse(path: str) -> str:
    return "".join(symbol for symbol, _ in groupby(path) if symbol != "_")


def _path_probability(frames: Frames, path: str) -> float:
    return math.prod(frame[symbol] for frame, symbol in zip(frames, path, strict=True))


def _all_texts(frames: Frames) -> dict[str, float]:
    texts: dict[str, float] = {}
    for path in map("".join, product(frames[0], repeat=len(frames))):
        texts[_collapse(path)] = texts.get(_collapse(path), 0.0) + _path_probability(frames, path)
    return texts


def _expected(frames: Frames, text: str) -> float:
    return _all_texts(frames).get(text, 0.0)


@check
def collapse(function: Any) -> str:
    """A path's text: equal neighbours become one, then blanks go."""
    for path, reason in (
        ("A", "a path of one letter is that letter"),
        ("AABB", "equal neighbours become one"),
        ("_A_B_", "blanks go"),
        ("A_A", "a blank between two equal letters keeps them apart, so merge neighbours before you remove blanks"),
        ("ABA", "only neighbours merge: the two A are apart"),
        ("AA_AAB", "equal neighbours become one, also after a blank"),
        ("___", "a path of blanks spells nothing, the empty string"),
    ):
        found = ask(function, path)
        if not isinstance(found, str):
            raise Wrong(f"collapse({path!r}) should be a string; it is {show(found)}")
        if found != _collapse(path):
            raise Wrong(f"collapse({path!r}) gives {found!r} and should give {_collapse(path)!r}: {reason}")
    return "neighbours first, blanks second"


@check
def path_probability(function: Any) -> str:
    """The product of the path's symbols' probabilities."""
    for path in ("AABB", "_AB_", "BAB_"):
        chosen = [frame[symbol] for frame, symbol in zip(OTHER, path, strict=True)]
        found = number(ask(function, OTHER, path), "the probability of a path")
        if close(found, sum(chosen)):
            raise Wrong("the probabilities were added; all of them must happen, so they multiply")
        if close(found, math.prod(chosen[:-1])):
            raise Wrong("the last frame is missing from the product")
        if found < 0 or not close(found, math.prod(chosen)):
            raise Wrong(
                f"for path {path!r} the frames give {', '.join(map(str, chosen))}, whose product is "
                f"{math.prod(chosen):.6f}; yours is {found:.6f}"
            )
    return "one factor for each frame"


@check
def text_probability(function: Any) -> str:
    """The sum over all paths that collapse to the text."""
    _texts(function, enumerated=True)
    return "the sum over every path that spells the text"


def _texts(function: Any, enumerated: bool) -> None:
    """Compares a function (frames, text) -> probability with enumeration, on texts that tell mistakes apart."""
    for text in TEXTS:
        found = number(ask(function, OTHER, text), f"the probability of {text!r}")
        if close(found, _expected(OTHER, text)):
            continue
        found_for = f"for the text {text!r} this gives {found:.6f} and should give {_expected(OTHER, text):.6f}"
        spelling = [path for path in map("".join, product("_AB", repeat=len(OTHER))) if _collapse(path) == text]
        likely = [_path_probability(OTHER, path) for path in spelling]
        if likely and close(found, max(likely)):
            raise Wrong(f"{found_for}: that is the likeliest path alone; add up all {len(likely)} that spell it")
        if found == len(likely):
            raise Wrong(f"{found_for}: that is the number of paths; add up their probabilities")
        if close(found, -math.log(max(_expected(OTHER, text), 1e-300))):
            raise Wrong(f"{found_for}: that is −log of it, the loss; the probability is asked for")
        if enumerated:
            raise Wrong(f"{found_for}: {len(likely)} paths spell it")
        raise Wrong(f"{found_for}. {_forward_mistake(found, text)}")


def _forward_mistake(found: float, text: str) -> str:
    """Which mistake of the forward algorithm explains a number, or where to look."""
    for reason, wrong in (
        ("That ends on the last letter only; a text may also end on the blank after it", {"ends": 1}),
        ("That begins in the blank only; a path may also begin in the first letter", {"starts": 1}),
        ("A skip was allowed between two equal letters; they need the blank between them", {"always_skip": True}),
        ("No blank was ever skipped; between two different letters it may be", {"never_skip": True}),
        ("That begins with 1; a first state has the probability of its symbol in the first frame", {"begins": 1.0}),
        ("Sums of this frame were mixed with those of the last; build a new list from the old one", {"in_place": True}),
    ):
        if close(found, _forward(OTHER, text, **wrong)):
            return reason
    return "Compare your first column, then the second, by hand with the rule"


def _forward(
    frames: Frames,
    text: str,
    *,
    starts: int = 2,
    ends: int = 2,
    always_skip: bool = False,
    never_skip: bool = False,
    begins: float | None = None,
    in_place: bool = False,
) -> float:
    """The forward algorithm, with the mistakes that students make as options."""
    states = "_" + "".join(letter + "_" for letter in text)
    sums = [(begins or frames[0][symbol]) if s < starts else 0.0 for s, symbol in enumerate(states)]
    for frame in frames[1:]:
        new = sums if in_place else list(sums)
        for s, symbol in enumerate(states):
            before = sums[s] + (sums[s - 1] if s > 0 else 0.0)
            if s > 1 and symbol != "_" and not never_skip and (always_skip or symbol != states[s - 2]):
                before += sums[s - 2]
            new[s] = before * frame[symbol]
        sums = new
    return sum(sums[-ends:])


@check
def greedy(frames: Any, greedy_text: Any, likeliest_text: Any) -> str:
    """What the best symbol of each frame spells, and the text of the largest summed probability."""
    best = "".join(max(frame, key=frame.get) for frame in frames)
    texts = _all_texts(frames)
    likeliest = max(texts, key=texts.get)
    for value, name in ((greedy_text, "greedy_text"), (likeliest_text, "likeliest_text")):
        if not isinstance(value, str):
            raise Wrong(f"{name} should be a string; it is {show(value)}")
    if greedy_text == best:
        raise Wrong(f"greedy_text is the path {best!r}; collapse it to get the text")
    if greedy_text != _collapse(best):
        raise Wrong(f"the best symbols are {', '.join(best)}, in this order; they do not spell {greedy_text!r}")
    if likeliest_text == greedy_text:
        raise Wrong(
            f"{greedy_text!r} is what the best path spells; another text has more probability over all its paths"
        )
    if likeliest_text != likeliest:
        raise Wrong(
            f"{likeliest_text!r} has probability {texts.get(likeliest_text, 0.0):.4f}; there is a text with "
            f"{texts[likeliest]:.4f}. Compare the probabilities of all texts"
        )
    return f"one path wins for {greedy_text!r}, all paths together for {likeliest_text!r}"


@check
def forward(function: Any) -> str:
    """The forward algorithm gives what enumeration gives, and fast."""
    _texts(function, enumerated=False)
    long = OTHER * 10  # 40 frames: 3 ** 40 paths
    found = number(ask(function, long, "ABAB" * 4), "the probability of a text in 40 frames")
    if not close(found, _forward(long, "ABAB" * 4)):
        raise Wrong(
            "it agrees with enumeration on four frames, and not on forty: is a number of frames or states fixed?"
        )
    return "equal to enumeration, and quick where enumeration would never end"


@check
def torch_loss(function: Any) -> str:
    """torch's CTC loss in nats, summed over characters, equals −log of the probability."""
    for text in ("AB", "ABA", "A"):
        expected = -math.log(_expected(OTHER, text))
        found = number(ask(function, OTHER, text), "the loss")
        if close(found, expected, 1e-4):
            continue
        found_for = f"for {text!r} this gives {found:.4f}, and −log of the probability is {expected:.4f}"
        if close(found, expected / len(text), 1e-4):
            raise Wrong(f'{found_for}: it was divided by the {len(text)} letters, as reduction="mean" does')
        if close(found, math.exp(-expected), 1e-4):
            raise Wrong(f"{found_for}: that is the probability; the loss is asked for")
        if found < 0:
            raise Wrong(f"{found_for}: a loss is not negative here; torch wants logarithms of the probabilities")
        raise Wrong(
            f"{found_for}: are the columns in the order of `symbols`, the blank at 0, and the targets their numbers?"
        )
    return "torch's loss is −log of your sum"


@check
def log_forward(function: Any) -> str:
    """The forward algorithm on logarithms: exact on short, finite on long."""
    for text in ("AB", "AA", "ABA", ""):
        found = number(ask(function, OTHER, text), f"the log probability of {text!r}")
        expected = math.log(_expected(OTHER, text))
        if close(found, -expected):
            raise Wrong(f"for {text!r} this is the loss; the logarithm itself is asked for, which is negative")
        if close(found, _expected(OTHER, text)):
            raise Wrong(f"for {text!r} this is the probability; its logarithm is asked for")
        if not close(found, expected):
            raise Wrong(f"for {text!r} this gives {found:.6f} and should give {expected:.6f}")
    found = number(ask(function, OTHER * 500, "AB" * 20), "the log probability in 2,000 frames")
    if math.isinf(found):
        raise Wrong("in 2,000 frames this is infinite: some product underflowed to 0 before its logarithm was taken")
    return "finite in 2,000 frames, where the product is too small for a computer's numbers"
