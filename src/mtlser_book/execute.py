"""Executes notebooks with papermill: whole or not at all, and only when their content changed."""

from __future__ import annotations

import copy
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
import papermill
from jupyter_client.manager import KernelManager
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from mtlser.files import digest, named_digests, whole_file
from mtlser.report.sounds import PAGE_FILES
from mtlser_book import provenance
from mtlser_book.kernels import PageKernels, forked_kernels


class NotebookError(Exception):
    """A notebook cannot be executed or a cell of it failed; the message names notebook, cell and exception."""


@dataclass(frozen=True)
class Page:
    """One executed page: a committed notebook, what it is given, and where the result goes."""

    source: str  # committed notebook, relative to the project, "book/training/template.ipynb"
    target: str  # the page, relative to the project, "book/training/alpha-0.1.ipynb"
    parameters: dict[str, Any] = field(default_factory=dict)
    title: str | None = None  # replaces the first heading: copies of one notebook would share it
    environment: dict[str, str] = field(default_factory=dict)  # for the kernel, beside what this process has
    # Digest of the records that the page reads. Called before and after, since a training page writes them itself.
    inputs_digest: Callable[[], str] = lambda: ""
    make: Callable[[NotebookNode], NotebookNode] = lambda notebook: notebook  # of the source, what this page shows
    executed: bool = True  # a lab's student view is shown as it is
    alone: bool = False  # runs in an empty folder, as on a student's computer, and not in the project
    trains: bool = False  # makes the records that other pages read


def read_notebook(path: Path) -> NotebookNode:
    """The notebook at `path`. Raises NotebookError where it is not one."""
    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise NotebookError(f"{path}: there is no such notebook") from None
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, AttributeError, KeyError) as error:
        raise NotebookError(f"{path}: not a readable notebook ({error})") from None


