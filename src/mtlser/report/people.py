"""The chapter on people: who speaks, what each corpus gave, and what the rules of data/people.toml say of it.

Where nothing was run, a row says "not run".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from mtlser import paper
from mtlser.config import PEOPLE_RULES, get_preset
from mtlser.corpus import OPEN_CORPORA, OWN, reader
from mtlser.report import averages, statistics
from mtlser.report.display import NOT_RUN, PARTIAL, completed_folds, interval_points, num_folds, points
from mtlser.runs import experiments
from mtlser.runs.corpora import corpus_of
from mtlser.runs.people import development_runs, grid_runs
from mtlser.runs.records import Records, merge, read_records, read_results
from mtlser.runs.reference import FOLDER
from mtlser.runs.settings import Settings

ZERO, BEST = experiments.CONTRAST
SIGNIFICANT = 0.05


def cards() -> pd.DataFrame:
    """One row a corpus: who speaks, what is said, how much, under which licence."""
    rows = []
    for name in OPEN_CORPORA:
        card = reader(name).CARD
        counts = ", ".join(f"{count} {emotion}" for emotion, count in card.by_emotion.items())
        rows.append(
            [card.title, card.language, card.num_speakers, card.texts, counts, f"{card.hours:.2f}", card.licence]
        )
    columns = ["corpus", "language", "speakers", "what is said", "utterances", "hours", "licence"]
    return pd.DataFrame(rows, columns=columns)


def records_of(experiment: str, name: str, settings: Settings | None = None) -> Records:
    """The records of an experiment on an open corpus, committed and this machine's; nothing is trained."""
    settings = replace(settings or Settings.from_environment(), train=False)
    return merge(plan.records() for plan in experiments.EXPERIMENTS[experiment](name, settings).values())


def others(settings: Settings | None = None) -> dict[str, Records]:
    """This machine's records on corpora that nothing is known of, one's own and copies that differ, by a name."""
    settings = settings or Settings.from_environment()
    found = read_records(sorted(path.parent for path in (settings.artifacts / "runs").glob("*/run.json")))
    known = {corpus_of(get_preset(name), Settings()).identity for name in OPEN_CORPORA}
    runs = found.runs[found.runs["preset"].isin([*OPEN_CORPORA, OWN]) & ~found.runs["corpus_id"].isin(known)]
    kinds = runs.groupby(["corpus", "corpus_id", "protocol", "epochs", "learning_rate", "backbone"])["run_id"]
    words = "{}, {}, {} folds, {} epochs at {:g}, {}"
    return {words.format(*kind): found.only(run_id=list(ids)) for kind, ids in kinds}


def coverage(settings: Settings | None = None) -> pd.DataFrame:
    """Corpora × backbones: how many runs of any experiment are committed; "not run" where there is none."""
    runs = read_results((settings or Settings.from_environment()).results).runs
    runs = runs[runs["preset"].isin([*OPEN_CORPORA, "iemocap"]) & (runs["status"] == "done")]
    backbones = sorted({"facebook/wav2vec2-base", "openai/whisper-tiny.en", *runs["backbone"].dropna()})
    rows = []
    for name in [*OPEN_CORPORA, "iemocap"]:
        row = {"corpus": reader(name).CARD.title if name in OPEN_CORPORA else "IEMOCAP"}
        for backbone in backbones:
            done = runs[(runs["preset"] == name) & (runs["backbone"] == backbone)]
            row[backbone] = f"{len(done)} runs" if len(done) else NOT_RUN
        rows.append(row)
    return pd.DataFrame(rows)


def development(name: str, settings: Settings | None = None) -> pd.DataFrame:
    """The grid on the development speakers: alpha, epochs, rate, accuracy, wer."""
    runs = grid_runs(read_results((settings or Settings.from_environment()).results).runs, name)
    return runs.sort_values(["alpha", "epochs", "rate"])[["alpha", "epochs", "rate", "accuracy", "wer"]]


def others_table(records: Mapping[str, Records]) -> pd.DataFrame:
    """As `table4`, of `others`."""
    return pd.DataFrame(
        {"corpus": name, "alpha": alpha, **_scores(found.only(alpha=alpha))}
        for name, found in records.items()
        for alpha in sorted(found.only(status="done").runs["alpha"].unique())
    )


