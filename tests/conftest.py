"""Settings of every test, made before anything imports torch, and the release-shaped tree that many share."""

from __future__ import annotations

import os

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_DATASETS_OFFLINE="1", OMP_NUM_THREADS="1")
os.environ.setdefault("MPLBACKEND", "agg")

import hypothesis  # noqa: E402
import pytest  # noqa: E402
from xdist.scheduler import LoadScopeScheduling  # noqa: E402

import smoke  # noqa: E402
from mtlser.corpus import release_tree  # noqa: E402

# The same examples on every machine; no deadline, since two cores may be busy with something else.
hypothesis.settings.register_profile("book", deadline=None, derandomize=True, database=None, print_blob=True)
hypothesis.settings.load_profile("book")

SMOKE_BOOK_FILES = {"tests/browser/test_site.py", "tests/test_book.py", "tests/test_faults.py"}  # one rendering


class ByFile(LoadScopeScheduling):
    """For `make test`, which runs two processes: a file stays in one, and so do all files that use the smoke book."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return "smoke book" if file in SMOKE_BOOK_FILES else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log) -> ByFile:
    """pytest-xdist's own groups by mark do nothing with this version of pytest."""
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The smoke book's tests come first: they take the longest."""
    assert {item.nodeid.split("::")[0] for item in items if "smoke_book" in item.fixturenames} <= SMOKE_BOOK_FILES
    items.sort(key=lambda item: item.nodeid.split("::")[0] not in SMOKE_BOOK_FILES)


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
    """The whole path on the smoke preset, once: corpus, ten runs, executed pages, the strict site. Read only."""
    return smoke.SmokeBook(tmp_path_factory.mktemp("smoke book")).reproduce()
