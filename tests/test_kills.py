"""Ended anywhere and called again: the same records, nothing left over, no finished run repeated, no orphan alive.

The points are drawn over the writes, renames and removals of an undisturbed call (`crash/sitecustomize.py`), not over
time. `make test` takes the first ten of a hundred; `make faults` all, with a line a point in RELIABILITY's folder.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from pathlib import Path

import nbformat
import pandas as pd
import psutil
import pytest

import reliability
from mtlser.runs import records
from smoke import ROOT, clean_environment

pytestmark = pytest.mark.faults

NUM_POINTS, NUM_IN_MAKE_TEST = 100, 10
SCENARIOS = ("train", "share", "corpus", "page", "train")  # in turn
SIGNALS, TARGETS = ("SIGKILL", "SIGTERM"), ("self", "group")
MARKER = "faults"

PAGE = """
import sys
from pathlib import Path
from mtlser_book.execute import Page, execute_pages
root = Path(sys.argv[1])
page = Page("book/page.ipynb", "book/page.ipynb")
failures = execute_pages([page], root=root, build=root / "build", library="library", log=print)
sys.exit(bool(failures))
"""


@dataclass(frozen=True)
class Point:
    """Where a call is ended: the event of a role's process, the signal, and who gets it."""

    scenario: str
    place: float  # of all events of the role, from 0 to 1
    role_place: float
    signal: str
    target: str


def draw() -> list[Point]:
    generator = random.Random(2021)
    return [
        Point(name, generator.random(), generator.random(), generator.choice(SIGNALS), generator.choice(TARGETS))
        for name in islice(cycle(SCENARIOS), NUM_POINTS)
    ]


def command(scenario: str, root: Path) -> list[str]:
    if scenario == "page":
        return [sys.executable, "-c", PAGE, str(root)]
    words = ["share", "someone"] if scenario == "share" else ["run", "table4"]
    return [sys.executable, "-m", "mtlser", *words, "--preset", "smoke"]


