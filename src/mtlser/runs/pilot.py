"""The pilot: what chose the pocket backbone's objective and the pocket preset's size, learning rate and steps.

    python -m mtlser pilot

Its corpus has voices that neither the pocket corpus nor the backbone's pretraining has. It reads ceilings only (see
`PilotConfig`), keeps its record as it goes, and does only what is missing when called again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean

import pandas as pd

from mtlser.config import PILOT, PRESETS, PilotConfig, Preset, RunConfig
from mtlser.corpus.pocket import bayes_accuracy
from mtlser.runs import baselines, engines, records
from mtlser.runs.experiments import Plan, RunsFailed, load_utterances
from mtlser.runs.settings import Settings
from mtlser.storage import write_json

RECORD = "pilot.json"
ALPHA_ZERO, ALPHA_ONE = 0.0, 1.0
# What is read of a run. The accuracy at alpha 1 is not among it: beside that at alpha 0 it would be a contrast.
READ = {ALPHA_ZERO: ("accuracy", "wer"), ALPHA_ONE: ("wer",)}
# Each is pretrained for as many steps, in the same batches.
CANDIDATES = {
    "contrastive": ["--objective", "contrastive"],
    "masked prediction, one pass": ["--second-pass-share", "0"],
    "masked prediction, two passes": ["--second-pass-share", "0.5"],
}

SETTING = ("utterances_per_speaker", "learning_rate", "epochs")  # what a row of the grid is told apart by

Say = Callable[[str], None]


def pilot_preset(pilot: PilotConfig, utterances_per_speaker: int) -> Preset:
    """The pocket preset on the pilot's voices."""
    pocket = PRESETS["pocket"]
    corpus = replace(pocket.corpus, voices="pilot", seed=pilot.seed, utterances_per_speaker=utterances_per_speaker)
    run = replace(pocket.run, preset="pilot")
    return Preset("pilot", run, alphas=(ALPHA_ZERO, ALPHA_ONE), corpus=corpus)


def pilot_plan(pilot: PilotConfig, settings: Settings, size: int, alphas: Sequence[float], **changes) -> Plan:
    """Runs of one setting on the pilot's test voices; `changes` are fields of RunConfig."""
    preset = pilot_preset(pilot, size)
    return Plan(preset, settings, tuple(alphas), pilot.folds, replace(preset.run, **changes))


def epochs_for(pilot: PilotConfig, size: int, run: RunConfig) -> int:
    """Epochs that come nearest to the pilot's steps: nine voices train."""
    return max(1, round(pilot.steps * run.batch_size / (9 * size)))


def complete_plans(plans: Sequence[Plan]) -> None:
    """Trains what several plans on one corpus and backbone are missing. Raises RunsFailed when a run failed."""
    missing = [run for plan in plans for run in plan.missing()]
    if missing:
        failures = engines.run_missing(plans[0], missing)
        if failures:
            raise RunsFailed("; ".join(f"{run}: {error}" for run, error in failures.items()))


def read_ceilings(plan: Plan) -> dict:
    """What the pilot may know of a plan's runs, by alpha and measure, a value for each test voice."""
    runs = records.read_records([run.folder for run in plan.runs]).runs
    found: dict = {"collapsed": {}, "seconds_per_run": round(float(runs["seconds"].mean()), 1)}
    for alpha in plan.alphas:
        mine = runs[runs["alpha"] == alpha].set_index("fold")
        found["collapsed"][f"{alpha:g}"] = int(mine["collapsed"].sum())
        for measure in READ[alpha]:
            found[f"{measure}_alpha_{alpha:g}"] = {f: round(float(v), 4) for f, v in mine[measure].items()}
    return found


def measure_ladder(pilot: PilotConfig, settings: Settings, probability: float) -> dict[str, dict[str, float]]:
    """Accuracy of simple features where both cues are right that often, and the generator's bounds.

    "ten voices": each left out in turn; "test voices": the same folds as the trained models.
    """
    preset = pilot_preset(pilot, max(pilot.sizes))
    corpus = replace(preset.corpus, arousal_cue_probability=probability, valence_cue_probability=probability)
    utterances = load_utterances(replace(preset, corpus=corpus), settings)
    prosody = baselines.measure_prosody(utterances)
    rungs = {
        "ten voices": baselines.ladder(utterances, prosody),
        "test voices": baselines.ladder(utterances, prosody, pilot.folds),
        "bound": bayes_accuracy(corpus),
    }
    return {who: {name: round(value, 4) for name, value in found.items()} for who, found in rungs.items()}


