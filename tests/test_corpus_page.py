"""What the corpus chapter shows: counts beside the known ones, and what each cue tells against the exact bound."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ElementTree

import pandas as pd
import pytest

from mtlser.config import EMOTIONS, PRESETS, PocketCorpusConfig
from mtlser.corpus import pocket
from mtlser.corpus.iemocap import ReleaseError, load_release
from mtlser.corpus.prosody import RUNGS, cue_accuracy, feature_accuracy, measure_prosody, read_cues
from mtlser.paper import NUM_UTTERANCES, SPEAKER_TEST_SIZES
from mtlser.report import corpus, display, figures, speech_figures
from sentences import cell, read

TINY = PocketCorpusConfig(utterances_per_speaker=8)


@pytest.fixture(scope="module")
def utterances(tmp_path_factory):
    return load_release(pocket.write_release(tmp_path_factory.mktemp("tiny"), TINY, workers=1))


@pytest.fixture(scope="module")
def prosody(utterances):
    return measure_prosody(utterances)


def page_table(name: str) -> pd.DataFrame:
    """A table that the page makes itself."""
    return cell("corpus", f"display.show({name}, ", pd=pd, display=display)[name]


def test_counts_stand_beside_the_known_ones(utterances):
    table = corpus.counts(utterances).set_index("utterances")
    assert table.loc["all", "IEMOCAP"] == NUM_UTTERANCES and table.loc["all", "here"] == len(utterances)
    assert table.loc[list(EMOTIONS), "here"].sum() == len(utterances)
    assert table.loc[["improvised", "scripted"], "IEMOCAP"].sum() == NUM_UTTERANCES
    by_speaker = corpus.speakers(utterances).set_index("speaker")
    assert by_speaker["IEMOCAP"].to_dict() == SPEAKER_TEST_SIZES
    assert by_speaker.loc["Ses04F", "IEMOCAP, fewest"] == "62 sad"
    assert set(by_speaker["here"]) == {TINY.utterances_per_speaker}


def test_durations_hold_the_known_points_and_the_corpus(utterances):
    points = corpus.durations(utterances)
    known = points[points["corpus"] == "IEMOCAP"].set_index("share")["seconds"]
    assert (known[0.0], known[0.5], known[1.0]) == (0.585, 3.58, 34.139)
    ours = points[points["corpus"] == "pocket"]["seconds"]
    assert (ours.iloc[0], ours.iloc[-1]) == (corpus.seconds_of(utterances).min(), corpus.seconds_of(utterances).max())
    lengths = corpus.lengths(utterances).set_index("measure")
    assert lengths.loc["transcripts without a word", "IEMOCAP"] == 31
    assert lengths.loc["transcripts without a word", "here"] >= 1


def test_cues_are_those_that_the_generator_drew(utterances, tmp_path):
    cues = read_cues(utterances)
    assert list(cues["utterance"]) == list(utterances["utterance"])
    assert list(cues["emotion"]) == list(utterances["emotion"])
    wav = tmp_path / "a" / "b" / "c" / "d" / "e.wav"
    with pytest.raises(ReleaseError, match="only a pocket corpus"):
        read_cues(pd.DataFrame({"utterance": ["e"], "wav": [str(wav)]}))


def test_the_drawn_cues_tell_what_the_bound_says():
    for changes in ({}, {"arousal_cue_probability": 1.0, "valence_cue_probability": 0.5}):
        settings = dataclasses.replace(PRESETS["pocket"].corpus, **changes)
        drawn = cue_accuracy(pocket.plan_corpus(settings))
        assert drawn == pytest.approx(pocket.bayes_accuracy(settings), abs=0.03)


def test_simple_features_tell_more_than_nothing_and_less_than_all(utterances, prosody):
    shares = feature_accuracy(utterances, prosody)
    assert shares["neither"] < shares["prosody"] < 1
    told = corpus.what_tells(utterances, prosody, TINY)
    assert list(told["who knows"])[1:] == ["prosody alone", "words alone", "both"]
    assert told["best possible, by the settings"].iloc[3] in read("corpus", "who knows", told=told, display=display)


def test_letters_are_counted(utterances, prosody):
    table = utterances.assign(transcript=utterances["emotion"])  # spelled differently, so that letters tell all
    rungs = feature_accuracy(table, prosody, rungs=["letters"])
    assert rungs["letters"] == 1 > rungs["neither"]


def test_a_ladder_on_some_voices_is_the_right_answers_there(utterances, prosody):
    names = sorted(utterances["speaker"].unique())
    whole = feature_accuracy(utterances, prosody, None, RUNGS)
    assert set(whole) == {"neither", "duration", "letters", "prosody", "words", "both"}
    size = utterances.groupby("speaker").size()
    parts = {name: feature_accuracy(utterances, prosody, [name], RUNGS) for name in names}
    for rung in RUNGS:
        assert sum(parts[name][rung] * size[name] for name in names) / size.sum() == pytest.approx(whole[rung])


def test_repeated_texts_and_differences(utterances):
    assert list(corpus.repeated_text(utterances)["IEMOCAP"]) == ["22.1%", "8.2%", "76%"]
    assert list(page_table("differences")["topic"]) == ["16. Transcripts", "3. Repeated text"]
    assert list(page_table("styles").iloc[2])[1:] == ["(empty)", "BR␣"]


def test_every_table_and_figure_of_the_page_is_drawn(utterances, prosody):
    tables = [corpus.counts(utterances), corpus.speakers(utterances), corpus.lengths(utterances), page_table("cues"),
              page_table("differences"), page_table("styles"), corpus.repeated_text(utterances)]  # fmt: skip
    for table in tables:
        assert "<th></th>" not in display.show(table, "Title", "Made for this test").html
    shown = prosody.join(utterances[["speaker", "emotion"]])
    for function, data in ((speech_figures.voices, shown), (speech_figures.durations, corpus.durations(utterances))):
        svg = figures.draw(function, data, "dark")
        ElementTree.fromstring(svg)
        assert len(svg) < 150_000 and "<image" not in svg
