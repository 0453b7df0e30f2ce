"""How an experiment is completed on this machine, beside what its preset says: MTLSER_* variables, checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mtlser.config import ConfigError


@dataclass(frozen=True)
class Settings:
    """How a plan is completed on this machine, beside what its preset says. Read from MTLSER_* variables."""

    release: Path | None = None  # IEMOCAP release folder
    allow_different: bool = False  # use a release that differs from the known corpus; its records say so
    backbone: str | None = None  # local folder instead of the preset's backbone
    protocol: str | None = None
    alphas: tuple[float, ...] | None = None  # None: all of the preset
    folds: tuple[str, ...] | None = None
    epochs: int | None = None
    precision: str | None = None  # instead of the preset's
    train: bool = True  # False: only read what is there
    fresh: bool = False  # train here what a committed record holds, too
    artifacts: Path = Path("artifacts")
    results: Path = Path("book/results")
    engine: str = "local"
    workers: int | None = None  # None: one for each GPU, else for each core
    progress: Path | None = None  # where progress lines are appended; None: standard error

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """The settings of MTLSER_RELEASE, _BACKBONE, _PROTOCOL, _ALPHAS, _FOLDS, _EPOCHS, _PRECISION and so on.

        Raises ConfigError that names the variable.
        """
        given = {key[7:].lower(): value for key, value in environment.items() if key.startswith("MTLSER_") and value}
        values: dict = {}
        for name, convert in _CONVERTERS.items():
            if name in given:
                try:
                    values[name] = convert(given[name])
                except ValueError as error:
                    raise ConfigError(f"MTLSER_{name.upper()}={given[name]!r}: {error}") from error
        return cls(**values)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.replace(",", " ").split())


def _truth(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("use 0 or 1")
    return text == "1"


_CONVERTERS = {
    "release": Path,
    "allow_different": _truth,
    "backbone": str,
    "protocol": str,
    "alphas": _numbers,
    "folds": lambda text: tuple(text.replace(",", " ").split()),
    "epochs": int,
    "precision": str,
    "train": _truth,
    "fresh": _truth,
    "artifacts": Path,
    "results": Path,
    "engine": str,
    "workers": int,
    "progress": Path,
}
