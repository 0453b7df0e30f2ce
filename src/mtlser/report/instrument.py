"""The pocket instrument in tables: what its backbone learnt, what the pilot chose, what each part buys."""

from __future__ import annotations

import json
import math
from statistics import mean
from typing import Any

import pandas as pd

from mtlser.config import PILOT, POCKET_BACKBONE
from mtlser.report import statistics, tables
from mtlser.report.display import Markdown, interval_points, percent, points, provenance
from mtlser.runs.experiments import CHANGED_ALPHAS, CHANGES, HALF_RATE, Plan, Settings, changed, table4
from mtlser.runs.instrument import frozen
from mtlser.runs.pilot import grid_table, is_chosen, judge, read_pilot
from mtlser.runs.records import RecordError

PROBES = {
    "phoneme_accuracy": "the phoneme spoken in a frame, accuracy",
    "phone_accuracy": "a frame's MFCC cluster, accuracy",
    "pitch_r2": "mean log-F0 of an utterance, R²",
    "rate_r2": "letters per second, R² (mean over frames)",
    "rate_from_sum_r2": "letters per second, R² (sum over frames)",
}
PURITIES = {
    "phone_purity": "phone purity",
    "cluster_purity": "cluster purity",
    "pnmi": "mutual information, share of the phonemes' entropy",
}
RUNGS = {
    "neither": "the commonest emotion",
    "duration": "duration",
    "letters": "how often each letter occurs",
    "prosody": "pitch, its range, speaking rate",
    "words": "which words occur (gold transcript)",
    "both": "prosody and words",
}


def backbone_record() -> dict[str, Any]:
    """What pretraining wrote beside the weights that ship."""
    return json.loads((POCKET_BACKBONE / "record.json").read_text(encoding="utf-8"))


def pilot_record(settings: Settings | None = None) -> dict[str, Any]:
    """The committed record of the pilot. Raises RecordError where there is none."""
    record = read_pilot((settings or Settings.from_environment()).results)
    if record is None:
        raise RecordError("no pilot.json in the results folder; `make pilot` writes it")
    return record


def backbone_source(record: dict[str, Any], voices: str = "held-out voices") -> str:
    """Where a number about the shipped backbone comes from, as captions say it; `voices` it was measured on."""
    hardware, corpus, config = record["hardware"], record["corpus"], record["config"]
    split = "held_out" if voices == "held-out voices" else "training"
    return (
        f"Synthetic speech: {corpus['hours']} hours, {config['steps']:,} steps, seed {config['seed']}, "
        f"{record['seconds'] / 60:.0f} minutes on {hardware['threads']} thread of {hardware['processor']}; "
        f"measured on {voices} ({corpus[f'num_{split}_utterances']:,} utterances)"
    )


def pilot_source(pilot: dict[str, Any]) -> str:
    """Where a number of the pilot comes from, as captions say it."""
    voices = ", ".join(pilot["pilot"]["folds"])
    return (
        f"Pilot corpus (synthetic), voices of its own: simple features, ten voices; trained models, seed 0, test "
        f"voices {voices}, speaker folds, {pilot['run']['pooling']} pooling, on {pilot['hardware']['processor']}"
    )


def frozen_name(records: Any) -> Markdown:
    """The frozen instrument's name, and how many of the records carry it."""
    names = records.runs["instrument"] if len(records.runs) else pd.Series(dtype=object)
    name = frozen()["name"]
    if names.empty:
        return Markdown(f"The instrument is called **{name}**. No run of it is here: not run.")
    return Markdown(
        f"The instrument is called **{name}**: {(names == name).sum()} of {len(names)} records carry the name."
    )


def probes(record: dict[str, Any]) -> pd.DataFrame:
    """Linear probes of the shipped weights and of random ones: columns measure, pretrained, random weights."""
    rows = [
        {"what a linear function reads": words}
        | {who: f"{values[name]:.3f}" for who, values in record["probes"].items()}
        for name, words in PROBES.items()
    ]
    return pd.DataFrame(rows)


def purity(record: dict[str, Any]) -> pd.DataFrame:
    """Clusters of frames against the phonemes spoken: one row a clustering, one column a measure."""
    names = {"pretrained": "the backbone's own third layer", "random weights": "the same layer, random weights"}
    rows = [
        {"clusters of": names.get(name, name)} | {words: f"{values[key]:.3f}" for key, words in PURITIES.items()}
        for name, values in record["purity"].items()
    ]
    return pd.DataFrame(rows)


