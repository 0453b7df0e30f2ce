"""Which pages are executed at the same time: first those that train, then those that read what these recorded.

A page that trains is followed by the next as soon as none of its runs waits for a worker any more, so that no core, or
GPU, is idle while its last runs and its figures are made.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from jupyter_core.utils import ensure_event_loop

from mtlser.processes import num_cores
from mtlser_book.execute import NotebookError, Page, execute_page, kernel_environment
from mtlser_book.kernels import PageKernels

MOST_AT_ONCE = 4  # a kernel can take half a GiB, and more would wait for the longest page alone
POLL_SECONDS = 0.1


def execute_pages(
    pages: Sequence[Page], *, root: Path, build: Path, library: str, workers: int | None, log: Callable[[str], None]
) -> list[str]:
    """Executes pages (`execute_page`); what the ones that failed said, in the order of the pages.

    As many at once as there are cores, or `workers` where that is set, but no more than `MOST_AT_ONCE`. Ctrl-C, or
    whatever else is raised in this thread, ends the kernels and leaves the pages that were not finished as they were.
    """
    at_once = max(1, min(workers or num_cores(), num_cores(), MOST_AT_ONCE))
    kernels = PageKernels()

    def execute(page: Page, environment: dict[str, str]) -> str | None:
        try:
            execute_page(
                page, root=root, build=build, library=library, kernels=kernels, environment=environment, log=log
            )
        except NotebookError as error:
            if not kernels.stopped:
                log(f"{page.target}: FAILED")
            return str(error)
        finally:
            ensure_event_loop().close()  # papermill's in this thread, which nobody else closes
        return None

    with (
        kernel_environment(build, _threads(at_once)),
        TemporaryDirectory(dir=build, prefix="turns-") as turns,
        ThreadPoolExecutor(at_once) as pool,
    ):
        try:
            ended: dict[str, Future] = {}
            for page in (page for page in pages if page.trains):
                turn = Path(turns, Path(page.target).stem).resolve()
                ended[page.target] = pool.submit(execute, page, {"MTLSER_TURN": str(turn)})
                while not turn.exists() and not ended[page.target].done():
                    time.sleep(POLL_SECONDS)
            for future in ended.values():
                future.result()
            # Labs first: they train in their page, and would be waited for alone.
            for page in sorted((page for page in pages if not page.trains), key=lambda page: not page.alone):
                ended[page.target] = pool.submit(execute, page, {})
            failures = [ended[page.target].result() for page in pages]
        except BaseException:
            logging.getLogger("papermill").disabled = True  # it would say that kernels died
            pool.shutdown(wait=False, cancel_futures=True)
            kernels.stop()
            raise
    return [failure for failure in failures if failure]


def _threads(at_once: int) -> dict[str, str]:
    """The environment of kernels that share the cores. One alone has them all, as it would by itself."""
    if at_once == 1 or "OMP_NUM_THREADS" in os.environ:
        return {}
    return {"OMP_NUM_THREADS": str(num_cores() // at_once)}
