"""Benchmark records → what the chapter on cost shows: promises beside measurements, rates, profile, machines.

A record is the dictionary that `runs.benchmark` wrote. Of several contributors' records of one benchmark on one kind of
device, the newest is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mtlser import paper
from mtlser.config import MAINTAINERS, get_preset
from mtlser.report import figures
from mtlser.report.display import NUM_FOLDS, Html, Markdown
from mtlser.runs.benchmark import FIGURES, STEP_PARTS, Figure, read_benchmarks
from mtlser.runs.settings import Settings

NOT_MEASURED = "not measured"

VARIANTS = {
    "released": "released code's step, float32",
    "released_fp16": "released code's step, fp16",
    "float32": "this book's step, float32",
    "bf16": "this book's step, bf16",
    "product_float32": "the same in float32, with torch's own matrix product",
    "convolution_float32": "the same in float32, with torch's own convolutions",
    "padded_float32": "the same in float32, with padding",
    "padded_bf16": "the same in bf16, with padding",
    "evaluation": "evaluation",
}


def read(results: Path | None = None) -> list[dict]:
    """One record of each benchmark and device under the results folder, in the order of the benchmarks.

    The maintainers' where there is one, and else the newest.
    """
    found = read_benchmarks(results or Settings.from_environment().results)
    chosen = sorted(found, key=lambda record: (record["contributor"] == MAINTAINERS, record["finished"]))
    last = {(record["benchmark"], record["device"]): record for record in chosen}
    order = list(dict.fromkeys((figure.benchmark, figure.device) for figure in FIGURES))
    return [last[key] for key in order if key in last]


def elsewhere(results: Path | None = None) -> pd.DataFrame:
    """Promised figures in the records that `read` leaves out: what, measured, outcome, machine, by, day."""
    shown = read(results)
    rows = [
        {
            "what": figure.title.replace("`", ""),
            "measured": number(record["measured"][figure.name], figure.unit),
            "outcome": _outcome(figure, record["measured"][figure.name]),
            "machine": _machine(record["hardware"]),
            "by": record["contributor"],
            "day": record["finished"][:10],
        }
        for record in read_benchmarks(results or Settings.from_environment().results)
        for figure in FIGURES
        if record not in shown
        and (figure.benchmark, figure.device) == (record["benchmark"], record["device"])
        and figure.name in record["measured"]
    ]
    return pd.DataFrame(rows, columns=["what", "measured", "outcome", "machine", "by", "day"])


def _machine(hardware: dict) -> str:
    name = hardware.get("gpu") or " with ".join(filter(None, [hardware["processor"], hardware.get("instructions")]))
    return f"{name}, {hardware['cores']} cores, {hardware['memory_gib']:g} GiB"


def _record(records: Sequence[dict], benchmark: str, device: str = "cpu") -> dict | None:
    return next((r for r in records if (r["benchmark"], r["device"]) == (benchmark, device)), None)


def _value(records: Sequence[dict], figure: Figure) -> float | None:
    record = _record(records, figure.benchmark, figure.device)
    return None if record is None else record["measured"].get(figure.name)


def number(value: float, unit: str) -> str:
    """A value with three digits and its unit: 2.2567, "times" → "2.26 times"; a share as a percentage."""
    if unit == "share":
        return f"{100 * value:.0f}%"
    text = f"{value:.1e}" if unit == "relative" else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return text if unit == "relative" else f"{text} {unit}"


def _outcome(figure: Figure, value: float | None) -> str:
    if value is None:
        return NOT_MEASURED
    if figure.target is None:
        return "no target"
    return "met" if figure.met(value) else "missed"


def promises(records: Sequence[dict], device: str = "cpu") -> pd.DataFrame:
    """Each promised figure of a device: columns what, predicted, target, measured, outcome, from.

    Left out is what has no target and is missing from a record that there is: another kind of processor has it.
    """
    rows = []
    for figure in FIGURES:
        value = _value(records, figure)
        is_promised = value is not None or figure.target is not None or not _record(records, figure.benchmark, device)
        if figure.device == device and is_promised:
            sign = "at most" if figure.at_most else "at least"
            rows.append({
                "what": figure.title.replace("`", ""),  # a table shows no Markdown
                "predicted": "–" if figure.predicted is None else number(figure.predicted, figure.unit),
                "target": "–" if figure.target is None else f"{sign} {number(figure.target, figure.unit)}",
                "measured": NOT_MEASURED if value is None else number(value, figure.unit),
                "outcome": _outcome(figure, value),
                "prediction_from": figure.why or "–",
            })  # fmt: skip
    return pd.DataFrame(rows)


def verdict(records: Sequence[dict]) -> Markdown:
    """How many targets are met, which are missed, and what was not measured, in a sentence each."""
    lines = []
    for device, name in (("cpu", "a CPU"), ("cuda", "a GPU")):
        outcomes = {f.title: _outcome(f, _value(records, f)) for f in FIGURES if f.device == device and f.target}
        kinds = {kind: [title for title, outcome in outcomes.items() if outcome == kind]
                 for kind in ("met", "missed", NOT_MEASURED)}  # fmt: skip
        line = f"Of {len(outcomes)} targets on {name}, **{len(kinds['met'])} are met**."
        lines.append(line + "".join(_named(kind, kinds[kind]) for kind in ("missed", NOT_MEASURED)))
    return Markdown("\n\n".join(lines))


def _named(kind: str, titles: list[str]) -> str:
    return f" {kind.capitalize()}: {'; '.join(titles)}." if titles else f" None is {kind}."


def source(records: Sequence[dict], benchmark: str, device: str = "cpu", takes: str = "") -> str:
    """The machine and the repeats (or `takes`) of a benchmark's record, as a caption ends; "Not measured" without."""
    record = _record(records, benchmark, device)
    if record is None:
        return NOT_MEASURED.capitalize()
    threads = f"{record['threads']} thread" + ("" if record["threads"] == 1 else "s")
    takes = takes or f"medians of {record['repeats']}"
    return f"Measured on {_machine(record['hardware'])}, {threads}; {takes}"


