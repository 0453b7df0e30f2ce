import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest

from mtlser.config import ConfigError
from mtlser.model.backbone import BackboneError
from mtlser.runs import engines, experiments
from mtlser.runs.experiments import RunsFailed, complete
from mtlser.runs.records import read_run
from tiny import tiny_plan, tiny_utterances


@pytest.fixture
def plan(tmp_path, monkeypatch):
    utterances = tiny_utterances(tmp_path / "wav")
    return tiny_plan(tmp_path, utterances, monkeypatch, alphas=(0.0, 0.1), workers=2)


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
    monkeypatch.setattr(engines, "run_missing", lambda *_: pytest.fail("trained again"))
    assert_same(complete(plan), whole)

    alone = tiny_plan(tmp_path / "again", plan.utterances, monkeypatch, alphas=(0.0, 0.1), workers=1)
    monkeypatch.undo()
    monkeypatch.setattr(experiments, "has_corpus", lambda preset, settings: True)
    assert_same(complete(alone), whole)  # one worker or two, at once or in parts


def test_two_calls_at_once_have_the_workers_of_one_and_the_last_run_lets_the_next_call_in(tmp_path, monkeypatch):
    running, most, seen = [], [], {}

    def ask(worker, task, progress):
        running.append(task["run_id"])
        most.append(len(running))
        seen[task["run_id"]] = turn.exists()
        time.sleep(0.1)
        running.remove(task["run_id"])
        return "done", None

    logs = []
    monkeypatch.setattr(
        engines, "_start_worker", lambda log, gpu: logs.append(log.name) or SimpleNamespace(poll=lambda: None)
    )
    monkeypatch.setattr(engines, "_ask", ask)
    monkeypatch.setattr(engines, "end_process", lambda worker: 0)
    progress = SimpleNamespace(say=lambda text: None, end=lambda *_: None)

    def call(name: str) -> dict[str, str]:
        settings = SimpleNamespace(workers=2, artifacts=tmp_path / "artifacts", turn=turn.with_name(name))
        return engines.run_local(
            SimpleNamespace(settings=settings), [{"run_id": f"{name}{k}"} for k in range(5)], progress
        )

    turn = tmp_path / "turns" / "first"
    turn.parent.mkdir()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(call, "first")
        while not turn.exists():
            assert not first.done()
            time.sleep(0.01)
        assert running and not first.done()  # the last runs go on
        assert pool.submit(call, "second").result() == first.result() == {}
    assert max(most) == 2 and set(logs) == {"worker-0.log", "worker-1.log"}
    assert [seen[f"first{k}"] for k in range(5)] == [False] * 4 + [True]  # made before the last is asked for
    assert all(seen[f"second{k}"] for k in range(5))


def test_a_killed_worker_fails_its_run_alone_and_the_next_call_finishes_it(plan, tmp_path, monkeypatch):
    original = engines._ask

    def kill_first(worker, task, progress):
        if task["run_id"] == plan.runs[0].run_id:
            worker.send_signal(signal.SIGKILL)
        return original(worker, task, progress)

    monkeypatch.setattr(engines, "_ask", kill_first)
    with pytest.raises(RunsFailed, match="1 of 4 runs failed.*") as failure:
        complete(plan)
    assert plan.runs[0].run_id in str(failure.value) and "killed by signal 9" in str(failure.value)
    assert sum(run.status == "done" for run in plan.runs) == 3
    monkeypatch.setattr(engines, "_ask", original)
    assert complete(plan).runs["status"].tolist() == ["done"] * 4


def test_a_failing_run_is_recorded_and_the_others_finish(plan, monkeypatch):
    make_task = engines.make_task

    def broken(plan, run, folder):
        task = make_task(plan, run, folder)
        return task | {"backbone": "./nowhere"} if run.run_id == plan.runs[1].run_id else task

    monkeypatch.setattr(engines, "make_task", broken)
    with pytest.raises(RunsFailed, match="nowhere"):
        complete(plan)
    assert [run.status for run in plan.runs] == ["done", "failed", "done", "done"]
    assert "nowhere" in read_run(plan.runs[1].folder)["error"]


