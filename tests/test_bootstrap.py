"""The environment is made, completed after a kill, and left alone when nothing changed; refusals name a command."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

from mtlser_book import bootstrap
from mtlser_book.bootstrap import SetupError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose installation is a stand-in that writes what `python -m venv` would."""
    (tmp_path / "requirements.txt").write_text("torch==2.0\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / bootstrap.WORKSHOP_PINS).write_text("jupyterlab==4.0\n")
    installed = []

    def install(root, python, torch, workshop):
        venv = root / ".venv"
        installed.append(torch)
        (venv / bootstrap.STAMP).unlink(missing_ok=True)
        (venv / "bin").mkdir(parents=True, exist_ok=True)
        (venv / "bin" / "python").unlink(missing_ok=True)
        (venv / "bin" / "python").touch()
        (venv / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.7\n")

    monkeypatch.setattr(bootstrap, "install", install)
    monkeypatch.setattr(bootstrap, "choose_python", lambda current: current)
    monkeypatch.setattr(bootstrap, "check_disk", lambda *_: None)
    return tmp_path, installed


def fake_python(folder: Path, name: str, supported: bool = True, venv: bool = True) -> str:
    """An executable that answers as such a Python would."""
    answers = f"*ensurepip*) exit {int(not (supported and venv))};; *version_info*) exit {int(not supported)};;"
    (folder / name).write_text(f'#!/bin/sh\ncase "$*" in {answers} esac\n')
    (folder / name).chmod(0o755)
    return str(folder / name)


def test_the_second_call_does_nothing_fast(project):
    root, installed = project
    assert bootstrap.set_up(root, "", sys.executable)
    started = time.perf_counter()
    assert not bootstrap.set_up(root, "", sys.executable)
    assert time.perf_counter() - started < 0.2
    assert installed == [""]


@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml", ".venv/pyvenv.cfg"])
def test_changed_pins_metadata_or_python_install_again(project, name):
    root, installed = project
    bootstrap.set_up(root, "", sys.executable)
    (root / name).write_text((root / name).read_text().replace("3.11.7", "3.12.1") + "# changed\n")
    changed = name != ".venv/pyvenv.cfg"
    assert bootstrap.set_up(root, "", sys.executable)
    assert len(installed) == 2 or not changed


def test_the_cpu_build_is_remembered(project):
    root, installed = project
    bootstrap.set_up(root, "cpu", sys.executable)
    assert not bootstrap.set_up(root, "", sys.executable)
    assert not bootstrap.set_up(root, "cpu", sys.executable)
    (root / "requirements.txt").write_text("torch==2.1\n")
    bootstrap.set_up(root, "", sys.executable)
    assert installed == ["cpu", "cpu"]


def test_a_killed_installation_is_not_taken_as_done(project, monkeypatch):
    root, installed = project
    whole = bootstrap.install

    def killed(*arguments):
        whole(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(bootstrap, "install", killed)
    with pytest.raises(KeyboardInterrupt):
        bootstrap.set_up(root, "", sys.executable)
    monkeypatch.setattr(bootstrap, "install", whole)
    assert bootstrap.set_up(root, "", sys.executable)
    assert not bootstrap.set_up(root, "", sys.executable)


def test_a_python_that_went_away_makes_it_stale(project):
    root, _ = project
    bootstrap.set_up(root, "", sys.executable)
    (root / ".venv" / "bin" / "python").unlink()
    (root / ".venv" / "bin" / "python").symlink_to("/nowhere/python3.11")
    assert bootstrap.set_up(root, "", sys.executable)


def test_jupyterlab_is_installed_once_kept_and_again_when_its_pins_change(project):
    root, installed = project
    bootstrap.set_up(root, "", sys.executable)
    assert bootstrap.set_up(root, "", sys.executable, workshop=True)
    assert not bootstrap.set_up(root, "", sys.executable, workshop=True)
    assert not bootstrap.set_up(root, "", sys.executable)
    (root / bootstrap.WORKSHOP_PINS).write_text("jupyterlab==4.1\n")
    assert bootstrap.set_up(root, "", sys.executable, workshop=True) and len(installed) == 3


def test_a_record_of_an_earlier_form_installs_again(project):
    root, installed = project
    bootstrap.set_up(root, "", sys.executable, workshop=True)
    (root / ".venv" / bootstrap.STAMP).write_text('{"key": "of old", "torch": "cpu", "workshop": "a hash"}')
    assert bootstrap.set_up(root, "", sys.executable) and installed == ["", "cpu"]
    assert not bootstrap.set_up(root, "", sys.executable, workshop=True)


def test_pip_is_told_the_pins_and_where_the_small_torch_is(tmp_path, monkeypatch):
    monkeypatch.delenv(bootstrap.WHEELHOUSE, raising=False)
    assert bootstrap.packages(tmp_path, "", workshop=False) == ["-r", str(tmp_path / "requirements.txt")]
    words = bootstrap.packages(tmp_path, "cpu", workshop=True)
    assert words[3:] == [str(tmp_path / "requirements-workshop.txt"), "--extra-index-url", bootstrap.CPU_INDEX]
    monkeypatch.setenv(bootstrap.WHEELHOUSE, str(tmp_path))
    assert bootstrap.CPU_INDEX not in bootstrap.packages(tmp_path, "cpu", workshop=False)


def test_a_failed_step_of_pip_is_shown_and_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap.subprocess, "call", lambda *_: 1)
    with pytest.raises(SetupError, match="failed:\n\n    pip install[\\s\\S]*retry with the same command"):
        bootstrap.step(["pip", "install"])


def test_an_unknown_build_of_torch_is_refused(project):
    with pytest.raises(SetupError, match="make setup TORCH=cpu"):
        bootstrap.set_up(project[0], "gpu", sys.executable)


@pytest.mark.parametrize(
    ("system", "machine", "libc", "command"),
    [
        ("Windows", "AMD64", "", "wsl --install"),
        ("Darwin", "x86_64", "", "brew install python@3.12"),
        ("Linux", "x86_64", "", "docker run"),
        ("Linux", "riscv64", "glibc", "does not run on Linux with riscv64"),
        ("FreeBSD", "amd64", "", "does not run on FreeBSD"),
    ],
)
def test_unsupported_systems_stop_with_a_command(system, machine, libc, command):
    with pytest.raises(SetupError, match=command):
        bootstrap.check_system(system, machine, libc)


def test_supported_systems_pass():
    for system, machine, libc in [("Linux", "x86_64", "glibc"), ("Linux", "aarch64", "glibc"), ("Darwin", "arm64", "")]:
        bootstrap.check_system(system, machine, libc)


def test_a_full_disk_is_seen_before_the_download(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda _: usage(10e9, 4e9, 6e9))
    with pytest.raises(SetupError, match=r"need 12 GB .* has 6\.0 GB[\s\S]*make setup TORCH=cpu"):
        bootstrap.check_disk(tmp_path, "", "Linux")
    bootstrap.check_disk(tmp_path, "cpu", "Linux")
    bootstrap.check_disk(tmp_path, "", "Darwin")


def test_a_supported_python_on_the_path_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    old = fake_python(tmp_path, "python3", supported=False)
    fake_python(tmp_path, "python3.13", venv=False)
    newer = fake_python(tmp_path, "python3.12")
    assert bootstrap.choose_python(old) == newer
    assert bootstrap.choose_python(sys.executable) == sys.executable


def test_a_missing_venv_module_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    fake_python(tmp_path, "python3.12", venv=False)
    for name, supported, version in (("python3", False, 12), ("python", True, sys.version_info[1])):
        with pytest.raises(SetupError, match=f"sudo apt install python3.{version} python3.{version}-venv"):
            bootstrap.choose_python(fake_python(tmp_path, name, supported=supported, venv=False))


def test_an_unsupported_python_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match=r"nor another on PATH[\s\S]*make setup PYTHON="):
        bootstrap.choose_python(fake_python(tmp_path, "python3", supported=False))


@pytest.mark.parametrize(("version", "runs"), [("3, 10, 13", False), ("3, 11, 0", True), ("3, 14, 0", False)])
def test_supported_are_three_versions(version, runs):
    assert bootstrap.runs(sys.executable, bootstrap.SUPPORTED.replace("sys.version_info", f"({version})")) == runs


def test_old_pythons_can_read_it_to_complain():
    source = (ROOT / "src" / "mtlser_book" / "bootstrap.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 8))
    imported = {node.names[0].name for node in ast.walk(tree) if isinstance(node, ast.Import)}
    imported |= {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= sys.stdlib_module_names


def test_windows_is_for_the_workshop_only():
    bootstrap.check_system("Windows", "AMD64", "", workshop=True)
    for machine, workshop in (("AMD64", False), ("ARM64", True)):
        with pytest.raises(SetupError, match=r"bootstrap\.py workshop"):
            bootstrap.check_system("Windows", machine, "", workshop)


def test_the_paths_of_windows(project, monkeypatch):
    root, _ = project
    bootstrap.set_up(root, "", sys.executable)
    monkeypatch.setattr(bootstrap, "WINDOWS", True)
    assert bootstrap.inside(root / ".venv") == root / ".venv" / "Scripts" / "python.exe"
    assert bootstrap.installed_key(root, "", False) == "", "there is no Scripts/python.exe"


def test_one_command_sets_up_and_opens_the_workshop(monkeypatch):
    done = []
    monkeypatch.setattr(bootstrap, "set_up", lambda *_, workshop: done.append(workshop))
    monkeypatch.setattr(bootstrap.subprocess, "call", lambda command: done.append(command[1:]) or 3)
    assert bootstrap.main(["workshop", "--no-browser"]) == 3
    assert done == [True, ["-m", "mtlser_book", "workshop", "--no-browser"]]
    assert bootstrap.main(["worksop"]) == 2


def test_a_configuration_in_utf_8_is_read_whatever_the_system_s_encoding_is(tmp_path):
    python = bootstrap.inside(tmp_path / ".venv")
    python.parent.mkdir(parents=True)
    for path in (python, tmp_path / bootstrap.PINS, tmp_path / "pyproject.toml"):
        path.touch()
    (tmp_path / ".venv" / "pyvenv.cfg").write_text("home = Ángel\nversion = 3.12.1\n", encoding="utf-8")
    code = (
        "import pathlib, sys; from mtlser_book import bootstrap as b; b.installed_key(pathlib.Path(sys.argv[1]), '', 0)"
    )
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=True)


@pytest.mark.parametrize("content", ["[]", "{", "3"])
def test_a_record_that_is_none_is_empty(tmp_path, content):
    (tmp_path / "record.json").write_text(content)
    assert bootstrap.recorded(tmp_path / "record.json") == {}
