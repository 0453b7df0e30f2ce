"""What a run is named by: the settings that differ from their defaults, and the content of all that it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields

import pandas as pd

from mtlser.config import RECIPE_VERSION, RunConfig
from mtlser.corpus.folds import Fold
from mtlser.corpus.text import transcript_text
from mtlser.files import digest

# Named in the front of an id, or read from nowhere but there.
_IN_FRONT = ("preset", "alpha", "fold", "seed")

# The fields that ids held until November 2026, whatever their values; such an id is an alias of today's.
_OLD_FIELDS = (
    "adam_beta1", "adam_beta2", "adam_epsilon", "alpha", "batch_size", "dropout", "encoder_padding", "epochs", "fold",
    "freeze_convolutions", "initialisation", "layerdrop", "learning_rate", "learning_rate_alpha_zero", "length_bucket",
    "mask_time_length", "mask_time_min_masks", "mask_time_probability", "max_gradient_norm",
    "micro_batch_padding_seconds", "micro_batch_seconds", "pooling", "precision", "preset", "protocol", "seed",
    "transcript_style", "warmup_ratio", "weight_decay",
)  # fmt: skip


def changed_fields(config: object) -> dict[str, object]:
    """The fields of a dataclass that differ from their defaults, or have none: what a name made from it depends on.

    So a field that is added later, with the default that stands for what was done before, changes no name.
    """
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    defaults = {field.name: field.default for field in fields(config)}
    return {name: value for name, value in values.items() if defaults[name] is MISSING or value != defaults[name]}


def run_content(utterances: pd.DataFrame, audio: pd.DataFrame, transcript_style: str) -> dict[str, pd.Series]:
    """What runs read of each utterance, by kind, with the utterances as index.

    `audio` is a table with columns utterance, audio_sha256 (of the decoded 16 kHz samples) and file_sha256 (of the
    file's bytes, which only ids of before held), as `corpus.store` keeps it.
    """
    table, audio = utterances.set_index("utterance"), audio.set_index("utterance")
    texts = table["transcript"].map(lambda transcript: transcript_text(transcript, transcript_style))
    kinds = {"audio": audio["audio_sha256"], "files": audio["file_sha256"]}
    return kinds | {"labels": table["emotion"], "transcripts": texts}


def fold_digests(content: Mapping[str, pd.Series], fold: Fold) -> dict[str, str]:
    """Digests of what a fold's runs read, one of each kind, and of its split."""
    names = sorted((*fold.train, *fold.test))
    found = {
        kind: digest(*(f"{name} {value}" for name, value in values[names].items())) for kind, values in content.items()
    }
    return found | {"split": digest("train", *sorted(fold.train), "test", *sorted(fold.test))}


def make_run_id(config: RunConfig, digests: Mapping[str, str], recipe_version: int = RECIPE_VERSION) -> str:
    """The name of a run: readable front, and a hash of what was changed, of content and of the recipe's version.

    `digests` are those of audio, labels, transcripts, split and backbone weights. Any change gives another name.
    """
    changed = {name: value for name, value in changed_fields(config).items() if name not in _IN_FRONT}
    return _name(config, changed, digests, recipe_version)


def old_run_id(config: RunConfig, digests: Mapping[str, str], files: str) -> str | None:
    """The name that the run had until November 2026, from the digest of its audio files' bytes.

    None where a field is set that there was not then, or the recipe has changed since.
    """
    if RECIPE_VERSION != 1 or set(changed_fields(config)) - set(_OLD_FIELDS):
        return None
    return _name(config, {name: getattr(config, name) for name in _OLD_FIELDS}, {**digests, "audio": files}, 1)


def _name(config: RunConfig, values: Mapping[str, object], digests: Mapping[str, str], recipe_version: int) -> str:
    parts = [f"{name}={value!r}" for name, value in sorted(values.items())]
    parts += [f"{name} {value}" for name, value in sorted(digests.items())]
    content = digest(f"recipe {recipe_version}", *parts)
    return f"{config.preset}-alpha-{config.alpha:g}-{config.fold}-seed-{config.seed}-{content[:12]}"
