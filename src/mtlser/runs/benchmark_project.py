"""Benchmarks of what surrounds training: reading a release, rendering the book again, the test suite.

The commands run in a copy of the project, so that nothing here changes what is being worked on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from mtlser.corpus.release_tree import write_release_tree
from mtlser.runs.benchmark import Measured, Options

PAGE = Path("book") / "cite.md"  # the page whose prose is changed
NOTEBOOK = Path("book") / "departures.ipynb"  # and the notebook

LOAD = """
import sys, time
started = time.perf_counter()
from mtlser.corpus.iemocap import fingerprint, load_release
table = load_release(sys.argv[1], allow_different=True)
fingerprint(table)
loaded = time.perf_counter()
from mtlser.corpus.audio import digest_audio
digest_audio(table["wav"])
print(loaded - started, time.perf_counter() - loaded, len(table))
"""


def loader(options: Options) -> Measured:
    """Seconds to index and check a release of full size in a new process, with its files out of memory and then in."""
    with TemporaryDirectory() as name:
        options.say("  writing a release of full size, about 1.5 GB")
        tree = write_release_tree(Path(name), real_lengths=not options.small)
        runs = {"cold": [], "warm": []}
        for repeat in range(options.repeats):
            forget(tree.release)
            for state, values in runs.items():
                values.append(_load(tree.release))
                options.say(f"  {repeat + 1} of {options.repeats}: {state} {values[-1][0]:.2f} s")
        num_bytes = sum(path.stat().st_size for path in tree.release.rglob("*.wav"))
    found = {f"{state}_seconds": statistics.median(v[0] for v in values) for state, values in runs.items()}
    found["digest_seconds"] = statistics.median(values[1] for values in runs["cold"])
    details = {"turns": len(tree.turns), "utterances": int(runs["cold"][0][2]), "gigabytes": round(num_bytes / 1e9, 2)}
    return Measured(found, details | {"cold": "files dropped from the page cache by posix_fadvise; folders stay in it"})


def _load(release: Path) -> tuple[float, float, float]:
    result = subprocess.run([sys.executable, "-c", LOAD, str(release)], capture_output=True, text=True, env=_library())
    if result.returncode:
        raise RuntimeError(f"reading the release failed: {result.stderr.strip()[-500:]}")
    seconds, digests, count = map(float, result.stdout.split())
    return seconds, digests, count


def _library(source: Path | None = None) -> dict[str, str]:
    """This environment without the options of a preset, with the library on the path."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("MTLSER_", "MAKE")) and k != "MFLAGS"}
    return own | {"PYTHONPATH": str(source or Path(__file__).parents[2])}


def forget(folder: Path) -> None:
    """Asks the system to drop the contents of a folder's files from memory. Raises RuntimeError where it can't."""
    if not hasattr(os, "posix_fadvise"):
        raise RuntimeError("this system can't drop files from memory (posix_fadvise): measure the loader on Linux")
    os.sync()  # what is not on the disk yet stays
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def book(options: Options) -> Measured:
    """Seconds of the book after a change of prose and of a second `reproduce`, on the smoke preset's runs."""
    with TemporaryDirectory() as name:
        project = copy_project(options.root, Path(name) / "project")
        call = _caller(project)
        options.say("  the first `reproduce`, smoke preset")
        found = {"first_seconds": call("reproduce")}
        prose, notebook, second = [], [], []
        for repeat in range(options.repeats):
            change(project / PAGE, f"\nChanged once, for the {repeat}th measurement.\n")
            prose.append(call("book"))
            change_notebook(project / NOTEBOOK, f"Changed once, for the {repeat}th measurement.")
            notebook.append(call("book"))
            second.append(call("reproduce"))
            options.say(f"  {repeat + 1} of {options.repeats}: page {prose[-1]:.1f} s, notebook {notebook[-1]:.1f} s, "
                        f"nothing {second[-1]:.1f} s")  # fmt: skip
    found["prose_seconds"] = statistics.median(prose)
    found["notebook_seconds"] = statistics.median(notebook)
    found["second_seconds"] = statistics.median(second)
    return Measured(found, {"preset": "smoke", "page": str(PAGE), "notebook": str(NOTEBOOK)})


def reproduce(options: Options) -> Measured:
    """Seconds of `make reproduce` from nothing but installed packages: corpus, all runs of the pocket preset, site."""
    preset = "smoke" if options.small else "pocket"
    with TemporaryDirectory() as name:
        project = copy_project(options.root, Path(name) / "project")
        options.say(f"  `make reproduce PRESET={preset}` in a copy without artifacts")
        found = {"seconds": _caller(project, preset)("reproduce")}
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in project.glob("artifacts/runs/**/run.json")]
    done = [run["seconds"] for run in runs if run["status"] == "done"]
    found |= {"runs_seconds": sum(done), "longest_run_seconds": max(done)}
    return Measured(found, {"preset": preset, "runs": len(done)})


def _caller(project: Path, preset: str = "smoke") -> Callable[[str], float]:
    """A function from a target of the copy's Makefile to its seconds, without the check that packages are installed."""
    (project / ".venv").symlink_to(sys.prefix, target_is_directory=True)

    def call(target: str) -> float:
        words = ["make", target, f"PRESET={preset}", "PYTHON=true"]
        started = time.perf_counter()
        result = subprocess.run(words, cwd=project, capture_output=True, text=True, env=_library(project / "src"))
        if result.returncode:
            raise RuntimeError(f"make {target} failed: {(result.stdout + result.stderr)[-800:]}")
        return time.perf_counter() - started

    return call


def change(path: Path, text: str) -> None:
    """Adds a text at the end of a page."""
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def change_notebook(path: Path, text: str) -> None:
    """Adds a text to the first cell of a notebook."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    source = "".join(notebook["cells"][0]["source"])
    notebook["cells"][0]["source"] = f"{source}\n\n{text}"
    path.write_text(json.dumps(notebook), encoding="utf-8")


def copy_project(root: Path, folder: Path) -> Path:
    """The files of the project that are committed or would be, copied. Raises RuntimeError outside a git checkout."""
    listed = ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard"]
    result = subprocess.run(listed, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"the project's commands are measured in a git checkout: {result.stderr.strip()}")
    for name in result.stdout.splitlines():
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)
    return folder


def tests(options: Options) -> Measured:
    """Seconds of `make test` after set-up: pytest's own closing line."""
    words = ["make", "test", "ARGS=-p no:cacheprovider" + (" --collect-only" if options.small else "")]
    result = subprocess.run(words, cwd=options.root, capture_output=True, text=True)
    closing = result.stdout.strip().splitlines()[-1] if result.stdout.strip() else ""
    seconds = re.search(r"in ([\d.]+)s", closing)
    if result.returncode or not seconds:
        failed = [line for line in result.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        raise RuntimeError("\n".join(["the tests failed:", *failed, closing or result.stderr[-500:]]))
    return Measured({"seconds": float(seconds[1])}, {"closing": closing.strip("= ")})
