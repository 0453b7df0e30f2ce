"""What recorded run times come to on several machines: hours until the last run ends, machine-hours, and cost.

Computed, not measured: nobody ran them. A run is never split, so more machines than runs save nothing.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mtlser import paper
from mtlser.config import get_preset
from mtlser.report import figures
from mtlser.report.display import NUM_FOLDS, duration, three_digits

MACHINES = (1, 4, 10, 50)
LOST_SHARE = 0.1  # of the runs, which are trained again from their start: more than a checkpoint a minute leaves
SLOW = 0.5  # a straggler's speed
COLOURS = ("#2A7FC0", "#C77C00", "#C0629B", "#7F7F7F")
DASHES = ((None, None), (4, 2), (6, 2, 1, 2), (1, 1))


@dataclass(frozen=True)
class Schedule:
    """`wall_seconds`: until the last run ends; `busy_seconds`: of all machines, while they train."""

    wall_seconds: float
    busy_seconds: float


def longest_first(seconds: Sequence[float], speeds: Sequence[float], num_lost: int = 0) -> Schedule:
    """Each machine takes the longest run that waits whenever it is free.

    seconds: of each run on a machine of speed 1; speeds: of each machine. The `num_lost` longest runs are lost just
    before their end, the worst moment, and wait again from then on. Raises ValueError without a machine.
    """
    if not speeds or min(speeds) <= 0:
        raise ValueError(f"speeds must be of at least one machine, and above 0; got {list(speeds)}")
    ordered = sorted(seconds, reverse=True)
    waiting = [(0.0, one, place < num_lost) for place, one in enumerate(ordered)]  # from when, how long, whether lost
    free = [(0.0, -speed) for speed in speeds]  # from when; of several that are free the fastest
    heapq.heapify(free)
    wall = busy = 0.0
    while waiting:
        now, speed = heapq.heappop(free)
        ready = [run for run in waiting if run[0] <= now]
        if not ready:  # until a lost run waits again
            heapq.heappush(free, (min(run[0] for run in waiting), speed))
            continue
        run = max(ready, key=lambda run: run[1])
        waiting.remove(run)
        end = now - run[1] / speed
        wall, busy = max(wall, end), busy + end - now
        heapq.heappush(free, (end, speed))
        if run[2]:
            waiting.append((end, run[1], False))
    return Schedule(wall, busy)


def in_shards(seconds: Sequence[float], num_machines: int) -> Schedule:
    """Each machine has every n-th run, as `--shard k/n` gives them, whoever is done first."""
    sums = [sum(seconds[start::num_machines]) for start in range(num_machines)]
    return Schedule(max(sums), sum(sums))


def run_seconds(records: Any) -> list[float]:
    """Seconds of each finished run, by its own clock."""
    return records.only(status="done").runs["seconds"].astype(float).tolist()


def quoted_seconds(preset: str = "iemocap") -> list[float]:
    """Seconds of each run of Table 4 at the published speed of one V100: what is quoted, not measured.

    As many runs as alphas, folds and seeds, all of them alike; a run trains on all folds but one.
    """
    chosen = get_preset(preset)
    folds = NUM_FOLDS[chosen.run.protocol]
    audio_seconds = 3600 * paper.IEMOCAP_HOURS * chosen.run.epochs * (folds - 1) / folds
    seconds = audio_seconds / paper.PUBLISHED_V100_AUDIO_SECONDS_PER_SECOND
    return [seconds] * (len(chosen.alphas) * len(chosen.seeds) * folds)


def ways(seconds: Sequence[float], num_machines: int) -> dict[str, Schedule]:
    """The same runs in four ways, by what they are called; three are of the longest first."""
    equal = [1.0] * num_machines
    return {
        "longest first": longest_first(seconds, equal),
        "one machine at half speed": longest_first(seconds, [*equal[1:], SLOW]),
        "a tenth of the runs lost": longest_first(seconds, equal, math.ceil(len(seconds) * LOST_SHARE)),
        "in shards": in_shards(seconds, num_machines),
    }


def table(seconds: Sequence[float], price: float | None = None) -> pd.DataFrame:
    """A row for each of MACHINES: how long until all is done, in each of `ways`, and the machine-hours of the first.

    `price`: of an hour of one machine, paid while it trains; adds the column cost. No rows without a run.
    """
    rows = []
    for count in MACHINES if seconds else ():
        found = ways(seconds, count)
        hours = found["longest first"].busy_seconds / 3600
        row = {"machines": count} | {name: duration(one.wall_seconds) for name, one in found.items()}
        row |= {"machine-hours": three_digits(hours)} | ({} if price is None else {"cost": f"{price * hours:,.0f}"})
        rows.append(row)
    return pd.DataFrame(rows)


def curves(seconds: Sequence[float]) -> pd.DataFrame:
    """Columns machines, way, hours: each of `ways` on one machine up to the most of MACHINES."""
    rows = [
        (count, name, one.wall_seconds / 3600)
        for count in range(1, MACHINES[-1] + 1)
        for name, one in ways(seconds, count).items()
    ]
    return pd.DataFrame(rows, columns=["machines", "way", "hours"])


def until_done(curves: pd.DataFrame) -> figures.Figure:
    """Hours until the last run ends against the number of machines, a line for each way; both axes logarithmic."""
    figure, (axes,) = figures.panels_of(1, height=3.6, width=4.4)
    for (name, rows), colour, dashes in zip(curves.groupby("way", sort=False), COLOURS, DASHES, strict=True):
        axes.plot(rows["machines"], rows["hours"], color=colour, dashes=dashes, lw=2, label=name)
    axes.set(xlabel="machines", ylabel="hours", xscale="log", yscale="log")
    axes.set_xticks(ticks := [1, 2, 5, 10, 20, 50], map(str, ticks))
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_formatter("{x:g}")
    figure.legend(loc="outside upper left", ncols=1)
    return figure
