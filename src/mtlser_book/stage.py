"""Lays executed notebooks over the committed pages and builds the site; the old one goes only when it built."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryFile

import pandas as pd

from mtlser.files import digest, file_digest, write_json
from mtlser.forkserver import is_running, start_process
from mtlser_book import provenance
from mtlser_book.kernels import PRELOADED
from mtlser_book.privacy import search_site

# Records are data of the pages, not pages.
NOT_STAGED = ("results", ".ipynb_checkpoints", "__pycache__")


class BuildError(Exception):
    """The site did not build; what Sphinx said is above, and the previous site is untouched."""


def staged_files(root: Path, notebooks: Path) -> dict[str, Path]:
    """Path in the staged project -> the file that goes there; an executed notebook stands for its committed one."""
    files: dict[str, Path] = {}
    for folder in (root, notebooks):
        for path in sorted((folder / "book").rglob("*")):
            relative = path.relative_to(folder)
            if path.is_file() and not set(relative.parts) & set(NOT_STAGED) and path.suffix != ".partial":
                files[relative.as_posix()] = path
    return files


def stage(root: Path, notebooks: Path, staged: Path) -> dict[str, str]:
    """Makes `staged` hold exactly those files and returns path -> SHA-256.

    A file that did not change keeps its time, so that Sphinx reads only what did.
    """
    files = staged_files(root, notebooks)
    digests: dict[str, str] = {}
    for name, source in files.items():
        content = source.read_bytes()
        digests[name] = hashlib.sha256(content).hexdigest()
        target = staged / name
        if not target.exists() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    for path in sorted(staged.rglob("*"), reverse=True):  # files before the folders that hold them
        if path.is_dir():
            path.rmdir() if not any(path.iterdir()) else None
        elif path.relative_to(staged).as_posix() not in files:
            path.unlink()
    return digests


def settings_digest(root: Path) -> str:
    """What every page depends on: configuration, table of contents, this package, and the packages that render."""
    files = [
        *(root / name for name in ("_config.yml", "_toc.yml", "CITATION.cff", "requirements.txt")),
        *sorted(Path(__file__).parent.rglob("*")),
    ]
    parts = [file_digest(p) for p in files if p.is_file() and p.suffix != ".pyc"]
    return digest(*parts, *(f"{n}=={v}" for n, v in sorted(provenance.versions().items())))


def build_site(root: Path, build: Path, *, quiet: bool = False, transcripts: pd.DataFrame | None = None) -> bool:
    """Renders `<build>/html` from the project's pages and `<build>/notebooks`; returns whether anything changed.

    Strict: a warning is an error, and so is one of the licensed `transcripts` (columns utterance, transcript), or a
    sound or picture that could be of that corpus. Raises BuildError and keeps the previous site.
    """
    digests = stage(root, build / "notebooks", build / "staged")
    settings = settings_digest(root)
    licensed = [] if transcripts is None else sorted(transcripts["transcript"])
    key = digest(settings, *(f"{name} {value}" for name, value in sorted(digests.items())), *licensed)
    record = build / "site.json"
    if (build / "html" / "index.html").exists() and recorded(record).get("key") == key:
        return False
    output = build / "sphinx"
    previous = recorded(output / "settings.json")
    if previous.get("settings") != settings or set(previous.get("pages", [])) != set(digests):
        shutil.rmtree(output, ignore_errors=True)  # pages that are gone, or that the settings changed
    run_jupyter_book(root, build / "staged", output, quiet)
    write_json(output / "settings.json", {"settings": settings, "pages": sorted(digests)})
    if licensed:
        refuse_licensed(root, output / "_build" / "html", transcripts)
    record.unlink(missing_ok=True)
    swap(output / "_build" / "html", build / "html")
    write_json(record, {"key": key, "revision": machine.revision()})
    return True


def refuse_licensed(root: Path, site: Path, transcripts: pd.DataFrame) -> None:
    """Raises BuildError, after removing the rendered site, where it holds what the corpus's licence keeps out."""
    findings = search_site(site, transcripts, root)
    if findings:
        shutil.rmtree(site)
        shutil.rmtree(site.parent / ".doctrees", ignore_errors=True)  # or an unchanged page would not be written again
        lines = "\n".join(f"  {finding}" for finding in findings)
        raise BuildError(f"the site holds what may not be published:\n{lines}")


def recorded(path: Path) -> dict:
    """The JSON object at `path`; empty where there is none, or half of one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def run_jupyter_book(root: Path, staged: Path, output: Path, quiet: bool) -> None:
    """`jupyter-book build` with warnings as errors. Raises BuildError after removing what Sphinx kept.

    Without that removal a strict build that failed passes the second time: unchanged pages are not read again.
    """
    words = ["build", str(staged.resolve()), "--path-output", str(output.resolve()), "-W", "-n", "--keep-going"]
    words += ["--config", str((root / "_config.yml").resolve()), "--toc", str((root / "_toc.yml").resolve())]
    words += ["-q"] if quiet else []
    output.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONUTF8": "1", "NO_COLOR": "1"}
    # Not the script beside Python: its first line breaks where the project's path is long or has a space.
    command = {"function": "jupyter_book.cli.main:main", "arguments": [words], "environment": environment}
    fork = is_running(PRELOADED)  # as it is where pages were executed
    with TemporaryFile("w+", encoding="utf-8") as errors:
        process = start_process(**command, preload=PRELOADED, fork=fork, stdout=PIPE, stderr=errors)
        with process.stdout:
            printed = process.stdout.read()
        code = process.wait()
        errors.seek(0)
        log = (printed + errors.read()).replace(f"{staged.resolve()}{os.sep}", "")
    (output / "log.txt").write_text(log, encoding="utf-8")
    if code:
        warnings = [line for line in log.splitlines() if "WARNING" in line or "ERROR" in line]
        shutil.rmtree(output, ignore_errors=True)
        raise BuildError("\n".join(["the site did not build:", *(warnings or log.splitlines()[-30:])]))


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
