"""Opens the labs in JupyterLab in the student's own folder; collects packages for rooms without a network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from mtlser.files import file_digest, whole_file, write_json
from mtlser_book import Stop, bootstrap, labs

PLACED = ".placed.json"  # in the folder: SHA-256 of each lab as it was put there
FOLDER = "workshop"  # of the artifacts: ignored by git, kept by `make clean`
WHEELHOUSE = "wheelhouse"  # of the artifacts

# JupyterLab would ask the network for news and newer versions.
QUIET = ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]


class WorkshopError(Stop):
    """The labs cannot be opened; the message says what to type."""


def place_labs(root: Path, folder: Path) -> list[str]:
    """Copies the student notebooks into `folder` and returns what was done, a line for each that is not as before.

    A notebook that the student saved is never written again, whatever happens to the project's copy.
    """
    placed = read_placed(folder)
    lines = []
    for source in sorted((root / labs.COPIES).glob("lab-*.ipynb")):
        target, new = folder / source.name, file_digest(source)
        now = file_digest(target) if target.exists() else None
        if now == new:
            placed[source.name] = new
        elif now is None or now == placed.get(source.name):
            with whole_file(target) as partial:
                shutil.copyfile(source, partial)
            placed[source.name] = new
            lines.append(f"{source.name}: {'put into the folder' if now is None else 'replaced by a newer version'}")
        elif placed.get(source.name) == new:
            lines.append(f"{source.name}: yours, kept as you left it")
        else:
            lines.append(f"{source.name}: yours, kept; the lab has changed since. For the new one, rename yours first")
    write_json(folder / PLACED, placed)
    return lines


def read_placed(folder: Path) -> dict[str, str]:
    """What `place_labs` recorded; empty where it never ran."""
    try:
        return json.loads((folder / PLACED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def ensure_jupyterlab(root: Path) -> None:
    """Installs JupyterLab into the project's environment on first use. Raises WorkshopError."""
    venv = root / ".venv"
    if Path(sys.prefix).resolve() == venv.resolve():
        try:
            bootstrap.set_up_workshop(root, venv)
        except bootstrap.SetupError as error:
            raise WorkshopError(str(error)) from None
    elif not find_spec("jupyterlab"):
        raise WorkshopError(
            f"{sys.executable} has no JupyterLab and is not the project's own .venv. Type\n\n    make workshop\n\n"
            f"or add it to this Python:\n\n    {sys.executable} -m pip install -r {bootstrap.WORKSHOP_PINS}"
        )


def jupyterlab_command(folder: Path, arguments: list[str]) -> list[str]:
    """The command that opens JupyterLab in `folder`."""
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder.resolve()}", *QUIET]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # in a container; JupyterLab listens on this machine only
        command.append("--allow-root")
    return [*command, *arguments]


def open_labs(root: Path, artifacts: Path, arguments: list[str]) -> int:
    """Places the labs and runs JupyterLab until it ends; returns its exit status. Raises WorkshopError."""
    ensure_jupyterlab(root)
    folder = artifacts / FOLDER
    for line in place_labs(root, folder):
        print(line, flush=True)
    print(
        f"The labs are in {folder}; what you save there is never overwritten. End JupyterLab with Ctrl-C.", flush=True
    )
    # Kernels of this Python, before any that the user has installed for others.
    environment = {**os.environ, "JUPYTER_PATH": str(Path(sys.prefix) / "share" / "jupyter")}
    return subprocess.run(jupyterlab_command(folder, arguments), env=environment).returncode


def make_wheelhouse(root: Path, folder: Path, torch: str) -> int:
    """Puts every package of requirements.txt and of the workshop into `folder`; returns its size in bytes.

    Packages are those of this machine's system and Python version. Raises WorkshopError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--quiet", "-w", str(folder)]
    commands = [[*pip, "--find-links", str(folder)]]
    for name in ("requirements.txt", bootstrap.WORKSHOP_PINS):
        commands[-1] += ["-r", str(root / name)]
    if (torch or bootstrap.recorded_torch(root / ".venv")) == "cpu":
        requirement = bootstrap.torch_requirement(root)
        commands.insert(0, [*pip, "--no-deps", "--index-url", bootstrap.CPU_INDEX, requirement])
    for command in commands:
        if subprocess.run(command).returncode:
            raise WorkshopError("pip could not collect the packages; its message is above. Retry: make wheelhouse")
    return sum(path.stat().st_size for path in folder.glob("*.whl"))
