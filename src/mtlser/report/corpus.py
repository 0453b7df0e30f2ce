"""What the chapter on the corpus shows: counts beside IEMOCAP's known ones, durations, sounds, what each cue tells."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from mtlser.config import DATA_FOLDER, EMOTIONS, PocketCorpusConfig, get_preset
from mtlser.corpus.folds import audit, make_folds
from mtlser.corpus.pocket_plan import bayes_accuracy
from mtlser.corpus.prosody import cue_accuracy, feature_accuracy, read_cues
from mtlser.corpus.release_counts import count_utterances, iemocap_counts
from mtlser.corpus.text import normalise
from mtlser.report.display import tenths

# What examples are made of, whatever the preset: nothing of IEMOCAP may be shown or played.
EXAMPLES = get_preset("pocket").corpus


def iemocap_durations() -> dict:
    """What the audit found of IEMOCAP's audio and transcripts: data/iemocap_durations.json."""
    return json.loads((DATA_FOLDER / "iemocap_durations.json").read_text(encoding="utf-8"))


def counts(utterances: pd.DataFrame) -> pd.DataFrame:
    """Utterances by emotion and by kind of dialog, then in all: columns utterances, IEMOCAP, pocket, with shares."""
    known, found = iemocap_counts(), count_utterances(utterances)
    keys = [("by_emotion", emotion, emotion) for emotion in EMOTIONS]
    keys += [("by_dialog_kind", "impro", "improvised"), ("by_dialog_kind", "script", "scripted")]
    rows = [(name, known[by][key], found[by].get(key, 0)) for by, key, name in keys]
    table = pd.DataFrame([*rows, ("all", known["total"], found["total"])], columns=["utterances", "IEMOCAP", "here"])
    table.insert(2, "IEMOCAP, share", (table["IEMOCAP"] / known["total"]).map(tenths))
    return table.assign(**{"here, share": (table["here"] / found["total"]).map(tenths)})


def speakers(utterances: pd.DataFrame) -> pd.DataFrame:
    """Utterances of each speaker: columns speaker, IEMOCAP, here, and of each the smallest class."""
    known, found = iemocap_counts()["by_speaker"], count_utterances(utterances)["by_speaker"]
    table = pd.DataFrame({"speaker": sorted(set(known) & set(found))})
    for heading, numbers in (("IEMOCAP", known), ("here", found)):
        classes = pd.DataFrame([numbers[name] for name in table["speaker"]]).reindex(columns=list(EMOTIONS)).fillna(0)
        table[heading] = [numbers[name]["total"] for name in table["speaker"]]
        table[f"{heading}, fewest"] = [f"{row[row.idxmin()]:g} {row.idxmin()}" for _, row in classes.iterrows()]
    return table


def seconds_of(utterances: pd.DataFrame) -> pd.Series:
    """Duration of each utterance."""
    return utterances["end_seconds"] - utterances["start_seconds"]


def durations(utterances: pd.DataFrame) -> pd.DataFrame:
    """Points of both distributions: columns seconds, share (of utterances not longer), corpus, label."""
    known, shares = iemocap_durations()["seconds"], np.linspace(0, 1, 101)
    places = {"shortest": 0.0, "median": 0.5, "95%": 0.95, "99%": 0.99, "longest": 1.0}
    marks = pd.DataFrame({"seconds": [known[name] for name in places], "share": places.values()})
    curve = pd.DataFrame({"seconds": np.quantile(seconds_of(utterances), shares), "share": shares})
    parts = [marks.assign(corpus="IEMOCAP", label="IEMOCAP, known points"),
             curve.assign(corpus="pocket", label="this corpus (synthetic)")]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def lengths(utterances: pd.DataFrame) -> pd.DataFrame:
    """Durations in numbers and what else is known of audio and transcripts: columns measure, IEMOCAP, here."""
    known, ours = iemocap_durations(), seconds_of(utterances)
    found = {"shortest": ours.min(), "median": ours.median(), "mean": ours.mean(), "95%": ours.quantile(0.95),
             "99%": ours.quantile(0.99), "longest": ours.max()}  # fmt: skip
    rows = [(f"{name}, s", f"{known['seconds'][name]:g}", f"{value:.2f}") for name, value in found.items()]
    texts = utterances["transcript"]
    rows.append(("in all, h", f"{known['hours']:.2f}", f"{ours.sum() / 3600:.2f}"))
    rows.append(("transcripts without a word", known["num_empty_transcripts"], int((texts.map(normalise) == "").sum())))
    for tag, number in known["num_tags"].items():
        rows.append((f"transcripts with [{tag}]", number, int(texts.str.upper().str.contains(tag, regex=False).sum())))
    return pd.DataFrame(rows, columns=["measure", "IEMOCAP", "here"])


def what_tells(utterances: pd.DataFrame, prosody: pd.DataFrame, settings: PocketCorpusConfig) -> pd.DataFrame:
    """Accuracy from each set of cues: at best by the settings, on the cues as drawn, from simple measurements."""
    names = {"neither": "nothing: always the commonest", "prosody": "prosody alone", "words": "words alone",
             "both": "both"}  # fmt: skip
    shares = {"best possible, by the settings": bayes_accuracy(settings),
              "cues as drawn": cue_accuracy(read_cues(utterances)),
              "simple measurements, speaker left out": feature_accuracy(utterances, prosody)}  # fmt: skip
    return pd.DataFrame(shares).loc[list(names)].map(tenths).rename(index=names).reset_index(names="who knows")


def repeated_text(utterances: pd.DataFrame) -> pd.DataFrame:
    """Difference 3 on both corpora, speaker folds: columns measure, IEMOCAP, here."""
    table = audit(utterances, make_folds(utterances, "speaker"))
    sums = table[["num_with_text", "num_repeated", "num_five_words", "num_repeated_five_words"]].sum()
    right = (table["repeated_text_majority_right"] * table["num_repeated"]).sum() / max(sums["num_repeated"], 1)
    rows = [  # IEMOCAP's are of the audit (difference 3), speaker folds
        ("test texts that are in training, word for word", "22.1%", sums["num_repeated"] / sums["num_with_text"]),
        ("the same among texts of five words or more", "8.2%",
         sums["num_repeated_five_words"] / max(sums["num_five_words"], 1)),
        ("repeated texts whose commonest emotion in training is right", "76%", right),
    ]  # fmt: skip
    found = pd.DataFrame(rows, columns=["measure", "IEMOCAP", "here"])
    return found.assign(here=found["here"].map(tenths))
