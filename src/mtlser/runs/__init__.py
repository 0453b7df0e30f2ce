"""Runs: which an experiment needs, training them, and their records. `complete(table4())` is Table 4.

The two names are imported when first used, so that reading records doesn't wait for what completes them.
"""

from __future__ import annotations

from importlib import import_module

_HOMES = {"complete": "engines", "table4": "plan"}

__all__ = list(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
