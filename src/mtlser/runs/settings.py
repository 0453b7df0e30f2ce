"""How an experiment is completed on this machine, beside what its preset says: MTLSER_* variables, checked."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from mtlser.config import ConfigError

# Variables that say something else: of the Makefile, of Slurm and of the workshop.
OTHERS = ["MTLSER_PRESET", "MTLSER_SLURM", "MTLSER_TORCH", "MTLSER_WHEELHOUSE", "MTLSER_BUILD", "MTLSER_STUDENT",
          "MTLSER_WORKSHOP_RESULTS", "MTLSER_CORPORA", "MTLSER_CONTRIBUTOR", "MTLSER_EXPERIMENT"]  # fmt: skip


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
        """The settings that variables give, the defaults of the others.

        Raises ConfigError that names a variable which is not known, or whose value is not one.
        """
        names = [f"MTLSER_{field.name.upper()}" for field in fields(cls)]
        if unknown := sorted(name for name in environment if name.startswith("MTLSER_") and name not in OTHERS + names):
            raise ConfigError(f"{', '.join(unknown)} is not known; there are {', '.join(sorted([*OTHERS, *names]))}")
        values: dict = {}
        for field in fields(cls):
            name, text = f"MTLSER_{field.name.upper()}", environment.get(f"MTLSER_{field.name.upper()}")
            if text:
                try:
                    values[field.name] = _READ[field.type.removesuffix(" | None")](text)
                except (ValueError, RuntimeError) as error:  # RuntimeError: ~somebody who isn't there
                    raise ConfigError(f"{name}={text!r}: {error}") from error
        return cls(**values)


def _number(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError("use a number from 0 on")
    return number


def _count(text: str, least: int = 0) -> int:
    if not text.strip().isdecimal() or int(text) < least:
        raise ValueError(f"use a whole number from {least} on")
    return int(text)


def _truth(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("use 0 or 1")
    return text == "1"


def _words(text: str) -> tuple[str, ...]:
    words = tuple(text.replace(",", " ").split())
    if not words or len(set(words)) < len(words):
        raise ValueError("name one or more, each once")
    return words


# How a field's text is read, by its type.
_READ = {
    "str": str,
    "int": lambda text: _count(text, 1),
    "float": _number,
    "bool": _truth,
    "Path": lambda text: Path(text).expanduser(),
    "tuple[str, ...]": _words,
    "tuple[int, ...]": lambda text: tuple(map(_count, _words(text))),
    "tuple[float, ...]": lambda text: tuple(map(_number, _words(text))),
}
