"""Makes `.venv` with the tested packages; runs on any Python 3.8+ with the standard library alone.

`python src/mtlser_book/bootstrap.py workshop` also opens the labs: the one command where there is no make, Windows too.

The record that an installation is complete is written last, so that a killed one is finished by the next call.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SUPPORTED = ((3, 11), (3, 12), (3, 13))
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
STAMP = "mtlser-setup.json"
WORKSHOP_STAMP = "mtlser-workshop.json"
WORKSHOP_PINS = "requirements-workshop.txt"
WHEELHOUSE = "MTLSER_WHEELHOUSE"  # environment: a folder of packages to install from, without any index
WINDOWS = os.name == "nt"
FREE_GIGABYTES = {"cpu": 4, "default": 12}  # the default Linux build of torch brings CUDA's libraries


class SetupError(Exception):
    """Why the environment cannot be made, and the command to type."""


def check_system(system: str, machine: str, libc: str, workshop: bool = False) -> None:
    """Raises SetupError where PyTorch has no packages for this operating system, processor and C library.

    Windows itself is for the `workshop` only.
    """
    if system == "Windows" and workshop and machine == "AMD64":
        return
    if system == "Windows":
        raise SetupError(
            "Windows is supported through WSL2 only. In PowerShell as administrator type\n\n    wsl --install\n\n"
            "then clone this repository inside the Linux that it installs, and run make there.\n"
            "The labs of the workshop run on Windows itself, on x86-64:\n\n"
            "    py src\\mtlser_book\\bootstrap.py workshop"
        )
    if system == "Darwin" and machine != "arm64":
        raise SetupError(
            "PyTorch is no longer published for Macs with Intel processors (or this Python runs under Rosetta).\n"
            "On Apple silicon install a native Python and retry:\n\n"
            "    brew install python@3.12 && make setup PYTHON=python3.12"
        )
    if system == "Linux" and libc != "glibc":
        raise SetupError(
            "PyTorch is not published for this Linux's C library (musl, as in Alpine). In a container it works:\n\n"
            '    docker run -it -v "$PWD":/book -w /book python:3.12 make reproduce'
        )
    if system not in ("Linux", "Darwin") or machine not in ("x86_64", "aarch64", "arm64"):
        raise SetupError(
            f"PyTorch is not published for {system} on {machine}. Linux on x86-64 or ARM64, macOS on Apple silicon and "
            "WSL2 work: clone this repository on such a machine and type\n\n    make reproduce"
        )


def check_disk(folder: Path, torch: str, system: str) -> None:
    """Raises SetupError when the packages would not fit."""
    needed = FREE_GIGABYTES["default" if system == "Linux" and torch != "cpu" else "cpu"]
    free = shutil.disk_usage(str(folder)).free / 1e9
    if free < needed:
        hint = (
            ""
            if torch == "cpu"
            else f"\n\nWithout a GPU {FREE_GIGABYTES['cpu']} GB are enough:\n\n    make setup TORCH=cpu"
        )
        raise SetupError(
            f"The packages need {needed} GB of free disk and {folder} has {free:.1f} GB. See what is large with\n\n"
            f"    du -h -d 1 {folder.parent} | sort -h{hint}"
        )


def interpreter_facts(command: str) -> dict | None:
    """Version of the Python that `command` starts and whether it can make environments; None if it does not start."""
    code = (
        "import importlib.util as u, json, sys; "
        "print(json.dumps({'version': list(sys.version_info[:3]), 'path': sys.executable, "
        "'venv': bool(u.find_spec('venv') and u.find_spec('ensurepip'))}))"
    )
    call = [command, "-I", "-c", code]
    try:
        result = subprocess.run(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
        return json.loads(result.stdout.decode()) if result.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def choose_python(current: str) -> str:
    """Path of a supported Python that can make environments: this one, or else a newer or older one on PATH.

    Raises SetupError with the command that installs what is missing.
    """
    names = [current] + [f"python3.{minor}" for _, minor in reversed(SUPPORTED)]
    found = [facts for facts in map(interpreter_facts, names) if facts]
    supported = [facts for facts in found if tuple(facts["version"][:2]) in SUPPORTED]
    for facts in supported:
        if facts["venv"]:
            return facts["path"]
    if supported:
        raise SetupError(missing_venv_message(supported[0]))
    version = ".".join(map(str, found[0]["version"])) if found else "unknown"
    raise SetupError(
        f"Python 3.11, 3.12 or 3.13 is needed; {current} is {version} and no other was found on PATH. Install one:\n\n"
        "    sudo apt install python3.12 python3.12-venv     (Debian, Ubuntu, WSL2; or 3.11, 3.13)\n"
        "    brew install python@3.12                        (macOS)\n"
        "    uv python install 3.12                          (any, without root; see docs.astral.sh/uv)\n\n"
        "then retry, naming it if it is not on PATH:\n\n    make setup PYTHON=/path/to/python3.12"
    )


def missing_venv_message(facts: dict) -> str:
    """The command that adds the `venv` module to a Python of the distribution."""
    name = "python{}.{}".format(*facts["version"][:2])
    return (
        f"{facts['path']} lacks the modules `venv` and `ensurepip`, a separate package of Debian and Ubuntu. Type\n\n"
        f"    sudo apt install {name}-venv\n\nthen retry:\n\n    make setup"
    )


def inside(venv: Path) -> Path:
    """The Python of an environment."""
    return venv / "Scripts" / "python.exe" if WINDOWS else venv / "bin" / "python"


def installed_key(root: Path, venv: Path, torch: str) -> str:
    """What an installation depends on, as one hash; '' where there is no working environment.

    The version is read from `pyvenv.cfg` rather than by starting Python: the second call takes milliseconds.
    """
    configuration = venv / "pyvenv.cfg"
    if not inside(venv).exists() or not configuration.exists():
        return ""
    lines = dict(line.split(" = ", 1) for line in configuration.read_text().splitlines() if " = " in line)
    text = [lines.get("version", ""), torch, str(root)]
    text += [(root / name).read_text(encoding="utf-8") for name in ("requirements.txt", "pyproject.toml")]
    return hashlib.sha256("\0".join(text).encode()).hexdigest()


def recorded_key(venv: Path, name: str = STAMP) -> str | None:
    """The key of the last installation that finished, None if none did."""
    try:
        return json.loads((venv / name).read_text())["key"]
    except (OSError, ValueError, KeyError):
        return None


def torch_requirement(root: Path) -> str:
    """The pin of torch in requirements.txt, such as `torch==2.13.0`."""
    lines = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return next(line.split("#")[0].strip() for line in lines if line.startswith("torch=="))


def install(root: Path, venv: Path, python: str, torch: str) -> None:
    """Creates or completes the environment. Raises SetupError when a step fails."""
    for name in (STAMP, WORKSHOP_STAMP):
        (venv / name).unlink() if (venv / name).exists() else None
    own = str(inside(venv))
    if not is_environment(own):
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


def pip_install(python: str) -> list:
    """pip's command line up to the packages. Raises SetupError where the folder of packages is missing."""
    command = [python, "-m", "pip", "install", "--disable-pip-version-check"]
    folder = os.environ.get(WHEELHOUSE)
    if folder:
        if not any(Path(folder).expanduser().glob("*.whl")):
            raise SetupError(
                f"WHEELHOUSE={folder} holds no packages. Where there is a network, make it with\n\n    make wheelhouse"
            )
        command += ["--no-index", "--find-links", str(Path(folder).expanduser().resolve())]
    return command + ([] if sys.stdout.isatty() else ["--quiet"])


