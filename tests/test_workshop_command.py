"""The folder of a student's own, JupyterLab installed once, and the packages for a room without a network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mtlser_book import Stop, bootstrap, workshop
from mtlser_book import __main__ as commands

ROOT = Path(__file__).parents[1]
NAME = "lab-2-ctc-by-hand.ipynb"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "workshop").mkdir()
    (tmp_path / "workshop" / NAME).write_text("first")
    (tmp_path / "requirements.txt").write_text("torch==2.13.0\n")
    (tmp_path / bootstrap.WORKSHOP_PINS).write_text("jupyterlab==4.0\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    (tmp_path / ".venv" / "pyvenv.cfg").write_text("version = 3.11.7\n")
    return tmp_path


def test_what_a_student_saved_is_never_overwritten(project):
    folder = project / "artifacts" / "workshop"
    own, lab = project / "workshop" / NAME, folder / NAME
    assert workshop.place_labs(project, folder) == [f"{NAME}: put into the folder"]
    assert workshop.place_labs(project, folder) == []
    own.write_text("second")
    assert workshop.place_labs(project, folder) == [f"{NAME}: replaced by a newer version"]
    lab.write_text("mine")
    assert "yours, kept as you left it" in workshop.place_labs(project, folder)[0]
    own.write_text("third")
    assert "yours, kept; the lab has changed since" in workshop.place_labs(project, folder)[0]
    assert lab.read_text() == "mine"
    lab.rename(folder / "mine.ipynb")
    assert workshop.place_labs(project, folder) == [f"{NAME}: put into the folder"]
    assert lab.read_text() == "third" and (folder / "mine.ipynb").read_text() == "mine"


def test_a_lost_record_counts_as_the_students(project):
    folder = project / "artifacts" / "workshop"
    workshop.place_labs(project, folder)
    (folder / workshop.PLACED).write_text("{")
    (project / "workshop" / NAME).write_text("second")
    workshop.place_labs(project, folder)
    assert (folder / NAME).read_text() == "first"


def test_jupyterlab_is_installed_once_and_again_when_pins_change(project, monkeypatch):
    steps = []
    monkeypatch.setattr(bootstrap, "step", lambda command, retry: steps.append(command))
    assert bootstrap.set_up_workshop(project, project / ".venv")
    assert not bootstrap.set_up_workshop(project, project / ".venv")
    (project / bootstrap.WORKSHOP_PINS).write_text("jupyterlab==4.1\n")
    assert bootstrap.set_up_workshop(project, project / ".venv")
    assert [command[-2:] for command in steps] == [["-r", str(project / bootstrap.WORKSHOP_PINS)]] * 2


def test_a_failed_installation_is_tried_again(project, monkeypatch):
    monkeypatch.setattr(bootstrap.subprocess, "call", lambda *_, **__: 1)
    with pytest.raises(bootstrap.SetupError, match="make workshop"):
        bootstrap.set_up_workshop(project, project / ".venv")
    monkeypatch.setattr(bootstrap.subprocess, "call", lambda *_, **__: 0)
    assert bootstrap.set_up_workshop(project, project / ".venv")


def test_another_python_without_jupyterlab_says_what_to_type(project, monkeypatch):
    monkeypatch.setattr(workshop, "find_spec", lambda name: None)
    with pytest.raises(Stop, match="make workshop"):
        workshop.ensure_jupyterlab(project)


def test_jupyterlab_opens_in_the_students_folder_and_asks_no_network(project, monkeypatch):
    ran = []
    monkeypatch.setattr(workshop, "find_spec", lambda name: True)
    answer = lambda command, env: ran.append(command) or subprocess.CompletedProcess(command, 3)  # noqa: E731
    monkeypatch.setattr(workshop.subprocess, "run", answer)
    assert workshop.open_labs(project, project / "artifacts", ["--no-browser"]) == 3
    ((*command, last),) = ran
    assert command[:3] == [sys.executable, "-m", "jupyterlab"] and last == "--no-browser"
    assert f"--ServerApp.root_dir={(project / 'artifacts' / 'workshop').resolve()}" in command
    assert "--LabApp.news_url=None" in command and (project / "artifacts" / "workshop" / NAME).exists()


def test_a_wheelhouse_replaces_every_index(tmp_path, monkeypatch):
    monkeypatch.setenv(bootstrap.WHEELHOUSE, str(tmp_path))
    with pytest.raises(bootstrap.SetupError, match="make wheelhouse"):
        bootstrap.pip_install("python")
    (tmp_path / "a-1-py3-none-any.whl").touch()
    command = bootstrap.pip_install("python")
    assert command[command.index("--no-index") :][:3] == ["--no-index", "--find-links", str(tmp_path)]


@pytest.mark.parametrize(("torch", "calls"), [("", 1), ("cpu", 2)])
def test_the_wheelhouse_holds_both_sets(project, monkeypatch, torch, calls):
    ran = []

    def collect(command):
        ran.append(command)
        (project / "house" / f"package-{len(ran)}.whl").write_bytes(b"12345")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(workshop.subprocess, "run", collect)
    assert workshop.make_wheelhouse(project, project / "house", torch) == [5] * calls
    assert len(ran) == calls and (torch != "cpu" or bootstrap.CPU_INDEX in ran[0])
    assert [Path(word).name for word in ran[-1] if word.endswith(".txt")] == [
        "requirements.txt",
        "requirements-workshop.txt",
    ]


def test_a_wheelhouse_that_failed_says_so(project, monkeypatch):
    monkeypatch.setattr(workshop.subprocess, "run", lambda command: subprocess.CompletedProcess(command, 1))
    with pytest.raises(Stop, match="Retry"):
        workshop.make_wheelhouse(project, project / "house", "")


@pytest.mark.parametrize("words", [["book", "--fast"], ["grades"], ["unknown"]])
def test_a_misspelled_command_line_is_refused(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["mtlser_book", *words])
    with pytest.raises(SystemExit):
        commands.main()
    assert "usage" in capsys.readouterr().err


def test_grades_of_an_empty_folder_say_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["mtlser_book", "grades", str(tmp_path)])
    assert commands.main() == 1
    assert "no summary files" in capsys.readouterr().err
