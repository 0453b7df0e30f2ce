"""Pages at the same time: those that train first, one in after the other's turn, and all ended by Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from mtlser_book import schedule
from mtlser_book.execute import NotebookError, Page
from smoke import clean_environment
from test_execute import write_notebook

WAIT_SECONDS = 60


@pytest.fixture
def cores(monkeypatch):
    """Sets how many there are."""
    return lambda number: monkeypatch.setattr(schedule, "num_cores", lambda: number)


@pytest.fixture
def execution(monkeypatch):
    """What stands in for `execute_page`, set by a test: a function of a page and its environment."""

    def put(function):
        def execute_page(page, *, environment, **_):
            function(page, environment)

        monkeypatch.setattr(schedule, "execute_page", execute_page)

    return put


def write_page(path: Path, source: str) -> None:
    write_notebook(path, [("markdown", "# A page", []), ("code", source, [])])


def pages(**trains: bool) -> list[Page]:
    return [Page(f"book/{name}.ipynb", f"book/{name}.ipynb", trains=value) for name, value in trains.items()]


def run(tmp_path: Path, chosen: list[Page], workers: int | None = None) -> tuple[list[str], list[str]]:
    """Failures, and what was logged."""
    build, lines = tmp_path / "build", []
    build.mkdir(exist_ok=True)
    given = {"root": tmp_path, "build": build, "library": "library", "workers": workers, "log": lines.append}
    failures = schedule.execute_pages(chosen, **given)
    assert not list(build.glob("turns-*"))
    return failures, lines


def test_pages_that_read_begin_when_those_that_train_have_ended(tmp_path, cores, execution):
    cores(4)
    events = []

    def execute(page, environment):
        events.append(("begin", page.target))
        if page.trains:
            Path(environment["MTLSER_TURN"]).touch()
            time.sleep(0.3)
        events.append(("end", page.target))

    execution(execute)
    assert run(tmp_path, pages(a=False, b=True, c=True, d=False)) == ([], [])
    trained = [events.index(("end", f"book/{name}.ipynb")) for name in "bc"]
    read = [events.index(("begin", f"book/{name}.ipynb")) for name in "ad"]
    assert max(trained) < min(read)


def test_the_next_page_trains_once_no_run_of_the_one_before_waits(tmp_path, cores, execution):
    cores(2)
    second, first_may_end, order = threading.Event(), threading.Event(), []

    def execute(page, environment):
        order.append(page.target)
        if page.target == "book/a.ipynb":
            assert not second.wait(0.5)  # its runs wait for workers, so the next page is not begun
            Path(environment["MTLSER_TURN"]).touch()
            assert second.wait(WAIT_SECONDS)  # its last runs go on meanwhile
            first_may_end.set()
        elif page.target == "book/b.ipynb":
            second.set()
            assert first_may_end.wait(WAIT_SECONDS)

    execution(execute)
    assert run(tmp_path, pages(a=True, b=True, c=True)) == ([], [])  # b and c made no file: c begins when b has ended
    assert order == ["book/a.ipynb", "book/b.ipynb", "book/c.ipynb"]


@pytest.mark.parametrize(
    ("number", "workers", "expected"), [(1, None, 1), (2, None, 2), (3, 2, 2), (16, None, 4), (16, 1, 1)]
)
def test_as_many_at_once_as_cores_or_workers_but_four_at_most(
    tmp_path, cores, execution, monkeypatch, number, workers, expected
):
    cores(number)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    most, now, lock, threads = 0, 0, threading.Lock(), set()
    full = threading.Event()

    def execute(page, environment):
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
            threads.add(os.environ.get("OMP_NUM_THREADS"))
        if most == expected:
            full.set()
        assert full.wait(WAIT_SECONDS)
        time.sleep(0.05)
        with lock:
            now -= 1

    execution(execute)
    run(tmp_path, pages(**dict.fromkeys("abcdefgh", False)), workers)
    assert most == expected
    assert threads == ({None} if expected == 1 else {str(number // expected)})
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_limit_of_threads_that_was_set_is_kept(tmp_path, cores, execution, monkeypatch):
    cores(4)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    seen = []
    execution(lambda page, environment: seen.append(os.environ["OMP_NUM_THREADS"]))
    run(tmp_path, pages(a=False))
    assert seen == ["3"]


def test_failures_are_listed_in_the_order_of_the_pages_and_leave_the_others_alone(tmp_path, cores, execution):
    cores(2)
    finished = []

    def execute(page, environment):
        if page.target != "book/b.ipynb":
            raise NotebookError(f"{page.source} failed")
        finished.append(page.target)

    execution(execute)
    failures, lines = run(tmp_path, pages(a=False, b=False, c=True))
    assert failures == ["book/a.ipynb failed", "book/c.ipynb failed"]
    assert sorted(lines) == ["book/a.ipynb: FAILED", "book/c.ipynb: FAILED"]
    assert finished == ["book/b.ipynb"]


def test_kernels_at_the_same_time_have_folders_and_environments_of_their_own(tmp_path, cores):
    cores(2)
    there = tmp_path / "there"
    seen = f"while not pathlib.Path({str(there)!r}).exists(): time.sleep(0.05)"
    other = f"pathlib.Path({str(there)!r}).touch()"
    show = "print(os.environ['NAME'], os.path.basename(os.getcwd()))"
    for name, line in (("a", seen), ("b", other)):
        write_page(tmp_path / "book" / f"{name}.ipynb", f"import os, pathlib, time\n{line}\n{show}")
    chosen = [
        Page(page.source, page.target, environment={"NAME": page.target[5]}, alone=page.target[5] == "b")
        for page in pages(a=False, b=False)
    ]
    before = os.getcwd()
    assert run(tmp_path, chosen)[0] == []  # a would wait for ever without b
    assert os.getcwd() == before
    folders = {"a": tmp_path.name, "b": "empty"}
    for name in "ab":
        page = nbformat.read(tmp_path / "build" / "notebooks" / "book" / f"{name}.ipynb", as_version=4)
        assert page.cells[1].outputs[0].text == f"{name} {folders[name]}\n"
    assert "NAME" not in os.environ


INTERRUPTED = """
import signal, sys
from pathlib import Path
from mtlser_book import schedule
from mtlser_book.__main__ import exit_on_sigterm
from mtlser_book.execute import Page

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job would ignore
exit_on_sigterm()
schedule.num_cores = lambda: 2
root = Path(sys.argv[1])
pages = [Page(f"book/{name}.ipynb", f"book/{name}.ipynb") for name in "abc"]
given = {"root": root, "build": root / "build", "library": "library", "workers": None, "log": print}
try:
    schedule.execute_pages(pages, **given)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_end_the_kernels_and_drop_the_pages_that_wait(tmp_path, number, status):
    for name in "abc":
        code = "import os, pathlib, time\npathlib.Path(f'begun-{os.getpid()}').touch()\ntime.sleep(600)"
        write_page(tmp_path / "book" / f"{name}.ipynb", code)
    (tmp_path / "build").mkdir()
    words = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(words, **streams, env=clean_environment()) as process:
        while len(begun := list(tmp_path.glob("begun-*"))) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        printed, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == status and "FAILED" not in printed and "died" not in printed
    assert len(list(tmp_path.glob("begun-*"))) == 2
    assert not any(psutil.pid_exists(int(path.name.split("-")[1])) for path in begun)
    assert sorted(path.name for path in (tmp_path / "build").iterdir()) == ["ipython", "runtime"]
