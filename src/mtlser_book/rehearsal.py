"""Runs what a workshop will run, and records it: each lab's solution, and an installation without any index.

`rehearsal.json` is committed; the teacher's guide shows it.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from mtlser import machine
from mtlser.files import digest, write_json
from mtlser.machine import num_cores
from mtlser.report.display import NOT_RUN, Html, show
from mtlser_book import Stop, bootstrap, checks, labs, students
from mtlser_book.execute import Page, kernel_environment, run_papermill

RECORD = "book/results/maintainers/workshop/rehearsal.json"
LIMIT_SECONDS = 300  # a solution takes at most five minutes on two cores
OPENED = 2  # the lab that is opened after an installation without an index


def read(root: Path) -> dict[str, Any]:
    """The record: {"labs": {"1": …}, "wheelhouse": {…}}; empty parts where nothing was rehearsed."""
    path = root / RECORD
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {"labs": {}, "wheelhouse": {}} | found


def conditions() -> dict[str, Any]:
    """When, where and with what a rehearsal happens."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": machine.hardware() | {"usable_cores": num_cores()},
        "python": machine.versions()["python"],
        "torch": machine.versions()["torch"],
        "revision": machine.revision(),
    }


def lab_key(root: Path, lab: labs.Lab) -> str:
    """What a lab's rehearsal depends on: its source and its checks, as one hash."""
    files = (lab.source, f"src/mtlser_book/checks/lab{lab.number}.py")
    return digest(*((root / name).read_text(encoding="utf-8") for name in files))


def rehearse_lab(root: Path, lab: labs.Lab) -> dict[str, Any]:
    """Runs a lab's solution from top to bottom in an empty folder; what was measured. Raises Stop."""
    notebook = students.solution_notebook(labs.read_lab(root, lab), lab)
    with TemporaryDirectory() as away:
        folder, started = Path(away), time.perf_counter()
        with kernel_environment(folder / "kernel", {}):
            environment = {checks.RESULTS: str(folder / "results"), checks.STUDENT: ""}
            run_papermill(notebook, Page(lab.source, lab.solution), environment, folder)
        seconds = time.perf_counter() - started
        found = checks.read_summary(folder / "results" / f"lab-{lab.number}.json")
    passed, of = found.get("passed", 0), found.get("of", 0)
    if not of or passed < of:
        raise Stop(f"{lab.source}: its own solution passes {passed} of {of} checks")
    if seconds > LIMIT_SECONDS:
        raise Stop(f"{lab.source}: {seconds:.0f} s, and a room waits {LIMIT_SECONDS} s at most")
    made = {"key": lab_key(root, lab), "lab": lab.stem, "seconds": round(seconds, 1), "passed": passed, "of": of}
    return made | conditions()


def rehearse_labs(root: Path, log: Callable[[str], None] = print) -> None:
    """Rehearses the labs whose record is of another version, and writes the record after each.

    Raises Stop that lists the labs which failed, after the others.
    """
    record, failures = read(root), []
    for lab in labs.find_labs(root):
        known = record["labs"].get(str(lab.number), {})
        if known.get("key") == lab_key(root, lab):
            log(f"{lab.stem}: rehearsed on {known['date']} in {known['seconds']:.0f} s, unchanged since")
            continue
        try:
            made = rehearse_lab(root, lab)
        except Stop as error:
            failures.append(str(error))
            log(f"{lab.stem}: FAILED")
            continue
        entries = record["labs"] | {str(lab.number): made}
        record["labs"] = dict(sorted(entries.items(), key=lambda entry: int(entry[0])))
        write_json(root / RECORD, record)
        log(f"{lab.stem}: {made['passed']} of {made['of']} checks passed, {made['seconds']:.0f} s")
    if failures:
        raise Stop("\n".join(failures))


def offline_environment(folder: Path) -> dict[str, str]:
    """This process's environment without any setting of pip, project or Python, and with no index to install from."""
    ours = ("PIP_", "MTLSER_", "PYTHON", "VIRTUAL_ENV", "JUPYTER", "IPYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    none = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"}
    return kept | none | {bootstrap.WHEELHOUSE: str(folder.resolve()), "PYTHONUTF8": "1"}


