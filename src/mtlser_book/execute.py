"""Executes notebooks with papermill: whole or not at all, and only when their content changed."""

from __future__ import annotations

import copy
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any
from unittest.mock import patch

import nbformat
import papermill
import psutil
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import ensure_event_loop
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from mtlser.files import digest, named_digests, whole_file
from mtlser.machine import num_cores
from mtlser.report.sounds import PAGE_FILES
from mtlser_book import Stop, provenance

MOST_AT_ONCE = 4  # pages; a kernel can take half a GiB, and more would wait for the longest page alone


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
    trains: bool = False  # makes the records that other pages read


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
    """Whether `target` is an executed notebook of exactly this key, and the files beside it are there."""
    try:
        record = read_notebook(target).metadata.get("mtlser", {})
    except Stop:
        return False
    return record.get("key") == key and all((files_folder(target) / name).exists() for name in record.get("files", []))


def files_folder(target: Path) -> Path:
    """Where the files of an executed page go: `corpus_files` beside `corpus.ipynb`."""
    return target.with_name(f"{target.stem}_files")


@contextmanager
def kernel_environment(build: Path, extra: Mapping[str, str]) -> Iterator[None]:
    """Kernels of this Python only, with `extra`, untouched by what the user's home holds for Jupyter and IPython."""
    ipython, runtime = (build / "ipython").resolve(), (build / "runtime").resolve()
    own = {
        "JUPYTER_PATH": str(Path(sys.prefix) / "share" / "jupyter"),  # searched before the user's kernels
        "IPYTHONDIR": str(ipython),  # no start-up files of the user
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # the kernel would print a warning about frozen modules
        "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm, on a page that imports transformers without ipywidgets
    }
    profile = ipython / "profile_default"
    for folder in (profile, runtime):
        folder.mkdir(parents=True, exist_ok=True)
    # The kernel would warn on the terminal, for each page, that its local socket is signed but not encrypted.
    (profile / "ipython_kernel_config.py").write_text('get_config().IPKernelApp.log_level = "CRITICAL"\n')
    with patch.dict(os.environ, own | dict(extra)):
        yield


def execute_pages(
    pages: Sequence[Page], *, root: Path, build: Path, library: str, workers: int | None, log: Callable[[str], None]
) -> list[str]:
    """Executes pages (`execute_page`); what the ones that failed said, in the order of the pages.

    Those that train go first, one after the other; the others, which read what these recorded, side by side: as many as
    there are cores, or `workers` where that is set, but no more than `MOST_AT_ONCE`. Ctrl-C, or whatever else is raised
    in this thread, ends every process that this one started, and leaves the pages that were not finished as they were.
    """
    at_once = max(1, min(workers or num_cores(), num_cores(), MOST_AT_ONCE))
    shared = at_once > 1 and "OMP_NUM_THREADS" not in os.environ
    threads = {"OMP_NUM_THREADS": str(num_cores() // at_once)} if shared else {}

    def execute(page: Page) -> str:
        try:
            execute_page(page, root=root, build=build, library=library, log=log)
        except Stop as error:
            if not stopped.is_set():
                log(f"{page.target}: FAILED")
            return str(error)
        finally:
            ensure_event_loop().close()  # papermill's in this thread, which nobody else closes
        return ""

    stopped, ended = Event(), {}
    with kernel_environment(build, threads), ThreadPoolExecutor(at_once) as pool:
        try:
            for page in sorted(pages, key=lambda page: (not page.trains, not page.alone)):  # labs train in their page
                ended[page.target] = pool.submit(execute, page)
                if page.trains:
                    ended[page.target].result()
            failures = [ended[page.target].result() for page in pages]
        except BaseException:
            stopped.set()
            logging.getLogger("papermill").disabled = True  # it would say that kernels died
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in ended.values()):  # a kernel may be starting
                for process in psutil.Process().children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
                time.sleep(0.1)
            raise
    return [failure for failure in failures if failure]


def execute_page(page: Page, *, root: Path, build: Path, library: str, log: Callable[[str], None]) -> bool:
    """Executes (or only makes) a page into `<build>/notebooks/<target>` unless it is current; returns whether it did.

    The notebook runs in `root`, or in an empty folder where the page is `alone`. A failure leaves the previous page
    in place. For who is inside `kernel_environment`; safe in several threads. Raises Stop.
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
    started, files = time.perf_counter(), files_folder(target)
    with TemporaryDirectory(dir=build) as beside:
        made, empty = Path(beside, files.name).resolve(), Path(beside, "empty").resolve()
        made.mkdir()
        empty.mkdir()
        environment = {**page.environment, PAGE_FILES: str(made)}
        executed = run_papermill(notebook, page, environment, empty if page.alone else root)
        seconds = time.perf_counter() - started
        record = provenance.page_record(content_key(notebook, page, library), seconds, page.source, page.parameters)
        record["files"] = sorted(path.name for path in made.iterdir())
        provenance.finish(executed, record)
        with whole_file(target) as partial:  # ended in here, the previous page lacks its files, and is executed again
            nbformat.write(executed, partial)
            shutil.rmtree(files, ignore_errors=True)
            if record["files"]:
                made.rename(files)
    log(f"{page.target}: executed in {seconds:.0f} s")
    return True


def run_papermill(notebook: NotebookNode, page: Page, environment: Mapping[str, str], folder: Path) -> NotebookNode:
    """The notebook with outputs, from a kernel in `folder` with `environment` beside this process's. Raises Stop."""

    class PageKernelManager(AsyncKernelManager):
        """papermill would change the folder of the whole process, in which other pages are executed."""

        async def start_kernel(self, **options: Any) -> None:
            await super().start_kernel(**options, env=os.environ | environment, cwd=str(folder))

    options = {"kernel_name": "python3", "kernel_manager_class": PageKernelManager, "start_timeout": 120}
    try:
        return papermill.execute_notebook(
            copy.deepcopy(notebook), None, parameters=page.parameters, progress_bar=False, **options
        )
    except PapermillExecutionError as error:
        cell = [cell.source for cell in notebook.cells].index(error.source) + 1
        last = (error.source.strip().splitlines() or [""])[-1]
        said = f"cell {cell}: {error.ename}: {error.evalue}\n    {last}"
        raise Stop(f"{page.source} ({page.target}), {said}") from None
    except RuntimeError as error:  # a kernel that died or did not start
        raise Stop(f"{page.source} ({page.target}): {error}") from None
