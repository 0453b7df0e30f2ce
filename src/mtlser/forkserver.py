"""Processes that start at once: each is forked from one that has imported what they need, and done nothing else.

Importing PyTorch and transformers takes longer than the work of many a kernel or worker. The first process that asks
starts the server; what it forks, and what that starts, finds the same server by its address in the environment. So a
run of the book imports once: for itself, for the kernels of its pages, and for the workers that those start.
(multiprocessing's own fork server would be started anew in each kernel.) Where a fork isn't safe (`can_fork`), or the
server ended, a process is started as ever.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from select import select
from threading import Lock
from typing import IO, Any

from mtlser.forkserver_process import NUMBER

ADDRESS = "MTLSER_FORK_SERVER"  # in the environment: the socket of the server that an ancestor started
GPU_DEVICES = ("nvidia[0-9]*", "kfd", "dxg")  # under /dev: CUDA, ROCm, and either in WSL2
SERVER = "from mtlser.forkserver_process import main; main()"
UNKNOWN = 255  # the exit code of a process whose server ended before it


def can_fork(devices: Path = Path("/dev")) -> bool:
    """On Linux without a GPU: elsewhere system libraries, or a GPU's, may not survive a fork."""
    return sys.platform == "linux" and not any(True for pattern in GPU_DEVICES for _ in devices.glob(pattern))


def _with_library(environment: Mapping[str, str]) -> dict[str, str]:
    """With this library's folder on the path of a new Python, which need not have it installed."""
    folders = [str(Path(__file__).parents[1]), environment.get("PYTHONPATH")]
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, folders))}


class Server:
    """A process that imports `preload`, then forks on request until `stop` or the end of this process."""

    def __init__(self, preload: str) -> None:
        """Returns at once; who asks before the imports are done waits. Raises OSError where it cannot be started."""
        self.address = Path(tempfile.mkdtemp(prefix="mtlser-"), "socket")  # in a folder that other users cannot enter
        try:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(self.address))
                listener.listen()
                number = listener.fileno()
                command = [sys.executable, "-c", SERVER, str(number), preload]
                options = {"stdin": subprocess.PIPE, "pass_fds": [number], "env": _with_library(os.environ)}
                self.process = subprocess.Popen(command, **options)
        except OSError:  # such as a temporary folder whose path is too long for a socket's
            shutil.rmtree(self.address.parent, ignore_errors=True)
            raise

    def stop(self) -> None:
        """Ends it at once; what it forked goes on, as long as the processes that asked for it do."""
        self.process.stdin.close()
        self.process.terminate()  # it may be importing still
        self.process.wait()
        shutil.rmtree(self.address.parent, ignore_errors=True)


_lock = Lock()
_servers: dict[str, Server] = {}  # that this process started, by what they import


def server_address(preload: str) -> str:
    """The socket of an ancestor's server, whatever that imported, or else of this process's own for `preload`."""
    if inherited := os.environ.get(ADDRESS):
        return inherited
    with _lock:
        if preload in _servers and _servers[preload].process.poll() is not None:
            _servers.pop(preload).stop()  # it was killed
        if preload not in _servers:
            _servers[preload] = Server(preload)
        return str(_servers[preload].address)


def is_running(preload: str) -> bool:
    """Whether there is a server already, so that a forked process would not wait for imports that nobody else needs."""
    return bool(os.environ.get(ADDRESS)) or preload in _servers


@atexit.register
def _stop_servers() -> None:
    while _servers:
        _servers.popitem()[1].stop()


def start_process(
    function: str,
    arguments: Sequence[Any] = (),
    *,
    preload: str,
    environment: Mapping[str, str],
    fork: bool = True,
    **streams: Any,
) -> Process:
    """A process that calls `function`, "module:name": forked if `fork` and where that is safe, else a new Python.

    `arguments`: what JSON can hold. `preload`: what the server imports first, if this call starts it. `streams`: as of
    Popen, text in UTF-8.
    """
    environment = _with_library(environment)
    if fork and can_fork():
        with suppress(OSError):  # of a server that ended
            return ForkedProcess(function, arguments, preload=preload, environment=environment, **streams)
    module, _, name = function.partition(":")
    code = f"import json, sys; from {module} import {name} as function; function(*json.loads(sys.argv[1]))"
    command = [sys.executable, "-c", code, json.dumps(list(arguments))]
    return subprocess.Popen(command, env=environment, text=True, encoding="utf-8", **streams)


def end_process(process: Process) -> int:
    """Closes what a process reads, waits until it ends, and returns its exit code."""
    with suppress(BrokenPipeError):
        process.stdin.close()
    code = process.wait()
    process.stdout.close()
    return code


class ForkedProcess:
    """A function's run in a process of its own, with what the engines and Jupyter use of `subprocess.Popen`.

    It ends with this process, however that ends, and leaves Ctrl-C to it.
    """

    def __init__(
        self,
        function: str,
        arguments: Sequence[Any] = (),
        *,
        preload: str,
        environment: Mapping[str, str],
        folder: str | Path = ".",
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
        stderr: IO | None = None,
    ) -> None:
        """Calls `function`, "module:name", with what JSON makes of `arguments`.

        `preload`: the module that the server imports first, if this call starts it. `stdin`, `stdout`: as of Popen,
        where a pipe is one of text. Raises OSError where the server ended.
        """
        address = server_address(preload)
        request = {
            "function": function,
            "arguments": list(arguments),
            "environment": {**environment, ADDRESS: address},
            "folder": str(Path(folder).resolve()),
        }
        self.stdin, theirs = _pipe(stdin, "w")
        self.stdout, written = _pipe(stdout, "r")
        self.stderr = None
        self.returncode: int | None = None
        self._connection = socket.socket(socket.AF_UNIX)
        try:
            self._connection.connect(address)
            message = json.dumps(request).encode()
            streams = [theirs, 1 if written is None else written, 2 if stderr is None else stderr.fileno()]
            socket.send_fds(self._connection, [NUMBER.pack(len(message))], streams)
            self._connection.sendall(message)
            self.pid = self._answer()
        except OSError:
            self._close()
            raise
        finally:
            for number in (theirs, written):
                if number is not None:
                    os.close(number)

    def _answer(self) -> int:
        answer = self._connection.recv(NUMBER.size, socket.MSG_WAITALL)
        if len(answer) < NUMBER.size:
            raise ConnectionResetError("the process that others are forked from has ended; its message is above")
        return NUMBER.unpack(answer)[0]

    def _close(self) -> None:
        self._connection.close()
        for stream in (self.stdin, self.stdout):
            if stream is not None:
                stream.close()

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        if self.returncode is None and not select([self._connection], [], [], 0)[0]:
            return None
        return self.wait()

    def wait(self) -> int:
        """The exit code, once there is one; 255 where the server ended before."""
        if self.returncode is None:
            try:
                self.returncode = self._answer()
            except ConnectionError:
                self.returncode = UNKNOWN
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Raises ProcessLookupError where the process has ended."""
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


Process = ForkedProcess | subprocess.Popen


def _pipe(kind: int | None, mode: str) -> tuple[IO | None, int | None]:
    """This process's end and the other's of a stream; neither where the other process shares this one's stream."""
    if kind == subprocess.PIPE:
        reads, writes = os.pipe()
        ours, theirs = (reads, writes) if mode == "r" else (writes, reads)
        return os.fdopen(ours, mode, encoding="utf-8"), theirs
    return None, os.open(os.devnull, os.O_RDWR) if kind == subprocess.DEVNULL else None
