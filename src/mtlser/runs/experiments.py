"""Experiments by name, each some plans: `EXPERIMENT=` of `make reproduce`, and `python -m mtlser run`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product

from mtlser.config import PEOPLE_RULES, ConfigError, get_preset
from mtlser.runs.corpora import corpus_of
from mtlser.runs.pilot import PILOT, pilot_preset
from mtlser.runs.plan import Plan, table4
from mtlser.runs.settings import Settings

CONTRAST = tuple(PEOPLE_RULES["grid"]["alphas"])  # the paper's claim: alpha 0 against its best
OF_DIALOGS = ("released", "session")  # protocols of IEMOCAP's layout, which the pocket corpus has
FIRST_LOOK_EPOCHS = 10
FIRST_LOOK_FOLDS = {"speaker": ("Ses01F", "Ses01M"), "released": ("01F", "01M")}

# Table 4 again for a few alphas, with one thing changed. Everything else is the preset's.
HALF_RATE = "half the learning rate"
CHANGES: dict[str, dict] = {
    "random weights": {"initialisation": "random"},
    "mean pooling": {"pooling": "mean"},
    HALF_RATE: {},  # computed from the preset's
}
# The table's ends show what a part buys; the paper's claim (alpha 0 against its best), whether it hangs on the rate.
CHANGED_ALPHAS: dict[str, tuple[float, ...]] = {name: (0.0, 1.0) for name in CHANGES} | {HALF_RATE: (0.0, 0.1)}

# One departure each, at the paper's best alpha: what the book does by default is turned to the other side.
VARIANTS: dict[str, dict] = {
    "mean pooling": {"pooling": "mean"},
    "convolutions trained": {"freeze_convolutions": False},
    "no SpecAugment": {"mask_time_probability": 0.0},
    "transcripts as released": {"transcript_style": "released"},
    "no warm-up": {"warmup_ratio": 0.0},
    "no clipping": {"max_gradient_norm": 1e9},  # which no gradient reaches
    "padding as released, batches of two": {"encoder_padding": "released", "batch_size": 2},
}
CUES = (0.5, 0.75, 0.9)  # how often words show the valence; 0.5 tells nothing
SEEDS = (0, 1, 2)
RATES = {"pocket": (2.5e-4, 5e-4, 1e-3, 2e-3), "iemocap": (1e-5, 5e-5)}  # the pilot's and below; Table 1's two


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


def _table4(preset: str, settings: Settings) -> dict[str, Plan]:
    return {"Table 4": table4(preset, settings)}


def _changes(preset: str, settings: Settings) -> dict[str, Plan]:
    return {f"Table 4, {name}": changed(name, preset, settings) for name in CHANGES}


def _grid(preset: str, settings: Settings) -> dict[str, Plan]:
    """The rates and lengths that data/people.toml lists, on the speakers that it sets apart for choosing."""
    if preset not in PEOPLE_RULES["development"]:
        return {}
    rules = PEOPLE_RULES["grid"]
    lengths = (settings.epochs,) if settings.epochs else rules["epochs"][preset]
    rates = (settings.learning_rate,) if settings.learning_rate else rules["learning_rates"]
    return {
        f"{epochs} epochs, rate {rate:g}": _contrast(_development(preset, settings, epochs, rate))
        for epochs, rate in product(lengths, rates)
    }


def _gate(preset: str, settings: Settings) -> dict[str, Plan]:
    """Whether the second task is learnt at all: alpha 1 on the development speakers, at the chosen rate and length."""
    if preset not in PEOPLE_RULES["development"]:
        return {}
    template = table4(preset, settings).template
    epochs, rate = settings.epochs or template.epochs, settings.learning_rate or template.learning_rate
    plan = _development(preset, settings, epochs, rate)
    return {f"alpha 1, {epochs} epochs": replace(plan, alphas=(PEOPLE_RULES["gate"]["alpha"],))}


def _development(preset: str, settings: Settings, epochs: int, rate: float) -> Plan:
    """Table 4 on the development folds alone, with one rate for every alpha."""
    plan = table4(preset, settings)
    template = replace(plan.template, epochs=epochs, learning_rate=rate, learning_rate_alpha_zero=rate)
    chosen = replace(plan.preset, seeds=(PEOPLE_RULES["grid"]["seed"],))
    folds = tuple(PEOPLE_RULES["development"][preset])
    return replace(plan, preset=chosen, template=template, fold_names=folds)


def _protocol(name: str) -> Callable[[str, Settings], dict[str, Plan]]:
    def plans(preset: str, settings: Settings) -> dict[str, Plan]:
        if name in OF_DIALOGS and get_preset(preset).reads != "iemocap":
            return {}
        return {f"protocol {name}": _contrast(table4(preset, replace(settings, protocol=name)))}

    return plans


def _equal_rate(preset: str, settings: Settings) -> dict[str, Plan]:
    """Alpha 0 at the rate of the others."""
    plan = table4(preset, settings)
    template = replace(plan.template, learning_rate_alpha_zero=plan.template.learning_rate)
    return {"alpha 0 at the rate of the others": replace(plan, template=template, alphas=(0.0,))}


def _controls(preset: str, settings: Settings) -> dict[str, Plan]:
    """What of a gain at alpha 0.1 needs the right transcripts, and what an encoder that CTC does not train."""
    changes = {
        "transcripts exchanged": {"training_texts": "exchanged"},
        "CTC on a detached encoder": {"ctc_gradient": "head"},
        "CTC on a detached encoder, clipped apart": {"ctc_gradient": "head, clipped apart"},
    }
    plan = table4(preset, settings)
    alphas = tuple(alpha for alpha in plan.alphas if alpha == CONTRAST[1])
    return {
        title: replace(plan, alphas=alphas, template=replace(plan.template, **change))
        for title, change in changes.items()
    }


def _variants(preset: str, settings: Settings) -> dict[str, Plan]:
    """The paper's best alpha with one departure turned; those that the preset has turned already are left out."""
    plan = table4(preset, settings)
    best = tuple(alpha for alpha in plan.alphas if alpha == CONTRAST[1])
    templates = {name: replace(plan.template, **change) for name, change in VARIANTS.items()}
    return {
        f"variant: {name}": replace(plan, alphas=best, template=template)
        for name, template in templates.items()
        if template != plan.template
    }


