"""What the chapter on the corpus shows: counts beside IEMOCAP's known ones, durations, sounds, what each cue tells."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from mtlser import paper
from mtlser.config import DATA_FOLDER, EMOTIONS, PocketCorpusConfig, get_preset
from mtlser.corpus.folds import audit, make_folds
from mtlser.corpus.pocket_plan import AROUSAL, VALENCE, bayes_accuracy
from mtlser.corpus.pocket_text import VALENCE_WORDS
from mtlser.corpus.prosody import cue_accuracy, feature_accuracy, read_cues
from mtlser.corpus.release_counts import count_utterances, iemocap_counts
from mtlser.corpus.text import normalise, released_style
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


def cue_table() -> pd.DataFrame:
    """Which side of each cue an emotion shows, as the generator of the pocket corpus has it."""
    sides = {"high": "faster, higher, livelier", "low": "slower, lower, flatter"}
    words = {valence: ", ".join(pairs[0][place] for pairs in VALENCE_WORDS.values())
             for place, valence in enumerate(("positive", "negative"))}  # fmt: skip
    return pd.DataFrame(
        {"emotion": emotion, "arousal": AROUSAL[emotion], "prosody": sides[AROUSAL[emotion]],
         "valence": VALENCE[emotion], "words such as": words[VALENCE[emotion]]}
        for emotion in EMOTIONS
    )  # fmt: skip


def what_tells(utterances: pd.DataFrame, prosody: pd.DataFrame, settings: PocketCorpusConfig) -> pd.DataFrame:
    """Accuracy from each set of cues: at best by the settings, on the cues as drawn, from simple measurements."""
    best = bayes_accuracy(settings)
    drawn = cue_accuracy(read_cues(utterances))
    measured = feature_accuracy(utterances, prosody)
    names = {"neither": "nothing: always the commonest", "prosody": "prosody alone", "words": "words alone",
             "both": "both"}  # fmt: skip
    return pd.DataFrame(
        {"who knows": label, "best possible, by the settings": tenths(best[name]), "cues as drawn": tenths(drawn[name]),
         "simple measurements, speaker left out": tenths(measured[name])}
        for name, label in names.items()
    )  # fmt: skip


def differences(*numbers: int) -> pd.DataFrame:
    """Rows of the audit by number: columns topic, as written, as released, this book."""
    chosen = [row for number in numbers for row in paper.DEPARTURES if row.number == number]
    rows = [(f"{row.number}. {row.topic}", row.paper, row.released, row.ours) for row in chosen]
    return pd.DataFrame(rows, columns=["topic", "as written", "as released", "this book"])


def transcript_styles() -> pd.DataFrame:
    """Transcripts as a release writes them, invented, in both styles of difference 16; spaces are shown as ␣."""
    texts = ("My sister helped us in the garden.", "My sister helped us. [LAUGHTER] In the garden!", "[BREATHING]")
    rows = [(text, normalise(text) or "(empty)", released_style(text).replace(" ", "␣")) for text in texts]
    heads = ["in the release", "normalised, this book's default", "as released, approximated"]
    return pd.DataFrame(rows, columns=heads)


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
