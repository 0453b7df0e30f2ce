"""Settings of every test, made before anything imports torch, and the release-shaped tree that many share."""

from __future__ import annotations

import os
from itertools import groupby

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_DATASETS_OFFLINE="1", OMP_NUM_THREADS="1")
os.environ.setdefault("MPLBACKEND", "agg")
if "PYTHONPATH" in os.environ:  # a relative folder would be another one where a test's process runs in its own
    os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, os.environ["PYTHONPATH"].split(os.pathsep)))

import hypothesis  # noqa: E402
import pytest  # noqa: E402

import release_tree  # noqa: E402
import smoke  # noqa: E402

# The same examples on every machine; no deadline, since two cores may be busy with something else.
hypothesis.settings.register_profile("book", deadline=None, derandomize=True, database=None, print_blob=True)
hypothesis.settings.load_profile("book")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The smoke book, which takes the longest, is made first; the files that read it come last.

    A process takes a file as a whole: one test that reads the book would keep it waiting, and a core idle.
    """

    def turn(item: pytest.Item) -> int:
        return 0 if item.path.name == "test_book.py" else 2 if "smoke_book" in item.fixturenames else 1

    turns = {path: max(map(turn, tests)) for path, tests in groupby(items, key=lambda item: item.path)}
    items.sort(key=lambda item: 0 if item.path.name == "test_book.py" else turns[item.path])


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
