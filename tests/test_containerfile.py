"""The container's own commands, tried outside of one, and the commands of shards on the page about clusters."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from smoke import ROOT, clean_environment

LINES = (ROOT / "Containerfile").read_text(encoding="utf-8").splitlines()


def words(instruction: str) -> list[str]:
    [line] = [line for line in LINES if line.startswith(f"{instruction} [")]
    return json.loads(line.removeprefix(instruction))


def test_what_the_container_runs_there_is():
    targets = re.findall(r"^RUN make ([\w-]+)$", "\n".join(LINES), flags=re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets == ["setup"] and re.search(r"^setup: ;", makefile, flags=re.MULTILINE)
    assert words("ENTRYPOINT") == [".venv/bin/python", "-m", "mtlser", "run"]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".venv", "artifacts", "build"} <= set(ignored)
    python = next(line for line in LINES if line.startswith("FROM")).rpartition(":")[2]
    assert re.fullmatch(r"3\.1[123]-slim", python)


def test_its_entry_point_takes_a_shard(smoke_book, tmp_path):
    """All runs are there, so each share says what it finds."""
    command = [sys.executable, *words("ENTRYPOINT")[1:], *words("CMD"), "--preset", "smoke", "--shard", "2/2"]
    environment = clean_environment(MTLSER_ARTIFACTS=str(smoke_book.artifacts))
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "Table 4" in done.stdout, done.stderr


def test_the_page_s_commands_are_the_library_s(smoke_book):
    """xargs starts two shares at once; of the others, every word that is the project's is one that it knows."""
    page = (ROOT / "book" / "cluster.ipynb").read_text(encoding="utf-8")
    [line] = re.findall(r'"    (seq \d+ \| xargs .*?)\\n"', page)
    command = line.replace(".venv/bin/python", sys.executable).replace("iemocap", "smoke").replace("4", "2")
    command = command.replace("table2", "table4")
    environment = clean_environment(MTLSER_ARTIFACTS=str(smoke_book.artifacts))
    done = subprocess.run(command, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("Table 4") == 2, done.stderr
    assert len(re.findall(r"python -m mtlser run table4 --preset iemocap --shard ", page)) == 4
