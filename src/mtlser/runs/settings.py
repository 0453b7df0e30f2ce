"""How an experiment is completed on this machine, beside what its preset says: MTLSER_* variables, checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from mtlser.config import ConfigError


@dataclass(frozen=True)
class Settings:
    """One field for each variable: `release` is MTLSER_RELEASE."""

    release: Path | None = None  # folder of IEMOCAP's release, or of another corpus
    allow_different: bool = False  # use a release that differs from the known corpus; its records say so
    accept_licence: bool = False  # fetch an open corpus that is not here
    backbone: str | None = None  # name or local folder of one instead of the preset's
    protocol: str | None = None
    alphas: tuple[float, ...] | None = None  # None: all of the preset
    folds: tuple[str, ...] | None = None
    epochs: int | None = None
    device: str | None = None  # "cpu" or "any", instead of the preset's
    precision: str | None = None  # instead of the preset's
    pooling: str | None = None
    learning_rate: float | None = None  # of every alpha
    seeds: tuple[int, ...] | None = None
    train: bool = True  # False: only read what is there
    fresh: bool = False  # train here what a committed record holds, too
    artifacts: Path = Path("artifacts")
    results: Path = Path("book/results")
    engine: str = "local"
    workers: int | None = None  # None: one for each GPU, else for each core
    progress: Path | None = None  # where progress lines are appended; None: standard error

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """The settings that variables give, the defaults of the others. Raises ConfigError that names the variable."""
        values: dict = {}
        for field in fields(cls):
            name, text = f"MTLSER_{field.name.upper()}", environment.get(f"MTLSER_{field.name.upper()}")
            if text:
                try:
                    values[field.name] = _READ[field.type.removesuffix(" | None")](text)
                except ValueError as error:
                    raise ConfigError(f"{name}={text!r}: {error}") from error
        return cls(**values)


def _truth(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("use 0 or 1")
    return text == "1"


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


# How a field's text is read, by its type.
_READ = {
    "str": str,
    "int": int,
    "float": float,
    "bool": _truth,
    "Path": Path,
    "tuple[str, ...]": _words,
    "tuple[int, ...]": lambda text: tuple(map(int, _words(text))),
    "tuple[float, ...]": lambda text: tuple(map(float, _words(text))),
}
