"""What labs 4 and 5 look at: planned utterances without audio, and the predictions of finished runs."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
from sklearn.feature_extraction.text import CountVectorizer

from mtlser.config import get_preset
from mtlser.corpus.pocket_plan import plan_corpus

PROSODY = ["pitch", "rate_wpm", "pitch_range"]


# Lab 4.


def planned_utterances(speaker_deviation: float | None = None) -> pd.DataFrame:
    """The pocket corpus as it is planned, before anything is spoken; its names, texts, emotions and prosody settings.

    `speaker_deviation`: how much voices differ, for another corpus than the book's; texts and emotions stay the same.
    Columns as of `plan_corpus`. Raises ConfigError for a deviation out of range.
    """
    settings = get_preset("pocket").corpus
    if speaker_deviation is not None:
        settings = replace(settings, speaker_deviation=speaker_deviation)
    return plan_corpus(settings)


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
