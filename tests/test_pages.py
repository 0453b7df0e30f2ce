"""Which pages are executed, in which order, and what makes one stale."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from mtlser.config import ALPHAS
from mtlser.runs.settings import Settings
from mtlser_book import Stop, pages
from mtlser_book.execute import read_notebook
from tiny import tiny_plan, tiny_utterances

ROOT = Path(__file__).parents[1]


@pytest.fixture
def plan(tmp_path):
    return tiny_plan(tmp_path, tiny_utterances(tmp_path / "wav"))


def test_the_pages_that_train_come_first_and_the_template_is_not_executed(tmp_path):
    found = pages.book_pages(ROOT, "smoke", Settings(artifacts=tmp_path))
    assert [page.target for page in found[: len(ALPHAS)]] == [pages.alpha_target(alpha) for alpha in ALPHAS]
    assert [page.parameters for page in found[: len(ALPHAS)]] == [{"preset": "smoke", "alpha": a} for a in ALPHAS]
    rest = [page.target for page in found[len(ALPHAS) :]]
    assert rest == [f"{n}.ipynb" for n in pages.toc_names(ROOT) if f"{n}.ipynb" in rest]
    assert "book/table4.ipynb" in rest and pages.TEMPLATE not in rest


def test_an_alpha_outside_of_the_plan_shows_records_and_trains_nothing(tmp_path):
    found = pages.book_pages(ROOT, "smoke", Settings(artifacts=tmp_path, alphas=(0.1,)))
    given = {page.parameters["alpha"]: page.environment for page in found if page.source == pages.TEMPLATE}
    shows = {"MTLSER_TRAIN": "0", "MTLSER_ALPHAS": ""}
    assert given == {0.0: shows, 0.001: shows, 0.01: shows, 0.1: {}, 1.0: shows}


def test_a_copy_of_the_template_has_a_title_of_its_own_and_a_link_to_it():
    template = read_notebook(ROOT / pages.TEMPLATE)
    made = pages.titled(template, 0.01)
    assert made.cells[0].source.startswith(
        "# α = 0.01\n\nThis page is [the template](template.ipynb), executed with alpha"
    )
    with pytest.raises(Stop, match="no `# ` heading to replace"):
        pages.titled(nbformat.v4.new_notebook(), 0.01)


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
