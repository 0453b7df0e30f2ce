"""Executed notebooks lie over the committed pages, and a new site replaces the old only when it built."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from mtlser_book import Stop, sphinx_ext, stage

CONFIG = "title: Test\nexecute: {execute_notebooks: 'off'}\nsphinx: {extra_extensions: [mtlser_book.sphinx_ext]}\n"


@pytest.fixture
def project(tmp_path):
    write(tmp_path / "_config.yml", CONFIG)
    write(tmp_path / "_toc.yml", "format: jb-book\nroot: book/index\nchapters:\n- file: book/page\n")
    write(tmp_path / "book" / "index.md", "# Index\n\nSee [a page](page.md).\n")
    write(tmp_path / "book" / "page.md", "# Page\n\nText.\n")
    write(tmp_path / "book" / "results" / "someone" / "about.json", "{}")
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def fake_sphinx(monkeypatch):
    """Stands for Jupyter Book: renders the index as it is, or fails where a page says so."""
    calls = []

    def build(root, staged, output):
        calls.append(output)
        text = (staged / "book" / "index.md").read_text()
        if "broken" in text:
            raise Stop("broken")
        write(output / "_build" / "html" / "index.html", text)

    monkeypatch.setattr(stage, "run_jupyter_book", build)
    return calls


def site(project):
    return (project / "build" / "html" / "index.html").read_text()


def test_executed_notebooks_replace_committed_ones_and_records_are_no_pages(project):
    write(project / "book" / "a.ipynb", "committed")
    write(project / "build" / "notebooks" / "book" / "a.ipynb", "executed")
    write(project / "build" / "notebooks" / "book" / "b.ipynb.12.partial", "half")
    staged = project / "build" / "staged"
    names = stage.stage(project, project / "build" / "notebooks", staged)
    assert set(names) == {"book/index.md", "book/page.md", "book/a.ipynb"}
    assert (staged / "book" / "a.ipynb").read_text() == "executed"


def test_unchanged_files_keep_their_time_and_gone_ones_go(project):
    staged = project / "build" / "staged"
    write(project / "book" / "part" / "old.md", "# Old")
    stage.stage(project, project / "none", staged)
    for name in ("index.md", "page.md"):
        os.utime(staged / "book" / name, (1, 1))
    write(project / "book" / "page.md", "# Page, edited\n")
    os.utime(project / "book" / "index.md")
    (project / "book" / "part" / "old.md").unlink()
    stage.stage(project, project / "none", staged)
    assert (staged / "book" / "index.md").stat().st_mtime == 1
    assert (staged / "book" / "page.md").stat().st_mtime > 1
    assert not (staged / "book" / "part").exists()


def test_a_second_build_does_nothing(project, fake_sphinx):
    assert stage.build_site(project, project / "build")
    assert not stage.build_site(project, project / "build")
    assert len(fake_sphinx) == 1


@pytest.mark.parametrize("name", ["_config.yml", "_toc.yml", "book/page.md"])
def test_any_edit_builds_again(project, fake_sphinx, name):
    stage.build_site(project, project / "build")
    write(project / name, (project / name).read_text() + "\n# edited\n")
    assert stage.build_site(project, project / "build")


def test_the_old_site_stays_when_the_new_one_does_not_build(project, fake_sphinx):
    stage.build_site(project, project / "build")
    before = site(project)
    write(project / "book" / "index.md", "broken")
    for _ in range(2):
        with pytest.raises(Stop):
            stage.build_site(project, project / "build")
        assert site(project) == before
    write(project / "book" / "index.md", "mended")
    assert stage.build_site(project, project / "build")
    assert site(project) == "mended"
    assert not [p for p in (project / "build").iterdir() if p.suffix in (".new", ".old")]


def test_pages_that_are_gone_leave_the_site(project, fake_sphinx):
    stage.build_site(project, project / "build")
    write(project / "build" / "sphinx" / "_build" / "html" / "page.html", "stale")
    (project / "book" / "page.md").unlink()
    stage.build_site(project, project / "build")
    assert not (project / "build" / "html" / "page.html").exists()


def test_an_interrupted_swap_leaves_a_whole_site(project, monkeypatch):
    new, old = project / "new", project / "html"
    write(new / "index.html", "new")
    write(old / "index.html", "old")
    write(project / "html.new" / "half.html", "left by an interrupted call")
    monkeypatch.setattr(stage.os, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        stage.swap(new, old)
    assert (old / "index.html").read_text() == "old"
    monkeypatch.undo()
    stage.swap(new, old)
    assert [p.name for p in old.iterdir()] == ["index.html"] and (old / "index.html").read_text() == "new"


def test_warnings_are_errors_the_second_time_too(project):
    """A strict build that failed would pass when repeated: Sphinx does not read unchanged pages again."""
    assert stage.build_site(project, project / "build")
    write(project / "book" / "page.md", "# Page\n\n[nowhere](nowhere.md)\n")
    for _ in range(2):
        with pytest.raises(Stop, match=r"book/page\.md.*nowhere") as caught:
            stage.build_site(project, project / "build")
        assert str(project) not in str(caught.value)
    assert "Text." in (project / "build" / "html" / "book" / "page.html").read_text(encoding="utf-8")
    assert (project / "build" / "html" / "_static" / "tex-svg.js").exists()


def test_the_guide_and_the_slides_reach_the_site(project):
    source = stage.Path(__file__).parents[1] / "book" / "workshop"
    for name in ("teachers-guide.md", "slides.md"):
        write(project / "book" / "workshop" / name, (source / name).read_text(encoding="utf-8"))
    write(project / "_config.yml", CONFIG + "only_build_toc_files: true\n")
    write(project / "book" / "workshop" / "index.md", "# Workshop\n\n[Guide](teachers-guide.md)\n")
    pages = "".join(f"- file: book/workshop/{name}\n" for name in ("index", "teachers-guide"))
    write(project / "_toc.yml", f"format: jb-book\nroot: book/index\nchapters:\n- file: book/page\n{pages}")
    assert stage.build_site(project, project / "build")
    site = project / "build" / "html" / "book" / "workshop"
    guide = (site / "teachers-guide.html").read_text(encoding="utf-8")
    assert "0:00" in guide and "GB on the stick" in guide and 'href="slides.html"' in guide
    assert (site / "slides.html").read_text(encoding="utf-8").count("<section") > 8

    made = project / "build" / "sphinx" / "_build" / "html" / "book"
    times = {
        name: (made / name).stat().st_mtime_ns for name in ("workshop/teachers-guide.html", "workshop/slides.html")
    }
    write(project / "book" / "page.md", "# Page\n\nAnother text.\n")
    assert stage.build_site(project, project / "build")
    assert "Another text." in (made / "page.html").read_text(encoding="utf-8")
    assert {name: (made / name).stat().st_mtime_ns for name in times} == times  # nothing that they say has changed
    (made / "workshop" / "slides.html").unlink()
    write(project / "book" / "page.md", "# Page\n\nA third text.\n")
    assert stage.build_site(project, project / "build")
    assert (site / "slides.html").exists()


@pytest.mark.parametrize("name", ["src/mtlser/a.py", "book/results/someone/about.json", "book/workshop/lab-1.ipynb"])
def test_pages_with_marks_are_read_again_when_what_they_say_may_have_changed(project, monkeypatch, name):
    for each in ("src/mtlser/a.py", "book/workshop/lab-1.ipynb"):
        write(project / each, "1")
    monkeypatch.setattr(sphinx_ext, "ROOT", project)
    app = SimpleNamespace()
    env = SimpleNamespace(all_docs={"book/index": 0, "book/notices": 0, "book/workshop/teachers-guide": 0})
    assert sphinx_ext.outdated(app, env) == {"book/notices", "book/workshop/teachers-guide"} and not app.is_generated
    write(project / "book" / "page.md", "# Page\n\nAnother text.\n")
    assert sphinx_ext.outdated(app, env) == set() and app.is_generated
    write(project / name, "2")
    assert sphinx_ext.outdated(app, env) == {"book/notices", "book/workshop/teachers-guide"} and not app.is_generated
