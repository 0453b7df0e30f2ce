"""Answers to lab 4's exercises that are wrong, and what the check says of each."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd


def speaker(name):
    return name[:5] + name.split("_")[-1][0]


def folds_by(key, names, train=lambda key, name, other: other != key):
    return {
        group: ([n for n in names if train(group, n, key(n))], [n for n in names if key(n) == group])
        for group in sorted({key(name) for name in names})
    }


def share(train, test, key=speaker):
    heard = {key(name) for name in train}
    return sum(key(name) in heard for name in test) / len(test)


def answers(model, features, labels, folds, fit=lambda train, test: train, give=None):
    parts = []
    for train, test in folds.values():
        rows = fit(train, test)
        predicted = model.fit(features.loc[rows], labels.loc[rows]).predict(features.loc[test])
        parts.append(give(predicted, labels.loc[test]) if give else predicted == labels.loc[test])
    return pd.concat(parts) if isinstance(parts[0], pd.Series) else parts


def trained_once(model, features, labels, folds):
    train = next(iter(folds.values()))[0]
    model.fit(features.loc[train], labels.loc[train])
    return pd.concat([model.predict(features.loc[test]) == labels.loc[test] for _, test in folds.values()])


def control(train, test, seed=0, draw_from=None, drawn=True):
    voices = {speaker(name) for name in test}
    without = [name for name in train if speaker(name) not in voices]
    others = draw_from(train, without) if draw_from else without
    gone = len(train) - len(without)
    taken = random.Random(seed).sample(others, gone) if drawn else others[:gone]
    return without, [name for name in train if name not in taken]


WRONG = {
    "speaker_of": [
        ((lambda name: name[:6],), "both actors speak in a dialog"),
        ((lambda name: name.split("_")[-1][0],), "write the session"),
        ((lambda name: name[3:5] + name[-4],), "write the session"),
        ((lambda name: name[:5] + name[15],), "raises IndexError|differ in length"),
        ((lambda name: name[:5] + "F",), "both actors|differ in length"),
        ((lambda name: [name[:5]],), "it should be 'Ses02F'"),
        (("Ses01F",), "should be a function"),
    ],
    "leave_one_speaker_out": [
        ((lambda names: folds_by(lambda name: name[:6], names),), "the partner speaks too"),
        ((lambda names: folds_by(speaker, names, lambda key, name, other: True),), "tested and in training too"),
        ((lambda names: folds_by(speaker, names, lambda key, name, other: other[:5] != key[:5]),), "whole session"),
        ((lambda names: {k: (b, a) for k, (a, b) in folds_by(speaker, names).items()},), "swap the two parts"),
        ((lambda names: list(folds_by(speaker, names).values()),), "should be a dictionary"),
        ((lambda names: folds_by(lambda name: name[:5], names),), "a fold for each speaker"),
        ((lambda names: {k: b for k, (a, b) in folds_by(speaker, names).items()},), "should be a pair"),
        ((lambda names: {k: (set(a), set(b)) for k, (a, b) in folds_by(speaker, names).items()},), "keep an order"),
        ((lambda names: {k: (a[1:], b) for k, (a, b) in folds_by(speaker, names).items()},), "should be in training"),
        ((lambda names: folds_by(speaker, [n.replace("impro", "x") for n in names]),), "does it use its argument"),
        ((lambda names: {k: (a * 2, b) for k, (a, b) in folds_by(speaker, names).items()},), "an utterance twice"),
        ((lambda names: {k: (a, b[:1]) for k, (a, b) in folds_by(speaker, names).items()},), "1 of them by Ses"),
    ],
    "shared_speakers": [
        ((lambda train, test: share(train, test) * len(test),), "divide by the number"),
        ((lambda train, test: 100 * share(train, test),), "That is a percentage"),
        ((lambda train, test: 1 - share(train, test),), "who are \\*not\\* in training"),
        ((lambda train, test: share(train, {speaker(n): n for n in test}.values()),), "That counts speakers"),
        ((lambda train, test: share(train, test, lambda name: name[:6]),), "names of dialogs"),
        ((lambda train, test: len(set(map(speaker, train)) & set(map(speaker, test))),), "That is a number of them"),
        ((lambda train, test: "all",), "should be one number"),
        ((lambda train, test: 0.3,), "The test utterances are"),
    ],
    "released_fold": [
        ((lambda name: speaker(name)[3:],), "That is who speaks"),
        ((speaker,), "without Ses|That is who speaks"),
        ((lambda name: name[:6],), "without Ses"),
        ((lambda name: name[3:5],), "which letters have they all in common"),
        ((lambda name: "01F",), "of 12 names agree"),
        ((lambda name: 1,), "should be a string"),
    ],
    "right_answers": [
        ((lambda *given: answers(*given).mean(),), "to be averaged later"),
        ((lambda *given: answers(*given, fit=lambda train, test: train + test),), "trained on all utterances"),
        ((lambda *given: answers(*given, fit=lambda train, test: test),), "trained on the test parts"),
        ((trained_once,), "trained 1 time"),
        ((lambda model, features, labels, folds: labels == "sad",), "never trained"),
        ((lambda *given: answers(*given, fit=lambda train, test: train[1:]),), "other utterances than those"),
        ((lambda *given: answers(*given, give=lambda found, labels: (found == labels).mean()),), "names as its index"),
        ((lambda *given: answers(*given).to_numpy(),), "names as its index"),
        ((lambda *given: answers(*given).to_dict(),), "a dictionary has no mean"),
        ((lambda *given: answers(*given).reset_index(drop=True),), "keep the index"),
        ((lambda *given: answers(*given, give=lambda found, labels: found != labels),), "is the opposite"),
        ((lambda *given: answers(*given, give=lambda found, labels: pd.Series(found, labels.index)),), "are emotions"),
        ((lambda *given: answers(*given, give=lambda found, labels: pd.Series(
            found == np.roll(labels, 1), labels.index)),), "label of the same utterance"),
    ],
    "fair_control": [
        ((lambda train, test, seed: control(train, test, 0),), "two seeds"),
        ((lambda train, test, seed: control(train, test, seed, drawn=False),), "two seeds"),
        ((lambda train, test, seed: control(train, test, seed, lambda train, without: train),), "lost utterances of"),
        ((lambda train, test, seed: (train, train),), "still holds"),
        ((lambda train, test, seed: (control(train, test)[0], train),), "should be"),
        ((lambda train, test, seed: ([], train),), "are of other voices"),
        ((lambda train, test, seed: 3,), "a pair"),
        ((lambda train, test, seed: tuple(map(set, control(train, test, seed))),), "keep an order"),
    ],
}  # fmt: skip
