"""The first hour on a GPU, tried on the CPU: every step of `make gpu` ends and leaves what it found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.timeout(1800)
def test_every_step_runs_on_the_cpu(tmp_path):
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MTLSER_", "PYTEST_"))}
    given = own | {"DEVICE": "cpu", "OUT": str(tmp_path), "PYTHON": sys.executable, "CONTRIBUTOR": "nobody"}
    ended = subprocess.run(["bash", ".ci/gpu"], cwd=ROOT, env=given, capture_output=True, text=True)
    steps = dict(line.split(maxsplit=1) for line in (tmp_path / "steps.txt").read_text().splitlines())
    logs = "\n".join(f"{path.name}:\n{path.read_text()[-800:]}" for path in sorted(tmp_path.glob("*.log")))
    assert ended.returncode == 0, ended.stdout + ended.stderr + logs
    assert set(steps) == {"tests", "training-step", "memory", "several-runs", "loader", "smoke", "table4"}
    assert all(words.startswith("done in") for words in steps.values()), steps
    assert "13 passed" in (tmp_path / "tests.log").read_text()
    assert "rate_2" in (tmp_path / "several-runs.log").read_text()
    assert "0.1    done      1" in (tmp_path / "smoke.log").read_text()
    assert len(list(tmp_path.glob("table4-*.ipynb"))) == 2
    assert not (ROOT / "book" / "results" / "nobody").exists()  # a try leaves no record
