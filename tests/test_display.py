"""What showing records costs to import: a page that trains nothing waits for neither torch nor transformers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import mtlser.report

MODULES = sorted(path.stem for path in Path(mtlser.report.__file__).parent.glob("*.py") if path.stem != "__init__")
DRAWS = {"beside", "cost", "figures", "fleet", "speech_figures", "using"}  # imports matplotlib, which takes longest


@pytest.mark.parametrize("drawing", [False, True])
def test_a_page_of_records_starts_without_the_libraries_that_train(drawing):
    names = [name for name in MODULES if (name in DRAWS) == drawing]
    heavy = {"torch", "transformers", "datasets"} | (set() if drawing else {"matplotlib", "seaborn"})
    script = f"import sys, mtlser.report.{', mtlser.report.'.join(names)}; print({heavy} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout == "set()\n", result.stdout + result.stderr
