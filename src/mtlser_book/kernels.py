"""Kernels that start at once: each is forked from a process that has imported what pages import, and done nothing else.

A page's kernel is a fresh process as ever. Importing the libraries again took longer than the work of most pages.
Where a fork isn't safe (`can_fork`), kernels start as Jupyter starts them.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

NAME = "mtlser-forked"
LAUNCHER = "ipykernel_launcher"  # the module that a kernel's command runs
GPU_DEVICES = ("nvidia[0-9]*", "kfd", "dxg")  # under /dev: CUDA, ROCm, and either in WSL2


def can_fork(devices: Path = Path("/dev")) -> bool:
    """On Linux without a GPU: elsewhere system libraries, or a GPU's, may not survive a fork."""
    return sys.platform == "linux" and not any(True for pattern in GPU_DEVICES for _ in devices.glob(pattern))


@contextmanager
def forked_kernels() -> Iterator[None]:
    """Kernels that Jupyter starts meanwhile are forked, where that is safe."""
    factory = KernelProvisionerFactory.instance()
    factory.provisioners[NAME] = EntryPoint(NAME, f"{__name__}:ForkedProvisioner", factory.GROUP_NAME)
    before = factory.default_provisioner_name
    factory.default_provisioner_name = NAME if can_fork() else before
    try:
        yield
    finally:
        factory.default_provisioner_name = before


class ForkedProvisioner(LocalProvisioner):
    """Jupyter's own, but for how the process starts."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Forks a kernel with the arguments of a command that runs `ipykernel_launcher`; others start as ever."""
        if LAUNCHER not in cmd:
            return await super().launch_kernel(cmd, **kwargs)
        self.cwd = kwargs.get("cwd") or str(Path.cwd())
        arguments = cmd[cmd.index(LAUNCHER) + 1 :]
        self.process = ForkedProcess(arguments, kwargs.get("env") or dict(os.environ), self.cwd)
        self.pid = self.pgid = self.process.pid
        return self.connection_info


class ForkedProcess:
    """What LocalProvisioner uses of subprocess.Popen."""

    stdin = stdout = stderr = None

    def __init__(self, arguments: Sequence[str], environment: dict[str, str], folder: str) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload(["mtlser_book.preloaded"])
        given = (list(arguments), environment, str(folder), _module_folders())
        self._process = context.Process(target=run_kernel, args=given)
        self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._process.exitcode

    def wait(self) -> int | None:
        """The exit code, once there is one."""
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Raises ProcessLookupError where the process has ended."""
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


@cache
def _module_folders() -> list[str]:
    """What a new process of this Python searches for modules; this one may have added to it."""
    code = "import json, sys; print(json.dumps(sys.path[1:]))"  # the first is the folder that it runs in
    return json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def run_kernel(arguments: list[str], environment: dict[str, str], folder: str, module_folders: list[str]) -> None:
    """A kernel's life, in the forked process: a session, an environment and a folder of its own."""
    os.setsid()
    sys.path[:] = module_folders
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    from ipykernel.kernelapp import IPKernelApp

    Thread(target=_end_with, args=(parent_process(),), daemon=True).start()
    kernel = IPKernelApp.instance()
    kernel.initialize([*arguments, "--IPKernelApp.parent_handle=1"])  # it has a parent, but not one to poll
    kernel.start()
    kernel.control_thread.join(10)  # it still says that the kernel is idle, through what the next line closes
    atexit._run_exitfuncs()  # multiprocessing leaves them out: temporary folders would stay


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
