"""What pages, the workers that they start and the site's builder import: for the process that all are forked from."""

import os
import warnings
from contextlib import suppress
from importlib import import_module

# Read where matplotlib is imported, and not when a kernel starts.
os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")

for name in (
    "ipykernel.kernelapp",
    "ipykernel.zmqshell",
    "matplotlib.figure",
    "matplotlib_inline.backend_inline",
    "seaborn",
    *(f"statsmodels.stats.{name}" for name in ("contingency_tables", "multitest", "power", "proportion")),
    "scipy.stats",
    "sklearn.linear_model",
    "mtlser.runs.training",
    "mtlser.runs.engines",
    "mtlser.model.recognizer",
    "mtlser_book.lab_data",
    "mtlser_book.checks",
    "mtlser_book.sphinx_ext",
    "jupyter_book.cli.main",
    "myst_nb.sphinx_ext",
    *(f"mtlser.report.{name}" for name in ("claims", "corpus", "cost", "figures", "tables", "using")),
):
    with suppress(Exception), warnings.catch_warnings():  # the page that needs it will say what is wrong
        warnings.filterwarnings("ignore", "IProgress not found")  # tqdm, which would draw a widget
        import_module(name)
