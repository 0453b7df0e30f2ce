"""The manifest that a pocket corpus is written with: its settings, its counts, and whether all of it is there."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from mtlser.config import POCKET_GENERATOR_VERSION, PocketCorpusConfig

RELEASE_FOLDER = "IEMOCAP_full_release"
MANIFEST = "pocket_manifest.json"


def is_complete(folder: str | Path, settings: PocketCorpusConfig) -> bool:
    """Whether `folder` holds the whole pocket corpus of these settings: by its manifest, and no file missing."""
    release = Path(folder) / RELEASE_FOLDER
    try:
        manifest = json.loads((release / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    same = (manifest.get("generator_version"), manifest.get("settings")) == (POCKET_GENERATOR_VERSION, asdict(settings))
    return same and manifest.get("num_files") == count_files(release)


def count_files(release: Path) -> int:
    """Files of the corpus besides the manifest, which is written last."""
    return sum(len(files) for _, _, files in os.walk(release)) - (release / MANIFEST).is_file()
