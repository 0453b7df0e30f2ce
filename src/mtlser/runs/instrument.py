"""The frozen pocket instrument: corpus, backbone and recipe under one name, which every record of its runs carries.

A result can be set beside another only where both were measured with the same instrument. The name's content is
`data/pocket_instrument.json`; a test fails when code or data no longer match it. To freeze another one:

    python -m mtlser.runs.instrument pocket-2
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path

from mtlser import config
from mtlser.config import PocketCorpusConfig, RunConfig
from mtlser.files import write_json
from mtlser.model.backbone import backbone_digest

FROZEN = config.DATA_FOLDER / "pocket_instrument.json"
# What experiments with one instrument vary.
VARIED = (
    "preset", "alpha", "fold", "seed", "protocol", "pooling", "transcript_style", "encoder_padding", "initialisation",
    "training_texts", "ctc_gradient",
)  # fmt: skip


def describe(run: RunConfig, corpus: PocketCorpusConfig | None, backbone: str) -> dict:
    """What decides a measurement besides `VARIED`; `backbone` is the digest of its weights."""
    recipe = {name: value for name, value in run.to_dict().items() if name not in VARIED}
    settings = asdict(corpus) if corpus else None
    return {
        "corpus": {"generator_version": config.POCKET_GENERATOR_VERSION, "settings": settings},
        "backbone": backbone,
        "recipe": {"version": config.RECIPE_VERSION, **recipe},
    }


@cache
def frozen() -> dict:
    """Name and description of the frozen instrument."""
    return json.loads(FROZEN.read_text(encoding="utf-8"))


def instrument_name(run: RunConfig, corpus: PocketCorpusConfig | None, backbone: str) -> str | None:
    """The frozen instrument's name where a run was measured with exactly that, else None."""
    return frozen()["name"] if describe(run, corpus, backbone) == frozen()["description"] else None


def freeze(name: str, path: Path = FROZEN) -> None:
    """Gives the preset `pocket` as it is that name, and writes it down."""
    pocket = config.get_preset("pocket")
    weights = backbone_digest(pocket.backbone, pocket.backbone_revision)
    write_json(path, {"name": name, "description": describe(pocket.run, pocket.corpus, weights)})


if __name__ == "__main__":
    freeze(sys.argv[1])
    print(f"froze {sys.argv[1]} in {FROZEN}")