def timed(command: list[str], folder: Path, environment: dict[str, str]) -> float:
    """Seconds that a command takes in `folder`. Raises Stop with the end of what it said."""
    started = time.perf_counter()
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if result.returncode:
        said = "\n".join((result.stdout + result.stderr).strip().splitlines()[-15:])
        raise Stop(f"this failed: {' '.join(command)}\n{said}")
    return time.perf_counter() - started


def rehearse_wheelhouse(root: Path, folder: Path, log: Callable[[str], None] = print) -> None:
    """Installs a clone from `folder` alone, opens a lab as a student does, and records both. Raises Stop."""
    if not (packages := list(folder.glob("*.whl"))):
        raise Stop(f"{folder} holds no packages; collect them with\n\n    make wheelhouse")
    lab = next(lab for lab in labs.find_labs(root) if lab.number == OPENED)
    with TemporaryDirectory() as away:
        project, environment = Path(away) / "project", offline_environment(folder)
        if subprocess.run(["git", "clone", "--quiet", str(root), str(project)]).returncode:
            raise Stop("the project could not be cloned; what git said is above")
        log(f"Installing {len(packages)} packages without an index (some minutes)")
        # The one command for a laptop without make; --version goes to JupyterLab, which then ends at once.
        command = [sys.executable, "src/mtlser_book/bootstrap.py", "workshop", "--version"]
        installing = timed(command, project, environment)
        opened, python = project / "artifacts" / "workshop", str(bootstrap.inside(project / ".venv"))
        command = [python, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace", f"{lab.stem}.ipynb"]
        executing = timed(command, opened, environment)
        found = checks.read_summary(opened / "results" / f"lab-{lab.number}.json")
        if not found or {entry["status"] for entry in found["exercises"].values()} != {checks.MISSING}:
            raise Stop(f"{lab.student}: not every check said that its exercise is to do")
        installed = sum(file.stat().st_size for file in (project / ".venv").rglob("*") if file.is_file())
    measured = {
        "packages": len(packages),
        "size_bytes": sum(file.stat().st_size for file in packages),
        "installed_bytes": installed,
        "install_seconds": round(installing, 1),
        "opened": lab.stem,
        "open_seconds": round(executing, 1),
    }
    torch = next((file.name.split("-")[1] for file in packages if file.name.startswith("torch-")), "")
    write_json(root / RECORD, read(root) | {"wheelhouse": {**measured, **conditions(), "torch": torch}})
    log(wheelhouse_sentence(root))


def machine_of(entry: dict[str, Any]) -> str:
    """The machine of a record in words."""
    given = entry["hardware"]
    return f"{given['processor']}, {given['usable_cores']} of {given['cores']} cores, {given['system']}"


def labs_table(root: Path) -> Html:
    """One row for each lab: minutes for a student, and what executing its solution took."""
    known, rows = read(root)["labs"], []
    for lab in labs.find_labs(root):
        entry, measured = known.get(str(lab.number)), (NOT_RUN, "–", "–")
        if entry and entry["key"] == lab_key(root, lab):
            measured = f"{entry['seconds']:.0f} s", f"{entry['passed']} of {entry['of']}", entry["date"]
        rows.append([f"{lab.number}", labs.total_minutes(labs.read_lab(root, lab)), *measured])
    columns = ["lab", "minutes for a student", "solution executed", "checks passed", "on"]
    machines = sorted({f"{machine_of(entry)}, Python {entry['python']}" for entry in known.values()})
    table = pd.DataFrame(rows, columns=columns)
    return show(table, "Each solution from top to bottom", "; ".join(machines) or NOT_RUN.capitalize())


def wheelhouse_sentence(root: Path) -> str:
    """What a stick takes, as measured; says so where nobody has tried."""
    entry = read(root)["wheelhouse"]
    if not entry:
        return "An installation from it has not been run."
    minutes = max(1, math.ceil(entry["install_seconds"] / 60))
    return (
        f"Rehearsed on {entry['date']} ({machine_of(entry)}, Python {entry['python']}, torch {entry['torch']}): "
        f"{entry['packages']} packages, {entry['size_bytes'] / 1e9:.1f} GB on the stick, "
        f"{entry['installed_bytes'] / 1e9:.1f} GB once installed, {minutes} minute{'s' * (minutes > 1)} to install "
        f"without any index; lab {entry['opened'].split('-')[1]}'s student copy then ran from top to bottom."
    )
