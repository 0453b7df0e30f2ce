"""A rehearsal executes what changed, keeps what it measured, and fails where a room would."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import nbformat
import pytest

from mtlser_book import Stop, checks, rehearsal
from mtlser_book.bootstrap import WHEELHOUSE
from mtlser_book.labs import Lab
from test_students import source

LAB = Lab(7, "lab-7-tiny")


def write_lab(root: Path, lab: Lab, code: str) -> None:
    """A lab whose first solution runs `code`; its checks are another text file."""
    notebook = source()
    notebook.cells[0].source = f"# Lab {lab.number}: Tiny"
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        cell.source = "pass" if "check" in cell.metadata.tags else cell.source
    cells[0].source = f"### BEGIN SOLUTION\n{code}\n### END SOLUTION"
    for path in (root / lab.source, root / f"src/mtlser_book/checks/lab{lab.number}.py"):
        path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, root / lab.source)
    (root / f"src/mtlser_book/checks/lab{lab.number}.py").write_text("checks")


def passing(lab: Lab, passed: int = 2) -> str:
    """Code that leaves what a lab's checks leave."""
    summary = {"lab": lab.number, "passed": passed, "of": 2, "exercises": {}}
    return (
        "import json, os, pathlib\n"
        f"folder = pathlib.Path(os.environ[{checks.RESULTS!r}])\n"
        "folder.mkdir(exist_ok=True)\n"
        f"(folder / 'lab-{lab.number}.json').write_text({json.dumps(summary)!r})"
    )


def rehearse(root: Path) -> list[str]:
    said = []
    rehearsal.rehearse_labs(root, log=said.append)
    return said


def test_a_lab_is_executed_once_and_again_when_it_changed(tmp_path):
    write_lab(tmp_path, LAB, passing(LAB))
    assert "2 of 2 checks passed" in rehearse(tmp_path)[0]
    entry = rehearsal.read(tmp_path)["labs"]["7"]
    assert entry["passed"] == entry["of"] == 2 and 0 < entry["seconds"] < 120
    assert entry["hardware"]["usable_cores"] >= 1 and entry["hardware"]["cores"] >= entry["hardware"]["usable_cores"]
    assert "unchanged since" in rehearse(tmp_path)[0]
    table = rehearsal.labs_table(tmp_path).html
    assert "2 of 2" in table and entry["hardware"]["processor"] in table and "not run" not in table
    (tmp_path / "src/mtlser_book/checks/lab7.py").write_text("other checks")
    assert "not run" in rehearsal.labs_table(tmp_path).html
    assert "checks passed" in rehearse(tmp_path)[0]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("1 / 0", "lab-6-broken.*ZeroDivisionError"),
        ("pass", "0 of 0 checks"),
        (passing(Lab(6, "lab-6-broken"), 1), "1 of 2 checks"),
    ],
)
def test_a_lab_that_fails_is_named_and_the_others_are_kept(tmp_path, code, says):
    write_lab(tmp_path, Lab(6, "lab-6-broken"), code)
    write_lab(tmp_path, LAB, passing(LAB))
    with pytest.raises(Stop, match=says):
        rehearse(tmp_path)
    assert list(rehearsal.read(tmp_path)["labs"]) == ["7"]


def test_a_lab_that_is_too_slow_is_named(tmp_path, monkeypatch):
    write_lab(tmp_path, LAB, passing(LAB))
    monkeypatch.setattr(rehearsal, "LIMIT_SECONDS", 0)
    with pytest.raises(Stop, match="lab-7-tiny.* s, and a room waits 0 s"):
        rehearse(tmp_path)


def test_the_tables_say_what_was_not_run(tmp_path):
    write_lab(tmp_path, LAB, passing(LAB))
    assert "not run" in rehearsal.labs_table(tmp_path).html
    assert "has not been run" in rehearsal.wheelhouse_sentence(tmp_path)


def test_nothing_of_pip_python_or_the_project_reaches_the_offline_installation(tmp_path, monkeypatch):
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PYTHONPATH", "VIRTUAL_ENV", "MTLSER_TORCH", "JUPYTER_PATH"):
        monkeypatch.setenv(name, "x")
    made = rehearsal.offline_environment(tmp_path)
    prefixes = ("PIP_", "PYTHON", "VIRTUAL", "MTLSER", "JUPYTER")
    ours = {name: value for name, value in made.items() if name.startswith(prefixes)}
    assert ours == {
        "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", "PYTHONUTF8": "1",
        WHEELHOUSE: str(tmp_path.resolve()),
    }  # fmt: skip
    assert made["PATH"] == os.environ["PATH"]


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    write_lab(root, Lab(rehearsal.OPENED, "lab-2-tiny"), "pass")
    (root / "ignored").write_text("secret")
    (root / ".gitignore").write_text("ignored\nwheels\n")
    (root / "wheels").mkdir()
    (root / "wheels" / "torch-2.13.0+cpu-cp311-cp311-any.whl").write_bytes(b"12345")
    name = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for words in (["init", "-q"], ["add", "-A"], [*name, "commit", "-q", "-m", "All"]):
        subprocess.run(["git", *words], cwd=root, check=True)
    return root


@pytest.mark.parametrize(("status", "accepted"), [(checks.MISSING, True), (checks.PASSED, False)])
def test_a_copy_is_installed_from_the_wheelhouse_and_a_lab_opened(project, monkeypatch, status, accepted):
    commands = []

    def timed(command, folder, environment):
        commands.append(command[1:])
        if "nbconvert" in command:
            summary = {"exercises": {"collapse": {"status": status}}}
            (folder / "results").mkdir(parents=True)
            (folder / "results" / "lab-2.json").write_text(json.dumps(summary))
        else:
            assert not (folder / "ignored").exists() and (folder / "book/workshop/lab-2-tiny.ipynb").exists()
            assert environment["PIP_NO_INDEX"] == "1" and not folder.is_relative_to(project)
        return 100.0

    monkeypatch.setattr(rehearsal, "timed", timed)
    if not accepted:
        with pytest.raises(Stop, match="not every check"):
            rehearsal.rehearse_wheelhouse(project, project / "wheels", log=lambda line: None)
        assert not (project / rehearsal.RECORD).exists()
        return
    rehearsal.rehearse_wheelhouse(project, project / "wheels", log=lambda line: None)
    assert commands[0] == ["src/mtlser_book/bootstrap.py", "workshop", "--version"]
    entry = rehearsal.read(project)["wheelhouse"]
    assert entry["packages"] == 1 and entry["size_bytes"] == 5 and entry["torch"] == "2.13.0+cpu"
    sentence = rehearsal.wheelhouse_sentence(project)
    assert "2 minutes to install" in sentence and "lab 2's student copy" in sentence


def test_an_empty_wheelhouse_says_what_to_type(project):
    with pytest.raises(Stop, match="make wheelhouse"):
        rehearsal.rehearse_wheelhouse(project, project / "book")


def test_a_step_that_fails_shows_its_end(tmp_path):
    with pytest.raises(Stop, match=r"this failed(?s:.)*the reason"):
        rehearsal.timed(["sh", "-c", "echo the reason; exit 3"], tmp_path, dict(os.environ))
