"""The pilot's rules: which runs it has, what it may read of them, and how it chooses the pocket preset.

`book/recipes/pilot.ipynb` is the pilot itself. It reads ceilings only (see `PilotConfig`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean

from mtlser.config import PRESETS, Preset
from mtlser.runs.corpora import corpus_of
from mtlser.runs.plan import Plan
from mtlser.runs.records import Records
from mtlser.runs.settings import Settings


@dataclass(frozen=True)
class PilotConfig:
    """What tunes the pocket preset: voices of its own, and numbers that cannot favour an alpha.

    It reads accuracy and WER at alpha 0, and the WER at alpha 1. It never reads the accuracy at alpha 1, nor any run
    between, so nothing that it chooses can have been chosen for a difference between alphas.
    """

    seed: int = 7  # of its corpus
    folds: tuple[str, ...] = ("Ses01F", "Ses02M")  # test voices of its trained models; simple features have all ten
    cue_probabilities: tuple[float, ...] = (0.9, 0.95)  # of both cues, whose ladders of simple features are compared
    sizes: tuple[int, ...] = (120, 160)  # utterances per voice
    learning_rates: tuple[float, ...] = (1e-3, 2e-3, 3e-3)
    steps: int = 950  # about: epochs are what comes nearest; fifty runs in twenty minutes on two cores
    candidate_steps: int = 3000  # of each pretraining that is compared
    # Wanted of the instrument.
    accuracy_alpha_zero: tuple[float, float] = (0.5, 0.85)
    below_the_ladder: float = 0.08  # accuracy at alpha 0, at least, under the best of simple features
    wer_alpha_zero: float = 0.9  # at least
    wer_alpha_one: float = 0.25  # at most


PILOT = PilotConfig()

RECORD = "pilot.json"
ALPHA_ZERO, ALPHA_ONE = 0.0, 1.0
# What is read of a run. The accuracy at alpha 1 is not among it: beside that at alpha 0 it would be a contrast.
READ = {ALPHA_ZERO: ("accuracy", "wer"), ALPHA_ONE: ("wer",)}
SETTING = ("utterances_per_speaker", "learning_rate", "epochs")  # what a row of the grid is told apart by


def pilot_preset(pilot: PilotConfig, utterances_per_speaker: int, cue_probability: float | None = None) -> Preset:
    """The pocket preset on the pilot's voices; both cues right that often, as in the pocket corpus unless given."""
    pocket = PRESETS["pocket"]
    corpus = replace(pocket.corpus, voices="pilot", seed=pilot.seed, utterances_per_speaker=utterances_per_speaker)
    if cue_probability is not None:
        corpus = replace(corpus, arousal_cue_probability=cue_probability, valence_cue_probability=cue_probability)
    return Preset("pilot", replace(pocket.run, preset="pilot"), alphas=tuple(READ), corpus=corpus, device="cpu")


def pilot_plan(
    pilot: PilotConfig, settings: Settings, size: int, alphas: Sequence[float] = tuple(READ), **changes: float
) -> Plan:
    """The runs of `size` utterances a voice on the pilot's test voices, with `changes` of the preset's recipe.

    The epochs come nearest to the pilot's steps: nine voices train.
    """
    preset = pilot_preset(pilot, size)
    epochs = max(1, round(pilot.steps * preset.run.batch_size / (9 * size)))
    template = replace(preset.run, epochs=epochs, **changes)
    return Plan(preset, settings, tuple(alphas), tuple(pilot.folds), template, corpus_of(preset, settings))


def read_ceilings(records: Records) -> dict:
    """What the pilot may know of one setting's runs, by alpha and measure, a value for each test voice."""
    collapsed, values = {}, {}
    for alpha, runs in records.runs.set_index("fold").groupby("alpha"):
        collapsed[f"{alpha:g}"] = int(runs["collapsed"].sum())
        for measure in READ[alpha]:
            values[f"{measure}_alpha_{alpha:g}"] = {fold: round(float(v), 4) for fold, v in runs[measure].items()}
    return {"collapsed": collapsed, "seconds_per_run": round(float(records.runs["seconds"].mean()), 1)} | values


def judge(row: dict, ladder_top: float, pilot: PilotConfig) -> dict[str, bool]:
    """Which of the wanted properties a setting has, by means over the test voices."""
    accuracy = mean(row["accuracy_alpha_0"].values())
    low, high = pilot.accuracy_alpha_zero
    return {
        "accuracy at alpha 0 in range": low <= accuracy <= high,
        "accuracy at alpha 0 under the ladder's top": accuracy <= ladder_top - pilot.below_the_ladder,
        "WER at alpha 0 high": mean(row["wer_alpha_0"].values()) >= pilot.wer_alpha_zero,
        "WER at alpha 1 low": mean(row["wer_alpha_1"].values()) <= pilot.wer_alpha_one,
        "no run collapsed": not sum(row["collapsed"].values()),
    }


def choose(rows: Sequence[dict], ladder_top: float, pilot: PilotConfig) -> dict:
    """The setting with most of the wanted properties; of several, the one with the lowest WER at alpha 1."""

    def rank(row: dict) -> tuple[int, float]:
        return -sum(judge(row, ladder_top, pilot).values()), mean(row["wer_alpha_1"].values())

    best = min(rows, key=rank)
    return {name: best[name] for name in SETTING} | {"wanted": judge(best, ladder_top, pilot)}
