"""The backbones that can be named, as a table: what each heard, its licence, and whether it is here."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mtlser.config import POCKET_BACKBONE
from mtlser.model.backbone import CARDS, WEIGHT_FILES, backbone_digest, find_backbone, published_name


def backbones_table(given: str | None = None) -> pd.DataFrame:
    """One row a card, and one for what is `given` without one: a folder or a name on the hub.

    Columns: backbone, heard, hours, frame, hears, licence, weights ("pinned": every reading is compared with a known
    digest), note, here (the folder given, the hub's cache).
    """
    places = {name: _here(name) for name in CARDS}
    if given is not None:
        is_folder = Path(given).is_dir()
        name = (published_name(backbone_digest(given)) or Path(given).name) if is_folder else given
        places[name] = given if is_folder else _here(name)
    rows = []
    for name, place in places.items():
        if card := CARDS.get(name):
            about = [card.heard, card.hours, f"{card.frame_milliseconds} ms", card.hears, card.licence]
            rows.append([name, *about, "pinned" if card.sha256 else "not pinned", card.note, place])
        else:
            rows.append([name, "no card", *["–"] * 4, "not pinned", "", place])
    columns = ["backbone", "heard", "hours", "frame", "hears", "licence", "weights", "note", "here"]
    return pd.DataFrame(rows, columns=columns)


def _here(name: str) -> str:
    """Where the weights of a name lie on this machine: "shipped", the hub's cache, or "no"."""
    from huggingface_hub import try_to_load_from_cache

    if name == POCKET_BACKBONE.name:
        return "shipped"
    revision = CARDS[name].revision if name in CARDS else None
    found = (try_to_load_from_cache(name, file, revision=revision) for file in WEIGHT_FILES)
    return next((str(Path(path).parent) for path in found if isinstance(path, str)), "no")


def backbone_bytes(name: str | Path) -> int:
    """Size of a backbone's weights file, without fetching one whose card says it."""
    card = CARDS.get(str(name))
    return card.num_bytes if card and card.num_bytes else find_backbone(name).weights.stat().st_size
