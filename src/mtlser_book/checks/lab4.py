"""Checks of lab 4, the leak. Names are those of utterances, such as "Ses01F_impro01_M003"."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from mtlser_book.checks import Wrong, ask, check, close, number, show

# Three sessions, in no order; other names than the lab's. Dialogs have suffixes, as a few of IEMOCAP's have.
NAMES = (
    "Ses02M_script03_2b_F007", "Ses01F_impro01_M003", "Ses03M_impro05a_F012", "Ses01F_impro01_F000",
    "Ses02F_impro04_M021", "Ses03F_script01_1_M002", "Ses01M_script02_2_F009", "Ses02M_script03_2b_M008",
    "Ses03M_impro05a_M013", "Ses01M_script02_2_M010", "Ses02F_impro04_F020", "Ses01F_impro01_F014",
)  # fmt: skip


def _speaker(name: str) -> str:
    return name[:5] + name.split("_")[-1][0]


def _dialog_letter(name: str) -> str:
    return name[:6]


def _few(names: Any) -> str:
    """Some of the names, for a message."""
    return ", ".join(sorted(map(str, names))[:2])


@check
def speaker_of(function: Any) -> str:
    """The session, and the letter of the name's last part."""
    for name in NAMES:
        found, last = ask(function, name), name.split("_")[-1]
        said = f"speaker_of({name!r}) gives {show(found)}"
        if found == _speaker(name):
            continue
        if found == _dialog_letter(name):
            raise Wrong(
                f"{said}: that is how the dialog's name begins, and both actors speak in a dialog. Who speaks is in "
                f"the last part, {last}"
            )
        if found == _speaker(name)[-1] or (isinstance(found, str) and found == _speaker(name)[3:]):
            raise Wrong(f"{said}: write the session as in the name, with Ses: {name[:5]}F or {name[:5]}M")
        if isinstance(found, str) and found[:5] == name[:5]:
            raise Wrong(
                f"{said}: dialogs' names differ in length. Split at the underscores, take the last part ({last})"
            )
        raise Wrong(f"{said}; it should be {_speaker(name)!r}, session and letter of the last part ({last})")
    return "the last part says who speaks, whatever the dialog is called"


def _two_lists(pair: Any, what: str) -> tuple[list[str], list[str]]:
    """Two lists of names. Raises Wrong; a set would pass here and fail later, in `.loc` of pandas."""
    try:
        first, second = pair
        parts = [list(part) for part in (first, second)]
        set(parts[0]), set(parts[1])
    except (TypeError, ValueError):
        raise Wrong(f"{what} of lists; it is {show(pair)}") from None
    if isinstance(first, (set, dict, str)) or isinstance(second, (set, dict, str)):
        raise Wrong(f"{what} of lists, which keep an order; one of them is a {type(first).__name__}")
    return parts[0], parts[1]


def _parts(key: Any, value: Any) -> tuple[list[str], list[str]]:
    """(train, test) of one fold as lists of names. Raises Wrong."""
    train, test = _two_lists(value, f"the value of {key!r} should be a pair (train, test)")
    strangers = (set(train) | set(test)) - set(NAMES)
    if strangers:
        raise Wrong(
            f"fold {key!r} holds {_few(strangers)}, which is not among the names that the function was given: does it "
            "use its argument, or a list from the page?"
        )
    return train, test


@check
def leave_one_speaker_out(function: Any) -> str:
    """A fold for each speaker: all of their utterances are tested, all others are in training."""
    folds = ask(function, list(NAMES))
    if not isinstance(folds, dict):
        raise Wrong(f"the folds should be a dictionary, speaker: (train, test); this is {show(folds)}")
    speakers = {_speaker(name) for name in NAMES}
    if set(folds) != speakers:
        missing, other = sorted(speakers - set(folds)), sorted(set(folds) - speakers, key=str)
        raise Wrong(f"a fold for each speaker is asked for: missing {missing}, and no speaker is {other}")
    for speaker, value in sorted(folds.items()):
        train, test = _parts(speaker, value)
        said = {name for name in NAMES if _speaker(name) == speaker}
        if set(train) == said:
            raise Wrong(f"fold {speaker!r} trains on {speaker} and tests the others: swap the two parts")
        if set(train) & set(test):
            both = set(train) & set(test)
            raise Wrong(
                f"fold {speaker!r}: {len(both)} utterances are tested and in training too, such as {_few(both)}"
            )
        if set(test) != said and set(test) == {name for name in NAMES if _dialog_letter(name) == speaker}:
            raise Wrong(
                f"fold {speaker!r} tests every utterance of the dialogs called {speaker}…; in them the partner speaks "
                "too. Use your speaker_of"
            )
        if set(test) != said:
            raise Wrong(
                f"the test part of fold {speaker!r} holds {len(test)} utterance(s), {len(set(test) & said)} of them by "
                f"{speaker}, who says {len(said)}: {', '.join(sorted(said))}"
            )
        lost = set(NAMES) - said - set(train)
        if lost and {name[:5] for name in lost} == {speaker[:5]}:
            raise Wrong(
                f"fold {speaker!r} trains without {_few(lost)}: that leaves the whole session out; the partner is one "
                "of the remaining speakers, who train"
            )
        if lost:
            raise Wrong(f"fold {speaker!r}: {_few(lost)} should be in training")
        if len(train) + len(test) > len(NAMES):
            raise Wrong(f"fold {speaker!r} holds an utterance twice")
    return "each speaker is tested once, by a model that never heard them"


