"""Settings of every test, made before anything imports torch, and the release-shaped tree that many share."""

from __future__ import annotations

import os

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_DATASETS_OFFLINE="1", OMP_NUM_THREADS="1")
os.environ.setdefault("MPLBACKEND", "agg")

import hypothesis  # noqa: E402
import pytest  # noqa: E402

import smoke  # noqa: E402
from mtlser.corpus import release_tree  # noqa: E402

# The same examples on every machine; no deadline, since two cores may be busy with something else.
hypothesis.settings.register_profile("book", deadline=None, derandomize=True, database=None, print_blob=True)
hypothesis.settings.load_profile("book")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `make test`, which runs two processes: what shares a fixture stays in one, and the longest comes first.

    All tests of the rendered smoke book are one group, every other file is a group of its own.
    """
    for item in items:
        on_book = "smoke_book" in item.fixturenames
        item.add_marker(pytest.mark.xdist_group("smoke book" if on_book else item.path.name))
    items.sort(key=lambda item: "smoke_book" not in item.fixturenames)


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
