"""The whole command killed anywhere and called again: the same records, and no finished run repeated."""

from __future__ import annotations

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

from mtlser.command import INTERRUPTED
from mtlser.runs import records
from smoke import ROOT, clean_environment

ALPHAS = "0.1,1"  # four runs, so that some are done, some half-way and some untouched


def start(artifacts: Path, workers: int, alphas: str = ALPHAS) -> subprocess.Popen:
    """`python -m mtlser run table4` in a process group of its own, as a terminal would start it."""
    return subprocess.Popen(
        [sys.executable, "-m", "mtlser", "run", "table4", "--preset", "smoke"],
        cwd=ROOT,
        env=clean_environment(MTLSER_ARTIFACTS=str(artifacts), MTLSER_ALPHAS=alphas, MTLSER_WORKERS=str(workers)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def kill(process: subprocess.Popen, artifacts: Path) -> int:
    """The command and its workers, all at once and without a word; forked workers are not in its process group.

    Returns how many workers there were.
    """
    workers = workers_of(artifacts)
    os.killpg(process.pid, signal.SIGKILL)
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    psutil.wait_procs(workers)
    process.communicate()
    return len(workers)


def workers_of(artifacts: Path) -> list[psutil.Process]:
    """The processes that hold a log there."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            files = process.open_files() if "python" in process.name() else []  # a browser has hundreds
            if any(Path(opened.path).parent == artifacts / "logs" for opened in files):
                found.append(process)
    return found


def finished(artifacts: Path) -> dict[str, bytes]:
    """`run.json` of every run that is done, by run id."""
    folders = [path.parent for path in (artifacts / "runs").glob("*/run.json")]
    return {f.name: (f / "run.json").read_bytes() for f in folders if records.run_status(f) == "done"}


def comparable(artifacts: Path, names) -> list[pd.DataFrame]:
    """Records without times and hardware, of these runs."""
    found = records.read_records(sorted(artifacts / "runs" / name for name in names))
    times = ["seconds", "started", "finished", "device", "launched_by", "revision"]
    return [found.runs.drop(columns=times), found.history.drop(columns="seconds"), found.predictions]


def test_two_workers_killed_and_called_again(smoke_book, tmp_path):
    """Of one worker, and at every kind of moment, `test_kills` has it."""
    artifacts = tmp_path / "artifacts"
    shutil.copytree(smoke_book.artifacts / "corpora", artifacts / "corpora")
    process = start(artifacts, 2)
    while not any((artifacts / "runs").glob("*/run.json")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    assert kill(process, artifacts)
    before = finished(artifacts)

    again = start(artifacts, 2)
    _, messages = again.communicate(timeout=300)
    assert again.returncode == 0, messages
    after = finished(artifacts)
    assert len(after) == 4
    assert {name: after[name] for name in before} == before  # finished runs were not touched
    assert not list(artifacts.rglob("*.partial"))
    for mine, uninterrupted in zip(comparable(artifacts, after), comparable(smoke_book.artifacts, after), strict=True):
        pd.testing.assert_frame_equal(mine, uninterrupted, check_exact=True)


@pytest.fixture
def heeds_ctrl_c():
    """A shell's background job ignores it, and so would what it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_ends_the_command_and_its_workers(smoke_book, tmp_path):
    artifacts = tmp_path / "artifacts"
    shutil.copytree(smoke_book.artifacts / "corpora", artifacts / "corpora")
    process = start(artifacts, 2, alphas="")  # all ten runs
    while not any((artifacts / "runs").glob("*/run.json")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    workers = workers_of(artifacts)
    assert workers
    for each in (*workers, process):  # a terminal sends it to all of them
        each.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 130 and messages.rstrip().endswith(INTERRUPTED)
    assert "failed" not in messages and "Traceback" not in messages
    assert len(finished(artifacts)) < 10
    assert not workers_of(artifacts)


def test_plan_names_a_record_that_was_cut(smoke_book, tmp_path):
    artifacts = tmp_path / "artifacts"
    shutil.copytree(smoke_book.artifacts, artifacts)
    path = sorted((artifacts / "runs").glob("*/predictions.parquet"))[0]
    command = [sys.executable, "-m", "mtlser", "plan", "--preset", "smoke"]
    environment = clean_environment(MTLSER_ARTIFACTS=str(artifacts))
    for size, code, said in ((None, 0, "nothing is missing"), (1000, 1, f"{path} can't be read")):
        if size:
            os.truncate(path, size)
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == code and said in done.stdout + done.stderr and "Traceback" not in done.stderr
