"""Which pages are executed, in which order, and what makes one stale."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtlser.config import ALPHAS
from mtlser.runs.settings import Settings
from mtlser_book import pages
from tiny import tiny_plan, tiny_utterances

ROOT = Path(__file__).parents[1]


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "has_corpus", lambda *_: True)
    return tiny_plan(tmp_path, tiny_utterances(tmp_path / "wav"), monkeypatch)


def test_the_pages_that_train_come_first_and_the_template_is_not_executed(tmp_path):
    found = pages.book_pages(ROOT, "smoke", Settings(artifacts=tmp_path))
    assert [page.target for page in found[: len(ALPHAS)]] == [pages.alpha_target(alpha) for alpha in ALPHAS]
    assert [page.parameters for page in found[: len(ALPHAS)]] == [{"preset": "smoke", "alpha": a} for a in ALPHAS]
    assert found[0].title == "α = 0" and found[2].title == "α = 0.01"
    rest = [page.target for page in found[len(ALPHAS) :]]
    assert rest == [f"{n}.ipynb" for n in pages.toc_names(ROOT) if f"{n}.ipynb" in rest]
    assert "book/table4.ipynb" in rest and pages.TEMPLATE not in rest


def test_an_alpha_outside_of_the_plan_shows_records_and_trains_nothing(tmp_path):
    found = pages.book_pages(ROOT, "smoke", Settings(artifacts=tmp_path, alphas=(0.1,)))
    trains = {page.title: not page.environment for page in found if page.source == pages.TEMPLATE}
    assert trains == {"α = 0": False, "α = 0.001": False, "α = 0.01": False, "α = 0.1": True, "α = 1": False}
    assert found[0].environment == {"MTLSER_TRAIN": "0", "MTLSER_ALPHAS": ""}


def test_missing_runs_make_a_training_page_stale(plan):
    digest = pages.records_digest(plan.only(alpha=0.1), "*-alpha-0.1-*")
    assert digest() == "missing"


def test_the_digest_follows_the_runs_that_the_page_shows(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(type(plan), "missing", lambda self: [])
    digest = pages.records_digest(plan.only(alpha=0.1), "*-alpha-0.1-*")
    before = digest()
    runs = plan.settings.artifacts / "runs"
    for name in ("tiny-alpha-1-Ses01F", "tiny-alpha-0.1-Ses01F"):
        (runs / name).mkdir(parents=True)
    (runs / "tiny-alpha-1-Ses01F" / "run.json").write_text("another page's")
    assert digest() == before
    (runs / "tiny-alpha-0.1-Ses01F" / "run.json").write_text("{}")
    assert digest() != before
