"""The corpus: audio and transcripts on disk become one checked table of utterances, folds, and batches."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

# Open corpora by name; each module has a `CARD` and a function `read`. `own` is anybody's, of which nothing is known.
OPEN_CORPORA = ("nemo", "emodb", "ravdess", "crema-d")
OWN = "own"
FETCHED = Path("artifacts/corpora")  # where `make reproduce` puts what it fetches, a folder each


def reader(name: str):
    """The module of an open corpus, or of one's own."""
    return import_module(f"{__name__}.{name.replace('-', '_')}")


def load(name: str, folder: str | Path | None = None, *, allow_different: bool = False):
    """The utterances of a corpus's four classes: the columns of `load_release`, `sex` and `text_id` where known.

    `name`: "iemocap", one of OPEN_CORPORA, or "own". `folder` may be left out for one that was fetched. `dialog` and
    `session` are empty where the corpus has none. Raises ReleaseDiffers where utterances or emotions are not those that
    are known, ReleaseError for a folder that can't be read as this corpus, ValueError for an unknown name.
    """
    folder = Path(folder or FETCHED / name).expanduser()
    if name == "iemocap":
        from mtlser.corpus.iemocap import MANIFEST, ReleaseError, find_release, load_release

        if (manifest := find_release(folder) / MANIFEST).exists():
            raise ReleaseError(f"{manifest}: this is synthetic speech, not IEMOCAP; CORPUS=pocket makes its own")
        return load_release(folder, allow_different=allow_different)
    if name not in (*OPEN_CORPORA, OWN):
        raise ValueError(f"unknown corpus {name!r}; choose one of iemocap, {', '.join((*OPEN_CORPORA, OWN))}")
    module = reader(name)
    utterances = module.read(folder)
    if name == OWN:
        return utterances
    from mtlser.corpus.cards import check_labels

    utterances = check_labels(module.CARD, folder, utterances, allow_different=allow_different)
    group_of = {speaker: f"group-{n}" for n, group in enumerate(module.CARD.groups, start=1) for speaker in group}
    return utterances.assign(group=utterances["speaker"].map(group_of)) if group_of else utterances
