"""The folder of a student's own, JupyterLab installed once, and the packages for a room without a network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mtlser.machine import library_environment
from mtlser_book import Stop, bootstrap, workshop
from mtlser_book import __main__ as commands

ROOT = Path(__file__).parents[1]
NAME = "lab-2-ctc-by-hand.ipynb"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "workshop").mkdir()
    (tmp_path / "workshop" / NAME).write_text("first")
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


def test_another_python_without_jupyterlab_says_what_to_type(project, monkeypatch):
    monkeypatch.setattr(workshop, "find_spec", lambda name: None)
    with pytest.raises(Stop, match="make workshop"):
        workshop.open_labs(project, project / "artifacts", [])


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


@pytest.mark.parametrize("torch", ["", "cpu"])
def test_the_wheelhouse_holds_both_sets(project, monkeypatch, torch):
    def collect(command):
        assert ("--extra-index-url" in command) == (torch == "cpu")
        names = ["requirements.txt", "requirements-workshop.txt"]
        assert [Path(word).name for word in command if word.endswith(".txt")] == names
        (project / "house" / "package.whl").write_bytes(b"12345")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(workshop.subprocess, "run", collect)
    assert workshop.make_wheelhouse(project, project / "house", torch) == [5]


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


def test_grades_of_any_name_are_written_where_the_console_has_few(tmp_path):
    summary = {"lab": 1, "student": "李 Łukasz", "passed": 1, "of": 5, "exercises": {}}
    (tmp_path / "lab-1.json").write_text(json.dumps(summary), encoding="utf-8")
    command = [sys.executable, "-m", "mtlser_book", "grades", str(tmp_path)]
    environment = library_environment() | {"PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert done.stdout.decode("utf-8").splitlines()[1] == "lab-1.json,李 Łukasz,1,1,5,0"


@pytest.mark.parametrize(
    ("words", "said"),
    [(["slides", "--build", "{file}"], "file"), (["serve", "--build", "{site}", "--port", "99999"], "port 99999: "),
     (["grades", "~nobody-here/x"], "no summary files")],
)  # fmt: skip
def test_what_the_system_refuses_is_said_without_a_traceback(tmp_path, monkeypatch, capsys, words, said):
    (tmp_path / "file").touch()
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "index.html").touch()
    words = [word.format(file=tmp_path / "file", site=tmp_path) for word in words]
    monkeypatch.setattr(sys, "argv", ["mtlser_book", *words])
    assert commands.main() == 1 and said in capsys.readouterr().err