def learning_curve(record: dict[str, Any]) -> pd.DataFrame:
    """The curve of pretraining in long form: step, stream (phones, prosody), accuracy on hidden frames."""
    curve = pd.DataFrame(record["curve"])
    names = {"phone_accuracy": "phone clusters", "prosody_accuracy": "prosody clusters"}
    return curve.melt("step", list(names), "stream", "accuracy").replace({"stream": names})


def candidates(pilot: dict[str, Any]) -> pd.DataFrame:
    """Objectives compared at equal steps: probes, purity and fine-tuned WER at alpha 1, mean over pilot voices."""
    rows = []
    for row in pilot["candidates"]:
        read, own = row["probes"]["pretrained"], row["purity"]["pretrained"]
        rows.append(
            {
                "objective": row["name"],
                "steps": f"{row['steps']:,}",
                "phoneme probe": f"{read['phoneme_accuracy']:.3f}",
                "log-F0, R²": f"{read['pitch_r2']:.3f}",
                "rate, R²": f"{read['rate_r2']:.3f}",
                "mutual information": f"{own['pnmi']:.3f}",
                "WER after fine-tuning, α = 1": f"{mean(row['wer_alpha_1'].values()):.3f}",
            }
        )
    return pd.DataFrame(rows)


def ladder(pilot: dict[str, Any]) -> pd.DataFrame:
    """Accuracy of simple features in the pilot's corpus, and the generator's bound, for each strength of both cues."""
    columns = {
        f"cues right in {float(share):.0%}, {who}": found
        for share, rungs in pilot["ladder"].items()
        for who, found in rungs.items()
    }
    rows = [
        {"told by": words}
        | {column: percent(found[name]) if name in found else "–" for column, found in columns.items()}
        for name, words in RUNGS.items()
    ]
    return pd.DataFrame(rows)


def grid(pilot: dict[str, Any]) -> pd.DataFrame:
    """Every setting that the pilot tried, means over its test voices; the chosen one is marked."""
    table = grid_table(pilot)
    table.insert(0, "setting", ["chosen" if is_chosen(row, pilot) else "tried" for row in pilot["grid"]])
    table["accuracy, α = 0"] = table["accuracy, α = 0"].map(percent)
    for name in ("WER, α = 0", "WER, α = 1"):
        table[name] = table[name].map("{:.3f}".format)
    return table


def reading_of_grid(pilot: dict[str, Any]) -> Markdown:
    """Whether a model without transcripts passes what prosody tells, in a sentence with the pilot's numbers."""
    prosody = used_ladder(pilot)["test voices"]["prosody"]
    found = {row["learning_rate"]: [] for row in pilot["grid"]}
    for row in pilot["grid"]:
        found[row["learning_rate"]].append((mean(row["accuracy_alpha_0"].values()), mean(row["wer_alpha_0"].values())))
    words = [f"{percent(mean(a for a, _ in rows))} at {rate:g}" for rate, rows in found.items()]
    best = max(accuracy for rows in found.values() for accuracy, _ in rows)
    lowest_wer = min(wer for rows in found.values() for _, wer in rows)
    verdict = "passes" if best > prosody else "does not pass"
    return Markdown(
        f"By learning rate, the accuracy at α = 0 is {', '.join(words)} (means over sizes). At best it {verdict} what "
        f"pitch and rate tell ({percent(prosody)}), while its word error rate never falls below {lowest_wer:.3f}."
    )


def wanted(pilot: dict[str, Any]) -> pd.DataFrame:
    """What was asked of the instrument, what the chosen setting gives in the pilot, and whether that is enough."""
    row = next(row for row in pilot["grid"] if is_chosen(row, pilot))
    top = used_ladder(pilot)["test voices"]["both"]
    met = judge(row, top, PILOT)
    accuracy = mean(row["accuracy_alpha_0"].values())
    low, high = PILOT.accuracy_alpha_zero
    found = {
        "accuracy at alpha 0 in range": (f"accuracy at α = 0 between {low:g} and {high:g}", percent(accuracy)),
        "accuracy at alpha 0 under the ladder's top": (
            f"at least {100 * PILOT.below_the_ladder:.0f} points under the ladder's best features ({percent(top)})",
            f"{points(accuracy - top)} points",
        ),
        "WER at alpha 0 high": (
            f"WER at α = 0 at least {PILOT.wer_alpha_zero:g}", f"{mean(row['wer_alpha_0'].values()):.3f}",
        ),
        "WER at alpha 1 low": (
            f"WER at α = 1 at most {PILOT.wer_alpha_one:g}", f"{mean(row['wer_alpha_1'].values()):.3f}",
        ),
        "no run collapsed": ("no run names one class for nearly everything", f"{sum(row['collapsed'].values())} did"),
    }  # fmt: skip
    rows = [
        {"wanted": words, "found in the pilot": value, "met": "yes" if met[name] else "no"}
        for name, (words, value) in found.items()
    ]
    return pd.DataFrame(rows)


