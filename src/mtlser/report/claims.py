"""The paper's claims, each with a verdict by the rules of data/claims.toml; Figure 2's are decided in each fold.

A measured claim is held, contradicted, undecided, partial or not run on each corpus, and only IEMOCAP's word decides.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from html import escape
from itertools import chain
from typing import Any

import pandas as pd

from mtlser import paper
from mtlser.config import ALPHAS, DATA_FOLDER
from mtlser.paper import BASELINE, BEST, FIGURE2_ALPHAS, FIGURE2_CLAIMS
from mtlser.report import people, statistics, tables
from mtlser.report.display import NOT_RUN, NUM_FOLDS, PARTIAL, Html
from mtlser.runs import experiments, plan
from mtlser.runs.records import Records, merge
from mtlser.runs.settings import Settings

_DATA = tomllib.loads((DATA_FOLDER / "claims.toml").read_text(encoding="utf-8"))
CLAIMS: list[dict[str, Any]] = _DATA["claim"]
RULES: dict[str, Any] = _DATA["rules"]

HELD, NOT_HELD, UNDECIDABLE = "held", "not held", "undecidable"
CONTRADICTED, UNDECIDED = "contradicted", "undecided"
VERDICTS = ("verified", "falsified", "toy", "inconclusive", NOT_RUN)
PRINTED = "printed"  # in place of an alpha: what Table 4 of the paper has
_NAMES = [claim.name for claim in FIGURE2_CLAIMS]


def first_epochs(wer: pd.DataFrame) -> pd.Series:
    """Index alpha > 0: the first epoch whose WER is low in one fold, infinite where there is none.

    Low is at or below the level halfway from the first epoch's highest to the lowest of all (alpha > 0 only).
    """
    reached = wer <= (wer.iloc[0].max() + wer.min().min()) / 2
    return reached.idxmax().astype(float).where(reached.any(), float("inf"))


def decide_fold(history: pd.DataFrame) -> dict[str, str]:
    """Claim name → held, not held or undecidable, from one fold's and one seed's history of all alphas.

    Undecidable without a finished run of each of Figure 2's alphas, with runs of different length, or with one epoch.
    """
    history = history[history["alpha"].isin(FIGURE2_ALPHAS)]
    accuracy, wer = (history.pivot(index="epoch", columns="alpha", values=name) for name in ("accuracy", "wer"))
    if set(accuracy) != set(FIGURE2_ALPHAS) or len(accuracy) < 2 or accuracy.isna().any(axis=None):
        return dict.fromkeys(_NAMES, UNDECIDABLE)
    reached = first_epochs(wer.drop(columns=0.0))  # ascending alpha
    before, last = accuracy[accuracy.index < reached.iloc[-1]].mean(), accuracy.iloc[-1]
    held = {
        "earlier-wer": reached.is_monotonic_decreasing,
        "slower-start": (before.iloc[-1] < before.iloc[:-1]).all(),
        "overtakes": (last.iloc[-1] > last.iloc[:-1]).all(),
    }
    verdicts = {name: HELD if held[name] else NOT_HELD for name in _NAMES}
    if reached.nunique() == 1:  # all in the same epoch: the history is too coarse to tell
        verdicts["earlier-wer"] = UNDECIDABLE
    if before.isna().all():  # no epoch before
        verdicts["slower-start"] = UNDECIDABLE
    return verdicts


def decide(records: Any) -> pd.DataFrame:
    """One row per fold and seed: a verdict on each claim, undecidable where one of the alphas did not finish."""
    done = records.only(status="done").history
    rows = [
        {"fold": fold, "seed": seed} | decide_fold(done[(done["fold"] == fold) & (done["seed"] == seed)])
        for fold, seed in sorted(set(zip(records.runs["fold"], records.runs["seed"], strict=True)))
    ]
    return pd.DataFrame(rows, columns=["fold", "seed", *_NAMES])


def summary(records: Any) -> pd.DataFrame:
    """One row per claim: its quotation, what is measured, and in how many folds it held, did not, was undecidable."""
    verdicts = decide(records)
    return pd.DataFrame(
        {"claim": f"“{claim.quote}” ({claim.section})", "measured": claim.test}
        | {name.replace(" ", "_"): int((verdicts[claim.name] == name).sum()) for name in (HELD, NOT_HELD, UNDECIDABLE)}
        for claim in FIGURE2_CLAIMS
    )


def main_claim(records: Any) -> dict[str, Any] | None:
    """The paper's gain of BEST over BASELINE (Table 4) on one corpus; None where either alpha has no finished run.

    The alpha's row of `statistics.paired_tests`, with `verdict` ("held", "contradicted" or "undecided", as the 95%
    interval lies above zero, below it, or neither) and `best`, the row of `tables.scores` with the highest accuracy.
    """
    if records is None or not {BASELINE, BEST} <= set(records.only(status="done").predictions["alpha"]):
        return None
    tests, scores = statistics.paired_tests(records.only(status="done")), tables.scores(records)
    found = tests.set_index("alpha").loc[BEST].to_dict()
    low, high = found["difference_interval"]
    verdict = HELD if low > 0 else CONTRADICTED if high < 0 else UNDECIDED
    return found | {"verdict": verdict, "best": scores.loc[scores["accuracy"].idxmax()].to_dict()}


def records_of(preset: str) -> tuple[Records, Records]:
    """Table 4, and alpha 0 and 0.1 with alpha 0 at another rate, of a preset as it is; nothing is trained.

    IEMOCAP's are those of the known corpus, the paper's encoder and Table 1, and the other rate is that of the other
    alphas. Elsewhere one rate serves every alpha, and the other is half of it.
    """
    here = Settings.from_environment()
    settings = Settings(train=False, artifacts=here.artifacts, results=here.results)
    found = plan.table4(preset, settings).records()
    if preset != "iemocap":
        return found, experiments.changed(experiments.HALF_RATE, preset, settings).records()
    [equal] = experiments.plans("equal-rate", preset, settings).values()
    return found, merge([equal.records(), found.only(alpha=BEST)])


def compare(records: Records, comparisons: Iterable[Sequence]) -> pd.DataFrame:
    """One row for each (column, from, to): `people.contrast` of the folds' gains, Holm's p over the rows, and `found`.

    `from` is an alpha, or PRINTED for what Table 4 of the paper has for the alpha `to`. `found` is held, contradicted,
    undecided, partial or not run.
    """
    runs, printed, rows = records.only(status="done").runs, paper.table4().set_index("alpha"), []
    wide = {name: runs.pivot_table(name, ["fold", "seed"], "alpha").reindex(columns=list(ALPHAS)) for name in printed}
    for column, low, high in comparisons:
        start = printed[column][high] if low == PRINTED else wide[column][low]
        gained = (wide[column][high] - start).dropna().groupby("fold").mean() * (-1 if column == "wer" else 1)
        row = {"comparison": (column, low, high), "complete": len(gained) == NUM_FOLDS["speaker"]}
        rows.append(row | people.contrast(gained))
    table = pd.DataFrame(rows)
    table["holm"] = statistics.holm(table["permutation"].where(table["complete"]).tolist())
    return table.assign(found=[_found(row) for row in table.to_dict("records")])


def _found(row: dict[str, Any]) -> str:
    low, high = row["difference_interval"]
    if not row["complete"]:
        return PARTIAL if row["folds"] else NOT_RUN
    is_apart = row["holm"] < people.SIGNIFICANT and not low <= 0 <= high
    if row["comparison"][1] == PRINTED:
        is_near = -paper.claimed_gain() < low and high < paper.claimed_gain()
        return CONTRADICTED if is_apart else HELD if is_near else UNDECIDED
    return (HELD if low > 0 else CONTRADICTED) if is_apart else UNDECIDED


def together(parts: Iterable[str]) -> str:
    """A claim of several parts: held where all are, contradicted where one is, not run where nothing ran."""
    found = set(parts)
    return CONTRADICTED if CONTRADICTED in found else found.pop() if len(found) == 1 else UNDECIDED


def measure(table4: Records, other_rate: Records, *, is_iemocap: bool) -> dict[str, str]:
    """Claim's id → what `records_of` says of it, by the measure that the claim names; nothing of the audited ones."""
    found, asked = {}, {kind: [c for c in CLAIMS if c["measure"] == kind] for kind in RULES["measures"]}
    for kind in ("comparisons", "numbers") if is_iemocap else ("comparisons",):  # the printed numbers are IEMOCAP's
        parts = {claim["id"]: [tuple(part) for part in claim["comparisons"]] for claim in asked[kind]}
        said = compare(table4, dict.fromkeys(chain(*parts.values()))).set_index("comparison")["found"]
        found |= {name: together(said[part] for part in wanted) for name, wanted in parts.items()}
    gains = [compare(records, [("accuracy", BASELINE, BEST)])["found"].item() for records in (table4, other_rate)]
    found |= {claim["id"]: together(gains) for claim in asked["rates"]}
    found |= {claim["id"]: _divergence(other_rate if is_iemocap else table4) for claim in asked["divergence"]}
    folds = decide(table4).drop_duplicates("fold")  # each with its first seed
    return found | {claim["id"]: _in_folds(folds[claim["id"]]) for claim in asked["figure2"]}


