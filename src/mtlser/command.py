"""How the two commands end: in one line for whoever typed them."""

from __future__ import annotations

import os
import sys

INTERRUPTED = "Interrupted. What was finished is kept; the same command goes on from there."  # what Ctrl-C prints


def failed(error: Exception) -> int:
    """The exit status of a command, after one line on standard error; a mistake in the code is raised instead.

    Errors of this library and of the system (no such folder, full disk) are the user's to mend. Where nobody reads what
    is printed any more, nothing is.
    """
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains once more when it ends
    elif isinstance(error, (OSError, UnicodeError, MemoryError)) or type(error).__module__.startswith("mtlser"):
        print(f"error: {error or type(error).__name__}", file=sys.stderr)
    else:
        raise error
    return 1
