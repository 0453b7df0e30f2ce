"""Which runs an experiment needs, which of them are missing, and the records there are.

A run is done when this machine ended it, or when a committed record holds it: work goes on from the records. Nothing
here imports torch, so that showing records costs a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from mtlser.config import RECIPE_VERSION, ConfigError, Preset, RunConfig, get_preset
from mtlser.corpus.folds import Fold, make_folds
from mtlser.model.backbone import backbone_digest, published_name
from mtlser.runs import records
from mtlser.runs.corpora import Corpus, corpus_of
from mtlser.runs.identity import fold_digests, make_run_id, old_run_id, run_content
from mtlser.runs.instrument import instrument_name
from mtlser.runs.records import Records
from mtlser.runs.settings import Settings

SYSTEM = "multitask"  # the network of the paper, as a record names it


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan: its configuration, the content it depends on, and the folder its record goes to."""

    config: RunConfig
    fold: Fold
    digests: dict[str, str]
    run_id: str
    alias: str | None  # the id that it had before
    folder: Path
    keep_weights: bool
    shared: str | None = None  # the status of a committed record of it

    @property
    def ids(self) -> list[str]:
        """Every id that a record of it may have."""
        return [self.run_id] if self.alias is None else [self.run_id, self.alias]

    @property
    def status(self) -> str:
        """`missing`, `running`, `done`, `failed` or `diverged`: this machine's, or else a committed record's."""
        return self.shared if self.is_shared else records.run_status(self.folder)

    @property
    def is_shared(self) -> bool:
        """Whether it is done by a committed record alone."""
        return self.shared is not None and records.run_status(self.folder) not in records.ENDED


@dataclass(frozen=True)
class Plan:
    """The runs of an experiment. `whole` is the plan this one was taken from, for the estimate of what is left."""

    preset: Preset
    settings: Settings
    alphas: tuple[float, ...]
    fold_names: tuple[str, ...] | None  # None: all
    template: RunConfig
    corpus: Corpus
    whole: Plan | None = None

    def only(self, *, alpha: float | None = None, fold: str | None = None) -> Plan:
        """The part of the plan with this alpha, this fold. Raises ConfigError if the plan has no such runs."""
        if alpha is not None and alpha not in self.alphas:
            raise ConfigError(f"alpha={alpha} is not in the plan, which has {', '.join(map(str, self.alphas))}")
        return replace(
            self,
            alphas=self.alphas if alpha is None else (alpha,),
            fold_names=self.fold_names if fold is None else (fold,),
            whole=self.whole or self,
        )

    @property
    def backbone(self) -> str:
        """The backbone's name, or the local folder that was given instead."""
        return self.settings.backbone or self.preset.backbone

    @property
    def backbone_revision(self) -> str | None:
        """The revision that the preset names, of the preset's backbone alone."""
        return self.preset.backbone_revision if self.backbone == self.preset.backbone else None

    @property
    def backbone_name(self) -> str:
        """The backbone as records name it: a folder that holds published weights by their name, another by its own."""
        is_folder = Path(self.backbone).is_dir()
        return published_name(self.backbone_digest) or (Path(self.backbone).name if is_folder else self.backbone)

    @property
    def device(self) -> str:
        """ "cpu", or "any": a GPU where there is one."""
        return self.settings.device or self.preset.device

    @cached_property
    def backbone_digest(self) -> str:
        """SHA-256 of its weights (`model.backbone`)."""
        return backbone_digest(self.backbone, self.backbone_revision)

    @cached_property
    def runs(self) -> tuple[PlannedRun, ...]:
        """Every run of the plan. Raises ConfigError for a fold that the protocol does not have."""
        if self.whole is not None:  # the corpus is read and hashed once
            wanted = self.fold_names or [run.fold.name for run in self.whole.runs]
            return tuple(r for r in self.whole.runs if r.config.alpha in self.alphas and r.fold.name in wanted)
        return tuple(_plan_runs(self))

    def missing(self) -> list[PlannedRun]:
        """Runs to train: never started, stopped half-way, or failed."""
        return [run for run in self.runs if run.status not in records.ENDED]

    def status(self) -> pd.DataFrame:
        """One row a run: alpha, fold, seed, status, run_id."""
        names = ("alpha", "fold", "seed")
        rows = [[*(getattr(r.config, name) for name in names), r.status, r.run_id] for r in self.runs]
        return pd.DataFrame(rows, columns=[*names, "status", "run_id"])

    def records(self) -> Records:
        """The records there are, without training: this machine's, and committed ones of the other runs."""
        own = self.own_records()
        return own if self.settings.fresh else records.first_of_each(records.merge([own, self.shared_records()]))

    def own_records(self) -> Records:
        """The records of this machine's runs."""
        if self.corpus.exists:
            return records.read_records([run.folder for run in self.runs])
        folders = sorted(path.parent for path in (self.settings.artifacts / "runs").glob("*/run.json"))
        return self.matching(records.read_records(folders))

    def shared_records(self) -> Records:
        """The committed records of the plan's runs, every contributor's."""
        found = records.read_results(self.settings.results)
        if not self.corpus.exists:
            return self.matching(found)
        return found.only(run_id=[name for run in self.runs for name in run.ids])

    def matching(self, found: Records) -> Records:
        """Those of any records that this plan asks for, also where their run ids can't be computed without the corpus.

        Records of another corpus, backbone or setting (epochs, learning rate, recipe …) are another experiment and are
        left out. Records from before these were written down name their preset alone: they have its corpus and backbone
        while those are the frozen instrument's.
        """
        wanted = self.template.to_dict() | {"recipe_version": RECIPE_VERSION}
        several = {"alpha": self.alphas, "seed": self.preset.seeds, "fold": self.fold_names}
        read = {"system": SYSTEM, "corpus_id": self.corpus.identity, "backbone_digest": self.backbone_digest}
        is_frozen = instrument_name(self.preset.run, self.preset.corpus, self.backbone_digest) is not None
        runs = found.runs
        same = pd.Series(True, index=runs.index)
        for name, values in several.items():
            same &= True if values is None else runs[name].isin(values)
        for name, value in (wanted | read).items():
            if name not in several:
                unknown = runs[name].isna()
                equal = unknown if value is None else runs[name] == value
                same &= equal | unknown if name in read and is_frozen else equal
        return found.only(run_id=list(runs.loc[same, "run_id"]))