def declared_parameters(notebook: NotebookNode) -> list[str]:
    """Names assigned in the cell tagged `parameters`, in order; empty where there is none."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    lines = cells[0].source.splitlines() if cells else []
    return [line.split("=")[0].split(":")[0].strip() for line in lines if "=" in line and line[:1].isidentifier()]


def check_parameters(notebook: NotebookNode, page: Page) -> None:
    """Raises NotebookError for a parameter that the notebook does not declare: papermill would only warn."""
    declared = declared_parameters(notebook)
    unknown = sorted(set(page.parameters) - set(declared))
    if unknown:
        raise NotebookError(
            f"{page.source}: no parameter {', '.join(unknown)}; the cell tagged `parameters` declares "
            f"{', '.join(declared) or 'nothing'}"
        )


def library_digest(source: Path) -> str:
    """SHA-256 over names and bytes of the library in the folder `source` and of what finishes a page."""
    files = [p for p in (source / "mtlser").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    files += [source / "mtlser_book" / name for name in ("execute.py", "kernels.py", "preloaded.py", "provenance.py")]
    return digest(*named_digests(sorted(files), source))


def content_key(notebook: NotebookNode, page: Page, library: str) -> str:
    """What the executed page depends on, as one hash: source, parameters, library, packages, and records."""
    cells = [[cell.cell_type, cell.source, cell.metadata.get("tags", [])] for cell in notebook.cells]
    given = [page.source, page.target, page.title, page.parameters, page.environment, cells, provenance.versions()]
    return digest(json.dumps(given, sort_keys=True), library, page.inputs_digest())


def is_current(target: Path, key: str) -> bool:
    """Whether `target` is an executed notebook of exactly this key, and the files beside it are there."""
    if not target.exists():
        return False
    try:
        record = read_notebook(target).metadata.get("mtlser", {})
    except NotebookError:
        return False
    files = [files_folder(target) / name for name in record.get("files", [])]
    return record.get("key") == key and all(path.is_file() for path in files)


@contextmanager
def kernel_environment(build: Path, extra: dict[str, str], *, fork: bool = True) -> Iterator[None]:
    """Kernels of this Python only, with `extra`, untouched by what the user's home holds for Jupyter and IPython.

    `fork`: they start at once where that is safe (`mtlser_book.kernels`), and not as on a student's computer.
    """
    own = {
        "JUPYTER_PATH": str(Path(sys.prefix) / "share" / "jupyter"),  # searched before the user's kernels
        "IPYTHONDIR": str((build / "ipython").resolve()),  # no start-up files of the user
        "JUPYTER_RUNTIME_DIR": str((build / "runtime").resolve()),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # the kernel would print a warning about frozen modules
        "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm, on a page that imports transformers without ipywidgets
        **extra,
    }
    profile = Path(own["IPYTHONDIR"]) / "profile_default"
    for folder in (profile, Path(own["JUPYTER_RUNTIME_DIR"])):
        folder.mkdir(parents=True, exist_ok=True)
    # The kernel would warn on the terminal, for each page, that its local socket is signed but not encrypted.
    (profile / "ipython_kernel_config.py").write_text('get_config().IPKernelApp.log_level = "CRITICAL"\n')
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        with forked_kernels() if fork else nullcontext():
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def execute_page(
    page: Page,
    *,
    root: Path,
    build: Path,
    library: str,
    kernels: PageKernels,
    environment: Mapping[str, str] | None = None,
    log: Callable[[str], None] = print,
) -> bool:
    """Executes (or only makes) a page into `<build>/notebooks/<target>` unless it is current; returns whether it did.

    The notebook runs in `root`, or in an empty folder where the page is `alone`. A failure leaves the previous page
    in place. For who is inside `kernel_environment`; safe in several threads. `environment`: more for the kernel, on
    which the page does not depend. Raises NotebookError.
    """
    notebook = page.make(read_notebook(root / page.source))
    check_parameters(notebook, page)
    target = build / "notebooks" / page.target
    if is_current(target, content_key(notebook, page, library)):
        return False
    if not page.executed:
        notebook.metadata["mtlser"] = {"key": content_key(notebook, page, library), "source": page.source}
        with whole_file(target) as partial:
            nbformat.write(notebook, partial)
        log(f"{page.target}: made from {page.source}")
        return True
    log(f"{page.target}: executing {page.source}")
    started = time.perf_counter()
    build.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=build) as beside:
        made = Path(beside, files_folder(target).name).resolve()
        empty = Path(beside, "empty").resolve()
        empty.mkdir()
        given = {**page.environment, **(environment or {}), PAGE_FILES: str(made)}
        executed = run_papermill(notebook, page, kernels.manager(given, empty if page.alone else root))
        seconds = time.perf_counter() - started
        record = provenance.page_record(content_key(notebook, page, library), seconds, page.source, page.parameters)
        record["files"] = keep_files(made, files_folder(target))
    with whole_file(target) as partial:
        nbformat.write(finished_page(executed, page, record), partial)
    drop_files(files_folder(target), record["files"])
    log(f"{page.target}: executed in {seconds:.0f} s")
    return True


def files_folder(target: Path) -> Path:
    """Where the files of an executed page go: `corpus_files` beside `corpus.ipynb`."""
    return target.with_name(f"{target.stem}_files")


def keep_files(made: Path, folder: Path) -> list[str]:
    """Puts the files that a page made into `folder`, beside the page, and returns their names.

    Names tell content apart, so the previous page, which stands until this one is written, keeps its own.
    """
    names = sorted(path.name for path in made.glob("*"))
    for name in names:
        with whole_file(folder / name) as partial:
            shutil.copyfile(made / name, partial)
    return names


def drop_files(folder: Path, names: list[str]) -> None:
    """Removes what an earlier page left in `folder`, the files beside the page."""
    for path in folder.glob("*"):
        if path.is_file() and path.name not in names:
            path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def run_papermill(notebook: NotebookNode, page: Page, manager: type[KernelManager]) -> NotebookNode:
    """The notebook with its outputs. Raises NotebookError that names notebook, cell and exception."""
    try:
        return papermill.execute_notebook(
            copy.deepcopy(notebook),
            None,
            parameters=page.parameters,
            kernel_name="python3",
            kernel_manager_class=manager,
            progress_bar=False,
            start_timeout=120,
        )
    except PapermillExecutionError as error:
        lines = error.source.strip().splitlines() or [""]
        raise NotebookError(
            f"{page.source} ({page.target}), cell {committed_cell(notebook, error.cell_index, page)}: "
            f"{error.ename}: {error.evalue}\n    {lines[-1]}"
        ) from None
    except RuntimeError as error:  # a kernel that died or did not start
        raise NotebookError(f"{page.source} ({page.target}): {error}") from None


def committed_cell(notebook: NotebookNode, executed: int, page: Page) -> int:
    """Number, from 1, of the committed cell that stands at index `executed` of the notebook papermill ran.

    Papermill adds one cell with the parameters after the cell tagged `parameters`.
    """
    tagged = [n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
    added = page.parameters and tagged and executed > tagged[0]
    return executed if added else executed + 1


def finished_page(notebook: NotebookNode, page: Page, record: dict[str, Any]) -> NotebookNode:
    """The executed notebook as the book shows it: its own title, where it came from, and what ran it."""
    notebook.metadata.pop("papermill", None)  # times and paths, which `record` holds without paths
    notebook.metadata["mtlser"] = record
    hidden = False
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        tags = cell.metadata.get("tags", [])
        if "parameters" in tags and page.parameters:
            cell.metadata["tags"] = [*tags, "remove-cell"]  # the defaults, which the next cell replaces
            hidden = "remove-input" in tags
        elif "injected-parameters" in tags and hidden:
            cell.metadata["tags"] = [*tags, "remove-cell"]
    if page.title:
        retitle(notebook, page)
    notebook.cells.append(nbformat.v4.new_markdown_cell(provenance.footer(record)))
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # papermill and nbformat draw random ones
    nbformat.validate(notebook)
    return notebook


def retitle(notebook: NotebookNode, page: Page) -> None:
    """Gives the page its own first heading, and under it a link to the notebook that it was executed from.

    Raises NotebookError where the notebook has no heading.
    """
    link = os.path.relpath(page.source, Path(page.target).parent)
    note = f"This page is [the template]({link}), executed with {Path(page.target).stem.replace('-', ' = ', 1)}."
    for cell in notebook.cells:
        lines = cell.source.splitlines()
        headings = [n for n, line in enumerate(lines) if line.startswith("# ")]
        if cell.cell_type == "markdown" and headings:
            lines[headings[0] : headings[0] + 1] = [f"# {page.title}", "", note]
            cell.source = "\n".join(lines)
            return
    raise NotebookError(f"{page.source}: no `# ` heading to replace by {page.title!r}")
