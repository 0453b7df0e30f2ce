"""Makes `.venv` with the tested packages; runs on any Python 3.8+ with the standard library alone.

`python src/mtlser_book/bootstrap.py workshop` also installs JupyterLab and opens the labs, on Windows too.
The record that an installation is complete is written last, so that a killed one is finished by the next call.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
STAMP = "mtlser-setup.json"  # in the environment: {"key": …, "torch": …, "workshop": …} of what is installed
PINS = "requirements.txt"
WORKSHOP_PINS = "requirements-workshop.txt"
WHEELHOUSE = "MTLSER_WHEELHOUSE"  # environment: a folder of packages to install from, without any index
WINDOWS = os.name == "nt"
FREE_GIGABYTES = {"cpu": 4, "default": 12}  # the default Linux build of torch brings CUDA's libraries

SUPPORTED = "import sys; assert (3, 11) <= sys.version_info < (3, 14)"


class SetupError(Exception):
    """Why the environment cannot be made, and the command to type."""


def check_system(system: str, machine: str, libc: str, workshop: bool = False) -> None:
    """Raises SetupError where PyTorch has no packages for such a machine; Windows is for the `workshop` only."""
    works = {"Linux": ("x86_64", "aarch64"), "Darwin": ("arm64",), "Windows": ("AMD64",) if workshop else ()}
    if machine not in works.get(system, ()) or (system == "Linux" and libc != "glibc"):
        raise SetupError(
            f"The book does not run on {system} with {machine} and this C library: PyTorch is not published for it, or "
            "there is no make. What works is\n\n"
            "    Linux with glibc, x86-64 or ARM64. On another one, such as Alpine:\n"
            '        docker run -it -v "$PWD":/book -w /book python:3.12 make reproduce\n'
            "    Apple silicon with a native Python:\n"
            "        brew install python@3.12 && make setup PYTHON=python3.12\n"
            "    Windows through WSL2, with a clone inside the Linux that this installs, as administrator:\n"
            "        wsl --install\n"
            "    The labs on Windows itself, x86-64:\n"
            "        py src\\mtlser_book\\bootstrap.py workshop"
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
    for python in map(shutil.which, [current, "python3.13", "python3.12", "python3.11"]):
        if python and runs(python, f"{SUPPORTED}; import venv, ensurepip"):
            return python
    name = f"python3.{sys.version_info[1] if runs(current, SUPPORTED) else 12}"
    raise SetupError(
        "Python 3.11, 3.12 or 3.13 with `venv` and `ensurepip` is needed (separate packages of Debian and Ubuntu); "
        f"neither {current} ({platform.python_version()}) nor another on PATH has them. Install one:\n\n"
        f"    sudo apt install {name} {name}-venv     (Debian, Ubuntu, WSL2)\n"
        "    brew install python@3.12                    (macOS)\n"
        "    uv python install 3.12                      (any, without root; see docs.astral.sh/uv)\n\n"
        "then retry, naming it if it is not on PATH:\n\n    make setup PYTHON=/path/to/python3.12"
    )


def inside(venv: Path) -> Path:
    """The Python of an environment."""
    return venv / "Scripts" / "python.exe" if WINDOWS else venv / "bin" / "python"


def installed_key(root: Path, torch: str, workshop: bool) -> str:
    """What an installation in `.venv` depends on, as one hash; '' where there is no working environment.

    The version is read from `pyvenv.cfg` rather than by starting Python: the second call takes milliseconds.
    """
    configuration = root / ".venv" / "pyvenv.cfg"
    if not (inside(root / ".venv").exists() and configuration.exists()):
        return ""
    version = [line for line in configuration.read_text(encoding="utf-8").splitlines() if line.startswith("version")]
    names = [PINS, "pyproject.toml"] + [WORKSHOP_PINS] * workshop
    text = [*version, torch, str(root), *((root / name).read_text(encoding="utf-8") for name in names)]
    return hashlib.sha256("\0".join(text).encode()).hexdigest()


def recorded(path: Path) -> dict:
    """What a JSON file records; empty where there is none, or half of one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def step(command: list) -> None:
    """Runs a command that has to succeed. Raises SetupError."""
    if subprocess.call(command):
        raise SetupError(
            f"This step failed:\n\n    {' '.join(command)}\n\n"
            "Its message is above. What was installed is kept; retry with the same command."
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


def packages(root: Path, torch: str, workshop: bool) -> list:
    """What pip is told to install or to collect: the tested packages, torch's CPU build where that is wanted."""
    pins = ["-r", str(root / PINS)] + ["-r", str(root / WORKSHOP_PINS)] * workshop
    return [*pins, "--extra-index-url", CPU_INDEX] if torch == "cpu" and not os.environ.get(WHEELHOUSE) else pins


def install(root: Path, python: str, torch: str, workshop: bool) -> None:
    """Creates or completes the environment. Raises SetupError when a step fails."""
    own = str(inside(root / ".venv"))
    if not runs(own, SUPPORTED + "; import pip.__main__"):  # a killed installation is completed, not started over
        print(f"Making .venv with {python}", flush=True)
        step([python, "-m", "venv", "--clear", str(root / ".venv")])
    size = "200 MB" if torch == "cpu" or sys.platform == "darwin" else "3 GB with torch's CUDA libraries"
    print(f"Installing the packages of {PINS} (about {size}; some minutes, once)", flush=True)
    pip = pip_install(own)
    step([*pip, *packages(root, torch, workshop)])
    step([*pip, "--no-deps", "--no-build-isolation", "-e", str(root)])


def set_up(root: Path, torch: str, python: str, workshop: bool = False) -> bool:
    """Brings `.venv` up to date, with JupyterLab for the `workshop` and ever after. Raises SetupError.

    Returns whether anything had to be done.
    """
    if torch not in ("", "cpu"):
        raise SetupError(f"TORCH={torch} is unknown: leave it out, or type\n\n    make setup TORCH=cpu")
    stamp = root / ".venv" / STAMP
    done = recorded(stamp)
    torch = torch or done.get("torch", "")  # a later `make` without TORCH= keeps the build that is installed
    workshop = workshop or bool(done.get("workshop"))
    key = installed_key(root, torch, workshop)
    if key and done.get("key") == key:
        return False
    check_system(platform.system(), platform.machine(), platform.libc_ver()[0], workshop)
    if not done:
        check_disk(root, torch, platform.system())
    stamp.unlink(missing_ok=True)
    install(root, choose_python(python), torch, workshop)
    key = installed_key(root, torch, workshop)
    stamp.write_text(json.dumps({"key": key, "torch": torch, "workshop": workshop}))
    return True


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
