"""The whole command killed anywhere and called again: the same records, and no finished run repeated."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest

from mtlser import forkserver
from mtlser.runs import engines, records
from smoke import ROOT, clean_environment

ALPHAS = "0.1,1"  # four runs, so that some are done, some half-way and some untouched


@pytest.fixture(scope="module")
def server():
    """Where these commands' workers come from: the imports are done once. None where workers aren't forked."""
    started = forkserver.Server(engines.PRELOADED) if forkserver.can_fork() else None
    yield started
    if started:
        started.stop()


def start(artifacts: Path, workers: int, server: forkserver.Server | None) -> subprocess.Popen:
    """`python -m mtlser run table4` in a process group of its own, as a terminal would start it."""
    options = {"ARTIFACTS": artifacts, "ALPHAS": ALPHAS, "WORKERS": workers}
    options |= {"FORK_SERVER": server.address} if server else {}
    return subprocess.Popen(
        [sys.executable, "-m", "mtlser", "run", "table4", "--preset", "smoke"],
        cwd=ROOT,
        env=clean_environment(**{f"MTLSER_{name}": str(value) for name, value in options.items()}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def kill(process: subprocess.Popen, server: forkserver.Server | None) -> None:
    """The command and its workers, all at once and without a word."""
    workers = psutil.Process(server.process.pid).children() if server else []
    os.killpg(process.pid, signal.SIGKILL)
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    psutil.wait_procs(workers)
    process.communicate()


def finished(artifacts: Path) -> dict[str, bytes]:
    """`run.json` of every run that is done, by run id."""
    folders = [path.parent for path in (artifacts / "runs").glob("*/run.json")]
    return {f.name: (f / "run.json").read_bytes() for f in folders if records.run_status(f) == "done"}


def comparable(artifacts: Path, names) -> list[pd.DataFrame]:
    """Records without times and hardware, of these runs."""
    found = records.read_records(sorted(artifacts / "runs" / name for name in names))
    times = ["seconds", "started", "finished", "device", "launched_by", "revision"]
    return [found.runs.drop(columns=times), found.history.drop(columns="seconds"), found.predictions]


@pytest.mark.parametrize(("moment", "workers"), [("corpus", 1), ("running", 2), ("first done", 1)])
def test_killed_and_called_again(smoke_book, server, tmp_path, moment, workers):
    """One worker where a second would add its start alone."""
    artifacts = tmp_path / "artifacts"
    if moment != "corpus":
        shutil.copytree(smoke_book.artifacts / "corpora", artifacts / "corpora")
    process = start(artifacts, workers, server)
    reached = {
        "corpus": lambda: any((artifacts / "corpora").rglob("*.wav")),
        "running": lambda: any((artifacts / "runs").glob("*/run.json")),
        "first done": lambda: finished(artifacts),
    }[moment]
    while not reached():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    kill(process, server)
    before = finished(artifacts)
    if moment == "first done":
        assert before

    again = start(artifacts, workers, server)
    _, messages = again.communicate(timeout=300)
    assert again.returncode == 0, messages
    after = finished(artifacts)
    assert len(after) == 4
    assert {name: after[name] for name in before} == before  # finished runs were not touched
    assert not list(artifacts.rglob("*.partial"))
    for mine, uninterrupted in zip(comparable(artifacts, after), comparable(smoke_book.artifacts, after), strict=True):
        pd.testing.assert_frame_equal(mine, uninterrupted, check_exact=True)
    for path in (artifacts / "runs").glob("*/run.json"):
        assert json.loads(path.read_text())["status"] == "done"
