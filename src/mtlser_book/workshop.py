"""Opens the labs in JupyterLab in the student's own folder; collects packages for rooms without a network."""

from __future__ import annotations

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

# JupyterLab would ask the network for news and newer versions.
QUIET = ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]


def place_labs(root: Path, folder: Path) -> list[str]:
    """Copies the student notebooks into `folder` and returns what was done, a line for each that is not as before.

    A notebook that the student saved is never written again, whatever happens to the project's copy.
    """
    placed, lines = bootstrap.recorded(folder / PLACED), []
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


def open_labs(root: Path, artifacts: Path, arguments: list[str]) -> int:
    """Places the labs and runs JupyterLab until it ends; returns its exit status. Raises Stop."""
    if not find_spec("jupyterlab"):
        raise Stop(
            f"{sys.executable} has no JupyterLab. Type\n\n    make workshop\n\n"
            f"or add it to this Python:\n\n    {sys.executable} -m pip install -r {bootstrap.WORKSHOP_PINS}"
        )
    folder = artifacts / FOLDER
    for line in place_labs(root, folder):
        print(line, flush=True)
    print(
        f"The labs are in {folder}; what you save there is never overwritten. End JupyterLab with Ctrl-C.", flush=True
    )
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder.resolve()}", *QUIET]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # in a container; JupyterLab listens on this machine only
        command.append("--allow-root")
    # Kernels of this Python, before any that the user has installed for others.
    environment = {**os.environ, "JUPYTER_PATH": str(Path(sys.prefix) / "share" / "jupyter")}
    return subprocess.run([*command, *arguments], env=environment).returncode


def make_wheelhouse(root: Path, folder: Path, torch: str) -> list[int]:
    """Puts every package of requirements.txt and of the workshop into `folder`; returns their sizes in bytes.

    Packages are those of this machine's system and Python version. Raises Stop.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch = torch or bootstrap.recorded(root / ".venv" / bootstrap.STAMP).get("torch", "")
    pip = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--quiet", "-w", str(folder)]
    pip += ["--find-links", str(folder)]
    if subprocess.run([*pip, *bootstrap.packages(root, torch, workshop=True)]).returncode:
        raise Stop("pip could not collect the packages; its message is above. Retry: make wheelhouse")
    return [path.stat().st_size for path in folder.glob("*.whl")]
