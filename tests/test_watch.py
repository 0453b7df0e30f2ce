"""The live table: every state of a run, one that was begun and left, and an end when all have ended."""

from __future__ import annotations

import io
import json

import pytest
from filelock import FileLock

from mtlser.runs import watch
from tiny import tiny_plan, tiny_utterances


@pytest.fixture
def plan(tmp_path):
    return tiny_plan(tmp_path, tiny_utterances(tmp_path), alphas=(0.1, 1.0))


def write(run, status: str) -> None:
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "run.json").write_text(json.dumps({"status": status, "config": {}}))


def test_every_state_has_its_word(plan):
    first, second, third, fourth = plan.runs
    for run, status in ((first, "running"), (second, "running"), (third, "failed")):
        write(run, status)
    with FileLock(first.folder / ".lock"):
        table = watch.grid(plan)
    found = {(alpha, fold): table.loc[(alpha, 0), fold] for alpha, _ in table.index for fold in table}
    states = [found[run.config.alpha, run.config.fold] for run in (first, second, third, fourth)]
    assert states == ["running", "stopped", "failed", "missing"]


def test_it_ends_when_all_have_ended(plan, monkeypatch):
    for run in plan.runs[:3]:
        write(run, "diverged")
    looks = []
    monkeypatch.setattr(watch.time, "sleep", lambda seconds: (looks.append(seconds), write(plan.runs[3], "failed")))
    stream = io.StringIO()
    watch.watch(plan, stream, seconds=0.5)
    assert looks == [0.5] and "3 diverged, 1 missing" in stream.getvalue()
    assert stream.getvalue().count(plan.preset.name) == 2 and "\x1b" not in stream.getvalue()
