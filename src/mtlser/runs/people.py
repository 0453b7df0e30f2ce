"""What the rules of data/people.toml choose from records; the rules themselves were committed before any run."""

from __future__ import annotations

import pandas as pd

from mtlser.config import PEOPLE_RULES, get_preset


def development_runs(runs: pd.DataFrame, preset: str) -> pd.DataFrame:
    """Of the runs of records, the done ones on a corpus's development speakers, with the preset's own backbone."""
    folds, ours = PEOPLE_RULES["development"].get(preset, ()), runs["backbone"] == get_preset(preset).backbone
    return runs[ours & (runs["preset"] == preset) & runs["fold"].isin(folds) & (runs["status"] == "done")]


def grid_runs(runs: pd.DataFrame, preset: str) -> pd.DataFrame:
    """Of the runs of records, the done ones of a corpus's grid, with their `rate`."""
    runs, rules = development_runs(runs, preset), PEOPLE_RULES["grid"]
    chosen = runs[
        runs["alpha"].isin(rules["alphas"])
        & (runs["seed"] == rules["seed"])
        & (runs["learning_rate"] == runs["learning_rate_alpha_zero"])
    ]
    return chosen.assign(rate=chosen["learning_rate"])


def best_rates(grid: pd.DataFrame) -> pd.DataFrame:
    """The best rate of each length and alpha: columns epochs, alpha, rate, accuracy; of equal ones the lower rate."""
    ordered = grid.sort_values(["accuracy", "rate"], ascending=[False, True])
    return ordered.groupby(["epochs", "alpha"], as_index=False).first()[["epochs", "alpha", "rate", "accuracy"]]


def choose(grid: pd.DataFrame) -> dict[str, float]:
    """The length and the two rates that the rules choose from a whole grid (`grid_runs`), as fields of RunConfig."""
    best = best_rates(grid)
    sums = best.groupby("epochs")["accuracy"].sum().round(9)
    epochs = int(sums[sums == sums.max()].index.min())
    rates = best[best["epochs"] == epochs].set_index("alpha")["rate"]
    zero, other = PEOPLE_RULES["grid"]["alphas"]
    return {"epochs": epochs, "learning_rate": rates[other], "learning_rate_alpha_zero": rates[zero]}


def beyond_the_edge(grid: pd.DataFrame) -> list[tuple[int, float]]:
    """The (length, rate) that the rules add next: beyond a best rate at the edge of what was tried, both alphas."""
    added = []
    for row in best_rates(grid).itertuples():
        tried = sorted(grid.loc[grid["epochs"] == row.epochs, "rate"].unique())
        if len(tried) < len(PEOPLE_RULES["grid"]["learning_rates"]) + 3:
            added += [(row.epochs, tried[0] / 2)] * int(row.rate == tried[0])
            added += [(row.epochs, tried[-1] * 2)] * int(row.rate == tried[-1])
    return list(dict.fromkeys(added))