def table4(records: Mapping[str, Records]) -> pd.DataFrame:
    """One row a corpus and alpha: accuracy over all utterances (Eq. 4), its interval over speakers, WER, folds."""
    rows = []
    for name, found in records.items():
        for alpha in get_preset(name).alphas:
            rows.append({"corpus": reader(name).CARD.title, "alpha": alpha, **_scores(found.only(alpha=alpha))})
    return pd.DataFrame(rows).reindex(columns=["corpus", "alpha", "accuracy", "interval", "wer", "folds"])


def _scores(found: Records) -> dict[str, Any]:
    """Of one alpha's finished runs; without any, only that nothing was run."""
    done = found.only(status="done")
    if done.runs.empty:
        return {"folds": NOT_RUN}
    return {
        "accuracy": averages.pooled_accuracy(done),
        "interval": statistics.accuracy_interval(done.predictions),
        "wer": averages.mean_wer(done.runs["wer"]),
        "folds": completed_folds(done.runs),
    }


def gaps(records: Records, name: str) -> pd.DataFrame:
    """One row an alpha: accuracy of women's and of men's utterances, and of the worst and the best speaker.

    Columns: alpha, women, men, gap (women minus men), permutation (p of the gap between the means of women's and men's
    accuracies, when speakers are exchanged), worst, best, folds. For a corpus whose reader has `sex_of`.
    """
    rows, names = [], ["alpha", "women", "men", "gap", "permutation", "worst", "best", "folds"]
    for alpha, given in records.only(status="done").predictions.groupby("alpha"):
        right = given["label"] == given["prediction"]
        by_sex = right.groupby(given["speaker"].map(reader(name).sex_of)).mean().reindex(["female", "male"])
        by_speaker, done = right.groupby(given["speaker"]).mean(), records.only(alpha=alpha, status="done")
        women, men = by_sex
        sex = by_speaker.index.map(reader(name).sex_of)
        p = statistics.two_groups_test(by_speaker[sex == "female"], by_speaker[sex == "male"])
        ends = (by_speaker.min(), by_speaker.max(), completed_folds(done.runs))
        rows.append((alpha, women, men, women - men, p, *ends))
    return pd.DataFrame(rows, columns=names)


def gate(name: str, settings: Settings | None = None) -> float:
    """WER of the longest run at alpha 1 on the development speakers, which says whether the second task is learnt."""
    runs = development_runs(read_results((settings or Settings.from_environment()).results).runs, name)
    found = runs[runs["alpha"] == PEOPLE_RULES["gate"]["alpha"]].sort_values("epochs")["wer"]
    return float(found.iloc[-1]) if len(found) else float("nan")


def gains(records: Records, name: str, *, primary: bool = True) -> pd.Series:
    """Index fold: accuracy at alpha 0.1 minus alpha 0, each the mean over the seeds that both ran.

    `primary` leaves the development folds out. Folds that lack one of the two are left out.
    """
    runs = records.only(status="done", alpha=[ZERO, BEST]).runs
    if primary:
        runs = runs[~runs["fold"].isin(PEOPLE_RULES["development"].get(name, ()))]
    wide = runs.pivot_table("accuracy", ["fold", "seed"], "alpha").reindex(columns=[ZERO, BEST]).dropna()
    return (wide[BEST] - wide[ZERO]).groupby("fold").mean()


def contrast(gained: pd.Series) -> dict[str, Any]:
    """The primary comparison from `gains`: mean, Student's interval, permutation of signs, and the floor of its p."""
    import scipy.stats

    count = len(gained)
    bounds = statistics.NO_INTERVAL
    if count > 1 and gained.std() > 0:
        bounds = tuple(scipy.stats.ttest_1samp(gained, 0.0).confidence_interval(statistics.CONFIDENCE))
    p = statistics.permutation_test(gained.to_numpy())
    return {"folds": count, "difference": gained.mean(), "difference_interval": bounds, "permutation": p,
            "floor": 2.0 ** (1 - count) if count else float("nan")}  # fmt: skip


def contrasts(settings: Settings | None = None) -> pd.DataFrame:
    """One row a corpus: the primary comparison, Holm's p over those that are complete, and the verdict of the rules."""
    rows = []
    for name in PEOPLE_RULES["development"]:
        found = records_of("table4", name, settings)
        gained = gains(found, name)
        wanted = num_folds(name, get_preset(name).run.protocol) - len(PEOPLE_RULES["development"][name])
        passed = {"complete": len(gained) == wanted, "gate": gate(name, settings)}
        rows.append({"corpus": reader(name).CARD.title, **contrast(gained), **passed})
    table = pd.DataFrame(rows)
    table["holm"] = statistics.holm(table["permutation"].where(table["complete"]).tolist())
    table["verdict"] = [verdict(row) for row in table.to_dict("records")]
    return table


