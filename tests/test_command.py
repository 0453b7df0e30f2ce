"""The library's commands as a person types them: what `plan` says, and how errors are shown."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mtlser.__main__ import main
from mtlser.files import write_json
from mtlser.machine import library_environment
from mtlser.runs import experiments
from mtlser.runs import plan as plans
from mtlser.runs.records import read_run
from test_records import write_run
from tiny import tiny_plan, tiny_utterances


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """What `table4` gives the command: ten runs on a tiny corpus of tones."""
    plan = tiny_plan(tmp_path, tiny_utterances(tmp_path / "wavs"))
    monkeypatch.setattr(plans, "table4", lambda preset, settings: plan)
    return plan


def test_a_plan_without_finished_runs_quotes_published_practice(planned, capsys):
    assert main(["plan", "--preset", "smoke"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == ["smoke, protocol speaker: 10 runs", "status  missing", "alpha          "]
    alphas = ("0.000", "0.001", "0.010", "0.100", "1.000")
    assert [line.split() for line in said[3:8]] == [[alpha, "2"] for alpha in alphas]
    assert said[8:10] == [
        "missing: 10 runs",
        "time: not measured yet; at the published 104 audio-seconds a second of one V100 at most 0 hours",
    ]
    memory, disk = said[10:]
    assert memory.startswith("memory: 0.00 GiB a run for weights") and disk.startswith("disk: 0.00 GiB for records")


def test_a_plan_counts_on_finished_runs_and_names_failed_ones(planned, capsys):
    for run, status in zip(planned.runs, ("done", "done", "failed"), strict=False):
        write_run(run.folder.parent, run.folder.name)
        write_json(run.folder / "run.json", read_run(run.folder) | {"status": status, "seconds": 4500.0})
    assert main(["plan", "--preset", "smoke"]) == 0
    said = capsys.readouterr().out
    assert "\nstatus  done  failed  missing\n" in said
    assert f"\nfailed: {planned.runs[2].run_id}\nmissing: 8 runs\n" in said
    assert "\ntime: 10.0 hours of one worker (cpu, mean of 2 finished runs); divided by the workers at once\n" in said


def test_a_plan_without_its_corpus_says_what_makes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MTLSER_ARTIFACTS", str(tmp_path))
    assert main(["plan", "--preset", "smoke"]) == 0
    said = "smoke: the corpus is not made yet; `make reproduce` makes it, for 10 runs\n"
    assert capsys.readouterr().out == said
    monkeypatch.setenv("MTLSER_FOLDS", "Ses01F")
    assert main(["plan"]) == 0 and capsys.readouterr().out == said.replace("smoke", "pocket").replace("10", "5")


def test_an_error_of_the_library_is_one_line_and_any_other_says_where(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MTLSER_EPOCHS", "many")
    assert main(["corpus"]) == 1
    assert capsys.readouterr().err.startswith("error: MTLSER_EPOCHS='many': ")
    monkeypatch.delenv("MTLSER_EPOCHS")
    monkeypatch.setenv("MTLSER_ARTIFACTS", str(tmp_path))
    assert main(["predict", "nothing.wav"]) == 1 and capsys.readouterr().err.count("\n") == 1
    assert main(["corpus", "--preset", "iemocap"]) == 1 and "make reproduce IEMOCAP=" in capsys.readouterr().err

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(plans, "table4", broken)
    with pytest.raises(ZeroDivisionError):
        main(["plan"])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("EPOCH", "1", "MTLSER_EPOCH is not known; there are MTLSER_ACCEPT_LICENCE, "),
        ("EPOCHS", "0", "MTLSER_EPOCHS='0': use a whole number from 1 on"),
        ("WORKERS", "-1", "MTLSER_WORKERS='-1': use a whole number"),
        ("LEARNING_RATE", "nan", "MTLSER_LEARNING_RATE='nan': use a number"),
        ("LEARNING_RATE", "0", "learning_rate=0.0 is out of range"),
        ("ALPHAS", ",", "MTLSER_ALPHAS=',': name one or more"),
        ("SEEDS", "0,0", "MTLSER_SEEDS='0,0': name one or more, each once"),
        ("FRESH", "yes", "MTLSER_FRESH='yes': use 0 or 1"),
        ("PROTOCOL", "sessions", "protocol='sessions' is out of range"),
        ("ARTIFACTS", "~nobody-here/x", "MTLSER_ARTIFACTS='~nobody-here/x': "),
        ("RELEASE", "/data/IEMOCAP", "MTLSER_RELEASE (IEMOCAP=, FOLDER=) is for another preset than smoke"),
    ],
)
def test_an_option_that_is_unknown_empty_or_out_of_range_is_an_error(monkeypatch, capsys, name, value, said):
    monkeypatch.setenv(f"MTLSER_{name}", value)
    assert main(["plan", "--preset", "smoke"]) == 1
    assert said in capsys.readouterr().err


def test_what_the_system_refuses_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MTLSER_ARTIFACTS", str(tmp_path / "file" / "inside"))
    assert main(["corpus", "--preset", "smoke"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and str(tmp_path / "file") in said and said.count("\n") == 1


def test_nobody_is_told_that_nobody_reads_on(tmp_path):
    """`python -m mtlser corpora | head -0`: the pipe is closed before anything is printed."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "mtlser", "corpora"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=library_environment(), cwd=tmp_path)
    os.close(writer)
    assert done.returncode == 1 and done.stderr == b""


@pytest.mark.parametrize("command", [["share"], ["reference"], ["bench", "--contributor"]], ids=lambda words: words[0])
@pytest.mark.parametrize("name", ["", ".", "..", "a b", "a/b", "../a", "/tmp/a", "me.new", "ä", "x" * 65])
def test_a_contributor_is_one_plain_word(command, name, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([*command, name])
    assert "names no folder of results" in capsys.readouterr().err


def test_ctrl_c_says_that_nothing_is_lost(monkeypatch, capsys):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setitem(experiments.EXPERIMENTS, "table4", stopped)
    assert main(["run"]) == 130 and "the same command goes on from there" in capsys.readouterr().err