def _seeds(preset: str, settings: Settings) -> dict[str, Plan]:
    """Table 4 again, with other seeds."""
    return {"Table 4 on three seeds": table4(preset, replace(settings, seeds=settings.seeds or SEEDS))}


def _cues(preset: str, settings: Settings) -> dict[str, Plan]:
    """The contrast on synthetic corpora whose words tell more or less: where they tell nothing, no gain is theirs."""
    plan = table4(preset, settings)
    if plan.preset.corpus is None:
        return {}
    plans = {}
    for share in CUES:
        chosen = replace(plan.preset, corpus=replace(plan.preset.corpus, valence_cue_probability=share))
        plans[f"words right {100 * share:g}% of the time"] = _contrast(
            replace(plan, preset=chosen, corpus=corpus_of(chosen, settings))
        )
    return plans


def _learning_rate(preset: str, settings: Settings) -> dict[str, Plan]:
    """Both alphas at each rate: of the pocket corpus on the pilot's voices, which Table 4 does not test."""
    if preset not in RATES:
        return {}
    plan = table4(preset, settings)
    if plan.preset.corpus is not None:
        pilot = pilot_preset(PILOT, plan.preset.corpus.utterances_per_speaker)
        plan = replace(plan, preset=pilot, corpus=corpus_of(pilot, settings), fold_names=PILOT.folds)
    return {
        f"rate {rate:g}": _contrast(
            replace(
                plan,
                template=replace(
                    plan.template, preset=plan.preset.name, learning_rate=rate, learning_rate_alpha_zero=rate
                ),
            )
        )
        for rate in RATES[preset]
    }


def _first_look(preset: str, settings: Settings) -> dict[str, Plan]:
    """An hour's worth on one GPU: two folds as written and as run, few epochs. Partial, and shown as that."""
    if get_preset(preset).reads != "iemocap":
        return {}
    short = replace(settings, epochs=settings.epochs or FIRST_LOOK_EPOCHS)
    looks = {}
    for protocol, folds in FIRST_LOOK_FOLDS.items():
        plan = table4(preset, replace(short, protocol=protocol, folds=settings.folds or folds))
        looks[f"first look, {protocol} folds"] = _contrast(plan)
    return looks


def _contrast(plan: Plan) -> Plan:
    return replace(plan, alphas=tuple(alpha for alpha in plan.alphas if alpha in CONTRAST))


EXPERIMENTS: dict[str, Callable[[str, Settings], dict[str, Plan]]] = {
    "table4": _table4,
    "changes": _changes,
    "grid": _grid,
    "gate": _gate,
    "random": _protocol("random"),
    "text": _protocol("text"),
    "released": _protocol("released"),
    "session": _protocol("session"),
    "equal-rate": _equal_rate,
    "controls": _controls,
    "variants": _variants,
    "seeds": _seeds,
    "cues": _cues,
    "learning-rate": _learning_rate,
    "first-look": _first_look,
}

ALL = "all"
LACKS = dict.fromkeys(("grid", "gate"), "data/people.toml names no development speakers of")
LACKS["cues"] = "only a synthetic corpus can be given other words, not"
LACKS["learning-rate"] = f"rates are listed for {' and '.join(RATES)} (people: EXPERIMENT=grid), not for"


def plans(name: str, preset: str, settings: Settings | None = None) -> dict[str, Plan]:
    """What an experiment completes: a title and a plan each.

    Raises ConfigError for an unknown name, which lists the known ones, and for one that this preset does not have.
    """
    settings = settings or Settings.from_environment()
    if name == ALL:
        return {title: plan for make in EXPERIMENTS.values() for title, plan in make(preset, settings).items()}
    if name not in EXPERIMENTS:
        raise ConfigError(f"EXPERIMENT={name!r} is not known; choose one of {', '.join([*EXPERIMENTS, ALL])}")
    found = EXPERIMENTS[name](preset, settings)
    if not found:
        raise ConfigError(f"EXPERIMENT={name}: {LACKS.get(name, 'there are no dialogs in')} {preset!r}")
    return found


def every_plan(preset: str, settings: Settings) -> Iterator[Plan]:
    """Those of every experiment that the preset has."""
    for make in EXPERIMENTS.values():
        yield from make(preset, settings).values()