def _plan_runs(plan: Plan) -> Iterator[PlannedRun]:
    """The planned runs of a whole plan, ordered by alpha, fold, seed."""
    folds = make_folds(plan.corpus.utterances, plan.template.protocol)
    known = [fold.name for fold in folds]
    unknown = set(plan.fold_names or ()) - set(known)
    if unknown:
        raise ConfigError(
            f"no fold {', '.join(sorted(unknown))} in protocol {plan.template.protocol}: {', '.join(known)}"
        )
    wanted = known if plan.fold_names is None else plan.fold_names
    chosen = [fold for fold in folds if fold.name in wanted][: plan.preset.num_folds]
    content = run_content(plan.corpus.utterances, plan.corpus.store.table, plan.template.transcript_style)
    shared = {} if plan.settings.fresh else records.ended_runs(plan.settings.results)
    folder = plan.settings.artifacts / "runs"
    digests_of = {fold.name: fold_digests(content, fold) | {"backbone": plan.backbone_digest} for fold in chosen}
    files_of = {name: digests.pop("files") for name, digests in digests_of.items()}
    kept = {(alpha, name or known[0]) for alpha, name in plan.preset.kept_weights}
    for alpha in plan.alphas:
        for fold in chosen:
            digests = digests_of[fold.name]
            for seed in plan.preset.seeds:
                config = replace(plan.template, alpha=alpha, fold=fold.name, seed=seed)
                run_id, alias = make_run_id(config, digests), old_run_id(config, digests, files_of[fold.name])
                has_old = alias is not None and (folder / alias).is_dir() and not (folder / run_id).is_dir()
                keep = (alpha, fold.name) in kept and seed == plan.preset.seeds[0]
                yield PlannedRun(
                    config, fold, digests, run_id, alias, folder / (alias if has_old else run_id), keep,
                    shared.get(run_id, shared.get(alias)),
                )  # fmt: skip


def table4(preset: str = "pocket", settings: Settings | None = None) -> Plan:
    """The paper's ablation (Table 4): every alpha on every fold. Settings come from MTLSER_* unless given.

    Raises ConfigError for an unknown preset, protocol, precision, device or alpha.
    """
    settings = settings or Settings.from_environment()
    chosen = get_preset(preset)
    if settings.device not in (None, "any", "cpu"):
        raise ConfigError(f"DEVICE={settings.device!r} is not known; choose cpu or any (a GPU where there is one)")
    if settings.seeds is not None:
        chosen = replace(chosen, seeds=settings.seeds)
    rate = settings.learning_rate
    changes = {name: getattr(settings, name) for name in ("protocol", "epochs", "precision", "pooling")}
    changes |= {"learning_rate": rate, "learning_rate_alpha_zero": rate}
    template = replace(chosen.run, **{name: value for name, value in changes.items() if value is not None})
    alphas = settings.alphas or chosen.alphas
    unknown = [alpha for alpha in alphas if alpha not in chosen.alphas]
    if unknown:
        raise ConfigError(
            f"alphas {unknown} are not in Table 4, which has {', '.join(f'{a:g}' for a in chosen.alphas)}"
        )
    ordered = tuple(alpha for alpha in chosen.alphas if alpha in alphas)
    return Plan(chosen, settings, ordered, settings.folds, template, corpus_of(chosen, settings))