def verdict(row: dict[str, Any]) -> str:
    """One of the words that the rules have."""
    low, high = row["difference_interval"]
    if row["gate"] >= PEOPLE_RULES["gate"]["wer"]:
        return PEOPLE_RULES["gate"]["otherwise"]
    if not row["complete"]:
        return PARTIAL if row["folds"] else NOT_RUN
    if low > 0 and row["holm"] < SIGNIFICANT:
        return "gain"
    if high < 0 and row["holm"] < SIGNIFICANT:
        return "loss"
    return "less than the paper's gain" if high < paper.claimed_gain() else "inconclusive"


def contrast_table(table: pd.DataFrame) -> pd.DataFrame:
    """`contrasts`, as the book shows it."""
    return pd.DataFrame(
        {
            "corpus": row["corpus"],
            "WER at α = 1": NOT_RUN if row["gate"] != row["gate"] else f"{row['gate']:.2f}",
            "folds compared": row["folds"],
            "gain, points": points(row["difference"]) if row["folds"] else NOT_RUN,
            "95% interval": interval_points(row["difference_interval"]),
            "permutation": row["permutation"],
            "smallest p possible": row["floor"],
            "holm": row["holm"],
            "verdict": row["verdict"],
        }
        for row in table.to_dict("records")
    )


def protocols(name: str, settings: Settings | None = None) -> pd.DataFrame:
    """What a result owes to its protocol: the corpus's own, then one that leaks voices, then one that shares less.

    The others are `released` and `session` where there are dialogs, else `random` and `text`.
    """
    own, others = get_preset(name).run.protocol, ("random", "text")
    if get_preset(name).reads == "iemocap":
        others = experiments.OF_DIALOGS
    rows = []
    for protocol, experiment in ((own, "table4"), *zip(others, others, strict=True)):
        found = records_of(experiment, name, settings)
        for alpha in (ZERO, BEST):
            rows.append({"protocol": protocol, "alpha": alpha, **_scores(found.only(alpha=alpha))})
    return pd.DataFrame(rows).reindex(columns=["protocol", "alpha", "accuracy", "interval", "wer", "folds"])


def controls(name: str, settings: Settings | None = None) -> pd.DataFrame:
    """Alpha 0 at the others' rate, and alpha 0.1 where CTC has wrong transcripts, or can't reach the encoder."""
    settings = replace(settings or Settings.from_environment(), train=False)
    rows = []
    for experiment in ("equal-rate", "controls"):
        for title, plan in experiments.EXPERIMENTS[experiment](name, settings).items():
            rows.append({"run": title, **_scores(plan.records())})
    return pd.DataFrame(rows).reindex(columns=["run", "accuracy", "interval", "wer", "folds"])


def leak(table: pd.DataFrame) -> dict[float, float]:
    """Alpha → accuracy where voices leak minus that of the corpus's own folds, of `protocols`; only of whole ones."""
    accuracy = table["accuracy"].mask(table["folds"].str.contains("partial|not run"))
    own, leaking = table["protocol"].unique()[:2]
    wide = table.assign(accuracy=accuracy).pivot(index="alpha", columns="protocol", values="accuracy")
    return (wide[leaking] - wide[own]).dropna().to_dict()


def references(settings: Settings | None = None) -> pd.DataFrame:
    """One row a record of `runs.reference`: accuracy and UAR over all utterances of each classifier."""
    rows = []
    for record in _references((settings or Settings.from_environment()).results):
        for classifier, folds in pd.DataFrame(record["rows"]).groupby("classifier", sort=False):
            weights = folds["num_test"] / folds["num_test"].sum()
            rows.append(
                {
                    "corpus": record["corpus"], "backbone": record["backbone"], "protocol": record["protocol"],
                    "classifier": classifier, "accuracy": float(np.sum(folds["accuracy"] * weights)),
                    "folds": len(folds),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def _references(results) -> Iterator[dict]:
    for path in sorted(results.glob(f"*/{FOLDER}/*.json")):
        yield json.loads(path.read_text(encoding="utf-8"))
