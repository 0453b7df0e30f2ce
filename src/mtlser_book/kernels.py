"""Kernels that start at once: each is forked from a process that has imported what pages import, and done nothing else.

A page's kernel is a fresh process as ever. Importing the libraries again took longer than the work of most pages.
Where a fork isn't safe (`can_fork`), kernels start as Jupyter starts them. Pages that are executed at the same time
have kernels with an environment of their own, which end together.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

from mtlser.forkserver import ForkedProcess, can_fork

NAME = "mtlser-forked"
LAUNCHER = "ipykernel_launcher"  # the module that a kernel's command runs
PRELOADED = "mtlser_book.preloaded"


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
        try:
            self.process = fork_kernel(cmd[cmd.index(LAUNCHER) + 1 :], kwargs.get("env") or os.environ, self.cwd)
        except OSError:  # there is no process to fork it from any more
            return await super().launch_kernel(cmd, **kwargs)
        self.pid = self.pgid = self.process.pid
        return self.connection_info


def fork_kernel(arguments: list[str], environment: Mapping[str, str], folder: str) -> ForkedProcess:
    """A kernel with these arguments of `ipykernel_launcher`, in `folder`."""
    given = (arguments, _module_folders())
    return ForkedProcess(f"{__name__}:run_kernel", given, preload=PRELOADED, environment=environment, folder=folder)


@cache
def _module_folders() -> list[str]:
    """What a new process of this Python searches for modules; this one may have added to it."""
    code = "import json, sys; print(json.dumps(sys.path[1:]))"  # the first is the folder that it runs in
    return json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def run_kernel(arguments: list[str], module_folders: list[str]) -> None:
    """A kernel's life, in the forked process, which gets a session of its own."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # with which Jupyter interrupts a cell
    sys.argv[1:] = arguments
    sys.path[:] = module_folders
    from ipykernel.kernelapp import IPKernelApp

    kernel = IPKernelApp.instance()
    kernel.initialize([*arguments, "--IPKernelApp.parent_handle=1"])  # it has a parent, but not one to poll
    kernel.start()
    kernel.control_thread.join(10)  # it still says that the kernel is idle, through what ends with this process


class PageKernels:
    """The kernels of pages that are executed at the same time."""

    def __init__(self) -> None:
        self._started: list[AsyncKernelManager] = []
        self.stopped = False

    def manager(self, environment: Mapping[str, str], folder: Path) -> type[AsyncKernelManager]:
        """What nbclient starts a kernel with, for one in `folder` that sees this environment beside its parent's.

        (papermill would change the folder of the whole process meanwhile.)
        """
        kernels = self

        class PageKernelManager(AsyncKernelManager):
            async def start_kernel(self, **options: Any) -> None:
                kernels._started.append(self)
                await super().start_kernel(**options, env=os.environ | environment, cwd=str(folder))
                if kernels.stopped:  # `stop` did not see this process
                    _end(self)

        return PageKernelManager

    def stop(self) -> None:
        """Ends the kernels wherever they are: the execution of their pages fails."""
        self.stopped = True
        for manager in list(self._started):
            _end(manager)


def _end(manager: AsyncKernelManager) -> None:
    process = getattr(manager.provisioner, "process", None)
    if process is not None:
        with suppress(ProcessLookupError):
            process.kill()
