"""What a person sees while runs train: what ended, what is left, and how long it may take."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence

from mtlser.runs.plan import Plan, PlannedRun
from mtlser.runs.records import ENDED

QUIET_SECONDS = 20.0  # between two lines that say what is in progress


class Progress:
    """Lines for the terminal: what ended, what is left, and an estimate from what was measured so far."""

    def __init__(self, plan: Plan, missing: Sequence[PlannedRun]) -> None:
        self.path = plan.settings.progress
        self._runs = (plan.whole or plan).runs
        self.names = {r.run_id: f"α={r.config.alpha:g} {r.config.fold}" for r in missing}
        self.epochs = plan.template.epochs
        self.done_here = 0  # runs
        self.running: dict[str, int] = {}  # epochs done of each run that is in progress
        self.said: set[str] = set()
        self.started = self._last_said = time.monotonic()
        self._lock = threading.RLock()

    @property
    def ended(self) -> int:
        """Runs that ended, by their records: the last of another alpha may end meanwhile."""
        return sum(run.status in ENDED for run in self._runs)

    def say(self, text: str) -> None:
        """One line, to the progress file if there is one, else to standard error."""
        line = f"[{self.ended}/{len(self._runs)}] {text}\n"
        self._last_said = time.monotonic()
        if self.path is None:
            sys.stderr.write(line)
            return
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(line)

    def say_once(self, text: str) -> None:
        """`say`, for what every run of a machine would say."""
        with self._lock:
            if text not in self.said:
                self.said.add(text)
                self.say(text)

    def epoch(self, run_id: str, epoch: int) -> None:
        """A run did that many epochs."""
        with self._lock:
            self.running[run_id] = epoch
            if time.monotonic() - self._last_said >= QUIET_SECONDS:
                running = [f"{self.names[i]} epoch {done}/{self.epochs}" for i, done in sorted(self.running.items())]
                self.say(f"{', '.join(running)} · {self._left()}")

    def end(self, run_id: str, status: str, seconds: float) -> None:
        """A run ended."""
        with self._lock:
            self.running.pop(run_id, None)
            self.done_here += 1
            self.say(f"{self.names[run_id]} {status} in {seconds:.0f} s · {self._left()}")

    def _left(self) -> str:
        elapsed, in_progress = time.monotonic() - self.started, sum(self.running.values()) / self.epochs
        done = self.done_here + in_progress
        if done == 0:
            return "no estimate yet"
        left = elapsed / done * max(0.0, len(self._runs) - self.ended - in_progress)
        return f"about {left / 60:.0f} min left" if left >= 90 else f"about {left:.0f} s left"