def pretrain_candidate(name: str, arguments: Sequence[str], pilot: PilotConfig, settings: Settings) -> Path:
    """The folder of a candidate's weights and record; pretrained if it is missing."""
    from mtlser.model import pretraining

    folder = settings.artifacts / "pretraining"
    output = folder / name.replace(",", "").replace(" ", "-")
    if not (output / "record.json").exists():
        steps = ["--steps", str(pilot.candidate_steps), "--convolution-share", "1"]
        places = {"--folder": folder, "--output": output, "--checkpoint": output}
        pretraining.main([*arguments, *steps, *(str(word) for pair in places.items() for word in pair)])
    return output


def compare_candidates(pilot: PilotConfig, settings: Settings, size: int, say: Say) -> list[dict]:
    """Probes of each objective's backbone, and the WER at alpha 1 that fine-tuning it reaches."""
    rows = []
    for name, arguments in CANDIDATES.items():
        say(f"pretraining candidate: {name}")
        folder = pretrain_candidate(name, arguments, pilot, settings)
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        epochs = epochs_for(pilot, size, PRESETS["pocket"].run)
        plan = pilot_plan(pilot, replace(settings, backbone=str(folder)), size, (ALPHA_ONE,), epochs=epochs)
        complete_plans([plan])
        kept = {key: record[key] for key in ("probes", "purity", "seconds", "sha256")}
        rows.append({"name": name, "steps": record["config"]["steps"], **kept, **read_ceilings(plan)})
    return rows


def search(pilot: PilotConfig, settings: Settings, say: Say) -> list[dict]:
    """The grid of corpus sizes and learning rates, at nearly the same number of steps."""
    rows = []
    for size in pilot.sizes:
        epochs = epochs_for(pilot, size, PRESETS["pocket"].run)
        plans = {
            rate: pilot_plan(
                pilot, settings, size, (ALPHA_ZERO, ALPHA_ONE), epochs=epochs, learning_rate=rate,
                learning_rate_alpha_zero=rate,
            )
            for rate in pilot.learning_rates
        }  # fmt: skip
        say(f"{size} utterances a voice, {epochs} epochs, learning rates {', '.join(f'{r:g}' for r in plans)}")
        complete_plans(list(plans.values()))
        for rate, plan in plans.items():
            setting = {"utterances_per_speaker": size, "learning_rate": rate, "epochs": epochs}
            rows.append(setting | read_ceilings(plan))
    return rows


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


def run_pilot(settings: Settings, folder: Path, say: Say, pilot: PilotConfig = PILOT) -> dict:
    """Completes the pilot and writes `<folder>/pilot.json` after each part; returns the record."""
    record: dict = {"pilot": asdict(pilot), "corpus": asdict(pilot_preset(pilot, pilot.sizes[0]).corpus)}
    record |= {"run": pilot_preset(pilot, pilot.sizes[0]).run.to_dict(), "read": {f"{a:g}": m for a, m in READ.items()}}
    record |= {"versions": records.versions(), "hardware": records.hardware(), "revision": records.revision()}
    parts = {
        "ladder": lambda: {f"{p:g}": measure_ladder(pilot, settings, p) for p in pilot.cue_probabilities},
        "candidates": lambda: compare_candidates(pilot, settings, pilot.sizes[0], say),
        "grid": lambda: search(pilot, settings, say),
    }
    for name, measure in parts.items():
        say(f"pilot: {name}")
        record[name] = measure()
        write_json(folder / RECORD, record)
    used = f"{PRESETS['pocket'].corpus.arousal_cue_probability:g}"
    record["chosen"] = choose(record["grid"], record["ladder"][used]["test voices"]["both"], pilot)
    write_json(folder / RECORD, record)
    return record


def read_pilot(results: Path) -> dict | None:
    """The committed record of the pilot, of the first contributor that has one; None where none has."""
    for path in sorted(Path(results).glob(f"*/{RECORD}")):
        return json.loads(path.read_text(encoding="utf-8"))
    return None


def is_chosen(row: dict, record: dict) -> bool:
    """Whether a row of the record's grid is the setting that was chosen."""
    return all(row[name] == record["chosen"][name] for name in SETTING)


def grid_table(record: dict) -> pd.DataFrame:
    """One row a setting: means over test voices of what the pilot reads."""
    rows = [
        {
            "utterances a voice": row["utterances_per_speaker"],
            "epochs": row["epochs"],
            "learning rate": row["learning_rate"],
            "accuracy, α = 0": mean(row["accuracy_alpha_0"].values()),
            "WER, α = 0": mean(row["wer_alpha_0"].values()),
            "WER, α = 1": mean(row["wer_alpha_1"].values()),
            "collapsed": sum(row["collapsed"].values()),
            "seconds a run": row["seconds_per_run"],
        }
        for row in record["grid"]
    ]
    return pd.DataFrame(rows)