def used_ladder(pilot: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The ladder at the strength of cues that the frozen corpus has."""
    strength = frozen()["description"]["corpus"]["settings"]["arousal_cue_probability"]
    return pilot["ladder"][f"{strength:g}"]


AS_IT_IS = "as in Table 4"


def _plans(preset: str, settings: Settings | None) -> dict[str, Plan]:
    return {AS_IT_IS: table4(preset, settings)} | {name: changed(name, preset, settings) for name in CHANGES}


def _shown_alphas() -> list[float]:
    """The alphas of any change: what is shown of Table 4 as it is."""
    return sorted({alpha for alphas in CHANGED_ALPHAS.values() for alpha in alphas})


def changes_table(preset: str = "pocket", settings: Settings | None = None) -> pd.DataFrame:
    """Table 4 as it is and with one thing changed, for a few alphas: accuracy, interval, WER, folds.

    An experiment without a run has rows that say so.
    """
    rows = []
    for name, plan in _plans(preset, settings).items():
        found = plan.records()
        for alpha in CHANGED_ALPHAS.get(name, _shown_alphas()):
            rows.append({"what": name, "alpha": alpha, **tables.pocket_row(found, alpha)})
    return pd.DataFrame(rows)


def changes_source(preset: str = "pocket", settings: Settings | None = None) -> str:
    """Provenance of each experiment of `changes_table`, as its caption says it."""
    plans = _plans(preset, settings)
    return ". ".join(f"{name[:1].upper()}{name[1:]}: {provenance(plan.records())}" for name, plan in plans.items())


def reading_of_changes(preset: str = "pocket", settings: Settings | None = None) -> Markdown:
    """What each change does to the accuracy, in sentences with the numbers of the records."""
    table = changes_table(preset, settings).set_index(["what", "alpha"])["pocket_accuracy"]
    lines = []
    for name, alphas in CHANGED_ALPHAS.items():
        differences = {alpha: table[name, alpha] - table[AS_IT_IS, alpha] for alpha in alphas}
        if any(math.isnan(value) for value in differences.values()):
            lines.append(f"* {name}: not run.")
            continue
        words = " and ".join(f"{points(value)} points at α = {alpha:g}" for alpha, value in differences.items())
        lines.append(f"* {name}: {words} of accuracy.")
    return Markdown("\n".join(lines))


def rate_table(preset: str = "pocket", settings: Settings | None = None) -> pd.DataFrame:
    """The gain of the paper's best alpha over alpha = 0 at Table 4's learning rate and at half of it, paired."""
    baseline, best = CHANGED_ALPHAS[HALF_RATE]
    rows = []
    plans = _plans(preset, settings)
    for plan in (plans[AS_IT_IS], plans[HALF_RATE]):
        predictions = plan.records().only(status="done").predictions
        if {baseline, best} <= set(predictions["alpha"]):
            found = statistics.compare(predictions, baseline, best)
            row = {"learning rate": f"{plan.template.learning_rate:g}", "comparison": f"{baseline:g} → {best:g}"}
            rows.append(row | {key: found[key] for key in ("difference", "difference_interval", "permutation")})
    return pd.DataFrame(rows)


def reading_of_rates(preset: str = "pocket", settings: Settings | None = None) -> Markdown:
    """Whether the paper's comparison comes out alike at half the learning rate, with the numbers of the records."""
    table = rate_table(preset, settings)
    if len(table) < 2:
        return Markdown("Whether the gain hangs on the learning rate: not run.")
    words = [
        f"{points(row['difference'])} points at {row['learning rate']} "
        f"(95% interval {interval_points(row['difference_interval'])})"
        for _, row in table.iterrows()
    ]
    low, high = table["difference_interval"].iloc[1]
    found, half = table["difference"]
    if low <= 0 <= high:
        verdict = "at half the rate no gain is found, so **what Table 4 shows is an effect of α at this learning rate**"
    elif found * half > 0:
        verdict = "the sign is the same at both rates"
    else:
        verdict = "**the sign changes with the rate**"
    comparison, baseline = table["comparison"].iloc[0], CHANGED_ALPHAS[HALF_RATE][0]
    return Markdown(
        f"Synthetic, {comparison}, the same rate for both: {' and '.join(words)}; {verdict}. "
        f"The chapter on the instrument has the rows of α = {baseline:g} at both rates."
    )
