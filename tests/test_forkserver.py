"""Forked processes: what Popen is for a command, from a process that has the imports done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mtlser import forkserver, forkserver_process
from mtlser.forkserver import ADDRESS, UNKNOWN, ForkedProcess, can_fork, end_process, start_process
from smoke import ROOT

pytestmark = pytest.mark.skipif(not can_fork(), reason="processes are forked on Linux without a GPU")
PRELOADED = "colorsys"  # quickly imported, and by nothing else


@pytest.fixture
def own_server(monkeypatch):
    """A server of this test alone; its process."""
    monkeypatch.delenv(ADDRESS, raising=False)
    monkeypatch.setattr(forkserver, "_servers", {})
    forkserver.server_address(PRELOADED)
    yield forkserver._servers[PRELOADED].process
    forkserver._stop_servers()


def fork(function, *arguments, environment=None, **options) -> ForkedProcess:
    return ForkedProcess(function, arguments, preload=PRELOADED, environment=environment or os.environ, **options)


def result(code: str, **options) -> str:
    """What a forked process that runs this code printed."""
    process = fork("builtins:exec", code, stdout=subprocess.PIPE, **options)
    with process.stdout as printed:
        text = printed.read()
    assert process.wait() == 0
    return text.strip()


def test_a_function_runs_in_a_new_process_that_has_the_imports(own_server, tmp_path):
    code = "import os, sys; print(os.getpid(), 'colorsys' in sys.modules, os.getcwd(), os.environ['GIVEN'])"
    number, rest = result(code, folder=tmp_path, environment={"GIVEN": "a b"}).split(maxsplit=1)
    assert rest == f"True {tmp_path} a b" and int(number) not in (os.getpid(), own_server.pid)
    assert result("import builtins; builtins.left = 1; print('left')") == "left"
    assert result("import builtins; print(hasattr(builtins, 'left'))") == "False"  # each starts from the same state


def test_it_reads_what_is_written_and_its_errors_go_where_they_are_sent(own_server, tmp_path):
    with (tmp_path / "errors").open("wb") as errors:
        code = "import sys; print(sys.stdin.readline().upper()); print('wrong', file=sys.stderr)"
        process = fork("builtins:exec", code, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
    with process.stdin, process.stdout:
        process.stdin.write("h\u00f6r\n")
        process.stdin.flush()
        assert process.stdout.read() == "H\u00d6R\n\n"
    assert process.wait() == 0
    assert (tmp_path / "errors").read_text() == "wrong\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [("raise SystemExit(3)", 3), ("raise SystemExit", 0), ("raise SystemExit('wrong')", 1), ("1 / 0", 1),
     ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM), ("import os; os._exit(7)", 7)],
)  # fmt: skip
def test_exit_codes_are_those_of_a_command(own_server, tmp_path, code, expected):
    with (tmp_path / "errors").open("wb") as errors:
        process = fork("builtins:exec", code, stderr=errors)
    assert process.wait() == process.poll() == expected
    assert ("ZeroDivisionError" in (tmp_path / "errors").read_text()) == (code == "1 / 0")


def test_a_process_is_followed_and_ended(own_server):
    process = fork("time:sleep", 600)
    assert process.poll() is None and psutil.pid_exists(process.pid)
    process.terminate()
    assert process.wait() == -signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        process.kill()


def test_what_a_forked_process_starts_comes_from_the_same_server(own_server):
    code = (
        "import os, sys; from mtlser.forkserver import ForkedProcess\n"
        "inner = ForkedProcess('builtins:exec', ['import os; print(os.getppid(), flush=True)'], preload='other',"
        " environment=os.environ)\n"
        "assert inner.wait() == 0 and 'other' not in sys.modules"
    )
    assert result(code) == str(own_server.pid)


def test_a_temporary_folder_that_was_left_open_is_removed(own_server):
    name = Path(result("import tempfile, builtins\nbuiltins.kept = tempfile.TemporaryDirectory(); print(kept.name)"))
    assert name.is_absolute() and not name.exists()


@pytest.mark.parametrize("kill", [True, False])
def test_all_end_with_the_process_that_asked_and_no_folder_stays(tmp_path, kill):
    script = (
        "import os, sys, time; from mtlser import forkserver\n"
        "child = forkserver.ForkedProcess('time:sleep', [600], preload='colorsys', environment=os.environ)\n"
        "server = forkserver._servers['colorsys']\n"
        "print(child.pid, server.process.pid, server.address.parent, flush=True); sys.stdin.read()"
    )
    environment = {name: value for name, value in os.environ.items() if name != ADDRESS}
    environment |= {"PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", script], text=True, env=environment, **pipes) as parent:
        child, server, folder = parent.stdout.readline().strip().split(maxsplit=2)
        processes = [psutil.Process(int(number)) for number in (child, server)]
        assert Path(folder).stat().st_mode & 0o77 == 0  # other users cannot ask for processes
        parent.kill() if kill else parent.stdin.close()
        assert not psutil.wait_procs(processes, timeout=60)[1]
    assert not Path(folder).exists()


def test_a_process_outlives_no_server_unnoticed(own_server):
    process = fork("time:sleep", 600)
    own_server.kill()
    own_server.wait()
    assert process.poll() is None
    process.kill()
    assert process.wait() == UNKNOWN
    replacement = fork("time:sleep", 0)  # the next call starts another
    assert replacement.wait() == 0


def test_without_a_server_a_process_is_started_as_ever(tmp_path, monkeypatch):
    """A socket's path has at most 108 bytes."""
    monkeypatch.delenv(ADDRESS, raising=False)
    monkeypatch.setattr(forkserver, "_servers", {})
    long = tmp_path / ("long" * 25)
    long.mkdir()
    monkeypatch.setattr(forkserver.tempfile, "tempdir", str(long))
    options = {"preload": PRELOADED, "environment": os.environ, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = start_process("os:getpid", **options)
    assert isinstance(process, subprocess.Popen) and end_process(process) == 0
    assert not list(long.iterdir())


@pytest.mark.parametrize("fork", [True, False])
def test_a_process_may_be_forked_and_ends_with_its_input(own_server, fork):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = start_process("builtins:input", preload=PRELOADED, environment=os.environ, fork=fork, **pipes)
    assert isinstance(process, ForkedProcess if fork else subprocess.Popen)
    process.stdin.write("a line\n")
    assert end_process(process) == 0


def test_a_server_that_has_ended_is_an_error_of_the_system(own_server, monkeypatch, tmp_path):
    monkeypatch.setenv(ADDRESS, str(tmp_path / "socket"))
    with pytest.raises(OSError):
        fork("time:sleep", 0)


def test_ctrl_c_is_for_the_process_that_asked(own_server):
    process = fork("time:sleep", 600)
    for number in (own_server.pid, process.pid):
        os.kill(number, signal.SIGINT)
    assert result("print('alive')") == "alive" and process.poll() is None
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_a_client_that_breaks_off_leaves_the_server_alive(own_server):
    address = forkserver.server_address(PRELOADED)
    for said in (b"", b"abc", forkserver_process.NUMBER.pack(100) + b"{"):
        with forkserver.socket.socket(forkserver.socket.AF_UNIX) as connection:
            connection.connect(address)
            connection.sendall(said)
    assert result("print('alive')") == "alive"


@pytest.mark.parametrize("device", ["nvidia0", "kfd", "dxg"])
def test_nothing_is_forked_beside_a_gpu_or_off_linux(tmp_path, monkeypatch, device):
    monkeypatch.setattr(sys, "platform", "linux")
    (tmp_path / "nvidia-uvm").touch()
    assert can_fork(tmp_path)
    (tmp_path / device).touch()
    assert not can_fork(tmp_path)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not can_fork(tmp_path / "nowhere")
