"""Tables of the reliability page, over invented rows and the committed ones."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import reliability as kept
from mtlser.files import write_json
from mtlser.report import reliability
from mtlser.runs.settings import Settings
from test_damages import COLUMNS as DAMAGES
from test_kills import COLUMNS as KILLS

ROOT = Path(__file__).parents[1]


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("RELIABILITY", str(tmp_path / "someone" / "reliability"))
    return Settings(results=tmp_path, artifacts=tmp_path)


def test_a_line_is_kept_once_and_counted(settings):
    for event, outcome in (("3", "failed"), ("4", "survived"), ("3", "survived")):
        kept.keep("kills.csv", KILLS, "killed", "train", "worker", event, "SIGKILL", "self", outcome)
    kept.keep("kills.csv", KILLS, "full disk", "train", "all", 300, "–", "–", "not reached")
    assert kept.is_kept("kills.csv", "killed", "train", "worker", 4, "SIGKILL", "self")
    assert not kept.is_kept("kills.csv", "killed", "train", "worker", 5, "SIGKILL", "self")
    table = reliability.kills(reliability.read("kills", settings))
    assert table.to_dict("records") == [{"what": "killed", "call": "train", "tried": 2, "survived": 2}]
    for file, outcome in (("a", "caught"), ("b", "right"), ("c", "caught")):
        kept.keep("damages.csv", DAMAGES, "nemo", "audio", "empty", file, outcome)
    [row] = reliability.damages(reliability.read("damages", settings)).to_dict("records")
    assert row == {"corpus": "nemo", "made": 3, "caught": 2, "right": 1, "other data": 0, "silent": 0}


def test_without_records_there_are_no_rows(settings):
    assert reliability.kills(reliability.read("kills", settings)).empty
    assert reliability.damages(reliability.read("damages", settings)).empty
    assert reliability.cluster(settings).empty


def test_the_jobs_of_a_cluster(settings):
    counts = {"submitted": 4, "timed_out": 1, "lost": 0, "slurm": "22.05.8", "nodes": 1, "runs": "smoke"}
    write_json(settings.results / "someone" / "reliability" / "cluster.json", counts)
    assert reliability.cluster(settings).to_numpy().tolist() == [["submitted", 4], ["timed out", 1], ["lost", 0]]


GOOD = {"kills": {"survived", "equal", "not reached"}, "damages": {"caught", "right", "other data"}}


@pytest.mark.parametrize("name", GOOD)
def test_nothing_that_is_committed_was_lost_or_silently_wrong(name):
    table = reliability.read(name, Settings(results=ROOT / "book" / "results", artifacts=ROOT / "nowhere"))
    assert isinstance(table, pd.DataFrame) and set(table["outcome"]) <= GOOD[name]