def start(scenario: str, root: Path, limit: int | None = None, **crash: str) -> subprocess.Popen:
    """One call in a process group of its own; all that it writes lies below `root`."""
    path = os.pathsep.join([str(ROOT / "tests" / "crash"), str(ROOT / "src")])
    given = {"PYTHONPATH": path, "CRASH_ROOT": str(root), "MTLSER_ALPHAS": "0.1", "MTLSER_WORKERS": "1"}
    given |= {f"MTLSER_{name.upper()}": str(root / name) for name in ("artifacts", "results")}
    environment = clean_environment(**(given | crash))
    limited = None if limit is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return subprocess.Popen(
        command(scenario, root), cwd=ROOT, env=environment, start_new_session=True, preexec_fn=limited,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def ended(process: subprocess.Popen) -> tuple[int, str]:
    said, _ = process.communicate(timeout=300)
    return process.returncode, said


def prepare(scenario: str, root: Path, reference: Path | None) -> Path:
    """What a call finds: the corpus where runs are trained, finished runs where they are shared."""
    root.mkdir(parents=True)
    if scenario == "page":
        cells = [nbformat.v4.new_markdown_cell("# A page"), nbformat.v4.new_code_cell("print(6 * 7)")]
        notebook = nbformat.v4.new_notebook(cells=cells)
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        (root / "book").mkdir()
        nbformat.write(notebook, root / "book" / "page.ipynb")
    elif scenario in ("train", "share"):
        kept = ("corpora", "cache") if scenario == "train" else ("corpora", "cache", "runs")
        for name in kept:
            shutil.copytree(reference / "artifacts" / name, root / "artifacts" / name)
        if scenario == "share":
            shutil.copytree(earlier(reference), root / "results")
    return root


@cache
def earlier(reference: Path) -> Path:
    """A results folder to which one of two runs was shared before."""
    root = reference.with_name("earlier")
    for name in ("corpora", "cache", "runs"):
        shutil.copytree(reference / "artifacts" / name, root / "artifacts" / name)
    shutil.rmtree(max((root / "artifacts" / "runs").iterdir()))
    code, said = ended(start("share", root))
    assert code == 0, said
    return root / "results"


def result(scenario: str, root: Path) -> list:
    """What a call leaves that counts; empty where nothing is whole yet."""
    if scenario == "page":
        path = root / "build" / "notebooks" / "book" / "page.ipynb"
        return [nbformat.read(path, as_version=4).cells[1].outputs] if path.exists() else []
    if scenario == "share":
        folder = root / "results" / "someone"
        found = records.read_shared(folder)
    else:
        found = records.read_records(sorted(path.parent for path in (root / "artifacts" / "runs").glob("*/run.json")))
    times = ["seconds", "started", "finished", "device", "launched_by", "revision"]
    return [found.runs.drop(columns=times), found.history.drop(columns="seconds"), found.predictions]


def same(one: list, other: list) -> bool:
    def equal(left, right) -> bool:
        if not isinstance(left, pd.DataFrame):
            return left == right
        with suppress(AssertionError):
            pd.testing.assert_frame_equal(left, right, check_exact=True)
            return True
        return False

    return len(one) == len(other) and all(map(equal, one, other))


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("kills")


@cache
def undisturbed(scenario: str, base: Path) -> tuple[Path, dict[str, int], list]:
    """An undisturbed call: its folder, how many events each role had, and its result."""
    reference = None if scenario in ("corpus", "page") else undisturbed("corpus", base)[0]
    root = prepare(scenario, base / scenario, reference)
    log = base / f"{scenario}.log"
    code, said = ended(start(scenario, root, CRASH_LOG=str(log)))
    assert code == 0, said
    events: Counter[str] = Counter()
    for line in log.read_text(encoding="utf-8").splitlines():
        role, number, *_ = line.split(" ")
        events[role] = max(events[role], int(number))
    return root, dict(events), result(scenario, root)


def alive(root: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if "python" in process.name() and process.environ().get("CRASH_ROOT") == str(root):
                found.append(process)
    return found


def wait_for_the_end(root: Path) -> None:
    deadline = time.monotonic() + 30
    while left := alive(root):
        assert time.monotonic() < deadline, f"orphans: {[process.cmdline() for process in left]}"
        time.sleep(0.2)


def check_again(scenario: str, root: Path, expected: list) -> None:
    """A plain call after one that was ended: everything is there, nothing is left over, what was done stays done."""
    done = {
        path: path.read_bytes()
        for path in (root / "artifacts" / "runs").glob("*/run.json")
        if scenario != "share" and records.run_status(path.parent) == "done"
    }
    code, said = ended(start(scenario, root))
    assert code == 0, said
    assert same(result(scenario, root), expected)
    assert all(path.read_bytes() == content for path, content in done.items()), "a finished run was repeated"
    assert not list(root.rglob("*.partial"))
    assert not alive(root)


COLUMNS = ("what", "call", "process", "event", "signal", "sent_to", "outcome")


def keep(*words: object) -> None:
    reliability.keep("kills.csv", COLUMNS, *words)


def test_points_are_drawn_over_all_kinds():
    points = draw()
    assert len(points) == NUM_POINTS and Counter(point.scenario for point in points)["train"] == 40
    assert {(point.signal, point.target) for point in points} == {(s, t) for s in SIGNALS for t in TARGETS}
    assert {point.scenario for point in points[:NUM_IN_MAKE_TEST]} == set(SCENARIOS)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", range(NUM_POINTS))
def test_a_call_that_is_ended_goes_on(request, base, tmp_path, number):
    if number >= NUM_IN_MAKE_TEST and request.config.getoption("-m") != MARKER:
        pytest.skip("NOT RUN: make faults runs it")
    point = draw()[number]
    first, events, expected = undisturbed(point.scenario, base)
    role = sorted(events)[int(point.role_place * len(events))]
    event = 1 + int(point.place * events[role])
    tried = ("killed", point.scenario, role, event, point.signal, point.target)
    if reliability.is_kept("kills.csv", *tried):
        pytest.skip("tried before: its line stands in kills.csv")
    root = prepare(point.scenario, tmp_path / "root", undisturbed("corpus", base)[0])
    keep(*tried, "lost")  # until it is not
    process = start(point.scenario, root, CRASH_POINT=f"{role} {event} {point.signal} {point.target}")
    code, said = ended(process)
    crashed = Path(f"{root}.crashed").exists()
    assert crashed, f"event {event} of {role} never came: {said}"
    assert code != 0 or role != "parent", said
    wait_for_the_end(root)
    before = result(point.scenario, root)  # readable, whatever was cut
    if point.scenario == "share":  # what was there, or all of it
        old = result("share", earlier(undisturbed("corpus", base)[0]).parent)
        assert same(before, old) or same(before, expected)
    assert point.scenario != "page" or before == [] or same(before, expected)
    check_again(point.scenario, root, expected)
    keep(*tried, "survived")


@pytest.mark.parametrize("limit", [300, 3_000, 30_000, 300_000])
@pytest.mark.parametrize("scenario", ["corpus", "train", "share", "page"])
def test_a_full_disk_is_said_and_leaves_nothing_half_written(request, base, tmp_path, scenario, limit):
    """No file can grow beyond a limit, as on a disk that is full at that moment."""
    if (scenario, limit) not in {("train", 300), ("share", 3_000)} and request.config.getoption("-m") != MARKER:
        pytest.skip("NOT RUN: make faults runs it")
    expected = undisturbed(scenario, base)[2]
    root = prepare(scenario, tmp_path / "root", undisturbed("corpus", base)[0])
    keep("full disk", scenario, "all", limit, "–", "–", "lost")  # until it is not
    code, said = ended(start(scenario, root, limit))
    if code:  # all of its files were smaller
        assert "too large" in said.lower() or "is the disk full?" in said or scenario == "page", said
        assert "Traceback" not in said or scenario == "page"  # a kernel that can't start says why in its own way
    wait_for_the_end(root)
    check_again(scenario, root, expected)
    keep("full disk", scenario, "all", limit, "–", "–", "survived" if code else "not reached")


@pytest.mark.parametrize("scenario", ["train", "share"])
def test_a_folder_that_cannot_be_written_is_named(request, base, tmp_path, scenario):
    if request.config.getoption("-m") != MARKER:
        pytest.skip("NOT RUN: make faults runs it")
    undisturbed(scenario, base)
    root = prepare(scenario, tmp_path / "root", undisturbed("corpus", base)[0])
    for path in sorted(root.rglob("*")) + [root]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if os.geteuid() == 0:  # whom no mode stops
        pytest.skip("NOT RUN: root may write everywhere; run it as another user")
    code, said = ended(start(scenario, root))
    assert code == 1 and "Permission denied" in said and "Traceback" not in said
    for path in [root, *sorted(root.rglob("*"))]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    keep("read-only folder", scenario, "all", 0, "–", "–", "survived")


def test_two_calls_at_once_train_each_run_once(request, base, tmp_path):
    if request.config.getoption("-m") != MARKER:
        pytest.skip("NOT RUN: make faults runs it")
    expected = undisturbed("train", base)[2]
    keep("two at once", "train", "all", 2, "–", "–", "lost")
    root, log = prepare("train", tmp_path / "root", undisturbed("corpus", base)[0]), tmp_path / "log"
    calls = [start("train", root, CRASH_LOG=str(log)) for _ in range(2)]
    assert [ended(call)[0] for call in calls] == [0, 0]
    assert same(result("train", root), expected) and not list(root.rglob("*.partial"))
    written = [line for line in log.read_text().splitlines() if " replace predictions.parquet" in line]
    assert len(written) == 2
    keep("two at once", "train", "all", 2, "–", "–", "survived")


def test_the_same_call_twice_gives_the_same_bits(request, base, tmp_path):
    if request.config.getoption("-m") != MARKER:
        pytest.skip("NOT RUN: make faults runs it")
    keep("Table 4 twice", "corpus", "all", 2, "–", "–", "lost")
    roots = [prepare("corpus", tmp_path / name, None) for name in ("one", "other")]
    calls = [start("corpus", root, MTLSER_ALPHAS="") for root in roots]  # every alpha: ten runs and the corpus
    assert [ended(call)[0] for call in calls] == [0, 0]
    one, other = (result("corpus", root) for root in roots)
    assert len(one[0]) == 10 and same(one, other)
    keep("Table 4 twice", "corpus", "all", 2, "–", "–", "equal")


def test_signals_are_those_of_this_system():
    assert all(hasattr(signal, name) for name in SIGNALS)
