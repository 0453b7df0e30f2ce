"""Which runs an experiment needs, which are missing, and completing them.

`complete(table4().only(alpha=0.1))` is the training notebook's only training cell. Nothing here imports torch until a
run is missing, so that a second call costs seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd
from filelock import FileLock

from mtlser.config import RECIPE_VERSION, ConfigError, Preset, RunConfig, get_preset
from mtlser.corpus.folds import Fold, make_folds
from mtlser.corpus.iemocap import load_release
from mtlser.model.backbone import backbone_digest
from mtlser.runs import records
from mtlser.runs.identity import Content, make_run_id
from mtlser.runs.records import Records
from mtlser.runs.settings import Settings
from mtlser.storage import digest


class RunsFailed(RuntimeError):
    """Some runs failed; the others finished. The message lists each with its error and where its log is."""


class NoRelease(FileNotFoundError):
    """The preset needs an IEMOCAP release and was given none."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan: its configuration, the content it depends on, and the folder its record goes to."""

    config: RunConfig
    fold: Fold
    digests: dict[str, str]
    run_id: str
    folder: Path
    keep_weights: bool

    @property
    def status(self) -> str:
        """`missing`, `running`, `done`, `failed` or `diverged`."""
        return records.run_status(self.folder)


@dataclass(frozen=True)
class Plan:
    """The runs of an experiment. `whole` is the plan this one was taken from, for the estimate of what is left."""

    preset: Preset
    settings: Settings
    alphas: tuple[float, ...]
    fold_names: tuple[str, ...] | None  # None: all
    template: RunConfig
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

    @cached_property
    def utterances(self) -> pd.DataFrame:
        """The corpus (`load_release`), made first if it is the pocket corpus and training is allowed."""
        return self.whole.utterances if self.whole else load_utterances(self.preset, self.settings)

    @cached_property
    def content(self) -> Content:
        """Digests of the corpus, from one pass over its files."""
        return self.whole.content if self.whole else Content(self.utterances, self.template.transcript_style)

    @property
    def corpus_name(self) -> str:
        """The corpus in words, as every record of the plan's runs names it."""
        differs = " (a copy that differs from the known corpus)" if self.utterances.attrs.get("differences") else ""
        return records.CORPUS_NAMES[self.preset.name] + differs

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
        rows = [
            {
                "alpha": r.config.alpha,
                "fold": r.config.fold,
                "seed": r.config.seed,
                "status": r.status,
                "run_id": r.run_id,
            }
            for r in self.runs
        ]
        return pd.DataFrame(rows, columns=["alpha", "fold", "seed", "status", "run_id"])

    def records(self) -> Records:
        """The records there are, without training: this machine's runs, else those shared in the results folder."""
        own = self.own_records()
        return self.matching(shared_records(self.settings)) if own.runs.empty else own

    def own_records(self) -> Records:
        """The records of this machine's runs."""
        if has_corpus(self.preset, self.settings):
            return records.read_records([run.folder for run in self.runs])
        return self.matching(records.read_records(_run_folders(self.settings)))

    def matching(self, found: Records) -> Records:
        """Those of any records that this plan asks for, also where their run ids can't be computed without the corpus.

        Records of another setting (epochs, learning rate, recipe …) are another experiment and are left out.
        """
        wanted = {name: value for name, value in self.template.to_dict().items() if value is not None}
        wanted |= {"alpha": list(self.alphas), "seed": list(self.preset.seeds), "recipe_version": RECIPE_VERSION}
        del wanted["fold"]
        if self.fold_names:
            wanted["fold"] = list(self.fold_names)
        return found.only(**wanted)


def _plan_runs(plan: Plan):
    """The planned runs of a whole plan, ordered by alpha, fold, seed."""
    preset, settings, utterances = plan.preset, plan.settings, plan.utterances
    folds = make_folds(utterances, plan.template.protocol)
    known = [fold.name for fold in folds]
    unknown = set(plan.fold_names or ()) - set(known)
    if unknown:
        raise ConfigError(
            f"no fold {', '.join(sorted(unknown))} in protocol {plan.template.protocol}: {', '.join(known)}"
        )
    chosen = [fold for fold in folds if plan.fold_names is None or fold.name in plan.fold_names][: preset.num_folds]
    weights = backbone_digest(settings.backbone or preset.backbone, preset.backbone_revision)
    digests_of = {fold.name: plan.content.digests(fold) | {"backbone": weights} for fold in chosen}
    for alpha in plan.alphas:
        for fold in chosen:
            digests = digests_of[fold.name]
            for seed in preset.seeds:
                config = replace(plan.template, alpha=alpha, fold=fold.name, seed=seed)
                run_id = make_run_id(config, digests)
                keep = (alpha, fold.name) in preset.kept_weights
                yield PlannedRun(config, fold, digests, run_id, settings.artifacts / "runs" / run_id, keep)


