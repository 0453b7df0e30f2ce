"""The padding-exact encoder with its two heads, the multi-task loss, and the recogniser.

Names are imported when first used, so that asking for `backbone_digest` doesn't wait for torch.
"""

from __future__ import annotations

from importlib import import_module

_HOMES = {
    "BackboneError": "backbone",
    "MultitaskLoss": "losses",
    "MultitaskModel": "multitask",
    "Recognition": "recognizer",
    "Recognizer": "recognizer",
    "backbone_digest": "backbone",
    "multitask_loss": "losses",
    "time_mask": "encoder",
}

__all__ = list(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