# Of five test utterances one is of a speaker who is not in training.
TRAIN = ("Ses01F_impro01_F000", "Ses01F_impro01_F014", "Ses02F_impro04_M021")
TEST = (
    "Ses01M_script02_2_F009", "Ses02M_script03_2b_M008", "Ses01F_impro02_F001", "Ses03M_impro05a_F012",
    "Ses02F_impro05_M003",
)  # fmt: skip


@check
def shared_speakers(function: Any) -> str:
    """The share of test utterances whose speaker is in training."""
    for train, test in ((TRAIN, TEST), (NAMES[:1], NAMES[1:3]), (NAMES, NAMES[:4])):
        found = number(ask(function, list(train), list(test)), "the share")
        heard = {_speaker(name) for name in train}
        right = [_speaker(name) in heard for name in test]
        expected = sum(right) / len(right)
        if close(found, expected):
            continue
        said = f"{len(right)} test utterances, {sum(right)} of them of speakers in training: {expected:.2f}; yours is"
        said = f"{said} {found:.2f}"
        distinct = {_speaker(name) for name in test}
        if close(found, sum(right)) or close(found, len(distinct & heard)):
            raise Wrong(f"{said}. That is a number of them; divide by the number of test utterances")
        if close(found, 100 * expected):
            raise Wrong(f"{said}. That is a percentage; a share between 0 and 1 is asked for")
        if close(found, 1 - expected):
            raise Wrong(f"{said}. That is the share of those who are *not* in training")
        if close(found, len(distinct & heard) / len(distinct)):
            raise Wrong(f"{said}. That counts speakers; count utterances, as a speaker may say many or few")
        if close(found, np.mean([_dialog_letter(name) in {_dialog_letter(n) for n in train} for name in test])):
            raise Wrong(f"{said}. That compares the names of dialogs; compare who speaks, with your speaker_of")
        raise Wrong(f"{said}. The test utterances are {', '.join(test)}, the training ones {', '.join(train)}")
    return "0 is what leaving a speaker out promises"


@check
def released_fold(function: Any) -> str:
    """The fold of the released code that tests an utterance."""
    wrong = []
    for name in NAMES:
        found, expected = ask(function, name), name[3:6]
        if not isinstance(found, str):
            raise Wrong(f"released_fold({name!r}) should be a string such as '01F'; it is {show(found)}")
        if found == f"Ses{expected}":
            raise Wrong(f"{found!r}: the folds are called without Ses, {expected!r}")
        if found != expected:
            wrong.append((name, found, expected))
    by_speaker = [found in (_speaker(name), _speaker(name)[3:]) for name, found, _ in wrong]
    if wrong:
        name, found, expected = wrong[0]
        case = f"{len(NAMES) - len(wrong)} of {len(NAMES)} names agree. {name} is tested in {expected}, not in {found}"
        if all(by_speaker):
            raise Wrong(f"{case}. That is who speaks; look for another letter of the name that is {expected[-1]} here")
        raise Wrong(f"{case}. Print ten names that fold {expected} tests: which letters have they all in common?")
    return "the rule gives every fold, and does not ask who speaks"


class _Recorder(BaseEstimator):
    """Remembers the rows of every `fit`. What it predicts of a row depends on what it was last fitted to."""

    fits: list[set[float]] = []

    def fit(self, features: Any, labels: Any) -> _Recorder:
        rows = np.asarray(features, dtype=float)[:, 0]
        self.known_ = dict(zip(rows, np.asarray(labels), strict=True))
        _Recorder.fits.append(set(rows))
        return self

    def predict(self, features: Any) -> np.ndarray:
        rows = np.asarray(features, dtype=float)[:, 0]
        guess = ["sad", "happy", "angry"]
        return np.array([self.known_.get(row, guess[int(row + sum(self.known_)) % 3]) for row in rows])


