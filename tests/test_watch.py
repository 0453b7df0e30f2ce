"""The live table, over a folder of runs that nobody trains."""

from __future__ import annotations

import io
import json
import os

import pytest

from mtlser.report import watch
from mtlser.runs.records import EPOCH
from tiny import tiny_plan, tiny_utterances

NOW = 1_000_000.0


@pytest.fixture
def plan(tmp_path):
    return tiny_plan(tmp_path, tiny_utterances(tmp_path / "wav"), alphas=(0.0, 0.1, 1.0), epochs=12)


def leave(run, status: str, epoch: int | None = None, age: float = 0.0, **more) -> None:
    """What training leaves of a run: its state, and its last epoch some seconds ago."""
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "run.json").write_text(json.dumps({"status": status, "config": {}} | more))
    for name in ("history", "predictions") if status == "done" else ():
        (run.folder / f"{name}.parquet").touch()
    said = run.folder / "run.json"
    if epoch is not None:
        said = run.folder / EPOCH
        said.write_text(json.dumps([epoch, 10.0, "node3"]))
    os.utime(said, (NOW - age, NOW - age))


def rows(plan) -> dict[str, tuple]:
    table = watch.states({"Table 4": plan}, NOW)
    return {row.run.removesuffix(" seed 0"): (row.state, row.epoch, row.host) for row in table.itertuples()}


def test_the_state_of_every_run_is_what_its_folder_says(plan):
    runs = plan.runs
    leave(runs[0], "done", seconds=100.0)
    leave(runs[1], "failed")
    leave(runs[2], "running", epoch=7, age=4)
    leave(runs[3], "running")
    leave(runs[4], "running", epoch=2, age=301)
    assert rows(plan) == {
        "α=0 Ses01F": ("done", 12, ""), "α=0 Ses01M": ("failed", 0, ""), "α=0.1 Ses01F": ("running", 7, "node3"),
        "α=0.1 Ses01M": ("running", 0, ""), "α=1 Ses01F": ("silent", 2, "node3"), "α=1 Ses01M": ("waiting", 0, ""),
    }  # fmt: skip


def test_what_is_left_is_measured_or_else_a_typical_run(plan):
    leave(plan.runs[0], "done", seconds=80.0)
    leave(plan.runs[1], "running", epoch=7, age=4)  # five of its epochs are left, each 10 s, since 4 s; it takes 120
    table = watch.states({"Table 4": plan}, NOW)
    assert table["left_seconds"].tolist() == [0, 46, 100, 100, 100, 100]
    assert "446 s" not in watch.drawn(table, 24) and "7 min left" in watch.drawn(table, 24)


def test_the_table_fits_the_terminal_and_counts_the_rest(plan):
    leave(plan.runs[3], "running", epoch=7)
    table = watch.states({"Table 4": plan}, NOW)
    whole, short = (watch.drawn(table, lines).splitlines() for lines in (24, 5))
    assert whole[0].startswith("6 runs: 1 running, 5 waiting · ") and len(whole) == 7
    assert whole[1].split() == ["running", "7/12", "50", "s", "node3", "α=0.1", "Ses01M", "seed", "0"]
    assert short[:3] == whole[:3] and len(short) == 4 and short[-1] == "and 4 waiting"
    assert "Table 4: α=0" in watch.drawn(watch.states({"Table 4": plan, "another": plan}, NOW), 24)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_it_draws_again_what_changed_and_ends_with_the_last_run(plan):
    turns = iter(plan.runs)

    def sleep(seconds):
        """The next run ends meanwhile; of the last, nothing is done."""
        run = next(turns)
        leave(run, "done" if run is not plan.runs[-1] else "failed", seconds=1.0)

    said = io.StringIO()
    assert watch.watch({"Table 4": plan}, said, sleep) == 1
    drawn = [line for line in said.getvalue().splitlines() if "runs:" in line]
    assert drawn[0] == "6 runs: 6 waiting" and drawn[-1] == "6 runs: 1 failed, 5 done" and len(drawn) == 7
    assert "\x1b" not in said.getvalue()
    terminal = Terminal()
    watch.watch({"Table 4": plan}, terminal, lambda _: pytest.fail("it does not end"))
    assert terminal.getvalue().count("\x1b[H\x1b[J") == 1


def test_nothing_that_trains_or_waits_is_the_end(plan):
    for number, run in enumerate(plan.runs):
        leave(run, "running", epoch=1 if number else None, age=10_000)
    said = io.StringIO()
    assert watch.watch({"Table 4": plan}, said, lambda _: pytest.fail("it does not end")) == 6
    assert "6 silent" in said.getvalue()
