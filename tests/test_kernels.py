"""Forked kernels: a cell sees what it sees in a kernel that Jupyter starts, and nothing of the kernel before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from mtlser import forkserver
from mtlser.forkserver import can_fork
from mtlser_book import kernels
from mtlser_book.execute import kernel_environment
from mtlser_book.kernels import ForkedProcess
from smoke import ROOT

forks = pytest.mark.skipif(not can_fork(), reason="kernels are forked on Linux without a GPU")


def run(folder: Path, *cells: str, fork: bool = True, **variables: str) -> list[str]:
    """What each cell printed."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    with kernel_environment(folder / "kernel", variables, fork=fork):
        resources = {"metadata": {"path": str(folder)}}
        done = NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    return ["".join(output.get("text", "") for output in cell.outputs).strip() for cell in done.cells]


@pytest.fixture
def started(monkeypatch) -> list[ForkedProcess]:
    """The kernels that were forked."""
    processes = []

    class Seen(ForkedProcess):
        def __init__(self, *given, **options):
            super().__init__(*given, **options)
            processes.append(self)

    monkeypatch.setattr(kernels, "ForkedProcess", Seen)
    return processes


@forks
def test_a_forked_kernel_has_its_own_folder_environment_and_namespace(tmp_path, started, monkeypatch):
    monkeypatch.setenv("MTLSER_FROM_THE_PARENT", "1")
    cells = ("x = 1", "import os, sys; print(os.getcwd(), os.environ['GIVEN'], os.environ['MTLSER_FROM_THE_PARENT'])",
             "print('transformers' in sys.modules, __name__)")  # fmt: skip
    assert run(tmp_path, *cells, GIVEN="a") == ["", f"{tmp_path} a 1", "True __main__"]
    assert run(tmp_path, "print('x' in globals())", *cells[1:2], GIVEN="b")[0] == "False"
    assert len(started) == 2 and started[0].pid != started[1].pid
    assert [process.wait() for process in started] == [0, 0]


@forks
@pytest.mark.parametrize(
    "source",
    [
        "import torch; print(torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled())",
        "import matplotlib; print(matplotlib.get_backend(), matplotlib.rcParams['figure.dpi'])",
        "import sys; print(sys.executable, sys.path, __name__, sorted(globals())[:3])",
    ],
)
def test_a_cell_sees_what_it_sees_in_a_kernel_that_jupyter_starts(tmp_path, source):
    assert run(tmp_path, source) == run(tmp_path, source, fork=False)


@forks
def test_products_and_gradients_on_several_threads_survive_the_fork(tmp_path):
    source = (
        "import torch; torch.set_num_threads(2); a = torch.ones(600, 600, requires_grad=True)\n"
        "(a @ a).sum().backward(); print(int(a.grad[0, 0]))\n"
        "import numpy as np; b = np.ones((600, 600)); print(int((b @ b)[0, 0]))"
    )
    assert run(tmp_path, source) == ["1200\n600"]


@forks
def test_a_cell_that_raises_and_a_kernel_that_dies_are_told_as_ever(tmp_path, started):
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        run(tmp_path, "1 / 0")
    with pytest.raises(DeadKernelError):
        run(tmp_path, "import os; os.kill(os.getpid(), 9)")
    assert started[1].poll() == -signal.SIGKILL


@forks
def test_a_temporary_folder_that_a_page_left_open_is_removed(tmp_path):
    source = "import tempfile; kept = tempfile.TemporaryDirectory(); print(kept.name)"
    folder = Path(run(tmp_path, source)[0])
    assert folder.is_absolute() and not folder.exists()


@forks
def test_a_kernel_ends_with_the_process_that_asked_for_it(tmp_path):
    script = (
        "import os, time\nfrom mtlser_book.kernels import fork_kernel\n"
        f"kernel = fork_kernel(['-f', {str(tmp_path / 'connection.json')!r}], os.environ, {str(tmp_path)!r})\n"
        "print(kernel.pid, flush=True); time.sleep(600)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "IPYTHONDIR": str(tmp_path / "ipython")}
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    kernel = psutil.Process(int(parent.stdout.readline()))
    while not (tmp_path / "connection.json").exists():  # it runs
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert not psutil.wait_procs([kernel], timeout=60)[1]


def test_where_a_fork_is_not_safe_jupyter_starts_the_kernel(tmp_path, started, monkeypatch):
    monkeypatch.setattr(kernels, "can_fork", lambda: False)
    assert run(tmp_path, "print(6 * 7)") == ["42"] and not started


@forks
def test_where_the_server_ended_jupyter_starts_the_kernel(tmp_path, started, monkeypatch):
    monkeypatch.setenv(forkserver.ADDRESS, str(tmp_path / "nothing"))
    assert run(tmp_path, "print(6 * 7)") == ["42"] and not started


@forks
def test_a_cell_can_be_interrupted(tmp_path):
    source = (
        "import os, signal, time\ntry:\n    os.kill(os.getpid(), signal.SIGINT); time.sleep(600)\n"
        "except KeyboardInterrupt:\n    print('interrupted')"
    )
    assert run(tmp_path, source) == ["interrupted"]
