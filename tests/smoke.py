"""`make reproduce PRESET=smoke` in a folder of its own, for the tests of the book and of its pages in a browser."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parents[1]


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's environment without what `make test` was given, with the library on the path."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("MTLSER_")}
    return own | {"PYTHONPATH": str(ROOT / "src"), **variables}


@dataclass
class SmokeBook:
    """Where a call puts what it makes."""

    folder: Path

    @property
    def build(self) -> Path:
        """Executed notebooks and site."""
        return self.folder / "build"

    @property
    def site(self) -> Path:
        """The rendered book."""
        return self.build / "html"

    @property
    def artifacts(self) -> Path:
        """Corpus, runs and models."""
        return self.folder / "artifacts"

    def call(self, command: str, **variables: str) -> subprocess.CompletedProcess:
        """`python -m mtlser_book <command>` on the smoke preset; `variables` go to its environment."""
        words = [sys.executable, "-m", "mtlser_book", command, "--preset", "smoke"]
        words += ["--build", str(self.build), "--artifacts", str(self.artifacts)]
        environment = clean_environment(**variables)
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=540)

    def reproduce(self) -> SmokeBook:
        """Completes the runs and renders the site, once for all processes; a failure shows what it printed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        printed = self.folder / "failure.txt"  # empty after a success
        with FileLock(self.folder / ".lock"):
            if not printed.exists():
                result = self.call("reproduce", MTLSER_WORKERS="1")  # `make test` keeps the other core busy
                failed = result.returncode != 0
                printed.write_text(result.stdout[-3000:] + result.stderr[-6000:] if failed else "", encoding="utf-8")
        assert not printed.read_text(encoding="utf-8"), printed.read_text(encoding="utf-8")
        return self