def test_a_worker_that_cannot_start_fails_its_run(plan, monkeypatch):
    def refuse(log, gpu):
        raise OSError("no memory")

    monkeypatch.setattr(engines, "_start_worker", refuse)
    with pytest.raises(RunsFailed, match="did not start: no memory"):
        complete(plan)


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from mtlser.runs.engines import _start_worker\n"
        f"worker = _start_worker(Path({str(tmp_path / 'log')!r}), None)\n"
        "print(worker.pid, flush=True); time.sleep(600)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    worker = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    gone, alive = psutil.wait_procs([worker], timeout=60)
    assert not alive


def test_a_missing_backbone_is_one_error_before_any_worker_starts(plan, tmp_path, monkeypatch):
    other = tiny_plan(tmp_path, plan.utterances, monkeypatch, backbone=str(tmp_path / "backbone"))
    _ = other.runs
    (tmp_path / "backbone" / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"needs config\.json and one of"):
        complete(other)


def test_slurm_s_path_leaves_the_same_records(plan, tmp_path, monkeypatch):
    local = complete(tiny_plan(tmp_path, plan.utterances, monkeypatch, alphas=(0.1,), workers=1))
    monkeypatch.setenv("MTLSER_SLURM", '{"cluster": "local", "gpus_per_node": 0}')
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    other = tiny_plan(tmp_path / "slurm", plan.utterances, monkeypatch, alphas=(0.1,), engine="slurm")
    submitted = complete(other)
    assert set(submitted.runs["launched_by"]) == {"engine slurm"}
    assert_same(submitted, local)


@pytest.mark.parametrize(
    ("workers", "visible", "expected"),
    [(None, "", ["0", "1"]), (4, "", ["0", "0", "1", "1"]), (4, "5,7", ["5", "5", "7", "7"])],
)
def test_workers_share_the_gpus_there_are(plan, monkeypatch, workers, visible, expected):
    """Two GPUs: one run on each by default, and WORKERS=4 puts two on each."""
    settings = replace(plan.settings, workers=workers)
    shared, started = replace(plan, settings=settings), []

    class Worker:
        stdin = stdout = SimpleNamespace(close=lambda: None)

        def __init__(self, *_, env, **__):
            started.append(env["CUDA_VISIBLE_DEVICES"])

        def poll(self):
            return None

        def wait(self):
            return 0

    monkeypatch.setattr(engines, "num_gpus", lambda: 2)
    monkeypatch.setattr(subprocess, "Popen", Worker)
    barrier = threading.Barrier(len(expected))
    monkeypatch.setattr(engines, "_ask", lambda *_: (barrier.wait(10), ("done", None))[1])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    progress = SimpleNamespace(say=lambda line: None, end=lambda *_: None)
    assert engines.run_local(shared, [{"run_id": str(k)} for k in range(len(expected))], progress) == {}
    assert sorted(started) == expected


def test_an_unknown_engine_lists_the_known(plan, tmp_path, monkeypatch):
    other = tiny_plan(tmp_path, plan.utterances, monkeypatch, engine="cloud")
    with pytest.raises(ConfigError, match="cloud.*local, slurm"):
        complete(other)


def test_a_task_is_plain_json(plan, tmp_path):
    task = engines.make_task(plan, plan.runs[0], tmp_path)
    assert json.loads(json.dumps(task)) == task


def test_what_every_run_of_a_machine_would_say_is_said_once(plan, tmp_path, monkeypatch):
    shown = engines.Progress(tiny_plan(tmp_path, plan.utterances, monkeypatch, progress=tmp_path / "log"), plan.runs)
    lines = ['{"note": "no instructions"}\n', '{"epoch": 1}\n', '{"status": "done"}\n']
    for run in plan.runs[:2]:
        worker = SimpleNamespace(stdin=io.StringIO(), stdout=iter(lines))
        assert engines._ask(worker, {"run_id": run.run_id}, shown) == ("done", None)
    assert (tmp_path / "log").read_text().count("no instructions") == 1


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