def _in_folds(words: pd.Series) -> str:
    import scipy.stats

    held, not_held = (int((words == word).sum()) for word in (HELD, NOT_HELD))
    if len(words) < NUM_FOLDS["speaker"]:
        return PARTIAL if len(words) else NOT_RUN
    if held + not_held == 0 or scipy.stats.binomtest(held, held + not_held).pvalue >= people.SIGNIFICANT:
        return UNDECIDED
    return HELD if held > not_held else CONTRADICTED


def _divergence(records: Records) -> str:
    runs = records.only(alpha=BASELINE)
    if runs.runs["fold"].nunique() < NUM_FOLDS["speaker"]:
        return PARTIAL if len(runs.runs) else NOT_RUN
    ended = tables.problems(runs)["outcome"].isin(["diverged", "collapsed"]).sum()
    return CONTRADICTED if ended == 0 else HELD if ended >= len(runs.runs) / 2 else UNDECIDED


def verdict(claim: dict[str, Any], iemocap: str, pocket: str) -> str:
    """One of VERDICTS: an audit's own, else IEMOCAP's; the pocket corpus alone makes it a toy whatever it says."""
    if claim["measure"] == "audit":
        return claim["verdict"]
    if iemocap == NOT_RUN:
        return NOT_RUN if pocket == NOT_RUN else "toy"
    return {HELD: "verified", CONTRADICTED: "falsified"}.get(iemocap, "inconclusive")