def set_up_workshop(root: Path, venv: Path) -> bool:
    """Adds JupyterLab to a complete environment; returns whether anything had to be done. Raises SetupError."""
    pins = root / WORKSHOP_PINS
    key = hashlib.sha256(f"{recorded_key(venv)}\0{pins.read_text(encoding='utf-8')}".encode()).hexdigest()
    if key == recorded_key(venv, WORKSHOP_STAMP):
        return False
    with one_at_a_time(root):
        if key == recorded_key(venv, WORKSHOP_STAMP):  # another call did it while this one waited
            return False
        print("Installing JupyterLab (about 30 MB; a minute, once)", flush=True)
        step([*pip_install(str(inside(venv))), "-r", str(pins)], retry="make workshop")
        write_stamp(venv / WORKSHOP_STAMP, {"key": key})
    return True


def write_stamp(path: Path, stamp: dict) -> None:
    """Writes the record of a finished installation, whole."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(stamp))
    os.replace(str(partial), str(path))


def is_environment(python: str) -> bool:
    """Whether `python` starts, is supported and has pip: a killed installation is then completed, not started over."""
    facts = interpreter_facts(python)
    supported = facts is not None and tuple(facts["version"][:2]) in SUPPORTED
    return supported and run([python, "-m", "pip", "--version"], quiet=True) == 0


def run(command: list, quiet: bool = False) -> int:
    """Exit status of a command."""
    output = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, stdout=output, stderr=output).returncode


def step(command: list, retry: str = "make setup") -> None:
    """Runs a command that has to succeed. Raises SetupError."""
    if run(command):
        raise SetupError(
            "This step failed:\n\n    " + " ".join(command) + "\n\n"
            f"Its message is above. What was installed is kept; retry with\n\n    {retry}"
        )


def set_up(root: Path, torch: str, python: str, workshop: bool = False) -> bool:
    """Brings `.venv` up to date; returns whether anything had to be done. Raises SetupError."""
    if torch not in ("", "cpu"):
        raise SetupError(f"TORCH={torch} is unknown: leave it out, or type\n\n    make setup TORCH=cpu")
    venv = root / ".venv"
    key = installed_key(root, venv, torch or recorded_torch(venv))
    if key and key == recorded_key(venv):
        return False
    check_system(platform.system(), platform.machine(), platform.libc_ver()[0], workshop)
    chosen = choose_python(python)
    check_disk(root, torch, platform.system())
    with one_at_a_time(root):
        torch = torch or recorded_torch(venv)
        key = installed_key(root, venv, torch)
        if key and key == recorded_key(venv):  # another call did it while this one waited
            return False
        install(root, venv, chosen, torch)
        write_stamp(venv / STAMP, {"key": installed_key(root, venv, torch), "torch": torch})
    return True


def recorded_torch(venv: Path) -> str:
    """The build of torch that is installed: a later `make` without TORCH= keeps it."""
    try:
        return json.loads((venv / STAMP).read_text()).get("torch", "")
    except (OSError, ValueError):
        return ""


class one_at_a_time:
    """Holds a lock on the project folder itself, so that two calls of make do not install at once.

    On Windows, where a folder cannot be locked, on a file among the temporary ones.
    """

    def __init__(self, root: Path) -> None:
        if WINDOWS:
            name = "mtlser-" + hashlib.sha256(str(root).encode()).hexdigest()[:16] + ".lock"
            self.descriptor = os.open(os.path.join(tempfile.gettempdir(), name), os.O_RDWR | os.O_CREAT)
        else:
            self.descriptor = os.open(str(root), os.O_RDONLY)

    def __enter__(self) -> None:
        if WINDOWS:
            import msvcrt

            while True:
                try:  # waits ten seconds, then raises
                    return msvcrt.locking(self.descriptor, msvcrt.LK_LOCK, 1)
                except OSError as error:
                    if error.errno != errno.EDEADLK:
                        raise
        import fcntl

        fcntl.flock(self.descriptor, fcntl.LOCK_EX)

    def __exit__(self, *error: object) -> None:
        os.close(self.descriptor)


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
    return run([str(inside(root / ".venv")), "-m", "mtlser_book", *words]) if words else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
