"""Shards wherever they run: the commands of the Containerfile, outside a container, and of "From laptop to cluster"."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mtlser.runs.records import read_records
from mtlser_book import bootstrap
from smoke import ROOT, clean_environment

IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
LINES = (ROOT / "Containerfile").read_text(encoding="utf-8").splitlines()
INSTRUCTIONS = [tuple(line.split(" ", 1)) for line in LINES if line and not line.startswith("#")]
CELLS = json.loads((ROOT / "book" / "cluster.ipynb").read_text(encoding="utf-8"))["cells"]
PAGE = "\n".join("".join(cell["source"]) for cell in CELLS)
SHARD = "-m mtlser run --shard"


def instruction(name: str) -> str:
    [found] = [words for one, words in INSTRUCTIONS if one == name]
    return found


def command(start: str) -> str:
    """The page's command that starts so, to the end of its block or of its here-document."""
    [found] = re.findall(rf"^    ({re.escape(start)}.*?)$(?=\n\n|\n    )", PAGE, flags=re.MULTILINE | re.DOTALL)[:1]
    if "<<'END'" in found:
        found = re.search(rf"^    {re.escape(found)}\n.*?\n    END$", PAGE, flags=re.MULTILINE | re.DOTALL)[0]
        found = "\n".join(line[4:] for line in found.splitlines())
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """What COPY copies, and where the container's own environment would be, this one."""
    assert instruction("COPY") == ". ."
    folder = tmp_path_factory.mktemp("container") / "book"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*IGNORED, "__pycache__", ".git", ".*_cache"))
    (folder / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    return folder


def run(words, project: Path, alpha: float) -> subprocess.CompletedProcess:
    """One epoch of an alpha's two runs on the smoke preset."""
    environment = clean_environment(MTLSER_PRESET="smoke", MTLSER_ALPHAS=str(alpha), MTLSER_EPOCHS="1")
    environment["PYTHONPATH"] = str(project / "src")  # which the container installs
    given = {"shell": isinstance(words, str), "cwd": project, "env": environment, "capture_output": True, "text": True}
    return subprocess.run(words, **given, timeout=500)


def trained(project: Path, alpha: float) -> list[tuple[str, str]]:
    """Folds and states of an alpha's runs."""
    found = read_records(sorted(path.parent for path in (project / "artifacts" / "runs").glob("*/run.json"))).runs
    return list(found[found["alpha"] == alpha][["fold", "status"]].itertuples(index=False, name=None))


def test_what_the_containerfile_names_is_there():
    base = re.fullmatch(r"docker\.io/library/python:(3\.\d+)-slim", instruction("FROM"))
    tested = (ROOT / "src" / "mtlser_book" / "bootstrap.py").read_text(encoding="utf-8")
    assert base and f"python{base[1]}" in tested
    folder = instruction("WORKDIR")
    assert instruction("VOLUME") == f"{folder}/artifacts"
    assert instruction("ENV").startswith(f"HF_HOME={folder}/artifacts/")
    for words in [words for name, words in INSTRUCTIONS if name == "RUN"]:
        for path in re.findall(r"(?<= )[\w/]+\.py", words):
            assert (ROOT / path).is_file(), path
        assert subprocess.run(["sh", "-n", "-c", words]).returncode == 0
    assert {"artifacts", "build", ".venv"} <= set(IGNORED)  # a gigabyte of what is made anew


def test_the_container_installs_as_make_setup_does(monkeypatch):
    [words] = [words for name, words in INSTRUCTIONS if name == "RUN" and "bootstrap" in words]
    assert words == "MTLSER_TORCH=$TORCH python src/mtlser_book/bootstrap.py"
    asked = []
    monkeypatch.setattr(bootstrap, "set_up", lambda root, torch, python, workshop: asked.append((root, torch)))
    monkeypatch.setenv("MTLSER_TORCH", "cpu")
    assert bootstrap.main([]) == 0 and asked == [(ROOT, "cpu")]


def test_shards_by_xargs_train_every_run_once(project):
    """The page's line, from nothing: the shards also make the corpus, and one of them does."""
    line = command("seq 4 |")
    assert f"{SHARD} {{}}/4" in line
    done = run(line.replace("4", "2"), project, 0.1)
    assert done.returncode == 0, done.stderr
    assert trained(project, 0.1) == [("Ses01F", "done"), ("Ses01M", "done")]
    assert done.stderr.count(" done in ") == 2


def test_the_entry_point_trains_a_shard_alone(project):
    """In a copy of what the container holds."""
    done = run([*json.loads(instruction("ENTRYPOINT")), "--shard", "2/2"], project, 0.0)
    assert done.returncode == 0, done.stderr
    assert trained(project, 0.0) == [("Ses01M", "done")]
    wrong = run([*json.loads(instruction("ENTRYPOINT")), "--shard", "3/2"], project, 0.0)
    assert wrong.returncode == 2 and "'3/2' is not K/N" in wrong.stderr


def test_kubernetes_counts_from_0_and_shards_from_1(tmp_path):
    manifest = yaml.safe_load(command("kubectl apply").split("<<'END'\n")[1].removesuffix("END"))
    spec = manifest["spec"]
    [container] = spec["template"]["spec"]["containers"]
    assert (manifest["kind"], spec["completionMode"]) == ("Job", "Indexed")
    [volume] = container["volumeMounts"]
    assert volume["mountPath"] == instruction("VOLUME")
    assert volume["name"] == spec["template"]["spec"]["volumes"][0]["name"]
    count = spec["completions"]
    for index, shard in ((0, f"1/{count}"), (count - 1, f"{count}/{count}")):
        asked = told(tmp_path, container["command"], JOB_COMPLETION_INDEX=str(index))
        assert asked == [f".venv/bin/python {SHARD} {shard}"]


def test_skypilot_and_ray_are_given_every_shard_once(tmp_path):
    """By commands of their names, which say what they were given."""
    (tmp_path / "sky").write_text('#!/bin/sh\nfor last; do :; done\necho "$last"\n')
    (tmp_path / "ray").write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift 4\necho "$@"\n')
    (tmp_path / "make").write_text("#!/bin/sh\n")
    [inside] = told(tmp_path, ["sh", "-c", command("sky launch")])
    for rank in (0, 9):
        variables = {"SKYPILOT_NODE_RANK": str(rank), "SKYPILOT_NUM_NODES": "10"}
        assert told(tmp_path, ["sh", "-c", inside], **variables) == [f".venv/bin/python {SHARD} {rank + 1}/10"]
    asked = told(tmp_path, ["sh", "-c", command("seq 10 |").replace("<project>", "project")])
    assert asked == [f".venv/bin/python {SHARD} {number}/10" for number in range(1, 11)]


def told(folder: Path, words: list[str], **variables: str) -> list[str]:
    """What a command prints where a .venv/bin/python, and all commands of the folder, say what they were given."""
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text('#!/bin/sh\necho ".venv/bin/python $@"\n')
    for path in (python, *(path for path in folder.iterdir() if path.is_file())):
        path.chmod(0o755)
    environment = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", **variables}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
