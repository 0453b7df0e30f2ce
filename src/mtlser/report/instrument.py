"""The pocket instrument in tables: what its backbone learnt, what the pilot chose, what each part buys."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from mtlser.config import POCKET_BACKBONE
from mtlser.report import averages, statistics, tables
from mtlser.report.display import interval_points, p_statement, points, provenance, tenths
from mtlser.runs.experiments import CHANGED_ALPHAS, CHANGES, HALF_RATE, changed
from mtlser.runs.pilot import RECORD, SETTING
from mtlser.runs.plan import table4
from mtlser.runs.records import RecordError, Records
from mtlser.runs.settings import Settings

AS_IT_IS = "as in Table 4"


def backbone_record() -> dict[str, Any]:
    """What pretraining wrote beside the weights that ship."""
    return json.loads((POCKET_BACKBONE / "record.json").read_text(encoding="utf-8"))


def pilot_record(settings: Settings | None = None) -> dict[str, Any]:
    """The committed record of the pilot, of the first contributor that has one. Raises RecordError where none has."""
    for path in sorted((settings or Settings.from_environment()).results.glob(f"*/{RECORD}")):
        return json.loads(path.read_text(encoding="utf-8"))
    raise RecordError(f"no {RECORD} in the results folder; book/recipes/pilot.ipynb writes it")


def named_rows(
    values: pd.DataFrame, names: Mapping[str, str], head: str, written: Callable[[float], str] = "{:.3f}".format
) -> pd.DataFrame:
    """The rows of `values` that `names` lists, under those names in a column `head`; "–" where there is no value."""
    shown = values.loc[list(names)].map(lambda value: "–" if pd.isna(value) else written(value))
    return shown.rename(index=dict(names)).reset_index(names=head)


def learning_curve(record: dict[str, Any]) -> pd.DataFrame:
    """The curve of pretraining in long form: step, stream (phones, prosody), accuracy on hidden frames."""
    names = {"phone_accuracy": "phone clusters", "prosody_accuracy": "prosody clusters"}
    return pd.DataFrame(record["curve"]).melt("step", list(names), "stream", "accuracy").replace({"stream": names})


def used_ladder(pilot: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The ladder at the strength of cues that the pocket corpus has."""
    return pilot["ladder"][f"{pilot['corpus']['arousal_cue_probability']:g}"]


def grid(pilot: dict[str, Any]) -> pd.DataFrame:
    """Every setting that the pilot tried, means over its test voices; `setting` says which was chosen."""
    flat, chosen = pd.json_normalize(pilot["grid"]), [pilot["chosen"][name] for name in SETTING]
    columns = {
        "setting": (flat[list(SETTING)] == chosen).all(axis=1).map({True: "chosen", False: "tried"}),
        "utterances a voice": flat["utterances_per_speaker"],
        "epochs": flat["epochs"],
        "learning rate": flat["learning_rate"],
        "accuracy, α = 0": flat.filter(like="accuracy_alpha_0.").mean(axis=1),
        "WER, α = 0": flat.filter(like="wer_alpha_0.").mean(axis=1),
        "WER, α = 1": flat.filter(like="wer_alpha_1.").mean(axis=1),
        "collapsed": flat.filter(like="collapsed.").sum(axis=1),
        "seconds a run": flat["seconds_per_run"],
    }
    return pd.DataFrame(columns)


def changed_records(preset: str = "pocket", settings: Settings | None = None) -> dict[str, Records]:
    """The records of Table 4 as it is, and of Table 4 with one thing changed, by what changed."""
    plans = {AS_IT_IS: table4(preset, settings)} | {name: changed(name, preset, settings) for name in CHANGES}
    return {name: plan.records() for name, plan in plans.items()}


def changes_source(found: Mapping[str, Records]) -> str:
    """Provenance of each of `changed_records`, as a caption says it."""
    return ". ".join(f"{name[:1].upper()}{name[1:]}: {provenance(records)}" for name, records in found.items())


def changes_table(found: Mapping[str, Records]) -> pd.DataFrame:
    """`changed_records` for a few alphas: accuracy, interval, WER, folds. One without a run has rows that say so."""
    alphas = {AS_IT_IS: sorted({alpha for alphas in CHANGED_ALPHAS.values() for alpha in alphas})} | CHANGED_ALPHAS
    rows = [
        {"what": name, "alpha": alpha, **tables.pocket_row(records, alpha)}
        for name, records in found.items()
        for alpha in alphas[name]
    ]
    return pd.DataFrame(rows)


def accuracy_differences(changes: pd.DataFrame) -> dict[str, dict[float, float]]:
    """`changes_table` → what each change does to the accuracy, by alpha; empty for one that was not run."""
    accuracy = changes.set_index(["what", "alpha"])["pocket_accuracy"]
    found = {name: (accuracy[name] - accuracy[AS_IT_IS])[list(alphas)] for name, alphas in CHANGED_ALPHAS.items()}
    return {name: {} if values.isna().any() else values.to_dict() for name, values in found.items()}


def rate_table(found: Mapping[str, Records]) -> pd.DataFrame:
    """The gain of the paper's best alpha over alpha = 0, paired: both at Table 4's learning rate, both at half of it,
    and alpha = 0 alone at half. No row where a run is missing.
    """
    baseline, best = CHANGED_ALPHAS[HALF_RATE]
    whole, half = (found[name].only(status="done") for name in (AS_IT_IS, HALF_RATE))
    rows = []
    for zero, other in ((whole, whole), (half, half), (half, whole)):
        ran = {"zero": zero.only(alpha=baseline), "best": other.only(alpha=best)}
        if all(len(records.runs) for records in ran.values()):
            gain = statistics.compare(pd.concat([records.predictions for records in ran.values()]), baseline, best)
            row = {f"rate_{name}": records.runs["learning_rate"].iloc[0] for name, records in ran.items()}
            row |= {f"accuracy_{name}": averages.pooled_accuracy(records) for name, records in ran.items()}
            rows.append(row | {key: gain[key] for key in ("difference", "difference_interval", "permutation")})
    return pd.DataFrame(rows)


def rate_sentence(rates: pd.DataFrame) -> str:
    """`rate_table` in words, for README and pages."""
    if len(rates) < 3:
        return "Whether the gain hangs on the learning rate: not run."
    whole, half, own = rates.itertuples()
    gain = [
        f"{points(row.difference)} points (95% interval {interval_points(row.difference_interval)}, "
        f"{p_statement(row.permutation)})"
        for row in (whole, half, own)
    ]
    return (
        f"Synthetic speech, ten voices, α = 0.1 against α = 0. Both at a learning rate of {whole.rate_zero:g}: "
        f"{gain[0]}. Both at {half.rate_zero:g}: {gain[1]}. Each at its own, {own.rate_zero:g} for α = 0 and "
        f"{own.rate_best:g} for α = 0.1: {gain[2]}. Without the words accuracy is {tenths(whole.accuracy_zero)} at "
        f"{whole.rate_zero:g} and {tenths(half.accuracy_zero)} at {half.rate_zero:g}; {rate_verdict(rates)}."
    )


def rate_verdict(rates: pd.DataFrame) -> str:
    """What `rate_table` says of the gain at half the rate, as a clause; "not run" where a rate is missing."""
    if len(rates) < 3:
        return "not run"
    low, high = rates["difference_interval"].iloc[1]
    found, half = rates["difference"].iloc[:2]
    if low <= 0 <= high:
        return "**at half the rate no gain is found**"
    return "the sign is the same at both rates" if found * half > 0 else "**the sign changes with the rate**"
