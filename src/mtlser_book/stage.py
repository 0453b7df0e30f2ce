"""Lays executed notebooks over the committed pages and builds the site; the old one goes only when it built."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

from mtlser.files import digest, file_digest
from mtlser_book import Stop, provenance
from mtlser_book.privacy import search_site

# Records are data of the pages, not pages.
NOT_STAGED = ("results", ".ipynb_checkpoints", "__pycache__")
KEY = ".made-from"  # a file that says by a digest what a folder was made from


def stage(root: Path, notebooks: Path, staged: Path) -> dict[str, str]:
    """Makes `staged` hold the pages, executed notebooks in place of committed ones, and returns path -> SHA-256.

    A file that did not change keeps its time, so that Sphinx reads only what did.
    """
    files: dict[str, Path] = {}
    for folder in (root, notebooks):
        for path in sorted((folder / "book").rglob("*")):
            relative = path.relative_to(folder)
            if path.is_file() and not set(relative.parts) & set(NOT_STAGED) and path.suffix != ".partial":
                files[relative.as_posix()] = path
    digests = {name: file_digest(path) for name, path in files.items()}
    for name, path in files.items():
        target = staged / name
        if not target.exists() or file_digest(target) != digests[name]:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    for path in sorted(staged.rglob("*"), reverse=True):  # files before the folders that hold them
        if path.is_file() and path.relative_to(staged).as_posix() not in files:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    return digests


def build_site(root: Path, build: Path, *, transcripts: pd.DataFrame | None = None) -> bool:
    """Renders `<build>/html` from the project's pages and `<build>/notebooks`; returns whether anything changed.

    Strict: a warning is an error, and so is one of the licensed `transcripts` (columns utterance, transcript), or a
    sound or picture that could be of that corpus. Raises Stop and keeps the previous site.
    """
    digests = stage(root, build / "notebooks", build / "staged")
    licensed = [] if transcripts is None else sorted(transcripts["transcript"])
    # What every page depends on: configuration, table of contents, this package, and the packages that render.
    files = [root / name for name in ("_config.yml", "_toc.yml", "CITATION.cff", "requirements.txt")]
    files += sorted(path for path in Path(__file__).parent.rglob("*") if path.suffix != ".pyc")
    settings = [*map(file_digest, filter(Path.is_file, files)), json.dumps(provenance.versions())]
    made_from = digest(*settings, *digests)
    key = digest(made_from, *digests.values(), *licensed)
    output = build / "sphinx"
    site = output / "_build" / "html"
    if _says(build / "html" / KEY, key):
        return False
    if not _says(output / KEY, made_from):
        shutil.rmtree(output, ignore_errors=True)  # pages that are gone, or that the settings changed
    run_jupyter_book(root, build / "staged", output)
    (output / KEY).write_text(made_from)
    findings = search_site(site, transcripts, root) if licensed else []
    if findings:
        shutil.rmtree(output)  # or an unchanged page would not be written, and searched, again
        raise Stop("\n  ".join(["the site holds what may not be published:", *findings]))
    (site / KEY).write_text(key)
    swap(site, build / "html")
    return True


def _says(path: Path, key: str) -> bool:
    return path.exists() and path.read_text() == key


def run_jupyter_book(root: Path, staged: Path, output: Path) -> None:
    """`jupyter-book build` with warnings as errors. Raises Stop after removing what Sphinx kept.

    Without that removal a strict build that failed passes the second time: unchanged pages are not read again.
    """
    # Not the script beside Python: its first line breaks where the project's path is long or has a space.
    words = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(staged.resolve())]
    words += ["--path-output", str(output.resolve()), "-q", "-W", "-n", "--keep-going"]
    words += ["--config", str((root / "_config.yml").resolve()), "--toc", str((root / "_toc.yml").resolve())]
    output.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONUTF8": "1", "NO_COLOR": "1"}
    result = subprocess.run(words, env=environment, capture_output=True, text=True, encoding="utf-8")
    log = (result.stdout + result.stderr).replace(f"{staged.resolve()}{os.sep}", "")
    (output / "log.txt").write_text(log, encoding="utf-8")
    if result.returncode:
        warnings = [line for line in log.splitlines() if "WARNING" in line or "ERROR" in line]
        shutil.rmtree(output, ignore_errors=True)
        raise Stop("\n".join(["the site did not build:", *(warnings or log.splitlines()[-30:])]))


def swap(new: Path, old: Path) -> None:
    """Replaces the site `old` by a copy of `new` through renames; an interrupted copy leaves `old` as it was."""
    fresh, gone = old.with_name(old.name + ".new"), old.with_name(old.name + ".old")
    for folder in (fresh, gone):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(new, fresh)
    if old.exists():
        os.rename(old, gone)
    os.rename(fresh, old)
    shutil.rmtree(gone, ignore_errors=True)
