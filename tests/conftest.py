"""Settings of every test, made before anything imports torch, and the release-shaped tree that many share."""

from __future__ import annotations

import os
import re

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_DATASETS_OFFLINE="1", OMP_NUM_THREADS="1")
os.environ.setdefault("MPLBACKEND", "agg")
if "PYTHONPATH" in os.environ:  # a relative folder would be another one where a test's process runs in its own
    os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, os.environ["PYTHONPATH"].split(os.pathsep)))

import hypothesis  # noqa: E402
import pytest  # noqa: E402
from xdist.scheduler import LoadScopeScheduling  # noqa: E402

import release_tree  # noqa: E402
import smoke  # noqa: E402
from mtlser import forkserver  # noqa: E402

# The same examples on every machine; no deadline, since two cores may be busy with something else.
hypothesis.settings.register_profile("book", deadline=None, derandomize=True, database=None, print_blob=True)
hypothesis.settings.load_profile("book")

MAKES_SMOKE_BOOK = "tests/test_book.py"
SITE = "tests/browser/test_site.py"
PAGE_TEST = re.compile(rf"{SITE}::\w+\[(?P<page>.+?)(-(phone|wide)-(light|dark))?\]")


def group(nodeid: str) -> str:
    """What stays together in one process: the tests of one page in the browser, and of each other file."""
    page = PAGE_TEST.fullmatch(nodeid)
    return page["page"] if page else nodeid.split("::")[0]


class ByGroup(LoadScopeScheduling):
    """For `make test`, which runs two processes."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


def pytest_configure(config: pytest.Config) -> None:
    """`make test`'s processes share one fork server, or each would wait for its own."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput") and forkserver.can_fork():
        from mtlser_book import kernels  # late: one test alone needs no Jupyter

        os.environ[forkserver.ADDRESS] = forkserver.server_address(kernels.PRELOADED)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log) -> ByGroup:
    """pytest-xdist's own groups by mark do nothing with this version of pytest."""
    return ByGroup(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process makes the smoke book first, which takes the longest; the others that read it come last, for both."""
    readers = {item.nodeid.split("::")[0] for item in items if "smoke_book" in item.fixturenames}
    groups = list(dict.fromkeys(group(item.nodeid) for item in items))

    def turn(item: pytest.Item) -> tuple[int, bool, int]:
        file = item.nodeid.split("::")[0]
        when = 0 if file == MAKES_SMOKE_BOOK else 2 if file in readers else 1
        return when, file == SITE, groups.index(group(item.nodeid))  # the site's many short groups fill both to the end

    items.sort(key=turn)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Two single-thread processes beat one of two threads on the tiny models that tests train."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def known_tree(tmp_path_factory) -> release_tree.ReleaseTree:
    """A tree with IEMOCAP's known counts. Read only: tests that damage one write their own or copy files."""
    return release_tree.write_release_tree(tmp_path_factory.mktemp("known"))


@pytest.fixture(scope="session")
def smoke_book(tmp_path_factory) -> smoke.SmokeBook:
    """The whole path on the smoke preset: corpus, ten runs, executed pages, the strict site. Read only.

    Made once: `make test`'s processes share the parent of their temporary folders.
    """
    temporary = tmp_path_factory.getbasetemp()
    shared = temporary.parent if "PYTEST_XDIST_WORKER" in os.environ else temporary
    return smoke.SmokeBook(shared / "smoke book").reproduce()
