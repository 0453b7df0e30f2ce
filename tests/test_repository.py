"""What holds for the repository as a whole: one place for each number, nothing of one machine, documents that agree."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mtlser
from mtlser.config import ALPHAS, PRESETS
from mtlser_book import deck, labs, readme
from mtlser_book.pages import TEMPLATE, alpha_target, toc_names

ROOT = Path(__file__).parents[1]


def project_files() -> list[Path]:
    """Files of the repository that are committed or would be."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    result = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, f"the tests need a git checkout: {result.stderr}"
    return [ROOT / name for name in result.stdout.splitlines() if (ROOT / name).is_file()]


FILES = project_files()
TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in FILES
    if path.suffix in (".py", ".md", ".yml", ".toml", ".txt", ".ipynb", ".cff", ".css", ".js", ".bib", "")
}
LIBRARY = {name: text for name, text in TEXTS.items() if name.startswith("src/") and name.endswith(".py")}


def test_the_table_of_contents_has_one_page_for_each_alpha():
    names = toc_names(ROOT)
    assert [n for n in names if n.startswith("book/training/alpha-")] == [
        alpha_target(alpha).removesuffix(".ipynb") for alpha in ALPHAS
    ]
    assert len(names) == len(set(names))


def test_every_page_is_in_the_table_of_contents():
    pages = {n.rsplit(".", 1)[0] for n in TEXTS if n.startswith("book/") and n.endswith((".ipynb", ".md"))}
    pages = {name for name in pages if not name.startswith(("book/results/", "book/recipes/"))}  # not pages
    pages -= {deck.SOURCE.removesuffix(".md")}
    made = {alpha_target(alpha).removesuffix(".ipynb") for alpha in ALPHAS}
    made |= {lab.solution.removesuffix(".ipynb") for lab in labs.find_labs(ROOT)}
    assert pages | made == set(toc_names(ROOT))
    assert TEMPLATE in TEXTS


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_no_path_of_one_machine(name):
    found = re.findall(r"(?<![\w.}])/(?:root|home|work|Users|mnt|media)/\w[\w./-]*", TEXTS[name])
    assert not found, found


def test_notebooks_are_committed_without_outputs():
    notebooks = [str(path) for path in FILES if path.suffix == ".ipynb"]
    assert notebooks
    script = "from nbstripout import main; main()"
    result = subprocess.run([sys.executable, "-c", script, "--verify", *notebooks], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", sorted(LIBRARY))
def test_a_module_says_what_it_is(name):
    empty = name.endswith("__init__.py") and not LIBRARY[name]
    assert empty or LIBRARY[name].startswith('"""'), "starts with a sentence that says what it is"


def test_numbers_of_the_experiment_are_in_one_place():
    """Learning rates and the list of alphas are written in config.py, and as the paper prints them in paper.py."""
    runs = [preset.run for preset in PRESETS.values()]
    rates = {rate for run in runs for rate in (run.learning_rate, run.learning_rate_alpha_zero)}
    spelled = "|".join(re.escape(form) for rate in sorted(rates) for form in {f"{rate:g}", repr(rate), f"{rate:.0e}"})
    pattern = re.compile(rf"learning_rate\w*\s*[:=]+\s*(?:float\s*=\s*)?(?:{spelled})\b", re.IGNORECASE)
    alphas = re.compile(r"0(?:\.0)?,\s*0?\.001,\s*0?\.01")
    own = ("src/mtlser/config.py", "src/mtlser/paper.py", "src/mtlser/data/paper.toml")
    places = [n for n, text in TEXTS.items() if n.startswith(("src/", "Makefile", ".ci")) and n not in own]
    places += [name for name in TEXTS if name.endswith(".ipynb")]
    for name in places:
        assert not pattern.search(TEXTS[name]), name
        if not name.endswith(".ipynb"):
            assert not alphas.search(TEXTS[name]), name


def test_imports_point_one_way():
    order = {"corpus": 1, "model": 1, "runs": 2, "report": 3, "__main__": 4}  # what else there is, is below them all
    for name, text in LIBRARY.items():
        parts = name.removesuffix(".py").split("/")
        if parts[1] == "mtlser":
            assert "mtlser_book" not in text and "papermill" not in text and "IPython" not in text, name
            for room in re.findall(r"^\s*(?:from|import) mtlser\.(\w+)", text, flags=re.MULTILINE):
                assert order.get(room, 0) <= order.get(parts[2], 0), f"{name} imports {room}"
            assert "matplotlib" not in text or name in ("src/mtlser/report/figures.py",), name


def test_the_loss_reads_the_same_everywhere():
    assert "L = L_CE + alpha · L_CTC" in TEXTS["README.md"]
    assert "L = L_CE + alpha · L_CTC" in TEXTS["src/mtlser/model/losses.py"]


def test_the_readme_shows_the_committed_records():
    block = readme.results_block(ROOT)
    assert block in TEXTS["README.md"], "run: python -m mtlser_book readme"


def test_the_block_is_replaced_and_nothing_else():
    text = f"before {readme.START}old{readme.END} after"
    assert readme.with_block(text, f"{readme.START}new{readme.END}") == f"before {readme.START}new{readme.END} after"
    with pytest.raises(ValueError, match="once each"):
        readme.with_block("no marks", "")


def test_the_readme_gives_the_two_commands():
    blocks = re.findall(r"```\n(.*?)\n```", TEXTS["README.md"], flags=re.DOTALL)
    assert blocks == ["make reproduce", "make test"]
    assert "run make test" not in TEXTS[".ci/run"] and "\nmake test " in TEXTS[".ci/run"]


def test_the_versions_agree():
    assert yaml.safe_load(TEXTS["CITATION.cff"])["version"] == mtlser.__version__


def pins(name: str = "requirements.txt") -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in TEXTS[name].splitlines()]
    return {canonicalize_name(name): number for name, number in (line.split("==") for line in lines if line)}


def test_the_pins_are_in_the_ranges_and_installed():
    project = tomllib.loads(TEXTS["pyproject.toml"])["project"]
    extras = project["optional-dependencies"]
    for requirement in map(Requirement, [*project["dependencies"], *extras["book"], *extras["test"]]):
        pinned = pins()[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pinned), requirement
        assert version(requirement.name).split("+")[0] == pinned, f"{requirement.name}: run make setup"


def test_the_workshop_adds_pins_and_changes_none():
    added = pins("requirements-workshop.txt")
    extras = tomllib.loads(TEXTS["pyproject.toml"])["project"]["optional-dependencies"]
    for requirement in map(Requirement, extras["workshop"]):
        assert requirement.specifier.contains(added[canonicalize_name(requirement.name)])
    assert not set(added) & set(pins())


def test_no_registry_or_private_host_is_named():
    known = r"https?://(?!doi\.org|creativecommons\.org|github\.com|sail\.usc\.edu|127\.0\.0\.1|download\.pytorch\.org"
    for name in (
        ".ci/run",
        "Makefile",
        "requirements.txt",
        "requirements-workshop.txt",
        "pyproject.toml",
        "README.md",
        "CONTRIBUTING.md",
    ):
        assert not re.findall(known + r")[^\s`)>]*", TEXTS[name]), name
