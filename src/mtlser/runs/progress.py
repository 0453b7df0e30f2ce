"""What a person sees while runs train: what ended, what is left, and how long it may take."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence

from mtlser.runs.plan import Plan, PlannedRun
from mtlser.runs.records import ENDED

HEARTBEAT_SECONDS = 20.0


class Progress:
    """Lines for the terminal: what ended, what is left, and an estimate from what was measured so far."""

    def __init__(self, plan: Plan, missing: Sequence[PlannedRun]) -> None:
        self.path = plan.settings.progress
        self._runs = (plan.whole or plan).runs
        self.total = len(self._runs)
        self.ended = self._count_ended()
        self.names = {r.run_id: f"α={r.config.alpha:g} {r.config.fold}" for r in missing}
        self.epochs = plan.template.epochs
        self.done_here = 0.0  # runs, fractions of the running ones included
        self.running: dict[str, int] = {}  # epochs done of each run that is in progress
        self.said: set[str] = set()
        self.started = time.monotonic()
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def _count_ended(self) -> int:
        """From the records, since the last runs of another alpha may end meanwhile."""
        return sum(run.status in ENDED for run in self._runs)

    def __enter__(self) -> Progress:
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()

    def say(self, text: str) -> None:
        """One line, to the progress file if there is one, else to standard error."""
        line = f"[{self.ended}/{self.total}] {text}\n"
        if self.path is None:
            sys.stderr.write(line)
            return
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(line)

    def say_once(self, text: str) -> None:
        """`say`, for what every run of a machine would say."""
        with self._lock:
            is_new = text not in self.said
            self.said.add(text)
        if is_new:
            self.say(text)

    def event(self, run_id: str, event: dict) -> None:
        """An epoch ended."""
        with self._lock:
            self.running[run_id] = event["epoch"]

    def end(self, run_id: str, status: str, seconds: float) -> None:
        """A run ended."""
        with self._lock:
            self.running.pop(run_id, None)
            self.done_here += 1
            self.ended = self._count_ended()
        self.say(f"{self.names[run_id]} {status} in {seconds:.0f} s · {self._left()}")

    def _left(self) -> str:
        elapsed = time.monotonic() - self.started
        done = self.done_here + sum(self.running.values()) / self.epochs
        if done == 0:
            return "no estimate yet"
        left = elapsed / done * max(0.0, self.total - self.ended - sum(self.running.values()) / self.epochs)
        return f"about {left / 60:.0f} min left" if left >= 90 else f"about {left:.0f} s left"

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            with self._lock:
                running = [f"{self.names[i]} epoch {e}/{self.epochs}" for i, e in sorted(self.running.items())]
            self.say(f"{', '.join(running) or 'starting'} · {self._left()}")
