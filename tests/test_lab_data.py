"""What labs 4 and 5 look at is what they say it is."""

from __future__ import annotations

import pytest

from mtlser.config import ConfigError
from mtlser_book import lab_data


def test_voices_that_differ_more_say_the_same_texts_with_other_prosody():
    alike, unlike = lab_data.planned_utterances(), lab_data.planned_utterances(1.0)
    same = ["utterance", "speaker", "emotion", "text"]
    assert alike[same].equals(unlike[same])
    spread = [table.groupby("speaker")["pitch"].mean().std() for table in (alike, unlike)]
    assert spread[1] > 1.5 * spread[0] > 0
    with pytest.raises(ConfigError, match="speaker_deviation"):
        lab_data.planned_utterances(9.0)


def test_features_are_words_and_prosody_and_each_voices_own_where_wanted():
    utterances = lab_data.planned_utterances().iloc[::10]
    plain, voices = (lab_data.features(utterances, voices=wanted) for wanted in (False, True))
    assert list(plain.index) == list(voices.index) == list(utterances["utterance"])
    first = utterances.iloc[0]
    said = plain.iloc[0].drop(lab_data.PROSODY)
    assert set(said[said == 1].index) == set(first["text"].lower().split())
    assert plain["pitch"].mean() == pytest.approx(0, abs=1e-9) and plain["pitch"].std() == pytest.approx(1)
    own = voices.drop(columns=plain.columns)
    assert own.shape[1] == 4 * 10
    assert own.iloc[0][first["speaker"]] == 1 and own.iloc[0][f"{first['speaker']} pitch"] == plain["pitch"].iloc[0]
    others = [name for name in own if not name.startswith(first["speaker"])]
    assert (own.iloc[0][others] == 0).all()
