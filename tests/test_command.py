"""The library's commands as a person types them: what `plan` says, and how errors are shown."""

from __future__ import annotations

import pytest

from mtlser.__main__ import main
from mtlser.files import write_json
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
