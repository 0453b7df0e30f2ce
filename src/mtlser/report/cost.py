"""Benchmark records → the tables of the chapter on cost: promises beside measurements, rates, profile, machines.

A record is the dictionary that `runs.benchmark` wrote, also for benchmarks that are no more. Promises, with what was
predicted before it was measured and from what, are rows of `data/promises.csv`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mtlser import paper
from mtlser.config import DATA_FOLDER, MAINTAINERS, get_preset
from mtlser.report import figures
from mtlser.report.display import NUM_FOLDS, Html, line
from mtlser.runs.benchmark import read_benchmarks
from mtlser.runs.settings import Settings

NOT_MEASURED = "not measured"
STEP_PARTS = ("batch", "forward", "losses", "backward", "optimiser")  # of a training step of the pocket model
# In words, also those of old records.
VARIANTS = json.loads((DATA_FOLDER / "step_variants.json").read_text(encoding="utf-8"))


def read(results: Path | None = None) -> tuple[list[dict], list[dict]]:
    """One record of each benchmark and device under the results folder, in the order of the promises; and all others.

    The one is the maintainers' where there is one, and else the newest.
    """
    found = read_benchmarks(results or Settings.from_environment().results)
    chosen = sorted(found, key=lambda record: (record["contributor"] == MAINTAINERS, record["finished"]))
    last = {(record["benchmark"], record["device"]): record for record in chosen}
    order = promised()[["benchmark", "device"]].drop_duplicates().itertuples(index=False, name=None)
    shown = [last[key] for key in order if key in last]
    return shown, [record for record in found if record not in shown]


def promised() -> pd.DataFrame:
    """The promises: benchmark, device, name (in a record's `measured`), title, unit, bound, target, predicted, why.

    `bound` is "at least" or "at most", and empty where there is no target.
    """
    return pd.read_csv(DATA_FOLDER / "promises.csv", keep_default_na=False, na_values={"target": "", "predicted": ""})


def _compared(records: Sequence[dict], how: str) -> pd.DataFrame:
    """The promises with what the records measured of them; `how`: "left" keeps those that none measured."""
    rows = [
        (one["benchmark"], one["device"], name, float(value), order, _machine(one), one["contributor"],
         one["finished"][:10])
        for order, one in enumerate(records)
        for name, value in one["measured"].items()
    ]  # fmt: skip
    columns = ["benchmark", "device", "name", "value", "order", "machine", "by", "day"]
    table = promised().merge(pd.DataFrame(rows, columns=columns).astype({"value": float}), how, on=columns[:3])
    met = (table["value"] <= table["target"]).where(table["bound"] == "at most", table["value"] >= table["target"])
    outcome = met.map({True: "met", False: "missed"}).mask(table["bound"] == "", "no target")
    return table.assign(
        what=table["title"].str.replace("`", ""),  # a table shows no Markdown
        measured=list(map(amount, table["value"], table["unit"])),
        outcome=outcome.mask(table["value"].isna(), NOT_MEASURED),
    )


def promises(records: Sequence[dict], device: str = "cpu") -> pd.DataFrame:
    """Each promised figure of a device: columns what, predicted, target, measured, outcome, prediction_from.

    Left out is what has no target and is missing from a record that there is: another kind of processor has it.
    """
    table = _compared(records, "left").query("device == @device")
    there = [record["benchmark"] for record in records if record["device"] == device]
    table = table[table["value"].notna() | table["target"].notna() | ~table["benchmark"].isin(there)]
    target = [f"{row.bound} {amount(row.target, row.unit)}" if row.bound else "–" for row in table.itertuples()]
    table = table.assign(target=target, predicted=list(map(amount, table["predicted"], table["unit"])))
    columns = ["what", "predicted", "target", "measured", "outcome", "prediction_from"]
    return table.rename(columns={"why": "prediction_from"})[columns]


def outcomes(records: Sequence[dict], device: str) -> dict[str, list[str]]:
    """Titles of the promises with a target on a device that are met, missed and not measured, by that word."""
    table = _compared(records, "left").query("device == @device and bound != ''")
    return {one: table["title"][table["outcome"] == one].tolist() for one in ("met", "missed", NOT_MEASURED)}


def elsewhere(others: Sequence[dict]) -> pd.DataFrame:
    """Promised figures in the other records of `read`: columns what, measured, outcome, machine, by, day."""
    table = _compared(others, "inner").sort_values("order", kind="stable")
    return table[["what", "measured", "outcome", "machine", "by", "day"]]


def amount(value: float, unit: str) -> str:
    """A value with three digits and its unit: 2.2567, "times" → "2.26 times"; a share as a percentage; NaN: unknown."""
    if pd.isna(value):
        return NOT_MEASURED
    if unit in ("share", "relative"):
        return f"{value:.0%}" if unit == "share" else f"{value:.1e}"
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


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
    takes = takes or f"medians of {record['repeats']}"
    return f"Measured on {_machine(record)}, {threads}; {takes}"


def rates(records: Sequence[dict], device: str = "cpu") -> pd.DataFrame:
    """Training variants: audio-seconds a second (median, lowest, highest), times the released one's; or no rows."""
    record, rows = _record(records, "training-step", device), []
    measured = record["measured"]
    for name, samples in record["details"].get("samples", {}).items():
        short = name.removeprefix("ours_")
        ratio = measured.get(f"ratio_{short}")
        rows.append({
            "variant": VARIANTS[short],
            "audio-seconds a second": f"{measured[f'rate_{short}']:.3g}",
            "lowest to highest": f"{min(samples):.3g} to {max(samples):.3g}",
            "times the released step": "–" if ratio is None else f"{ratio:.2f}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def utilisation(records: Sequence[dict], device: str = "cpu") -> pd.DataFrame:
    """Operations of a step against the machine's own matrix product, in the precisions that a record has them of."""
    found, rows = _record(records, "training-step", device)["measured"], []
    for name in [name for name in ("float32", "bf16") if f"utilisation_{name}" in found]:
        computed = found.get(f"gflop_computed_{name}", found["gflop_per_audio_second"])  # less where some were saved
        own_product = found.get(f"torch_product_gflops_{name}")  # newer than some records
        rows.append({
            "precision": name,
            "GFLOP per audio-second": f"{computed:.1f}",
            "torch's product, GFLOP/s": "–" if own_product is None else f"{own_product:.0f}",
            "fastest product, GFLOP/s": f"{found[f'product_gflops_{name}']:.0f}",
            "training, GFLOP/s": f"{computed * found[f'rate_{name}']:.0f}",
            "share of the fastest": f"{found[f'utilisation_{name}']:.0%}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def operations(records: Sequence[dict], device: str = "cpu") -> pd.DataFrame:
    """Seconds of one step by kind of operation: a row for each kind, a column for each variant; none unmeasured."""
    table = pd.DataFrame(_record(records, "training-step", device)["details"].get("operations", {}))
    if table.empty:
        return table
    table.loc["whole step"] = table.sum()
    table = table.rename(columns=lambda name: VARIANTS[name.removeprefix("ours_")])
    return table.map("{:.2f} s".format).rename_axis("operation").reset_index()


def profile(records: Sequence[dict]) -> pd.DataFrame:
    """Milliseconds of the parts of a pocket step: columns part, before, after; no rows where it was not measured."""
    found = _record(records, "pocket-step")["measured"]
    rows = [(part, found[f"{part}_ms_before"], found[f"{part}_ms_after"]) for part in (*STEP_PARTS, "step") if found]
    return pd.DataFrame(rows, columns=["part", "before", "after"])


def profile_table(records: Sequence[dict]) -> pd.DataFrame:
    """`profile` as the book shows it, with the share of each part in a step as it is now."""
    table = profile(records)
    shares = table["after"] / table["after"].max()  # the whole is the largest
    shown = table[["before", "after"]].map("{:.1f} ms".format).assign(**{"share after": shares.map("{:.0%}".format)})
    return table[["part"]].replace("step", "whole step").join(shown)


def profile_figure(records: Sequence[dict]) -> Html:
    """The profile as bars; a line of text where it was not measured."""
    title, table = "A pocket step, before and after", profile(records)
    if table.empty:
        return line(f"{title}: {NOT_MEASURED}")
    bars = "Two bars, before and after, made of the parts of a step; the one after is shorter."
    return figures.show(figures.step_profile, table, title, alt=bars, source=measured_on(records, "pocket-step"))


def table4_costs(records: Sequence[dict]) -> pd.DataFrame:
    """What Table 4 in full takes: published practice, and what was measured here as a projection."""
    preset = get_preset("iemocap")
    num_runs = len(preset.alphas) * (NUM_FOLDS[preset.run.protocol] - 1) * len(preset.seeds)  # of the whole corpus
    speed = paper.PUBLISHED_V100_AUDIO_SECONDS_PER_SECOND
    hours = num_runs * preset.run.epochs * paper.IEMOCAP_HOURS / speed
    quoted = f"quoted: {speed:g} audio-seconds a second, SpeechBrain's recipe for IEMOCAP with the same backbone"
    rows = [("one V100, published practice", f"about {hours:.0f} hours", quoted)]
    for benchmark, device, name in (
        ("training-step", "cpu", "this CPU, one run at a time"),
        ("several-runs", "cpu", "this CPU, a run on each core"),
        ("training-step", "cuda", "one GPU, one run at a time"),
        ("several-runs", "cuda", "one H100, several runs at a time"),
    ):
        hours = _record(records, benchmark, device)["measured"].get("table4_hours")
        how = "projected from the measured step and evaluation; not run to its end"
        rows.append((name, NOT_MEASURED, "–") if hours is None else (name, f"about {hours:,.0f} hours", how))
    return pd.DataFrame(rows, columns=["machine", "time", "from"])


def pocket_time(records: Any) -> pd.DataFrame:
    """What the finished pocket runs took, by their own clocks: columns what, amount. No rows without a run."""
    seconds = records.only(status="done").runs["seconds"].astype(float)
    rows = [
        ("finished runs", f"{len(seconds)}"),
        ("one run, median", f"{seconds.median():.0f} s"),
        ("longest run", f"{seconds.max():.0f} s"),
        ("all, one after the other", f"{seconds.sum() / 60:.1f} minutes"),
        ("all, two at a time", f"{seconds.sum() / 120:.1f} minutes, computed; the target of `make reproduce` is 20"),
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
