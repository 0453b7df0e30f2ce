"""Makes `.venv` with the tested packages; runs on any Python 3.8+ with the standard library alone.

`python src/mtlser_book/bootstrap.py workshop` also opens the labs: the one command where there is no make, Windows too.
The record that an installation is complete is written last, so that a killed one is finished by the next call.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
STAMP = "mtlser-setup.json"  # in the environment: {"key": …, "torch": …, "workshop": …} of what is installed
PINS = ("requirements.txt", "pyproject.toml")
WORKSHOP_PINS = "requirements-workshop.txt"
WHEELHOUSE = "MTLSER_WHEELHOUSE"  # environment: a folder of packages to install from, without any index
WINDOWS = os.name == "nt"
FREE_GIGABYTES = {"cpu": 4, "default": 12}  # the default Linux build of torch brings CUDA's libraries

SUPPORTED = "import sys; assert (3, 11) <= sys.version_info < (3, 14)"


class SetupError(Exception):
    """Why the environment cannot be made, and the command to type."""


def check_system(system: str, machine: str, libc: str, workshop: bool = False) -> None:
    """Raises SetupError where PyTorch has no packages for such a machine; Windows is for the `workshop` only."""
    if system == "Windows" and not (workshop and machine == "AMD64"):
        raise SetupError(
            "Windows is supported through WSL2 only: type `wsl --install` in PowerShell as administrator, clone this "
            "repository inside the Linux that it installs, and run make there.\n"
            "The labs run on Windows itself, on x86-64:\n\n    py src\\mtlser_book\\bootstrap.py workshop"
        )
    works = {"Linux": ("x86_64", "aarch64"), "Darwin": ("arm64",), "Windows": ("AMD64",)}
    if machine not in works.get(system, ()) or (system == "Linux" and libc != "glibc"):
        raise SetupError(
            f"PyTorch is not published for {system} on {machine} with this C library. It is for Linux with glibc on "
            "x86-64 or ARM64, for WSL2, and for Apple silicon with a native Python:\n\n"
            "    brew install python@3.12 && make setup PYTHON=python3.12\n\n"
            "On a Linux with another C library, such as Alpine's musl, it works in a container:\n\n"
            '    docker run -it -v "$PWD":/book -w /book python:3.12 make reproduce'
        )


def check_disk(folder: Path, torch: str, system: str) -> None:
    """Raises SetupError when the packages would not fit."""
    needed = FREE_GIGABYTES["default" if system == "Linux" and torch != "cpu" else "cpu"]
    free = shutil.disk_usage(str(folder)).free / 1e9
    if free < needed:
        raise SetupError(
            f"The packages need {needed} GB of free disk and {folder} has {free:.1f} GB."
            + (f" Without a GPU {FREE_GIGABYTES['cpu']} are enough:\n\n    make setup TORCH=cpu" if not torch else "")
        )


def runs(python: str, code: str) -> bool:
    """Whether that Python starts and runs the code to its end."""
    try:
        return subprocess.run([python, "-I", "-c", code], capture_output=True).returncode == 0
    except OSError:
        return False


def choose_python(current: str) -> str:
    """A supported Python that can make environments: this one, or else one on PATH. Raises SetupError."""
    names = [current, "python3.13", "python3.12", "python3.11"]
    found = [python for python in map(shutil.which, names) if python and runs(python, SUPPORTED)]
    for python in found:
        if runs(python, "import venv, ensurepip"):
            return python
    if found:
        name = "python{}.{}".format(*sys.version_info) if found[0] == current else Path(found[0]).name
        raise SetupError(
            f"{found[0]} lacks the modules `venv` and `ensurepip`, a separate package of Debian and Ubuntu. Type\n\n"
            f"    sudo apt install {name}-venv && make setup"
        )
    raise SetupError(
        f"Python 3.11, 3.12 or 3.13 is needed; {current} is {platform.python_version()} and no other was found on "
        "PATH. Install one:\n\n"
        "    sudo apt install python3.12 python3.12-venv     (Debian, Ubuntu, WSL2; or 3.11, 3.13)\n"
        "    brew install python@3.12                        (macOS)\n"
        "    uv python install 3.12                          (any, without root; see docs.astral.sh/uv)\n\n"
        "then retry, naming it if it is not on PATH:\n\n    make setup PYTHON=/path/to/python3.12"
    )


def inside(venv: Path) -> Path:
    """The Python of an environment."""
    return venv / "Scripts" / "python.exe" if WINDOWS else venv / "bin" / "python"


def installed_key(root: Path, venv: Path, torch: str, pins: tuple = PINS) -> str:
    """What an installation depends on, as one hash; '' where there is no working environment.

    The version is read from `pyvenv.cfg` rather than by starting Python: the second call takes milliseconds.
    """
    configuration = venv / "pyvenv.cfg"
    if not (inside(venv).exists() and configuration.exists()):
        return ""
    version = [line for line in configuration.read_text().splitlines() if line.startswith("version")]
    text = [*version, torch, str(root), *((root / name).read_text(encoding="utf-8") for name in pins)]
    return hashlib.sha256("\0".join(text).encode()).hexdigest()


def recorded(path: Path) -> dict:
    """What a JSON file records; empty where there is none, or half of one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def torch_requirement(root: Path) -> str:
    """The pin of torch in requirements.txt, such as `torch==2.13.0`."""
    return re.search(r"^torch==[^\s#]+", (root / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)[0]


def step(command: list, retry: str = "make setup") -> None:
    """Runs a command that has to succeed. Raises SetupError."""
    if subprocess.call(command):
        raise SetupError(
            f"This step failed:\n\n    {' '.join(command)}\n\n"
            f"Its message is above. What was installed is kept; retry with\n\n    {retry}"
        )


def pip_install(python: str) -> list:
    """pip's command line up to the packages. Raises SetupError where the folder of packages is missing."""
    command, folder = [python, "-m", "pip", "install", "--disable-pip-version-check"], os.environ.get(WHEELHOUSE)
    if folder:
        if not any(Path(folder).expanduser().glob("*.whl")):
            raise SetupError(
                f"WHEELHOUSE={folder} holds no packages. Where there is a network, make it with\n\n    make wheelhouse"
            )
        command += ["--no-index", "--find-links", str(Path(folder).expanduser().resolve())]
    return command + ([] if sys.stdout.isatty() else ["--quiet"])


def install(root: Path, venv: Path, python: str, torch: str) -> None:
    """Creates or completes the environment. Raises SetupError when a step fails."""
    (venv / STAMP).unlink(missing_ok=True)
    own = str(inside(venv))
    if not runs(own, SUPPORTED + "; import pip.__main__"):  # a killed installation is completed, not started over
        print(f"Making {venv.name} with {python}", flush=True)
        step([python, "-m", "venv", "--clear", str(venv)])
    small = torch == "cpu" or sys.platform == "darwin"
    size = "about 200 MB for torch" if small else "about 3 GB with torch's CUDA libraries"
    print(f"Installing the packages of requirements.txt ({size}; some minutes, once)", flush=True)
    pip = pip_install(own)
    if torch == "cpu" and not os.environ.get(WHEELHOUSE):
        step([*pip, "--no-deps", "--index-url", CPU_INDEX, torch_requirement(root)])
    step([*pip, "-r", str(root / "requirements.txt")])
    step([*pip, "--no-deps", "--no-build-isolation", "-e", str(root)])


def set_up(root: Path, torch: str, python: str, workshop: bool = False) -> bool:
    """Brings `.venv` up to date; returns whether anything had to be done. Raises SetupError."""
    if torch not in ("", "cpu"):
        raise SetupError(f"TORCH={torch} is unknown: leave it out, or type\n\n    make setup TORCH=cpu")
    venv = root / ".venv"
    with one_at_a_time(root):
        done = recorded(venv / STAMP)
        torch = torch or done.get("torch", "")  # a later `make` without TORCH= keeps the build that is installed
        key = installed_key(root, venv, torch)
        if key and done.get("key") == key:
            return False
        check_system(platform.system(), platform.machine(), platform.libc_ver()[0], workshop)
        check_disk(root, torch, platform.system())
        install(root, venv, choose_python(python), torch)
        (venv / STAMP).write_text(json.dumps({"key": installed_key(root, venv, torch), "torch": torch}))
    return True


def set_up_workshop(root: Path, venv: Path) -> bool:
    """Adds JupyterLab to a complete environment; returns whether anything had to be done. Raises SetupError."""
    with one_at_a_time(root):
        done = recorded(venv / STAMP)
        key = installed_key(root, venv, done.get("torch", ""), (*PINS, WORKSHOP_PINS))
        if done.get("workshop") == key:
            return False
        print("Installing JupyterLab (about 30 MB; a minute, once)", flush=True)
        step([*pip_install(str(inside(venv))), "-r", str(root / WORKSHOP_PINS)], retry="make workshop")
        (venv / STAMP).write_text(json.dumps({**done, "workshop": key}))
    return True


@contextmanager
def one_at_a_time(root: Path):
    """Holds a lock of the project, so that two calls of make do not install at once; not on Windows."""
    with open(str(root / "pyproject.toml")) as held:  # closing it lets go
        if not WINDOWS:
            import fcntl

            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def main(words: list) -> int:
    """Entry point of `make setup`; with the word `workshop`, of the whole workshop. What follows goes to JupyterLab."""
    root = Path(__file__).resolve().parents[2]
    if words[:1] not in ([], ["workshop"]):
        print(f"unknown: {' '.join(words)}; nothing, or the word workshop", file=sys.stderr)
        return 2
    try:
        if set_up(root, os.environ.get("MTLSER_TORCH", ""), sys.executable, workshop=bool(words)):
            print("Ready: .venv holds the tested packages.")
    except SetupError as error:
        print(f"\nCannot set up the book.\n\n{error}\n", file=sys.stderr)
        return 1
    return subprocess.call([str(inside(root / ".venv")), "-m", "mtlser_book", *words]) if words else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
