"""Executes notebooks with papermill: whole or not at all, and only when their content changed."""

from __future__ import annotations

import copy
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import nbformat
import papermill
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from mtlser.files import digest, whole_file
from mtlser.machine import num_cores
from mtlser_book import Stop, named_digests, provenance


@dataclass(frozen=True)
class Page:
    """One executed page: a committed notebook, what it is given, and where the result goes."""

    source: str  # committed notebook, relative to the project, "book/training/template.ipynb"
    target: str  # the page, relative to the project, "book/training/alpha-0.1.ipynb"
    parameters: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)  # for the kernel, beside what this process has
    # Digest of the records that the page reads. Called before and after, since a training page writes them itself.
    inputs_digest: Callable[[], str] = lambda: ""
    make: Callable[[NotebookNode], NotebookNode] = lambda notebook: notebook  # of the source, what this page shows
    executed: bool = True  # a lab's student view is shown as it is
    alone: bool = False  # runs in an empty folder, as on a student's computer, and not in the project


def read_notebook(path: Path) -> NotebookNode:
    """The notebook at `path`. Raises Stop where it is not one."""
    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise Stop(f"{path}: there is no such notebook") from None
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, AttributeError, KeyError) as error:
        raise Stop(f"{path}: not a readable notebook ({error})") from None


def library_digest(source: Path) -> str:
    """SHA-256 over names and bytes of the library in the folder `source` and of what finishes a page."""
    files = [p for p in (source / "mtlser").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    files += [source / "mtlser_book" / name for name in ("execute.py", "provenance.py")]
    return digest(*named_digests(sorted(files), source))


def content_key(notebook: NotebookNode, page: Page, library: str) -> str:
    """What the executed page depends on, as one hash: source, parameters, library, packages, and records."""
    cells = [[cell.cell_type, cell.source, cell.metadata.get("tags", [])] for cell in notebook.cells]
    given = [page.source, page.target, page.parameters, page.environment, cells, provenance.versions()]
    return digest(json.dumps(given, sort_keys=True), library, page.inputs_digest())


def is_current(target: Path, key: str) -> bool:
    """Whether `target` is an executed notebook of exactly this key."""
    try:
        return read_notebook(target).metadata.get("mtlser", {}).get("key") == key
    except Stop:
        return False


@contextmanager
def kernel_environment(build: Path) -> Iterator[None]:
    """Kernels of this Python only, untouched by what the user's home holds for Jupyter and IPython."""
    ipython, runtime = (build / "ipython").resolve(), (build / "runtime").resolve()
    own = {
        "JUPYTER_PATH": str(Path(sys.prefix) / "share" / "jupyter"),  # searched before the user's kernels
        "IPYTHONDIR": str(ipython),  # no start-up files of the user
        "JUPYTER_RUNTIME_DIR": str(runtime),
        # More threads than that hinder each other in models as small as a lab's, and whatever else runs.
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, num_cores() // 4)),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # the kernel would print a warning about frozen modules
        "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm, on a page that imports transformers without ipywidgets
    }
    profile = ipython / "profile_default"
    for folder in (profile, runtime):
        folder.mkdir(parents=True, exist_ok=True)
    # The kernel would warn on the terminal, for each page, that its local socket is signed but not encrypted.
    (profile / "ipython_kernel_config.py").write_text('get_config().IPKernelApp.log_level = "CRITICAL"\n')
    with patch.dict(os.environ, own):
        yield


def execute_pages(
    pages: Sequence[Page], *, root: Path, build: Path, library: str, log: Callable[[str], None]
) -> list[str]:
    """Executes pages (`execute_page`) one after the other; what the ones that failed said."""
    failures = []
    with kernel_environment(build):
        for page in pages:
            try:
                execute_page(page, root=root, build=build, library=library, log=log)
            except Stop as error:
                log(f"{page.target}: FAILED")
                failures.append(str(error))
    return failures


def execute_page(page: Page, *, root: Path, build: Path, library: str, log: Callable[[str], None]) -> bool:
    """Executes (or only makes) a page into `<build>/notebooks/<target>` unless it is current; returns whether it did.

    The notebook runs in `root`, or in an empty folder where the page is `alone`. A failure leaves the previous page
    in place. For who is inside `kernel_environment`. Raises Stop.
    """
    notebook = page.make(read_notebook(root / page.source))
    declared = papermill.inspect_notebook(notebook)
    if unknown := ", ".join(sorted(set(page.parameters) - set(declared))):  # papermill would only warn
        there = f"the cell tagged `parameters` declares {', '.join(declared) or 'nothing'}"
        raise Stop(f"{page.source}: no parameter {unknown}; {there}")
    target, key = build / "notebooks" / page.target, content_key(notebook, page, library)
    if is_current(target, key):
        return False
    if not page.executed:
        notebook.metadata["mtlser"] = {"key": key, "source": page.source}
        with whole_file(target) as partial:
            nbformat.write(notebook, partial)
        log(f"{page.target}: made from {page.source}")
        return True
    log(f"{page.target}: executing {page.source}")
    started = time.perf_counter()
    with TemporaryDirectory() as empty, patch.dict(os.environ, page.environment):
        executed = run_papermill(notebook, page, Path(empty) if page.alone else root)
    seconds = time.perf_counter() - started
    record = provenance.page_record(content_key(notebook, page, library), seconds, page.source, page.parameters)
    provenance.finish(executed, record)
    with whole_file(target) as partial:
        nbformat.write(executed, partial)
    log(f"{page.target}: executed in {seconds:.0f} s")
    return True


def run_papermill(notebook: NotebookNode, page: Page, folder: Path) -> NotebookNode:
    """The notebook with outputs, from a kernel in `folder`, which ends with it. Raises Stop."""
    options = {"kernel_name": "python3", "start_timeout": 120, "progress_bar": False, "cwd": folder}
    try:
        return papermill.execute_notebook(copy.deepcopy(notebook), None, parameters=page.parameters, **options)
    except PapermillExecutionError as error:
        cell = [cell.source for cell in notebook.cells].index(error.source) + 1
        last = (error.source.strip().splitlines() or [""])[-1]
        said = f"cell {cell}: {error.ename}: {error.evalue}\n    {last}"
        raise Stop(f"{page.source} ({page.target}), {said}") from None
    except RuntimeError as error:  # a kernel that died or did not start
        raise Stop(f"{page.source} ({page.target}): {error}") from None
