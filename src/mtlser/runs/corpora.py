"""The corpus that a preset names, on this machine: where it lies, its table, and digests of what its folds hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import pandas as pd
from filelock import FileLock

from mtlser.config import Preset, get_preset
from mtlser.corpus.iemocap import FINGERPRINT, fingerprint, iemocap_counts, load_release
from mtlser.corpus.store import SpeechStore, store_audio
from mtlser.runs.identity import Content, changed_fields
from mtlser.runs.records import CORPUS_NAMES
from mtlser.runs.settings import Settings
from mtlser.storage import digest


class NoRelease(FileNotFoundError):
    """The preset needs an IEMOCAP release and was given none."""


@dataclass(frozen=True)
class Corpus:
    """A preset's corpus. Everything is read when first asked for, and once in a process."""

    preset: Preset
    release: Path | None
    allow_different: bool
    artifacts: Path
    given: pd.DataFrame | None = field(default=None, compare=False, repr=False)  # a table to use instead of reading one
    _contents: dict[str, Content] = field(default_factory=dict, compare=False, repr=False)  # by transcript style

    @property
    def exists(self) -> bool:
        """Whether it can be read without making or being given anything."""
        if self.given is not None or self.preset.corpus is None:
            return self.given is not None or self.release is not None
        from mtlser.corpus import pocket

        return pocket.is_complete(self._pocket_folder, self.preset.corpus)

    @property
    def _pocket_folder(self) -> Path:
        """Where the synthetic corpus is; its name holds a digest of the generator's settings."""
        return self.artifacts / "corpora" / f"{self.preset.name}-{digest(repr(self.preset.corpus))[:8]}"

    @cached_property
    def utterances(self) -> pd.DataFrame:
        """The table of `load_release`; a synthetic corpus is made first where it is missing."""
        return self.read() if self.given is None else self.given

    def read(self, progress=None) -> pd.DataFrame:
        """As `utterances`, read anew. Raises NoRelease for the iemocap preset without a release."""
        if self.preset.corpus is None:
            if self.release is None:
                raise NoRelease(
                    "the iemocap preset needs an IEMOCAP release: make reproduce PRESET=iemocap IEMOCAP=<release "
                    "folder>; the licence is at https://sail.usc.edu/iemocap/"
                )
            return load_release(self.release, allow_different=self.allow_different)
        from mtlser.corpus import pocket

        folder = self._pocket_folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            return load_release(pocket.write_release(folder, self.preset.corpus, progress=progress))

    @cached_property
    def store(self) -> SpeechStore:
        """Its audio, decoded once."""
        return store_audio(self.utterances, self.artifacts / "cache")

    @property
    def name(self) -> str:
        """In words, as every record of its runs has it."""
        differs = " (a copy that differs from the known corpus)" if self.utterances.attrs.get("differences") else ""
        return CORPUS_NAMES[self.preset.name] + differs

    @cached_property
    def identity(self) -> str:
        """A name from content: of a synthetic corpus its settings, of a release its utterances and their emotions.

        Where a release is not here, the known one's.
        """
        if self.preset.corpus is not None:
            from mtlser.corpus.pocket import GENERATOR_VERSION

            settings = (f"{name}={value!r}" for name, value in sorted(changed_fields(self.preset.corpus).items()))
            return f"pocket-{digest(f'generator {GENERATOR_VERSION}', *settings)[:12]}"
        known = fingerprint(self.utterances) if self.exists else iemocap_counts()[FINGERPRINT]
        return f"iemocap-{known[:12]}"

    def content(self, transcript_style: str) -> Content:
        """What the digests of its folds are computed from."""
        if transcript_style not in self._contents:
            self._contents[transcript_style] = Content(self.utterances, self.store.table, transcript_style)
        return self._contents[transcript_style]


@lru_cache
def _corpus(preset: Preset, release: Path | None, allow_different: bool, artifacts: Path) -> Corpus:
    return Corpus(preset, release, allow_different, artifacts)


def corpus_of(preset: Preset, settings: Settings) -> Corpus:
    """The corpus of a preset; the same object for the same settings, so that several plans read it once."""
    return _corpus(preset, settings.release, settings.allow_different, settings.artifacts.absolute())


def load_utterances(preset: str | Preset = "pocket", settings: Settings | None = None, progress=None) -> pd.DataFrame:
    """The preset's corpus as `load_release` gives it; a synthetic one is made first where it is missing.

    Raises NoRelease for the iemocap preset without a release.
    """
    chosen = get_preset(preset) if isinstance(preset, str) else preset
    return corpus_of(chosen, settings or Settings.from_environment()).read(progress)
