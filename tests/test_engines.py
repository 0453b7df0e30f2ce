import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import psutil
import pytest
import soundfile

from mtlser.__main__ import main
from mtlser.config import ConfigError
from mtlser.corpus.iemocap import ReleaseError
from mtlser.model.backbone import BackboneError
from mtlser.runs import complete, engines, work
from mtlser.runs.engines import RunsFailed
from mtlser.runs.records import read_run
from tiny import tiny_plan, tiny_utterances


@pytest.fixture
def utterances(tmp_path):
    return tiny_utterances(tmp_path / "wav")


@pytest.fixture
def plan(tmp_path, utterances):
    return tiny_plan(tmp_path, utterances, alphas=(0.0, 0.1), workers=2)


def comparable(records):
    """Everything but times and hardware."""
    times = ["seconds", "started", "finished", "device", "launched_by"]
    runs = records.runs.drop(columns=times).sort_values("run_id", ignore_index=True)
    history = records.history.drop(columns="seconds").sort_values(["run_id", "epoch"], ignore_index=True)
    return runs, history, records.predictions.sort_values(["run_id", "utterance"], ignore_index=True)


def assert_same(one, other):
    for left, right in zip(comparable(one), comparable(other), strict=True):
        pd.testing.assert_frame_equal(left, right, check_exact=True)


def test_completing_in_parts_equals_completing_at_once_and_a_second_call_trains_nothing(plan, tmp_path, monkeypatch):
    first = complete(plan.only(alpha=0.1))
    assert first.runs["status"].tolist() == ["done", "done"] and len(plan.missing()) == 2
    whole = complete(plan)
    assert len(whole.runs) == 4 and not plan.missing()
    lines = (tmp_path / "progress.log").read_text()
    assert "[4/4]" in lines and "left" in lines
    assert not list((tmp_path / "artifacts" / "orders").glob("*"))
    monkeypatch.setattr(engines, "ENGINES", {"local": lambda *_: pytest.fail("trained again")})
    assert_same(complete(plan), whole)

    monkeypatch.undo()
    alone = tiny_plan(tmp_path / "again", plan.corpus.utterances, alphas=(0.0, 0.1), workers=1)
    assert_same(complete(alone), whole)  # one worker or two, at once or in parts


def test_without_training_complete_only_reads(tmp_path, utterances):
    assert complete(tiny_plan(tmp_path, utterances, train=False)).runs.empty
    assert not (tmp_path / "artifacts" / "runs").exists()


def test_a_killed_worker_fails_its_run_alone_and_the_next_call_finishes_it(plan, monkeypatch):
    """The kernel may kill a worker where memory runs out; here the first to start a run is killed at once."""
    killed = []
    start = engines._Crew._start

    def start_and_kill(self, number, log):
        worker = start(self, number, log)
        if not killed:
            killed.append(worker)
            wait_for_a_run(plan, worker)
            worker.send_signal(signal.SIGKILL)
        return worker

    monkeypatch.setattr(engines._Crew, "_start", start_and_kill)
    one_worker = replace(plan, settings=replace(plan.settings, workers=1))
    with pytest.raises(RunsFailed, match="1 of 4 runs failed") as failure:
        complete(one_worker)
    assert plan.runs[0].run_id in str(failure.value) and "killed by signal 9" in str(failure.value)
    assert [run.status for run in plan.runs] == ["running", "done", "done", "done"]
    monkeypatch.undo()
    assert complete(plan).runs["status"].tolist() == ["done"] * 4


def wait_for_a_run(plan, worker):
    """Until the worker trains the plan's first run."""
    deadline = time.monotonic() + 300
    while plan.runs[0].status != "running":
        assert worker.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)


def test_a_failing_run_is_recorded_and_the_others_finish(plan, monkeypatch):
    describe = work._task

    def broken(plan, run):
        return describe(plan, run) | ({"backbone": "./nowhere"} if run == plan.runs[1] else {})

    monkeypatch.setattr(work, "_task", broken)
    with pytest.raises(RunsFailed, match="nowhere"):
        complete(plan)
    assert [run.status for run in plan.runs] == ["done", "failed", "done", "done"]
    assert "nowhere" in read_run(plan.runs[1].folder)["error"]


