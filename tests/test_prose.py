"""Every number in the prose of the book is in the paper, the audit, a setting or a source; results are computed."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
PAGES = sorted(
    path
    for path in BOOK.rglob("*")
    if path.suffix in (".md", ".ipynb")
    and not {"results", "workshop", ".ipynb_checkpoints"} & set(path.relative_to(BOOK).parts)
)

# The paper's tables, the audit and published figures; settings with their sources; the known counts; publications.
SOURCES = [
    "src/mtlser/paper.py", "src/mtlser/data/departures.toml", "src/mtlser/data/paper.toml", "src/mtlser/config.py",
    "src/mtlser/model/backbone.py", "book/references.bib", "src/mtlser/data/iemocap_counts.json", "CITATION.cff",
]  # fmt: skip
NUMBER = re.compile(r"(?<![\w.,/-])\d+(?:[,\u00a0\u202f ]\d{3})*(?:\.\d+)?(?![\w]|\.\d)")
SMALL = 12  # up to here a number counts things on the page

# What is neither a result nor printed in a source: number → where it comes from. A new entry needs its reason.
EXPLAINED = {
    "95": "level of the intervals, mtlser.report.statistics.CONFIDENCE",
    "100": "the whole, in percent",
    "70": "an example of points in the glossary",
    "75": "an example of points in the glossary",
    "80": "the convention mtlser.report.power.POWER",
    "1024": "2 ** 10: exchanges of two models for ten speakers",
    "32": "width of a float32, and the number of characters (section 3.1)",
    "40": "ms, a pocket frame: product of the strides in data/pocket-backbone/config.json over 16 kHz",
    "20": "ms, a frame of wav2vec2-base: product of its strides over 16 kHz",
    "16": "kHz and bits, config.SAMPLE_RATE_HZ",
    "80.77": "abstract of wu2024, which the sentence cites: the share of papers whose results it could not reproduce",
}


def value(number: str) -> float:
    return float(re.sub(r"[,\u00a0\u202f ]", "", number))


@cache
def sourced() -> set[float]:
    """Every number that stands in a source, and as a percentage where it is a share."""
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in SOURCES]
    found = {float(number) for text in texts for number in re.findall(r"\d+(?:\.\d+)?", text.replace("_", ""))}
    found |= {round(100 * number, 6) for number in found if number < 1}
    return found | {value(number) for number in EXPLAINED}


def prose(path: Path) -> str:
    """The sentences of a page: no code, mathematics, addresses, roles, directives, comments or quotations' sections."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    text = re.sub(r"^```(?!\{glossary\}).*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^```.*$", "", text, flags=re.MULTILINE)  # fences that are left
    if path.name != "glossary.md":
        text = re.sub(r"^ {4}\S.*$", "", text, flags=re.MULTILINE)  # commands
    dropped = [r"\$\$.*?\$\$", r"\$[^$]*\$", r"\{\w+\}`[^`]*`", r"`[^`]*`", r"\]\([^)]*\)", r"<!--.*?-->", r"https?://\S+",
               r"wav2vec[- ]?2\.0", r"(sections?|Eq\.|Table|Figure|version) [\d.]+", r"CC BY 4\.0",
               r"\[\d+\]"]  # fmt: skip
    for pattern in dropped:
        text = re.sub(pattern, " ", text, flags=re.DOTALL)
    return text


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(BOOK).as_posix())
def test_every_number_in_prose_has_a_source(path):
    known = sourced()
    numbers = {number for number in NUMBER.findall(prose(path)) if "." in number or value(number) > SMALL}
    unknown = {number for number in numbers if value(number) not in known}
    assert not unknown, f"{sorted(unknown)}: compute it, or name its source in mtlser.paper or in EXPLAINED"


def test_the_explanations_hold():
    from mtlser.config import POCKET_BACKBONE, SAMPLE_RATE_HZ
    from mtlser.report import power, statistics

    assert statistics.CONFIDENCE == 0.95 and power.POWER == 0.8 and SAMPLE_RATE_HZ == 16_000
    strides = json.loads((POCKET_BACKBONE / "config.json").read_text(encoding="utf-8"))["conv_stride"]
    frame = 1
    for stride in strides:
        frame *= stride
    assert frame / SAMPLE_RATE_HZ == 0.04


@pytest.mark.parametrize("sentence", ["accuracy rose to 81.37%", "WER fell to 0.4242", "it took 4711 seconds"])
def test_an_invented_number_is_noticed(sentence, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\nHere {sentence}, and the paper says 78.15%, in section 4.5, with `lr=0.123`.\n")
    with pytest.raises(AssertionError, match="compute it"):
        test_every_number_in_prose_has_a_source(page)