def table4(preset: str = "pocket", settings: Settings | None = None) -> Plan:
    """The paper's ablation (Table 4): every alpha on every fold. Settings come from MTLSER_* unless given.

    Raises ConfigError for an unknown preset, protocol, precision or alpha.
    """
    settings = settings or Settings.from_environment()
    chosen = get_preset(preset)
    changes = {name: getattr(settings, name) for name in ("protocol", "epochs", "precision")}
    template = replace(chosen.run, **{name: value for name, value in changes.items() if value is not None})
    alphas = settings.alphas or chosen.alphas
    unknown = [alpha for alpha in alphas if alpha not in chosen.alphas]
    if unknown:
        raise ConfigError(
            f"alphas {unknown} are not in Table 4, which has {', '.join(f'{a:g}' for a in chosen.alphas)}"
        )
    return Plan(chosen, settings, tuple(a for a in chosen.alphas if a in alphas), settings.folds, template)


# Table 4 again for a few alphas, with one thing changed. Everything else is the preset's.
HALF_RATE = "half the learning rate"
CHANGES: dict[str, dict] = {
    "random weights": {"initialisation": "random"},
    "mean pooling": {"pooling": "mean"},
    HALF_RATE: {},  # computed from the preset's
}
# The table's ends show what a part buys; the paper's claim (alpha 0 against its best), whether it hangs on the rate.
CHANGED_ALPHAS: dict[str, tuple[float, ...]] = {name: (0.0, 1.0) for name in CHANGES} | {HALF_RATE: (0.0, 0.1)}


def changed(name: str, preset: str = "pocket", settings: Settings | None = None) -> Plan:
    """Table 4 with the change that `CHANGES` names, for its `CHANGED_ALPHAS`, on every fold.

    Raises ConfigError for a name that CHANGES does not have.
    """
    if name not in CHANGES:
        raise ConfigError(f"no change {name!r}: {', '.join(CHANGES)}")
    plan = table4(preset, settings)
    fields = dict(CHANGES[name])
    if name == HALF_RATE:
        fields = {rate: getattr(plan.template, rate) / 2 for rate in ("learning_rate", "learning_rate_alpha_zero")}
    alphas = tuple(alpha for alpha in plan.alphas if alpha in CHANGED_ALPHAS[name])
    return replace(plan, alphas=alphas, template=replace(plan.template, **fields))


def pocket_folder(preset: Preset, settings: Settings) -> Path:
    """Where the preset's synthetic corpus is; its name holds a digest of the generator's settings."""
    name = digest(repr(preset.corpus))[:8]
    return settings.artifacts / "corpora" / f"{preset.name}-{name}"


def has_corpus(preset: Preset, settings: Settings) -> bool:
    """Whether the corpus can be read without making or being given anything."""
    if preset.corpus is None:
        return settings.release is not None
    from mtlser.corpus import pocket

    return pocket.is_complete(pocket_folder(preset, settings), preset.corpus)


def load_utterances(preset: str | Preset = "pocket", settings: Settings | None = None, progress=None) -> pd.DataFrame:
    """The preset's corpus as `load_release` gives it; a synthetic one is made first where it is missing.

    Raises NoRelease for the iemocap preset without a release.
    """
    settings = settings or Settings.from_environment()
    chosen = get_preset(preset) if isinstance(preset, str) else preset
    if chosen.corpus is None:
        if settings.release is None:
            raise NoRelease(
                "the iemocap preset needs an IEMOCAP release: make reproduce PRESET=iemocap IEMOCAP=<release folder>; "
                "the licence is at https://sail.usc.edu/iemocap/"
            )
        return load_release(settings.release, allow_different=settings.allow_different)
    from mtlser.corpus import pocket

    folder = pocket_folder(chosen, settings)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        return load_release(pocket.write_release(folder, chosen.corpus, progress=progress))


def shared_records(settings: Settings) -> Records:
    """All records committed under the results folder, every contributor's."""
    folders = sorted(path.parent for path in settings.results.glob("*/runs.parquet"))
    return records.merge(records.read_shared(folder) for folder in folders)


def _run_folders(settings: Settings) -> list[Path]:
    return sorted(path.parent for path in (settings.artifacts / "runs").glob("*/run.json"))


def complete(plan: Plan) -> Records:
    """Trains what the plan is missing, several runs at once, and returns the plan's records.

    With `Settings.train` off it only reads. Raises RunsFailed when runs failed, after the others finished.
    """
    if plan.settings.train and (missing := plan.missing()):
        from mtlser.runs import engines

        failures = engines.run_missing(plan, missing)
        if failures:
            lines = [f"  {run_id}: {error}" for run_id, error in failures.items()]
            raise RunsFailed(
                f"{len(failures)} of {len(missing)} runs failed; the others finished and are kept. Logs are in "
                f"{plan.settings.artifacts / 'logs'}.\n" + "\n".join(lines)
            )
    return plan.records()
