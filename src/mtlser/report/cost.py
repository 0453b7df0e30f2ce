"""Benchmark records → the tables of the chapter on cost: promises beside measurements, figures, machines.

A record is the dictionary that `runs.benchmark` wrote, also for benchmarks that are no more. Promises, with what was
predicted before it was measured and from what, are rows of `data/promises.csv`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mtlser import paper
from mtlser.config import DATA_FOLDER, MAINTAINERS, get_preset
from mtlser.report import figures
from mtlser.report.display import NUM_FOLDS, Html, line, three_digits
from mtlser.runs.benchmark import FOLDER, read_record
from mtlser.runs.settings import Settings

# Columns benchmark, device, name (in a record's `measured`), title, unit, bound ("at least", "at most", or empty where
# there is no target), target, predicted, and what the prediction came from.
PROMISED = pd.read_csv(DATA_FOLDER / "promises.csv", keep_default_na=False, na_values={"target": "", "predicted": ""})
NOT_MEASURED = "not measured"
VARIANTS = json.loads((DATA_FOLDER / "step_variants.json").read_text(encoding="utf-8"))  # in words, also old ones
STEP_PARTS = ("batch", "forward", "losses", "backward", "optimiser")  # of a training step of the pocket model
ROWS = {  # heading of a table's first column → a row's name in the names of figures, and what the column says of it
    "variant": VARIANTS,
    "precision": {"float32": "float32", "bf16": "bf16"},
    "part": {part: part for part in STEP_PARTS} | {"step": "whole step"},
}


def read(results: Path | None = None) -> tuple[list[dict], list[dict]]:
    """One record of each benchmark and device under the results folder, in the order of the promises; and all others.

    The one is the maintainers' where there is one, and else the newest. Raises RecordError for a damaged record.
    """
    paths = sorted((results or Settings.from_environment().results).glob(f"*/{FOLDER}/*.json"))
    found = [read_record(path) | {"contributor": path.parts[-3]} for path in paths]
    chosen = sorted(found, key=lambda record: (record["contributor"] == MAINTAINERS, record["finished"]))
    last = {(record["benchmark"], record["device"]): record for record in chosen}
    order = PROMISED[["benchmark", "device"]].drop_duplicates().itertuples(index=False, name=None)
    shown = [last[key] for key in order if key in last]
    return shown, [record for record in found if record not in shown]


def promises(records: Sequence[dict], how: str = "left") -> pd.DataFrame:
    """The promises with what the records measured of them; `how`: "left" keeps those that none measured.

    As PROMISED, `why` being prediction_from, with units; besides columns what, measured, outcome, machine, by, day.
    Left out is what has no target and is missing from a record that has others: another kind of processor has it.
    """
    rows = [
        (one["benchmark"], one["device"], name, value, _machine(one), one["contributor"], one["finished"][:10])
        for one in records
        for name, value in one["measured"].items()
    ]
    keys = ["benchmark", "device", "name"]
    measured = pd.DataFrame(rows, columns=[*keys, "value", "machine", "by", "day"]).astype({"value": float})
    table = PROMISED.rename(columns={"why": "prediction_from"}).merge(measured, how, on=keys)
    bound, of_record = table["bound"], table.groupby(keys[:2])["value"].transform("count")
    table = table[table["value"].notna() | (bound != "") | (of_record == 0)]
    met = (table["value"] <= table["target"]).where(bound == "at most", table["value"] >= table["target"])
    outcome = met.map({True: "met", False: "missed"}).mask(bound == "", "no target")
    return table.assign(
        what=table["title"].str.replace("`", ""),  # a table shows no Markdown
        predicted=list(map(amount, table["predicted"], table["unit"])),
        target=[f"{row.bound} {amount(row.target, row.unit)}" if row.bound else "–" for row in table.itertuples()],
        measured=list(map(amount, table["value"], table["unit"])),
        outcome=outcome.mask(table["value"].isna(), NOT_MEASURED),
    )


def amount(value: float, unit: str) -> str:
    """A value with three digits and its unit: 2.2567, "times" → "2.26 times"; a share as a percentage; NaN: unknown."""
    if pd.isna(value):
        return NOT_MEASURED
    of_one = {"share": f"{value:.0%}", "relative": f"{value:.1e}"}
    return of_one.get(unit) or f"{three_digits(value)} {unit}"


def _machine(record: dict) -> str:
    hardware = record["hardware"]
    name = hardware.get("gpu") or " with ".join(filter(None, [hardware["processor"], hardware.get("instructions")]))
    return f"{name}, {hardware['cores']} cores, {hardware['memory_gib']:g} GiB"


def _record(records: Sequence[dict], benchmark: str, device: str = "cpu") -> dict:
    """The record of a benchmark on a device; one without numbers where there is none."""
    found = (record for record in records if (record["benchmark"], record["device"]) == (benchmark, device))
    return next(found, {"measured": {}, "details": {}})


def measured_on(records: Sequence[dict], benchmark: str, device: str = "cpu", takes: str = "") -> str:
    """The machine and the repeats (or `takes`) of a benchmark's record, as a caption ends; "Not measured" without."""
    record = _record(records, benchmark, device)
    if "hardware" not in record:
        return NOT_MEASURED.capitalize()
    threads = f"{record['threads']} thread" + ("" if record["threads"] == 1 else "s")
    return f"Measured on {_machine(record)}, {threads}; " + (takes or f"medians of {record['repeats']}")


