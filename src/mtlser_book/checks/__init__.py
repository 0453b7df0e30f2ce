"""Lab checks: each says in a sentence what is wrong with a student's work, and records the verdict for grading.

A lab's checks are the functions decorated with `check` in its module, `lab2.py` for lab 2, named as the exercise. In a
notebook `lab2.collapse(collapse)` prints one line and never raises, so that a copy runs to its end at any time. In a
check, call the student's function with `ask`, read values with `number`, and raise `Wrong("a sentence")`.
"""

from __future__ import annotations

import copy
import functools
import importlib
import json
import math
import os
import pkgutil
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mtlser.files import write_json

RESULTS = "MTLSER_WORKSHOP_RESULTS"  # environment: folder of the summary files; default: results/ beside the notebook
STUDENT = "MTLSER_STUDENT"  # environment: the student's name in them, optional
NOT_WRITTEN = "not written yet"
LONGEST = 80  # characters of a value in a message
LONGEST_MESSAGE = 600  # whatever a value's text is

PASSED, WRONG, MISSING, NOT_TRIED = "passed", "wrong", "not written", "not tried"


class Wrong(Exception):
    """What is wrong with the answer, as a sentence for the student."""


class NotWritten(Exception):
    """The stub is as it came; the message says what is missing."""


@dataclass(frozen=True)
class Verdict:
    """What a check says. True when passed; `status` is PASSED, WRONG or MISSING."""

    lab: int
    exercise: str
    status: str
    message: str

    def __bool__(self) -> bool:
        return self.status == PASSED

    def __str__(self) -> str:
        mark = {PASSED: "✔ passed", WRONG: "✘ not yet", MISSING: "… to do"}[self.status]
        return f"{mark} · {self.exercise}: {self.message}"

    def _ipython_display_(self) -> None:
        """Nothing: the check has printed it already."""


REGISTRY: dict[tuple[int, str], Check] = {}  # (lab, exercise) -> its check


class Check:
    """One exercise's check. `judge` gives the verdict, a call prints and records it as well.

    Made by decorating a function of a module lab<number>, which takes a student's work and returns a sentence on what
    it got right, or raises Wrong. ValueError where the lab has a check of that name already.
    """

    def __init__(self, function: Callable[..., str]) -> None:
        functools.update_wrapper(self, function)
        self.lab = int(re.fullmatch(r".*\.lab(\d+)", function.__module__)[1])
        self.exercise, self.function = function.__name__, function
        self.last: Verdict | None = None
        if REGISTRY.setdefault((self.lab, self.exercise), self) is not self:
            raise ValueError(f"lab {self.lab} has a check {self.exercise} already")

    def judge(self, *work: Any) -> Verdict:
        """The verdict on a student's work, without printing or recording. Never raises."""
        try:
            for name, value in zip(self.function.__code__.co_varnames, work, strict=False):
                if value is None or value is ...:
                    raise NotWritten(f"{name if len(work) > 1 else 'its value'} is still `...`")
            status, message = PASSED, self.function(*work)
        except NotWritten as missing:
            status, message = MISSING, f"{NOT_WRITTEN}: {missing}"
        except Wrong as wrong:
            status, message = WRONG, str(wrong)
        except Exception as error:  # an answer of a kind that no check expected must not end the notebook
            kind = f"{type(error).__name__}: {error}"
            status, message = WRONG, f"this answer cannot be read ({kind}); compare its type with the task"
        message = message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 1] + "…"
        return Verdict(self.lab, self.exercise, status, message)

    def __call__(self, *work: Any) -> Verdict:
        self.last = self.judge(*work)
        encoding = sys.stdout.encoding or "utf-8"  # a console may have no ✔
        print(str(self.last).encode(encoding, "replace").decode(encoding))
        try:
            record(self.last)
        except OSError as error:
            print(f"(not recorded: {error})")
        return self.last

    def ready(self) -> bool:
        """Whether the exercise is passed in this session; if not, says that the cell waits for it."""
        if not self.last:
            print(
                f"This cell waits for the exercise {self.exercise}: solve it, run its check, then run this cell again."
            )
        return bool(self.last)


check = Check  # the decorator


def checks_of(lab: int) -> list[Check]:
    """The checks of one lab, in the order in which they are written."""
    importlib.import_module(f"{__name__}.lab{lab}")
    return [made for made in REGISTRY.values() if made.lab == lab]


def all_checks() -> list[Check]:
    """The checks of every lab module of this package, by lab, in the order in which they are written."""
    labs = sorted(int(module.name.removeprefix("lab")) for module in pkgutil.iter_modules(__path__))
    return [made for lab in labs for made in checks_of(lab)]


# What checks are written with.