def rates(records: Sequence[dict], device: str = "cpu") -> pd.DataFrame:
    """Training variants: columns variant, audio-seconds a second (median, lowest, highest), times the released one's.

    No rows without a record.
    """
    record = _record(records, "training-step", device)
    rows = []
    for name, samples in (record["details"]["samples"] if record else {}).items():
        short = name.removeprefix("ours_")
        ratio = record["measured"].get(f"ratio_{short}")
        rows.append({
            "variant": VARIANTS[short],
            "audio-seconds a second": f"{record['measured'][f'rate_{short}']:.3g}",
            "lowest to highest": f"{min(samples):.3g} to {max(samples):.3g}",
            "times the released step": "–" if ratio is None else f"{ratio:.2f}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def utilisation(records: Sequence[dict], device: str = "cpu") -> pd.DataFrame:
    """Operations of a step against the machine's own matrix product: one row for each precision; none unmeasured."""
    record = _record(records, "training-step", device)
    if record is None:
        return pd.DataFrame()
    found = record["measured"]
    rows = [
        {
            "precision": name,
            "GFLOP per audio-second": f"{_computed(found, name):.1f}",
            "torch's product, GFLOP/s": _whole(found.get(f"torch_product_gflops_{name}")),  # newer than some records
            "fastest product, GFLOP/s": f"{found[f'product_gflops_{name}']:.0f}",
            "training, GFLOP/s": f"{_computed(found, name) * found[f'rate_{name}']:.0f}",
            "share of the fastest": f"{100 * found[f'utilisation_{name}']:.0f}%",
        }
        for name in ("float32", "bf16")
        if f"rate_{name}" in found  # no bf16 where the device has no instructions for it
    ]
    return pd.DataFrame(rows)


def _computed(found: dict, precision: str) -> float:
    """GFLOP for an audio-second that the step computes; older records computed all that are counted."""
    return found.get(f"gflop_computed_{precision}", found["gflop_per_audio_second"])


def operations(records: Sequence[dict], device: str = "cpu") -> pd.DataFrame:
    """Seconds of one step by kind of operation: a row for each kind, a column for each variant; none unmeasured."""
    record = _record(records, "training-step", device)
    spent = record["details"].get("operations", {}) if record else {}
    columns = {VARIANTS[name.removeprefix("ours_")]: kinds for name, kinds in spent.items()}
    table = pd.DataFrame(columns)
    if table.empty:
        return table
    table.loc["whole step"] = table.sum()
    return table.map(lambda seconds: f"{seconds:.2f} s").rename_axis("operation").reset_index()


def _whole(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def profile(records: Sequence[dict]) -> pd.DataFrame:
    """Milliseconds of the parts of a pocket step: columns part, before, after; no rows where it was not measured."""
    record = _record(records, "pocket-step")
    if record is None:
        return pd.DataFrame(columns=["part", "before", "after"])
    found = record["measured"]
    rows = [(part, found[f"{part}_ms_before"], found[f"{part}_ms_after"]) for part in (*STEP_PARTS, "step")]
    return pd.DataFrame(rows, columns=["part", "before", "after"])


def profile_table(records: Sequence[dict]) -> pd.DataFrame:
    """`profile` as the book shows it, with the share of each part in a step as it is now."""
    table = profile(records)
    if table.empty:
        return table
    whole = table.set_index("part")["after"]["step"]
    shares = [f"{100 * after / whole:.0f}%" for after in table["after"]]
    shown = {name: [f"{value:.1f} ms" for value in table[name]] for name in ("before", "after")}
    return pd.DataFrame({"part": table["part"].replace("step", "whole step"), **shown, "share after": shares})


def profile_figure(records: Sequence[dict]) -> Html:
    """The profile as bars; a line of text where it was not measured."""
    title = "A pocket step, before and after"
    table = profile(records)
    if table.empty:
        return Html(f'<p class="mtlser-caption">{title}: {NOT_MEASURED}</p>', f"{title}: {NOT_MEASURED}")
    bars = "Two bars, before and after, made of the parts of a step; the one after is shorter."
    return figures.show(figures.step_profile, table, title, alt=bars, source=source(records, "pocket-step"))


def table4_costs(records: Sequence[dict]) -> pd.DataFrame:
    """What Table 4 in full takes: published practice, what was measured here as a projection, and the target."""
    preset = get_preset("iemocap")
    num_runs = len(preset.alphas) * NUM_FOLDS[preset.run.protocol] * len(preset.seeds)
    share = 1 - 1 / NUM_FOLDS[preset.run.protocol]
    audio = num_runs * preset.run.epochs * paper.IEMOCAP_HOURS * 3600 * share
    speed = paper.PUBLISHED_V100_AUDIO_SECONDS_PER_SECOND
    rows = [
        ("one V100, published practice", f"about {audio / speed / 3600:.0f} hours",
         f"quoted: {speed:g} audio-seconds a second, SpeechBrain's recipe for IEMOCAP with the same backbone")
    ]  # fmt: skip
    machines = (
        ("training-step", "cpu", "this CPU, one run at a time"),
        ("several-runs", "cpu", "this CPU, a run on each core"),
        ("training-step", "cuda", "one GPU, one run at a time"),
        ("several-runs", "cuda", "one H100, several runs at a time"),
    )
    for benchmark, device, name in machines:
        record = _record(records, benchmark, device)
        hours = record["measured"].get("table4_hours") if record else None
        known = NOT_MEASURED if hours is None else f"about {hours:,.0f} hours"
        how = "–" if hours is None else "projected from the measured step and evaluation; not run to its end"
        rows.append((name, known, how))
    return pd.DataFrame(rows, columns=["machine", "time", "from"])


def pocket_time(records: Any) -> pd.DataFrame:
    """What the finished pocket runs took, by their own clocks: columns what, amount. No rows without a run."""
    done = records.only(status="done").runs
    if done.empty:
        return pd.DataFrame(columns=["what", "amount"])
    seconds = done["seconds"].astype(float)
    rows = [
        ("finished runs", f"{len(done)}"),
        ("one run, median", f"{seconds.median():.0f} s"),
        ("longest run", f"{seconds.max():.0f} s"),
        ("all, one after the other", f"{seconds.sum() / 60:.1f} minutes"),
        ("all, two at a time", f"{seconds.sum() / 120:.1f} minutes, computed; the target of `make reproduce` is 20"),
    ]
    return pd.DataFrame(rows, columns=["what", "amount"])


def machines(records: Sequence[dict]) -> pd.DataFrame:
    """What measured each benchmark: machine, threads, repeats, packages, code and day."""
    rows = [
        {
            "benchmark": record["title"],
            "machine": _machine(record["hardware"]),
            "threads": str(record["threads"]),
            "repeats": str(record["repeats"]),
            "torch": record["versions"]["torch"],
            "code": record["revision"],
            "day": record["finished"][:10],
            "by": record["contributor"],
        }
        for record in records
    ]
    return pd.DataFrame(rows)
