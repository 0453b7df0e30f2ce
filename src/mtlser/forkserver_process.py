"""The process that others are forked from, for `mtlser.forkserver`.

It runs nothing but imports, so that a fork of it is as good as a new process. A request comes over a Unix socket: the
three standard streams, and as JSON what to run. The number of the forked process goes back, and later its exit code.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import selectors
import shutil
import signal
import socket
import struct
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from threading import Thread
from typing import Any

NUMBER = struct.Struct("q")  # a process id, an exit code, or the length of a request


def serve(listener: socket.socket, preload: str) -> None:
    """The server's life: a fork for each request, until the process that started it closes this one's input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the others
    import_module(preload)
    gc.freeze()  # or the collector would write to, and so copy, memory that the forks share
    children: dict[int, socket.socket] = {}  # by process id: who asked for it
    awake, wake = os.pipe()
    os.set_blocking(awake, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    with selectors.DefaultSelector() as waiting:
        for each in (listener, sys.stdin.fileno(), awake):
            waiting.register(each, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in waiting.select()]
            if sys.stdin.fileno() in ready:
                return
            if awake in ready:
                os.read(awake, 4096)
                _tell_of_ends(children)
            if listener in ready:
                _fork(listener, children, (waiting.fileno(), awake, wake))


def _tell_of_ends(children: dict[int, socket.socket]) -> None:
    for number in list(children):
        ended, status = os.waitpid(number, os.WNOHANG)
        if ended:
            with children.pop(number) as connection, suppress(ConnectionError):
                connection.sendall(NUMBER.pack(os.waitstatus_to_exitcode(status)))


def _fork(listener: socket.socket, children: dict[int, socket.socket], own: Sequence[int]) -> None:
    """Accepts one request; returns in the server alone."""
    connection, _ = listener.accept()
    header, streams, _, _ = socket.recv_fds(connection, NUMBER.size, 3)
    length = NUMBER.unpack(header)[0] if len(header) == NUMBER.size else 0
    message = connection.recv(length, socket.MSG_WAITALL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12 on, for threads that libraries keep idle
        number = os.fork() if message and len(message) == length else None  # or who asked has ended meanwhile
    if number == 0:
        code = 1
        try:
            for other in (listener, *children.values()):
                other.close()
            for each in own:
                os.close(each)
            _become(json.loads(message), streams, connection)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            atexit._run_exitfuncs()  # os._exit leaves them out: temporary folders would stay
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    stream.flush()
            os._exit(code)
    for each in streams:
        os.close(each)
    if number is None:
        connection.close()
        return
    children[number] = connection
    with suppress(ConnectionError):
        connection.sendall(NUMBER.pack(number))


def _become(request: dict[str, Any], streams: Sequence[int], connection: socket.socket) -> None:
    """Runs the request in this process, which was forked for it."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # Ctrl-C stays ignored: who asked for this process decides
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    Thread(target=_end_with, args=(connection,), daemon=True).start()
    module, _, name = request["function"].partition(":")
    getattr(import_module(module), name)(*request["arguments"])


def _end_with(connection: socket.socket) -> None:
    """Ends this process when the one that asked for it closes its end of the connection, or ends itself."""
    connection.recv(1)
    os._exit(1)


def main() -> None:
    """The command line: the number of the socket that it inherits, and the module to import first."""
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        address = listener.getsockname()
        try:
            serve(listener, sys.argv[2])
        finally:
            shutil.rmtree(os.path.dirname(address), ignore_errors=True)  # for who started it and was killed
