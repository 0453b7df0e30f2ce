"""What a newcomer types: help, targets, and options that may hold spaces."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TARGETS = (
    "setup",
    "reproduce",
    "plan",
    "book",
    "workshop",
    "wheelhouse",
    "test",
    "bench",
    "faults",
    "test-cluster",
    "test-gpu",
    "gpu",
    "lint",
    "serve",
    "clean",
)
OPTIONS = "PRESET IEMOCAP BACKBONE ALPHAS FOLDS EPOCHS PRECISION ENGINE TORCH WHEELHOUSE PYTHON".split()
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def run_make(*words: str, folder: Path = ROOT) -> subprocess.CompletedProcess:
    """make as a terminal starts it: this suite may itself run under make, whose variables would be inherited."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MTLSER_", "MAKE")) and k != "MFLAGS"}
    return subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True, env=environment, timeout=60)


def make(*words: str, folder: Path = ROOT) -> str:
    result = run_make(*words, folder=folder)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_make_alone_prints_every_target_and_option():
    shown = make()
    for target in TARGETS:
        assert re.search(rf"^  make {target}  +\w", shown, flags=re.MULTILINE), target
    for option in OPTIONS:
        assert f"{option}=" in shown
        assert re.search(rf"\$\((value )?{option}\)", MAKEFILE), option


def test_targets_are_phony_and_one_line():
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE).group(1).split()
    assert phony == ["help", *TARGETS]
    for target in phony:
        assert re.search(rf"^{target}:[^;\n]*; @", MAKEFILE, flags=re.MULTILINE), target
    assert "\n\t" not in MAKEFILE


@pytest.mark.parametrize(
    ("option", "variable", "value"),
    [
        ("IEMOCAP", "MTLSER_RELEASE", "/data/My Corpora/IEMOCAP_full_release"),
        ("IEMOCAP", "MTLSER_RELEASE", "/data/$HOME/$(shell date)"),
        ("BACKBONE", "MTLSER_BACKBONE", "a folder/it's here"),
        ("CONTRIBUTOR", "MTLSER_CONTRIBUTOR", 'Ada Lovelace"; date #'),
        ("PROTOCOL", "MTLSER_PROTOCOL", "session"),
        ("ALPHAS", "MTLSER_ALPHAS", "0,0.1"),
        ("FOLDS", "MTLSER_FOLDS", "Ses01F"),
        ("EPOCHS", "MTLSER_EPOCHS", "2"),
        ("PRECISION", "MTLSER_PRECISION", "fp32"),
        ("ENGINE", "MTLSER_ENGINE", "ray"),
        ("PRESET", "MTLSER_PRESET", "smoke"),
        ("TORCH", "MTLSER_TORCH", "cpu"),
        ("WHEELHOUSE", "MTLSER_WHEELHOUSE", "a USB stick/wheelhouse"),
    ],
)
def test_options_reach_python_whole(option, variable, value):
    assert make("reproduce", "PYTHON=true", f"BOOK=printenv {variable}; :", f"{option}={value}") == f"{value}\n"


@pytest.mark.parametrize("word", ["EPOCH=1", "Alphas=0", "MTLSER_EPOCHS=1"])
def test_an_option_that_is_not_known_ends_make_and_lists_those_that_are(word):
    done = run_make("-n", "plan", "EPOCHS=1", word)
    assert done.returncode and f"*** {word.split('=')[0]} is not known; the options are PRESET CORPUS" in done.stderr
    assert not done.stdout


def test_every_option_stands_on_the_page_that_lists_them():
    page = (ROOT / "book" / "your-own.ipynb").read_text(encoding="utf-8")
    options = re.search(r"^OPTIONS = ((?:.*\\\n)*.*)$", MAKEFILE, flags=re.MULTILINE).group(1)
    for option in set(options.replace("\\", " ").split()) - {"BOOK"}:  # which is the Makefile's own
        assert f"`{option}=" in page, option


def test_clean_removes_build_and_keeps_what_is_dear(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("build", "artifacts", ".venv"):
        (tmp_path / name / "inside").mkdir(parents=True)
    make("clean", folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".venv", "Makefile", "artifacts"]