def test_a_worker_that_cannot_start_fails_the_runs(plan, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no memory")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(RunsFailed, match="did not start"):
        complete(plan)
    assert "did not start: no memory" in plan.settings.progress.read_text()


def test_a_run_that_another_process_trains_is_waited_for(plan):
    """Two calls at once train every run once, and both have all records."""
    order = work.write_order(plan, plan.runs)
    other = subprocess.Popen(engines.order_command(order, "--shard", "1/1"), env=os.environ | library(), text=True)
    found = complete(plan)
    assert other.wait() == 0
    assert found.runs["status"].tolist() == ["done"] * 4


def library():
    return {"PYTHONPATH": os.pathsep.join(sys.path)}


def test_workers_end_when_their_parent_is_killed(plan, tmp_path):
    order = work.write_order(plan, plan.runs)
    script = (
        "import subprocess, sys, time\n"
        f"worker = subprocess.Popen({engines.order_command(order, '--worker')!r}, stdin=subprocess.PIPE)\n"
        "print(worker.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ | library()
    )
    worker = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    gone, alive = psutil.wait_procs([worker], timeout=60)
    assert not alive


def test_a_missing_backbone_is_one_error_before_any_worker_starts(plan, tmp_path, utterances):
    other = tiny_plan(tmp_path, utterances, backbone=str(tmp_path / "backbone"))
    _ = other.runs
    (tmp_path / "backbone" / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"needs config\.json and one of"):
        complete(other)


def test_slurm_s_path_and_shards_leave_the_same_records(tmp_path, utterances, monkeypatch):
    local = complete(tiny_plan(tmp_path, utterances, alphas=(0.1,), workers=1))
    monkeypatch.setenv("MTLSER_SLURM", '{"cluster": "local", "gpus_per_node": 0}')
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    submitted = complete(tiny_plan(tmp_path / "slurm", utterances, alphas=(0.1,), engine="slurm"))
    assert set(submitted.runs["launched_by"]) == {"engine slurm"}
    assert_same(submitted, local)

    shards = tiny_plan(tmp_path / "shards", utterances, alphas=(0.1,), workers=1)
    assert complete(shards, (2, 2)).runs["fold"].tolist() == ["Ses01M"]
    assert_same(complete(shards, (1, 2)), local)


@pytest.mark.parametrize(
    ("workers", "visible", "expected"),
    [(None, "", ["0", "1"]), (4, "", ["0", "0", "1", "1"]), (4, "5,7", ["5", "5", "7", "7"])],
)
def test_workers_share_the_gpus_there_are(plan, monkeypatch, workers, visible, expected):
    """Two GPUs: one worker on each by default, and WORKERS=4 puts two on each."""
    started = []

    class Worker:
        def __init__(self, *_, env, **__):
            started.append(env["CUDA_VISIBLE_DEVICES"])
            self.stdin, self.stdout = io.StringIO(), io.StringIO()

        def poll(self):
            return 0

        wait = kill = poll

    monkeypatch.setattr(engines, "num_gpus", lambda: 2)
    monkeypatch.setattr(subprocess, "Popen", Worker)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(RunsFailed):  # these workers train nothing
        complete(replace(plan, settings=replace(plan.settings, workers=workers, device="any"), alphas=(0.0, 0.1)))
    assert sorted(started) == expected


def test_an_unknown_engine_lists_the_known(tmp_path, utterances):
    with pytest.raises(ConfigError, match="cloud.*local, slurm"):
        complete(tiny_plan(tmp_path, utterances, engine="cloud"))


def test_a_shard_that_is_none_is_refused(capsys):
    for shard in ("0/2", "3/2", "a/b", "1"):
        with pytest.raises(SystemExit):
            main(["run", "table4", "--shard", shard])
        assert "is not K/N" in capsys.readouterr().err


def test_what_every_run_of_a_machine_would_say_is_said_once(plan):
    shown = engines.Progress(plan, plan.runs)
    for _ in range(2):
        shown.say_once("no instructions")
    assert plan.settings.progress.read_text().count("no instructions") == 1


def test_the_estimate_grows_from_what_was_measured(plan, monkeypatch):
    def record(run):
        run.folder.mkdir(parents=True)
        (run.folder / "run.json").write_text('{"status": "diverged", "config": {}}')

    progress = engines.Progress(plan, plan.runs)
    assert progress._left() == "no estimate yet"
    monkeypatch.setattr(time, "monotonic", lambda: progress.started + 300.0)
    record(plan.runs[0])
    progress.end(plan.runs[0].run_id, "done", 300.0)
    assert progress.ended == 1 and progress._left() == "about 15 min left"  # three runs at five minutes each
    for run in plan.runs[1:3]:
        record(run)
    progress.end(plan.runs[1].run_id, "done", 300.0)  # and one that another call trained
    assert progress.ended == 3 and progress._left() == "about 2 min left"  # one run, as two took five minutes


def test_an_order_is_plain_values(plan):
    order = json.loads(work.write_order(plan, plan.runs).read_text())
    assert [task["run_id"] for task in order["runs"]] == [run.run_id for run in plan.runs]
    assert order["runs"][0]["record"]["system"] == "multitask"


@pytest.mark.parametrize("given", ["{bad", "[1]", '{"cluster": "local", "no_such_parameter": 1}', "{}"])
def test_without_slurm_nothing_falls_back_to_this_machine(tmp_path, utterances, monkeypatch, given):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("MTLSER_SLURM", given)
    with pytest.raises(ConfigError, match="no Slurm" if given == "{}" else "MTLSER_SLURM="):
        complete(tiny_plan(tmp_path, utterances, engine="slurm"))
    assert not (tmp_path / "artifacts" / "runs").exists()


def test_every_utterance_that_no_run_could_train_on_is_named_before_any_is_started(tmp_path, utterances):
    short, digit, umlaut = utterances["utterance"].iloc[[1, 5, 9]]
    soundfile.write(utterances["wav"].iloc[1], np.full(600, 0.1), 16_000)
    utterances.loc[[5, 9], "transcript"] = ["Meet at 7.", "Größe"]
    with pytest.raises(ReleaseError, match="2 utterances can't be trained on") as caught:
        complete(tiny_plan(tmp_path, utterances))
    said = str(caught.value)
    assert f"{digit}: '7' in its transcript" in said and f"{umlaut}: 'ß'" not in said
    assert f"{short}: 600 samples at 16 kHz are too few for one frame, which takes 640" in said
    assert not (tmp_path / "artifacts" / "runs").exists()