def figures_of(
    records: Sequence[dict], benchmark: str, first: str, columns: Mapping[str, str], device: str = "cpu"
) -> pd.DataFrame:
    """Figures of a benchmark's record as text, a row for each of `ROWS[first]` that it has; no rows without a record.

    `columns`: heading → format of figures by name, in which * stands for the row: "{rate_*:.3g}". A row without the
    first of them is left out; any other that is missing is "–".
    """
    found, rows = _figures(_record(records, benchmark, device)), []
    for name, title in ROWS[first].items():
        cells = []
        for form in columns.values():
            try:
                cells.append(form.replace("*", name).format_map(found))
            except KeyError:
                cells.append("–")
        if cells[0] != "–":
            rows.append((title, *cells))
    return pd.DataFrame(rows, columns=[first, *columns])


def _figures(record: dict) -> dict[str, float]:
    """What a record measured, and by name what follows: extremes of samples, training's GFLOP/s, shares of a step."""
    found = dict(record["measured"])
    for variant, samples in record["details"].get("samples", {}).items():
        name = variant.removeprefix("ours_")
        found |= {f"lowest_{name}": min(samples), f"highest_{name}": max(samples)}
    for name in ("float32", "bf16"):
        if f"utilisation_{name}" in found:  # less was computed than counted where operations are saved
            gflop = found.get(f"gflop_computed_{name}", found["gflop_per_audio_second"])
            found |= {f"gflop_{name}": gflop, f"training_gflops_{name}": gflop * found[f"rate_{name}"]}
    if "step_ms_after" in found:
        found |= {f"{part}_share": found[f"{part}_ms_after"] / found["step_ms_after"] for part in ROWS["part"]}
    return found


def operations(records: Sequence[dict]) -> pd.DataFrame:
    """Seconds of one step by kind of operation: a row for each kind, a column for each variant; none unmeasured."""
    table = pd.DataFrame(_record(records, "training-step")["details"].get("operations", {}))
    if table.empty:
        return table
    table.loc["whole step"] = table.sum()
    table = table.rename(columns=lambda name: VARIANTS[name.removeprefix("ours_")])
    return table.map("{:.2f} s".format).rename_axis("operation").reset_index()


def step_profile(parts: pd.DataFrame) -> figures.Figure:
    """Milliseconds of the parts of a step (rows; columns before, after) as two bars."""
    figure, (axes,) = figures.panels_of(1, height=2.2)
    colours = ["#7F7F7F", "#2A7FC0", "#C77C00", "#009E73", "#C0629B"]
    parts[["after", "before"]].T.plot.barh(stacked=True, ax=axes, color=colours, width=0.6, legend=False)
    axes.set(xlabel="milliseconds", ylabel="")
    figure.legend(loc="outside upper center", ncols=len(parts))
    return figure


def profile_figure(records: Sequence[dict]) -> Html:
    """Milliseconds of the parts of a pocket step as bars; a line of text where they were not measured."""
    title, found = "A pocket step, before and after", _record(records, "pocket-step")["measured"]
    if not found:
        return line(f"{title}: {NOT_MEASURED}")
    parts = {when: {part: found[f"{part}_ms_{when}"] for part in STEP_PARTS} for when in ("before", "after")}
    bars = "Two bars, before and after, made of the parts of a step; the one after is shorter."
    source = measured_on(records, "pocket-step")
    return figures.show(step_profile, pd.DataFrame(parts), title, alt=bars, source=source)


def table4_costs(records: Sequence[dict]) -> pd.DataFrame:
    """What Table 4 in full takes: published practice, and what was measured here as a projection."""
    speed = paper.PUBLISHED_V100_AUDIO_SECONDS_PER_SECOND
    quoted = f"quoted: {speed:g} audio-seconds a second, SpeechBrain's recipe for IEMOCAP with the same backbone"
    preset = get_preset("iemocap")
    num_trainings = len(preset.alphas) * len(preset.seeds) * (NUM_FOLDS[preset.run.protocol] - 1)  # of the whole corpus
    hours = num_trainings * preset.run.epochs * paper.IEMOCAP_HOURS / speed
    rows = [("one V100, published practice", f"about {hours:.0f} hours", quoted)]
    how = "projected from the measured step and evaluation; not run to its end"
    for benchmark, device, name in (
        ("training-step", "cpu", "this CPU, one run at a time"),
        ("several-runs", "cpu", "this CPU, a run on each core"),
        ("training-step", "cuda", "one GPU, one run at a time"),
        ("several-runs", "cuda", "one H100, several runs at a time"),
    ):
        hours = _record(records, benchmark, device)["measured"].get("table4_hours")
        rows.append((name, NOT_MEASURED, "–") if hours is None else (name, f"about {hours:,.0f} hours", how))
    return pd.DataFrame(rows, columns=["machine", "time", "from"])


def pocket_time(records: Any) -> pd.DataFrame:
    """What the finished pocket runs took, by their own clocks: columns what, amount. No rows without a run."""
    seconds = records.only(status="done").runs["seconds"].astype(float)
    minutes = seconds.sum() / 60
    rows = [
        ("finished runs", f"{len(seconds)}"),
        ("one run, median", f"{seconds.median():.0f} s"),
        ("longest run", f"{seconds.max():.0f} s"),
        ("all, one after the other", f"{minutes:.1f} minutes"),
        ("all, two at a time", f"{minutes / 2:.1f} minutes, computed; the target of `make reproduce` is 20"),
    ]
    return pd.DataFrame(rows if len(seconds) else [], columns=["what", "amount"])


def machines(records: Sequence[dict]) -> pd.DataFrame:
    """What measured each benchmark: machine, threads, repeats, packages, code and day."""
    rows = [
        (one["title"], _machine(one), one["threads"], one["repeats"], one["versions"]["torch"], one["revision"],
         one["finished"][:10], one["contributor"])
        for one in records
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["benchmark", "machine", "threads", "repeats", "torch", "code", "day", "by"])
