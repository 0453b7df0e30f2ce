"""Ends a process at a chosen write, rename or removal. Python imports this when the folder is on its path.

CRASH_ROOT: the folder whose files count. CRASH_LOG: a file that gets a line an event, "role number operation name".
CRASH_POINT: "role number signal target": where to send that signal, once, to this process ("self") or to its "group".
Events are counted for each role by themselves, before and after the operation, in each process from 1.
"""

import builtins
import io
import os
import signal
import sys
from contextlib import suppress

ROOT, LOG, POINT = (os.environ.get(f"CRASH_{name}") for name in ("ROOT", "LOG", "POINT"))
ROLES = {"--worker": "worker", "mtlser.corpus.pocket": "corpus", "ipykernel_launcher": "kernel"}


def role() -> str:
    return next((name for word, name in ROLES.items() if word in sys.orig_argv), "parent")


def inside(path) -> str | None:
    if isinstance(path, (str, bytes, os.PathLike)):
        text = os.fsdecode(path)
        return text if text.startswith(ROOT) and not text.endswith(".lock") else None
    return None


class Events:
    number = 0

    def happen(self, operation: str, path: str) -> None:
        self.number += 1
        me = role()
        if LOG:
            line = f"{me} {self.number} {operation} {os.path.basename(path)}\n".encode()
            descriptor = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(descriptor, line)
            os.close(descriptor)
        if POINT:
            at, number, name, target = POINT.split()
            if (me, self.number) == (at, int(number)):
                with suppress(FileExistsError):  # once, also where a worker is started again
                    os.close(os.open(f"{ROOT}.crashed", os.O_CREAT | os.O_EXCL))
                    number = getattr(signal, name)
                    os.killpg(os.getpgrp(), number) if target == "group" else os.kill(os.getpid(), number)


def watch(module, name: str, num_paths: int, writes=lambda arguments, options: True) -> None:
    original = getattr(module, name)

    def watched(*arguments, **options):
        found = next(filter(None, map(inside, arguments[:num_paths])), None)
        if found is None or not writes(arguments, options):
            return original(*arguments, **options)
        EVENTS.happen(f"before-{name}", found)
        result = original(*arguments, **options)
        EVENTS.happen(name, found)
        return result

    setattr(module, name, watched)


def to_write(arguments, options) -> bool:
    mode = options.get("mode", arguments[1] if len(arguments) > 1 else "r")
    return isinstance(mode, str) and bool(set(mode) & set("wax+"))


if ROOT and (LOG or POINT):
    EVENTS = Events()
    for operation, paths in {"replace": 2, "rename": 2, "unlink": 1, "mkdir": 1, "rmdir": 1}.items():
        watch(os, operation, paths)
    watch(io, "open", 1, to_write)
    builtins.open = io.open
