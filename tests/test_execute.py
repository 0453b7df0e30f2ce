"""Notebooks are executed whole or not at all, and only when what they depend on changed; Ctrl-C ends all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from mtlser_book import Stop, execute
from mtlser_book.execute import Page
from smoke import clean_environment

WAIT_SECONDS = 60

CELLS = [
    ("markdown", "# A page\n\nIts parameters:", []),
    ("code", 'preset = "pocket"\nalpha: float = 0.1', ["parameters"]),
    ("markdown", "Then the rest.", []),
    ("code", "print(preset, alpha, __import__('os').environ.get('MTLSER_TRAIN'))", []),
]


def write_notebook(path, cells=CELLS):
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for number, (kind, source, tags) in enumerate(cells):
        cell = getattr(nbformat.v4, f"new_{kind}_cell")(source)
        cell["id"], cell.metadata["tags"] = f"c{number}", tags
        notebook.cells.append(cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


@pytest.fixture
def project(tmp_path):
    write_notebook(tmp_path / "book" / "template.ipynb")
    return tmp_path


@pytest.fixture
def no_kernel(monkeypatch):
    """Counts executions without starting a kernel."""
    calls = []

    def run(notebook, page, folder):
        calls.append(page.target)
        return notebook

    monkeypatch.setattr(execute, "run_papermill", run)
    return calls


def page(**changes):
    values = {"source": "book/template.ipynb", "target": "book/alpha-1.ipynb", "parameters": {"alpha": 1.0}}
    return Page(**(values | changes))


def run(project, library="library", **changes):
    given = {"root": project, "build": project / "build", "library": library, "log": lambda _: None}
    with execute.kernel_environment(project / "build"):
        return execute.execute_page(page(**changes), **given)


def executed(project):
    return nbformat.read(project / "build" / "notebooks" / "book" / "alpha-1.ipynb", as_version=4)


def test_an_executed_page_holds_outputs_and_what_ran_it(project, monkeypatch):
    startup = project / "home" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "print.py").write_text("print('from the home folder')")
    monkeypatch.setenv("IPYTHONDIR", str(project / "home"))
    assert run(project, environment={"MTLSER_TRAIN": "0"})
    result = executed(project)
    outputs = "".join(out.get("text", "") for cell in result.cells for out in cell.get("outputs", []))
    assert outputs == "pocket 1.0 0\n"
    tagged = [cell.metadata.tags for cell in result.cells if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == [["parameters", "remove-cell"]]  # the defaults, which the injected cell replaced
    assert "`alpha = 1.0`" in result.cells[-1].source
    names = {"key", "seconds", "versions", "hardware", "revision", "source", "parameters"}
    assert set(result.metadata.mtlser) == names
    assert str(project) not in nbformat.writes(result)
    assert os.environ["IPYTHONDIR"] == str(project / "home")


@pytest.mark.parametrize(("cores", "given", "threads"), [(2, None, "1"), (16, None, "4"), (16, "3", "3")])
def test_a_kernel_has_few_threads_unless_told_otherwise(tmp_path, monkeypatch, cores, given, threads):
    monkeypatch.setattr(execute, "num_cores", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    with execute.kernel_environment(tmp_path):
        assert os.environ["OMP_NUM_THREADS"] == threads
    assert os.environ.get("OMP_NUM_THREADS") == given


def test_a_page_that_is_alone_runs_in_an_empty_folder(project):
    write_notebook(project / "book" / "template.ipynb", [*CELLS, ("code", "import os; print(os.listdir())", [])])
    assert run(project, alone=True)
    assert executed(project).cells[-2].outputs[0].text == "[]\n"


def test_a_second_call_executes_nothing(project, no_kernel):
    assert run(project) and not run(project)
    assert no_kernel == ["book/alpha-1.ipynb"]


@pytest.mark.parametrize(
    "changes", [{"parameters": {"alpha": 0.1}}, {"library": "edited"}, {"inputs_digest": lambda: "new records"},
                {"environment": {"MTLSER_TRAIN": "0"}}]
)  # fmt: skip
def test_a_change_of_what_it_depends_on_executes_it_again(project, no_kernel, changes):
    run(project)
    assert run(project, **changes)


def test_an_edited_cell_executes_it_again_and_an_output_does_not(project, no_kernel):
    run(project)
    notebook = nbformat.read(project / "book" / "template.ipynb", as_version=4)
    notebook.cells[3].execution_count = 7
    nbformat.write(notebook, project / "book" / "template.ipynb")
    assert not run(project)
    write_notebook(project / "book" / "template.ipynb", [*CELLS, ("code", "1 + 1", [])])
    assert run(project)


def test_records_that_the_page_wrote_itself_do_not_make_it_stale(project, no_kernel):
    digests = iter(["missing", "trained", "trained"])
    assert run(project, inputs_digest=lambda: next(digests))
    assert not run(project, inputs_digest=lambda: next(digests))


def test_a_damaged_or_half_written_page_is_executed_again(project, no_kernel):
    run(project)
    path = project / "build" / "notebooks" / "book" / "alpha-1.ipynb"
    path.write_text(path.read_text()[:100])
    assert run(project)


def test_an_unknown_parameter_is_an_error(project, no_kernel):
    with pytest.raises(Stop, match=r"book/template\.ipynb: no parameter alfa; .* declares preset, alpha"):
        run(project, parameters={"alfa": 1.0})
    assert not no_kernel


def test_a_failing_cell_is_named_and_the_previous_page_stays(project):
    run(project)
    before = (project / "build" / "notebooks" / "book" / "alpha-1.ipynb").read_bytes()
    write_notebook(project / "book" / "template.ipynb", [*CELLS, ("code", "x = 0\n1 / x", [])])
    with pytest.raises(Stop) as caught:
        run(project)
    message = str(caught.value)
    assert "book/template.ipynb (book/alpha-1.ipynb), cell 5: ZeroDivisionError: division by zero\n    1 / x" in message
    assert (project / "build" / "notebooks" / "book" / "alpha-1.ipynb").read_bytes() == before
    assert [p.name for p in (project / "build" / "notebooks" / "book").iterdir()] == ["alpha-1.ipynb"]


def test_missing_and_broken_notebooks_are_named(project):
    with pytest.raises(Stop, match=r"nothing\.ipynb: there is no such notebook"):
        run(project, source="book/nothing.ipynb")
    (project / "book" / "broken.ipynb").write_text("{")
    with pytest.raises(Stop, match=r"broken\.ipynb: not a readable notebook"):
        run(project, source="book/broken.ipynb")


def test_the_library_digest_sees_code_and_data_and_not_compiled_files(tmp_path):
    own = [f"mtlser_book/{name}.py" for name in ("execute", "provenance")]
    for name in ("mtlser/a.py", "mtlser/data/w.bin", "mtlser/__pycache__/a.pyc", *own):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    first = execute.library_digest(tmp_path)
    (tmp_path / "mtlser" / "__pycache__" / "a.pyc").write_text("2")
    assert execute.library_digest(tmp_path) == first
    (tmp_path / "mtlser" / "data" / "w.bin").write_text("2")
    assert execute.library_digest(tmp_path) != first


# Several pages.


def pages(names: str) -> list[Page]:
    return [Page(f"book/{name}.ipynb", f"book/{name}.ipynb") for name in names]


def test_pages_go_in_their_order_and_one_that_fails_leaves_the_others_alone(tmp_path, monkeypatch):
    begun, lines = [], []

    def execute_page(page, **_):
        begun.append(page.target)
        if page.target != "book/b.ipynb":
            raise Stop(f"{page.source} failed")

    monkeypatch.setattr(execute, "execute_page", execute_page)
    given = {"root": tmp_path, "build": tmp_path / "build", "library": "library", "log": lines.append}
    failures = execute.execute_pages(pages("abc"), **given)
    assert begun == ["book/a.ipynb", "book/b.ipynb", "book/c.ipynb"]
    assert failures == ["book/a.ipynb failed", "book/c.ipynb failed"]
    assert lines == ["book/a.ipynb: FAILED", "book/c.ipynb: FAILED"]


INTERRUPTED = """
import signal, sys
from pathlib import Path
from mtlser_book import execute
from mtlser_book.__main__ import exit_on_sigterm

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job would ignore
exit_on_sigterm()
root = Path(sys.argv[1])
pages = [execute.Page(f"book/{name}.ipynb", f"book/{name}.ipynb") for name in "abc"]
given = {"root": root, "build": root / "build", "library": "library", "log": print}
try:
    execute.execute_pages(pages, **given)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_end_the_kernel_and_drop_the_pages_that_wait(tmp_path, number, status):
    for name in "abc":
        code = "import os, pathlib, time\npathlib.Path(f'begun-{os.getpid()}').touch()\ntime.sleep(600)"
        write_notebook(tmp_path / "book" / f"{name}.ipynb", [("markdown", "# A page", []), ("code", code, [])])
    words = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(words, **streams, env=clean_environment()) as process:
        while len(begun := list(tmp_path.glob("begun-*"))) < 1:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        said, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == status and "FAILED" not in said and "died" not in said
    assert len(list(tmp_path.glob("begun-*"))) == 1
    assert not any(psutil.pid_exists(int(path.name.split("-")[1])) for path in begun)
    assert sorted(path.name for path in (tmp_path / "build").iterdir()) == ["ipython", "runtime"]


SHOWS_RECORDS = ("certainty", "cost", "departures", "folds", "iemocap", "index", "instrument", "table3", "table4")


def test_pages_that_show_records_import_neither_torch_nor_transformers():
    """With plain kernels, each page pays for what it imports."""
    names = set()
    for page in [*SHOWS_RECORDS, "training/template"]:
        notebook = nbformat.read(Path(__file__).parents[1] / "book" / f"{page}.ipynb", as_version=4)
        code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
        lines = [line for line in code.splitlines() if line.startswith(("import ", "from "))]
        names.update(lines)
    code = "\n".join([*sorted(names), "import sys", "print({'torch', 'transformers'} & set(sys.modules))"])
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment())
    assert result.stdout == "set()\n", result.stderr
