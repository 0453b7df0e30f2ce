"""The reference measures what it says, each fold by what the others teach."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from mtlser.__main__ import main
from mtlser.config import EMOTIONS
from mtlser.corpus import OPEN_CORPORA
from mtlser.runs.open_corpora import corpora_table, results_folder, write_licence
from mtlser.runs.reference import frozen_features, linear, look_up, majority, write_reference
from mtlser.runs.settings import Settings
from tiny import tiny_plan, tiny_utterances


def corpus(rows: list[tuple[str, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["speaker", "emotion", "transcript"])


def test_look_up_of_the_text_and_majority_by_hand():
    utterances = corpus([
        ("a", "sad", "Rain."), ("a", "sad", "rain"), ("a", "angry", "Sun"), ("a", "happy", "It's cold"),
        ("a", "sad", "It's cold"), ("b", "happy", "RAIN!"), ("b", "happy", "sun"), ("b", "sad", "never heard"),
        ("b", "sad", "it's cold"),
    ])  # fmt: skip
    train, test = np.arange(5), np.arange(5, 9)
    assert list(majority(utterances)(train, test)) == ["sad"] * 4
    # Of the tie between happy and sad the commoner of all; so too for a text that was not heard.
    assert list(look_up(utterances)(train, test)) == ["sad", "angry", "sad", "sad"]


def test_the_linear_classifier_finds_what_is_linear_and_nothing_in_noise():
    random = np.random.default_rng(0)
    utterances = corpus([(f"s{n % 6}", EMOTIONS[n // 6 % 4], "") for n in range(240)])
    labels = utterances["emotion"].map(EMOTIONS.index).to_numpy()
    noise = random.standard_normal((240, 8))
    told = noise + 4 * np.eye(8)[labels]
    train, test = np.flatnonzero(utterances["speaker"] != "s0"), np.flatnonzero(utterances["speaker"] == "s0")
    right = {
        name: np.mean(linear(features, utterances)(train, test) == utterances["emotion"].to_numpy()[test])
        for name, features in (("told", told), ("noise", noise))
    }
    assert right["told"] > 0.95 and right["noise"] < 0.5


def test_a_reference_is_written_for_every_fold(tmp_path):
    plan = tiny_plan(tmp_path, tiny_utterances(tmp_path / "wav"))
    record = json.loads(write_reference(plan, tmp_path / "reference").read_text())
    rows = pd.DataFrame(record["rows"])
    assert set(rows["fold"]) == {"Ses01F", "Ses01M", "Ses02F", "Ses02M"} and rows.groupby("fold").size().eq(3).all()
    accuracy = rows.groupby("classifier")["accuracy"].mean()
    assert accuracy["linear on frozen features"] > accuracy["majority"]  # a tone tells the emotion
    assert record["backbone_digest"] == plan.backbone_digest and record["protocol"] == "speaker"


def test_frozen_features_are_those_of_the_backbone_alone(tmp_path):
    plan = tiny_plan(tmp_path, tiny_utterances(tmp_path / "wav"))
    features = frozen_features(plan)
    assert features.shape == (24, 32) and np.isfinite(features).all()
    np.testing.assert_array_equal(features, frozen_features(plan))


# --- which corpora there are ---


def test_every_corpus_is_listed_with_its_licence_and_where_it_lies(tmp_path, capsys, monkeypatch):
    table = corpora_table(Settings(artifacts=tmp_path)).set_index("corpus")
    assert set(table.index) == {*OPEN_CORPORA, "iemocap", "pocket", "own"}
    assert table.loc["nemo", "licence"] == "CC BY-NC-SA 4.0" and table.loc["nemo", "speakers"] == 9
    assert table.loc["nemo", "here"].startswith("not here: https://github.com/amu-cai/nEMO")
    (tmp_path / "corpora" / "nemo").mkdir(parents=True)
    monkeypatch.setenv("MTLSER_ARTIFACTS", str(tmp_path))
    assert main(["corpora"]) == 0
    assert str(tmp_path / "corpora" / "nemo") in capsys.readouterr().out


@pytest.mark.parametrize("words", [["corpus"], ["run"]])
def test_a_corpus_that_is_not_here_shows_its_licence_and_what_to_type(tmp_path, monkeypatch, capsys, words):
    monkeypatch.setenv("MTLSER_ARTIFACTS", str(tmp_path))
    assert main([*words, "--preset", "ravdess"]) == 1
    said = capsys.readouterr().err
    assert "CC BY-NC-SA 4.0 (https://creativecommons.org/licenses/by-nc-sa/4.0/)" in said
    assert "make reproduce CORPUS=ravdess ACCEPT_LICENCE=1" in said and "FOLDER=<where it lies>" in said
    assert list(tmp_path.rglob("*.wav")) == []


def test_records_say_their_licence(tmp_path):
    assert results_folder("ravdess", tmp_path / "me") == tmp_path / "me-ravdess"
    assert results_folder("pocket", tmp_path / "me") == tmp_path / "me"
    for name, licence in (("ravdess", "CC BY-NC-SA 4.0"), ("emodb", "CC BY 4.0, as all records")):
        (tmp_path / name).mkdir()
        write_licence(name, tmp_path / name)
        assert licence in (tmp_path / name / "LICENSE.md").read_text(encoding="utf-8")
