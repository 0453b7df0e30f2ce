"""The corpus that a preset names, on this machine: where it lies, its table, and digests of what its folds hold."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import pandas as pd

from mtlser.config import POCKET_GENERATOR_VERSION, SAMPLE_RATE_HZ, PocketCorpusConfig, Preset, get_preset
from mtlser.corpus import OPEN_CORPORA, load, reader
from mtlser.corpus.cards import check_audio
from mtlser.corpus.iemocap import ReleaseError, load_release
from mtlser.corpus.release_counts import FINGERPRINT, RELEASE_FOLDER, fingerprint, iemocap_counts, is_complete
from mtlser.corpus.store import SpeechStore, store_audio
from mtlser.corpus.text import transcript_text, unknown_characters
from mtlser.files import digest
from mtlser.machine import library_environment
from mtlser.runs.identity import changed_fields
from mtlser.runs.records import CORPUS_NAMES
from mtlser.runs.settings import Settings
from mtlser.runs.sharing_rules import DIFFERS


class NoRelease(FileNotFoundError):
    """The preset needs a corpus that was not given and is not here."""


@dataclass(frozen=True)
class Corpus:
    """A preset's corpus. Everything is read when first asked for, and once in a process."""

    preset: Preset
    release: Path | None
    allow_different: bool
    artifacts: Path

    @property
    def exists(self) -> bool:
        """Whether it can be read without making or being given anything."""
        if self.preset.corpus is None:
            return self.folder is not None
        return is_complete(self._pocket_folder, self.preset.corpus)

    @property
    def fetched(self) -> Path:
        """Where an open corpus is put that is fetched."""
        return self.artifacts / "corpora" / self.preset.reads

    @property
    def folder(self) -> Path | None:
        """Where a corpus that is not made lies: what was given, else what was fetched; None for neither."""
        return self.release or (self.fetched if self.fetched.is_dir() else None)

    @property
    def _pocket_folder(self) -> Path:
        """Where the synthetic corpus is; its name holds a digest of the generator's settings."""
        return self.artifacts / "corpora" / f"{self.preset.name}-{digest(repr(self.preset.corpus))[:8]}"

    @cached_property
    def utterances(self) -> pd.DataFrame:
        """The table of `mtlser.corpus.load`; a synthetic corpus is made first where it is missing.

        Raises NoRelease where it needs a folder and was given none.
        """
        if self.preset.corpus is None:
            if self.folder is None:
                name = self.preset.reads
                words = "IEMOCAP=<release folder>" if name == "iemocap" else f"CORPUS={name} FOLDER=<where it lies>"
                words += ", or ACCEPT_LICENCE=1 to fetch it" if name in OPEN_CORPORA else ""
                raise NoRelease(f"{name} is not here: make reproduce {words}; `python -m mtlser corpora` says more")
            return load(self.preset.reads, self.folder, allow_different=self.allow_different)
        if not self.exists:
            make_pocket_corpus(self._pocket_folder, self.preset.corpus)
        return load_release(self._pocket_folder / RELEASE_FOLDER)

    @cached_property
    def store(self) -> SpeechStore:
        """Its audio, decoded once; of an open corpus compared with the digests that are known.

        Raises ReleaseDiffers for other audio.
        """
        store = store_audio(self.utterances, self.artifacts / "cache")
        if self.preset.corpus is None and self.preset.reads in OPEN_CORPORA:
            card, allowed = reader(self.preset.reads).CARD, self.allow_different
            check_audio(card, self.folder, self.utterances, store.table, allow_different=allowed)
        return store

    def check(self, transcript_style: str, window: int) -> None:
        """Raises ReleaseError that names every utterance with unknown letters, or far shorter than frame or label."""
        problems = []
        for u in self.utterances.assign(samples=self.store.table["num_samples"].to_numpy()).itertuples():
            lasts, told = u.samples / SAMPLE_RATE_HZ, u.end_seconds - u.start_seconds
            if unknown := unknown_characters(transcript_text(u.transcript, transcript_style)):
                problems.append(f"{u.utterance}: {unknown} in its transcript; write numbers as words")
            if u.samples < window:
                few = f"{u.samples} samples at 16 kHz are too few for one frame, which takes {window}"
                problems.append(f"{u.utterance}: {few}")
            elif lasts < told / 2:
                problems.append(f"{u.utterance}: {lasts:.2f} s of sound, and {told:.2f} s by its label")
        if problems:
            raise ReleaseError("\n  ".join([f"{len(problems)} utterances can't be trained on:", *problems]))

    @property
    def name(self) -> str:
        """In words, as every record of its runs has it."""
        differs = DIFFERS if self.utterances.attrs.get("differences") else ""
        return CORPUS_NAMES[self.preset.name] + differs

    @cached_property
    def identity(self) -> str:
        """A name from content: of a synthetic corpus its settings, of a release its utterances and their emotions.

        Where a corpus is not here, the known one's.
        """
        if self.preset.corpus is not None:
            settings = (f"{name}={value!r}" for name, value in sorted(changed_fields(self.preset.corpus).items()))
            return f"pocket-{digest(f'generator {POCKET_GENERATOR_VERSION}', *settings)[:12]}"
        name = self.preset.reads
        if self.exists:
            known = fingerprint(self.utterances)
        elif name in OPEN_CORPORA:
            known = fingerprint(reader(name).CARD.known())
        else:
            known = iemocap_counts()[FINGERPRINT] if name == "iemocap" else "not-here"
        return f"{name}-{known[:12]}"


_one_corpus = lru_cache(Corpus)


def corpus_of(preset: Preset, settings: Settings) -> Corpus:
    """The corpus of a preset; the same object for the same settings, so that several plans read it once."""
    return _one_corpus(preset, settings.release, settings.allow_different, settings.artifacts.absolute())


def make_pocket_corpus(folder: Path, settings: PocketCorpusConfig) -> None:
    """Has a process of its own write the synthetic corpus: who reads a release needs no synthesiser.

    What it says while it works goes to standard error. Raises ReleaseError with its last words where it fails.
    """
    command = [sys.executable, "-m", "mtlser.corpus.pocket", str(folder), json.dumps(asdict(settings))]
    writer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=library_environment())
    said = ""
    with writer.stderr:
        for said in writer.stderr:
            sys.stderr.write(said if said.startswith("synthesised") else "")
    if writer.wait():
        raise ReleaseError(f"the pocket corpus is not made: {said.strip() or f'exit code {writer.returncode}'}")


def load_utterances(preset: str | Preset = "pocket", settings: Settings | None = None) -> pd.DataFrame:
    """A copy of the preset's `Corpus.utterances`, which raises the same errors."""
    chosen = get_preset(preset) if isinstance(preset, str) else preset
    return corpus_of(chosen, settings or Settings.from_environment()).utterances.copy()