def _small_experiment() -> tuple[pd.DataFrame, pd.Series, dict[str, tuple[list[str], list[str]]], pd.Series]:
    """Features, labels, three folds of unlike size, and what is right of what the recorder answers."""
    names = list(NAMES)
    table = pd.DataFrame({"row": np.arange(12.0), "other": 1.0}, index=names)
    labels = pd.Series(["sad", "happy", "sad", "angry", "sad", "angry"] * 2, index=names)
    folds = {
        key: ([name for name in names if name not in test], test)
        for key, test in {"a": [names[7], names[0]], "b": names[1:5], "c": [*names[8:], names[5], names[6]]}.items()
    }
    right = []
    for train, test in folds.values():
        answers = _Recorder().fit(table.loc[train], labels.loc[train]).predict(table.loc[test])
        right.append(pd.Series(answers == labels.loc[test].to_numpy(), index=test))
    return table, labels, folds, pd.concat(right)


@check
def right_answers(function: Any) -> str:
    """For each utterance whether the model of its fold got it right."""
    table, labels, folds, expected = _small_experiment()
    _Recorder.fits = []
    found = ask(function, _Recorder(), table, labels, folds)
    _check_fits(table, folds)
    if np.ndim(found) == 0 and not isinstance(found, dict):
        raise Wrong(f"one value for each utterance is asked for, to be averaged later; this is {show(found)}")
    if isinstance(found, dict) and len(found) > len(folds):
        raise Wrong("a dictionary has no mean, which is wanted next: make a Series of it, pd.Series(…)")
    if not isinstance(found, pd.Series) or len(found) == len(folds):
        raise Wrong(
            f"a pandas Series with the utterances' names as its index is asked for; this is {show(found)}. (The mean "
            "over folds of their accuracies is not the accuracy where folds differ in size.)"
        )
    if set(found.index) != set(expected.index) or len(found) != len(expected):
        raise Wrong(
            f"{len(expected)} utterances are tested, each once; this has {len(found)} values, with names such as "
            f"{show(found.index[0]) if len(found) else 'none'}: keep the index of the test labels"
        )
    if set(found) <= set(labels):
        raise Wrong("these are emotions: compare each prediction with its label, and give True or False")
    found = found.astype(float).reindex(expected.index)
    differing = int((found != expected.astype(float)).sum())
    if differing == len(expected):
        raise Wrong("every value is the opposite: True is for a right answer")
    if differing:
        raise Wrong(
            f"{differing} of {len(expected)} values differ: is each prediction compared with the label of the same "
            "utterance, in the order of the test part?"
        )
    return "one answer for each utterance, each by a model that had not seen it"


def _check_fits(table: pd.DataFrame, folds: dict[str, tuple[list[str], list[str]]]) -> None:
    """Raises Wrong where the recorder was trained on other rows than those of each fold's training part."""
    fits = _Recorder.fits
    if not fits:
        raise Wrong("the model is never trained: call model.fit with the training part of each fold")
    trained, tested = (
        [set(table.loc[list(part), "row"]) for part in parts] for parts in zip(*folds.values(), strict=True)
    )
    if all(len(rows) == len(table) for rows in fits):
        raise Wrong("the model is trained on all utterances, the test ones too: it has seen what it is asked")
    if all(rows in tested for rows in fits):
        raise Wrong("the model is trained on the test parts: a fold's value is (train, test), in this order")
    if len(fits) < len(folds):
        raise Wrong(
            f"there are {len(folds)} folds and the model was trained {len(fits)} time(s): train it in each fold"
        )
    if [rows for rows in fits if rows not in trained]:
        raise Wrong("in some fold the model is trained on other utterances than those of its training part")


@check
def fair_control(function: Any) -> str:
    """Training without the test voices, and training that is as much smaller without losing them."""
    train = [f"Ses0{1 + n % 5}F_impro0{1 + n // 9}_{'FM'[n % 2]}{n:03d}" for n in range(60)]
    test = ["Ses02M_impro09_F001", "Ses02M_impro09_M002"]
    drawn = []
    for seed in (0, 1):
        pair = ask(function, list(train), list(test), seed)
        without, as_many = _two_lists(pair, "the answer should be a pair (without, as_many)")
        voices = {_speaker(name) for name in test}
        kept = [name for name in train if _speaker(name) not in voices]
        if set(without) - set(kept):
            raise Wrong(f"`without` still holds {_few(set(without) - set(kept))}, whose voice is in the test set")
        if sorted(without) != sorted(kept):
            raise Wrong(f"`without` has {len(without)} utterances; {len(kept)} of {len(train)} are of other voices")
        if len(as_many) != len(kept) or len(set(as_many)) != len(as_many) or set(as_many) - set(train):
            raise Wrong(f"`as_many` should be {len(kept)} different utterances of the training part, like `without`")
        lost = {_speaker(name) for name in set(train) - set(as_many)} & voices
        if lost:
            raise Wrong(f"`as_many` lost utterances of {_few(lost)}: draw what goes from the other voices only")
        drawn.append(set(as_many))
    if drawn[0] == drawn[1]:
        raise Wrong("two seeds take the same utterances away: draw them with random.Random(seed).sample")
    return "both training sets are of one size, and differ in the test voices alone"
