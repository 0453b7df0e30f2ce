"""What labs 4 and 5 look at: planned utterances without audio, and the predictions of finished runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import CountVectorizer

from mtlser.config import ALPHAS, EMOTIONS, get_preset
from mtlser.corpus.pocket_plan import SPEAKERS, plan_corpus
from mtlser.paper import BASELINE, BEST
from mtlser.report.repeats import read_repeats
from mtlser.runs.experiments import HALF_RATE, changed
from mtlser.runs.records import Records, merge
from mtlser_book.readme import committed, committed_records

PROSODY = ["pitch", "rate_wpm", "pitch_range"]


def planned_utterances(speaker_deviation: float | None = None) -> pd.DataFrame:
    """The pocket corpus as it is planned, before anything is spoken; its names, texts, emotions and prosody settings.

    `speaker_deviation`: how much voices differ, for another corpus than the book's; texts and emotions stay the same.
    Columns as of `plan_corpus`. Raises ConfigError for a deviation out of range.
    """
    given = {} if speaker_deviation is None else {"speaker_deviation": speaker_deviation}
    return plan_corpus(replace(get_preset("pocket").corpus, **given))


def features(utterances: pd.DataFrame, *, voices: bool = False) -> pd.DataFrame:
    """One row an utterance, by name: which words it holds (0 or 1), and its pitch, rate and pitch range (standardised).

    `voices` adds, for each speaker, a column that says who speaks and the prosody of that speaker alone, 0 for others:
    from these a linear model learns each voice's own way of showing an emotion, if the voice is in its training set.
    """
    names = utterances["utterance"].to_list()
    words = CountVectorizer(binary=True, token_pattern=r"\S+")
    counts = pd.DataFrame.sparse.from_spmatrix(words.fit_transform(utterances["text"]), names).sparse.to_dense()
    counts.columns = words.get_feature_names_out()
    prosody = utterances[PROSODY].astype(float).set_axis(names)
    parts = [counts.astype(float), (prosody - prosody.mean()) / prosody.std()]
    for speaker, who in pd.get_dummies(utterances["speaker"], dtype=float).items() if voices else []:
        own = parts[1].mul(who.to_numpy(), axis=0).add_prefix(f"{speaker} ")
        parts.append(own.assign(**{speaker: who.to_numpy()}))
    return pd.concat(parts, axis=1)


ROOT = Path(__file__).parents[2]  # the project, where this package is not installed without it
INVENTED = "invented numbers, for practice: there are no records of Table 4 here"


def finished_predictions(root: Path = ROOT) -> tuple[pd.DataFrame, str]:
    """The committed predictions of Table 4 on the pocket corpus, and in words where they come from.

    Columns: utterance, speaker, alpha, label, prediction; one seed, the lowest. Where the project's records are not
    here, or lack all ten speakers for alpha 0 or for every other, the numbers are invented, and the words say so.
    """
    records = committed_records(root, "pocket").only(status="done")
    table = _whole(records)
    if 0.0 not in set(table["alpha"]) or table["alpha"].nunique() < 2:
        return invented_predictions(), INVENTED
    return table, f"{records.provenance}, {records.source}"


def _whole(records: Records) -> pd.DataFrame:
    """The predictions of one seed, the lowest, of the alphas that have all ten speakers."""
    table = records.predictions
    table = table[table["seed"] == table["seed"].min()]
    table = table[table.groupby("alpha")["speaker"].transform("nunique") == len(SPEAKERS)]
    return table[["utterance", "speaker", "alpha", "label", "prediction"]].reset_index(drop=True)


def trained_again(root: Path = ROOT) -> dict[str, pd.DataFrame]:
    """The same experiment under other conditions, as `finished_predictions` has it; without those not committed."""
    settings = committed(root)
    here = _whole(committed_records(root, "pocket").only(status="done"))
    half = _whole(changed(HALF_RATE, "pocket", settings).records().only(status="done"))
    found = {
        "the same on another machine": _whole(merge(repeat.there for repeat in read_repeats("pocket", settings)[:1])),
        HALF_RATE: half,
        "each α at its own rate": pd.concat([half[half["alpha"] == BASELINE], here[here["alpha"] == BEST]]),
    }
    return {name: table for name, table in found.items() if {BASELINE, BEST} <= set(table["alpha"])}


def invented_predictions() -> pd.DataFrame:
    """Predictions as of five models, of which some are a little better than others; nobody made them by a run."""
    draw = np.random.default_rng(0)
    names = [f"{speaker}_invented_{speaker[-1]}{n:03d}" for speaker in SPEAKERS for n in range(100)]
    labels = draw.choice(EMOTIONS, len(names))
    ease = draw.normal(size=len(names)) + np.repeat(draw.normal(scale=0.3, size=len(SPEAKERS)), 100)
    tables = []
    for alpha, skill in zip(ALPHAS, (0.7, 0.6, 0.72, 0.78, 0.55), strict=True):
        right = ease + draw.normal(scale=0.4, size=len(names)) + skill > 0
        others = np.array([EMOTIONS[(EMOTIONS.index(label) + 1) % len(EMOTIONS)] for label in labels])
        columns = {"utterance": names, "speaker": [name[:6] for name in names], "alpha": alpha, "label": labels}
        tables.append(pd.DataFrame({**columns, "prediction": np.where(right, labels, others)}))
    return pd.concat(tables, ignore_index=True)


def invented_pairs(counts: list[tuple[int, int]], utterances: int = 100) -> pd.DataFrame:
    """Pairs of right (1) and wrong (0) of ten invented speakers, `utterances` each: columns speaker, first, second.

    `counts`, one pair a speaker: how many utterances only the first model, and only the second, got right.
    """
    rows = []
    for speaker, (only_first, only_second) in zip(SPEAKERS, counts, strict=True):
        both = utterances * 7 // 10
        neither = utterances - both - only_first - only_second
        kinds = [(1, 0)] * only_first + [(0, 1)] * only_second + [(1, 1)] * both + [(0, 0)] * neither
        rows += [(f"{speaker}_{n:03d}", speaker, *kind) for n, kind in enumerate(kinds)]
    return pd.DataFrame(rows, columns=["utterance", "speaker", "first", "second"]).set_index("utterance")


def invented_claims() -> dict[str, pd.DataFrame]:
    """The tables that lab 5's claims A to C are about, each by the name of what is compared; all invented."""
    a = [(6, 6), (7, 6), (6, 7), (5, 6), (6, 5), (7, 7), (6, 6), (2, 28), (5, 5), (6, 7)]
    b = [(6, 8), (6, 9), (6, 7), (5, 9), (6, 8), (7, 10), (6, 8), (6, 7), (5, 8), (6, 10)]
    gains = {
        "model 3": (1, -2, 2, 0, -1, 1, 3, -2, 0, 1), "model 4": (4, 3, 5, 2, -2, 3, 1, -1, 4, 2),
        "model 5": (-1, 2, 0, 1, -3, 2, 0, -1, 1, -1), "model 6": (2, -3, 1, 1, 0, 2, -2, 1, 0, 1),
    }  # fmt: skip
    c = {f"C, {name}": [(6, 6 + gain) for gain in speakers] for name, speakers in gains.items()}
    return {name: invented_pairs(counts) for name, counts in {"A, model 2": a, "B, model 2": b, **c}.items()}