def verdicts(iemocap: tuple, pocket: tuple, contrasts: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row a claim of two `records_of`: claim, kind, verdict, on pocket, elsewhere (`people.contrasts`), evidence.

    An item of evidence is a page of the book, or a test, which is named.
    """
    real, toy = measure(*iemocap, is_iemocap=True), measure(*pocket, is_iemocap=False)
    said = "–" if contrasts is None else "; ".join(f"{row.corpus}: {row.verdict}" for row in contrasts.itertuples())
    rows = []
    for claim in CLAIMS:
        on_pocket, is_gain = toy.get(claim["id"]), claim.get("comparisons") == [["accuracy", BASELINE, BEST]]
        links = (
            f"<code>{target}</code>" if target.startswith("tests/") else f'<a href="{target}">{escape(name)}</a>'
            for name, target in claim["evidence"].items()
        )  # fmt: skip
        rows.append({
            "claim": f"“{claim['quote']}” ({claim['section']})", "kind": claim["kind"],
            "verdict": verdict(claim, real.get(claim["id"], NOT_RUN), on_pocket or NOT_RUN),
            "on pocket": on_pocket, "elsewhere": said if is_gain else None,
            "evidence": Html(", ".join(links), ", ".join(claim["evidence"])),
        })  # fmt: skip
    return pd.DataFrame(rows).astype({"on pocket": object, "elsewhere": object})


def counts(table: pd.DataFrame) -> str:
    """`verdicts` in a sentence: "36 claims: 9 verified, 2 falsified, …"."""
    found = table["verdict"].value_counts().reindex(VERDICTS, fill_value=0)
    return f"{len(table)} claims: " + ", ".join(f"{count} {word}" for word, count in found.items())