def show(value: Any) -> str:
    """A value in a message, on one line and short."""
    shape = getattr(value, "shape", None)
    text = f"{type(value).__name__} of shape {tuple(shape)}" if shape else " ".join(repr(value).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def spelled(function: Any, arguments: tuple[Any, ...]) -> str:
    """A call as the student would type it; long arguments are left out."""
    words = [repr(value) if isinstance(value, (str, int, float)) else "…" for value in arguments]
    return f"{getattr(function, '__name__', 'the function')}({', '.join(words)})"


def ask(function: Any, *arguments: Any) -> Any:
    """What the student's function gives for copies of the arguments.

    Raises NotWritten where it gives nothing, Wrong where it is no function or raises.
    """
    if not callable(function):
        raise Wrong(f"this should be a function; it is {show(function)}")
    call = spelled(function, arguments)
    try:
        answer = function(*copy.deepcopy(arguments))
    except NotImplementedError:
        raise NotWritten(f"{call} raises NotImplementedError") from None
    except (Exception, SystemExit) as error:
        raise Wrong(f"{call} raises {type(error).__name__}: {error}") from None
    if answer is None or answer is ...:
        raise NotWritten(f"{call} gives {answer}; if you did write it, is its `return` missing?")
    return answer


def number(value: Any, what: str) -> float:
    """The value as a finite or infinite number. Raises Wrong, naming it as `what`, for anything else."""
    try:
        found = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"{what} should be one number; it is {show(value)}") from None
    if math.isnan(found):
        raise Wrong(f"{what} is not a number (nan): was infinity subtracted, or 0 divided by 0?")
    return found


def close(found: float, expected: float, tolerance: float = 1e-6) -> bool:
    """Whether two numbers agree, relative to the larger of `expected` and 1e-12."""
    return math.isclose(found, expected, rel_tol=tolerance, abs_tol=tolerance * 1e-6)


# What checks leave behind for grading.


def summary_file(lab: int) -> Path:
    """results/lab-2.json beside the notebook, or with the student's name, results/lab-2-ada-lovelace.json."""
    name = re.sub(r"\W+", "-", os.environ.get(STUDENT, "").lower()).strip("-")
    return Path(os.environ.get(RESULTS) or "results") / (f"lab-{lab}-{name}.json" if name else f"lab-{lab}.json")


def student(name: str) -> None:
    """Puts a name into the summary files that the checks after this call write."""
    os.environ[STUDENT] = name


def record(verdict: Verdict) -> None:
    """Adds a verdict to its lab's summary file, written whole. Raises OSError.

    The file lists every exercise of the lab: last status and message, number of attempts, and when it first passed.
    """
    path = summary_file(verdict.lab)
    before = read_summary(path).get("exercises", {})
    exercises = {made.exercise: {"status": NOT_TRIED, "attempts": 0} for made in checks_of(verdict.lab)} | before
    now, entry = datetime.now(UTC).isoformat(timespec="seconds"), exercises[verdict.exercise]
    entry |= {"status": verdict.status, "message": verdict.message, "attempts": entry["attempts"] + 1, "last_try": now}
    if verdict:
        entry.setdefault("first_passed", now)
    passed = sum(entry["status"] == PASSED for entry in exercises.values())
    summary = {"lab": verdict.lab, "student": os.environ.get(STUDENT, ""), "passed": passed, "of": len(exercises)}
    write_json(path, summary | {"exercises": exercises})


def read_summary(path: Path) -> dict[str, Any]:
    """A summary file; empty where there is none, half of one, or another."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        whole = {"lab", "passed", "of"} <= found.keys() and sum(e["attempts"] for e in found["exercises"].values()) >= 0
    except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return {}
    return found if whole else {}


def grades(folder: Path) -> list[dict[str, Any]]:
    """One row for each summary file under `folder`: file, student, lab, passed, of, attempts.

    What is none is named on standard error; Jupyter's checkpoints are copies. A spreadsheet would compute a cell that
    begins as a formula does: such a name gets an apostrophe.
    """
    rows = []
    for path in sorted(folder.rglob("lab-*.json")):
        if ".ipynb_checkpoints" in path.parts:
            continue
        if not (found := read_summary(path)):
            print(f"left out: {path} is no summary of a lab", file=sys.stderr)
            continue
        row = {"file": path.relative_to(folder).as_posix()}
        row |= {name: found.get(name, "") for name in ("student", "lab", "passed", "of")}
        row = {
            name: f"'{value}" if str(value).startswith(("=", "+", "-", "@")) else value for name, value in row.items()
        }
        rows.append(row | {"attempts": sum(entry["attempts"] for entry in found["exercises"].values())})
    return rows
