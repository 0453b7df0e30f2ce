"""Records → the data frames that the book shows; `display.show` turns each into a captioned table.

Tables that average over runs raise MixedRecordsError for records of more than one experiment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mtlser import paper
from mtlser.config import EMOTIONS
from mtlser.corpus.folds import Fold
from mtlser.report import averages, statistics
from mtlser.report.display import NOT_RUN, NUM_FOLDS, finished_folds
from mtlser.runs import metrics


class MixedRecordsError(ValueError):
    """Records of different experiments would be averaged together; the message names the column to filter."""


def check_one_experiment(records: Any) -> None:
    """Raises MixedRecordsError when runs differ in anything but alpha, fold and seed that a result depends on."""
    for column in ("corpus", "protocol", "pooling", "epochs", "precision", "transcript_style", "encoder_padding",
                   "initialisation"):  # fmt: skip
        values = " and ".join(sorted(map(str, records.runs[column].unique())))
        if records.runs[column].nunique(dropna=False) > 1:
            raise MixedRecordsError(f"records mix {column} {values}: choose one, records.only({column}=…)")


def completeness(records: Any, alpha: float) -> str:
    """ "10 of 10 folds", "partial (3 of 10 folds, 1 diverged)" or "not run", for one alpha."""
    runs = records.runs[records.runs["alpha"] == alpha]
    if runs.empty:
        return NOT_RUN
    total = NUM_FOLDS[runs["protocol"].iloc[0]]
    done = int(finished_folds(records.runs)[alpha])
    outcomes = _outcomes(runs).value_counts().drop("done", errors="ignore")
    words = ", ".join([f"{done} of {total} folds", *(f"{count} {outcome}" for outcome, count in outcomes.items())])
    return words if done == total else f"partial ({words})"


def _result(records: Any, alpha: float) -> dict[str, Any]:
    """One corpus's cells of Table 4 for one alpha: Eq. 4 and Eq. 5 over the finished runs, interval, and folds."""
    done = records.only(alpha=alpha, status="done")
    found = {"accuracy": float("nan"), "wer": float("nan"), "interval": statistics.NO_INTERVAL}
    if len(done.runs):
        found = {"accuracy": averages.pooled_accuracy(done), "wer": averages.mean_wer(done.runs["wer"]),
                 "interval": statistics.accuracy_interval(done.predictions)}  # fmt: skip
    return found | {"folds": completeness(records, alpha)}


def pocket_row(records: Any, alpha: float) -> dict[str, Any]:
    """One alpha of one pocket experiment: pocket_accuracy, _wer, _interval, _folds."""
    check_one_experiment(records)
    return {f"pocket_{name}": value for name, value in _result(records, alpha).items()}


def table4_beside_paper(pocket: Any, iemocap: Any | None = None) -> pd.DataFrame:
    """Table 4: alpha, then accuracy, WER, interval and folds of each corpus; the difference from the paper on IEMOCAP.

    Columns start with `paper_`, `iemocap_` or `pocket_`. A corpus without a run has only accuracy and wer, both NaN.
    """
    table = paper.table4()
    frame = table.rename(columns={"accuracy": "paper_accuracy", "wer": "paper_wer"})
    for name, records in (("iemocap", iemocap), ("pocket", pocket)):
        results = pd.DataFrame({"accuracy": float("nan"), "wer": float("nan")}, index=table.index)
        if records is not None and len(records.runs):
            check_one_experiment(records)
            results = pd.DataFrame([_result(records, alpha) for alpha in table["alpha"]])
            if name == "iemocap":
                results.insert(3, "difference", results["accuracy"] - table["accuracy"])
        frame = frame.join(results.add_prefix(f"{name}_"))
    return frame


def table3_annotated(iemocap: Any | None = None) -> pd.DataFrame:
    """Table 3 as printed, what is known of each row, and this book's on IEMOCAP, at the paper's best alpha, below it.

    Columns: method, year, cross_validation, accuracy (a share; NaN where not run), known, comparable, status.
    """
    printed = paper.table3().assign(status="as printed").astype({"year": str})
    ours = pd.DataFrame([_row_of_table3(iemocap)]).assign(year="–")
    table = pd.concat([printed, ours], ignore_index=True)
    return table[["method", "year", "cross_validation", "accuracy", "known", "comparable", "status"]]


def _row_of_table3(records: Any | None) -> dict[str, Any]:
    row = {
        "method": "this book, IEMOCAP", "cross_validation": "10-fold", "accuracy": float("nan"),
        "known": "–", "comparable": "yes, with the claim: same corpus, metric and number of folds, as written",
        "status": NOT_RUN,
    }  # fmt: skip
    if records is None or records.runs.empty:
        return row
    check_one_experiment(records)
    protocol, result = records.runs["protocol"].iloc[0], _result(records, paper.BEST)
    if protocol != "speaker":
        row["comparable"] = f"no: {protocol} folds"
    known = f"WA (Eq. 4), {protocol} folds, α = {paper.BEST:g}"
    found = {"accuracy": result["accuracy"], "known": known, "status": result["folds"]}
    return row | found | {"cross_validation": f"{NUM_FOLDS[protocol]}-fold"}


def beside_paper(records: Any) -> pd.DataFrame:
    """Ours beside the paper's for the alphas that `records` holds: the lines that end a training page.

    The differences are there only on the paper's corpus.
    """
    check_one_experiment(records)
    rows = []
    for alpha, accuracy, wer in paper.table4().itertuples(index=False):
        if alpha in set(records.runs["alpha"]):
            ours = _result(records, alpha)
            rows.append({
                "alpha": alpha, "paper_accuracy": accuracy, "paper_wer": wer, "ours_accuracy": ours["accuracy"],
                "ours_wer": ours["wer"], "ours_interval": ours["interval"], "difference": ours["accuracy"] - accuracy,
                "wer_difference": ours["wer"] - wer, "folds": ours["folds"],
            })  # fmt: skip
    apart = [] if records.provenance == "IEMOCAP" else ["difference", "wer_difference"]
    return pd.DataFrame(rows).drop(columns=apart, errors="ignore")


def _scores(predictions: pd.DataFrame) -> dict[str, Any]:
    answers, words = (predictions["label"], predictions["prediction"]), predictions["words"].sum()
    return {
        "num_utterances": predictions["utterance"].nunique(),
        "accuracy": metrics.weighted_accuracy(*answers),
        "uar": metrics.unweighted_accuracy(*answers),
        "macro_f1": metrics.macro_f1(*answers),
        "wer": predictions["word_errors"].sum() / words if words else float("nan"),
    }


def per_speaker(records: Any) -> pd.DataFrame:
    """One row per test speaker of one alpha: speaker, num_utterances, accuracy, uar, macro_f1, wer (words pooled)."""
    check_one_experiment(records)
    predictions = records.only(status="done").predictions
    return pd.DataFrame({"speaker": name, **_scores(group)} for name, group in predictions.groupby("speaker"))


def scores(records: Any) -> pd.DataFrame:
    """One row per alpha over all finished folds: accuracy, UA, macro-F1, WER with words pooled, and both intervals."""
    check_one_experiment(records)
    rows = []
    for alpha, group in records.only(status="done").predictions.groupby("alpha"):
        intervals = {"interval": statistics.accuracy_interval(group), "wilson": statistics.wilson_interval(group)}
        rows.append({"alpha": alpha, **_scores(group), **intervals})
    return pd.DataFrame(rows)


def confusion(records: Any) -> pd.DataFrame:
    """Counts over all finished runs: column `emotion` (true), then one column per predicted emotion."""
    predictions = records.only(status="done").predictions
    if predictions.empty:
        return pd.DataFrame(columns=["emotion", *EMOTIONS])
    counts = metrics.confusion(predictions["label"], predictions["prediction"])
    return pd.DataFrame(counts, columns=list(EMOTIONS)).assign(emotion=EMOTIONS)[["emotion", *EMOTIONS]]


def _outcomes(table: pd.DataFrame) -> pd.Series:
    """Status of each run; a finished run that predicts one emotion almost always is "collapsed"."""
    return table["status"].mask(table["collapsed"].eq(True) & (table["status"] == "done"), "collapsed")


def _ended(records: Any) -> pd.DataFrame:
    """The runs with columns outcome and fine (whether that is "done"), those with a problem first."""
    outcomes = _outcomes(records.runs)
    table = records.runs.assign(outcome=outcomes, fine=outcomes == "done")
    return table.sort_values(["fine", "alpha", "fold", "seed"], ignore_index=True)


def runs(records: Any) -> pd.DataFrame:
    """Every run that ended, those with a problem first: its outcome, scores, minutes and device."""
    table = _ended(records).assign(minutes=lambda table: table["seconds"].astype(float) / 60)
    return table[["alpha", "fold", "seed", "outcome", "accuracy", "uar", "wer", "minutes", "device"]]


def problems(records: Any) -> pd.DataFrame:
    """The runs that diverged, failed or collapsed, with the reason that the run left; no rows when there is none."""
    table = _ended(records)
    return table.loc[~table["fine"], ["alpha", "fold", "seed", "outcome", "error"]]


def paired_tests(records: Any) -> pd.DataFrame:
    """`statistics.paired_tests` with the two alphas in one column, as the book shows it."""
    check_one_experiment(records)
    rows = statistics.paired_tests(records.only(status="done"))
    if rows.empty:
        return rows
    comparisons = [f"{a:g} → {b:g}" for a, b in zip(rows.pop("baseline"), rows.pop("alpha"), strict=True)]
    rows.insert(0, "comparison", comparisons)
    return rows


def leak_shares(audits: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Audits (`folds.audit`) by protocol → number of folds and the three shares over all test utterances, or NaN."""
    columns = ["test_in_train_speaker_share", "named_speaker_share", "repeated_text_share"]
    return pd.DataFrame(
        {"protocol": protocol, "num_folds": len(audit)}
        | audit[columns].mul(audit["num_test"] / audit["num_test"].sum(), axis=0).sum(skipna=False).to_dict()
        for protocol, audit in audits.items()
    )


def speaker_shares(utterances: pd.DataFrame, folds: list[Fold]) -> pd.DataFrame:
    """Index speaker, one column per fold: the share of the speaker's utterances that the fold tests."""
    speakers = utterances.set_index("utterance")["speaker"]
    counts = pd.DataFrame({fold.name: speakers[list(fold.test)].value_counts() for fold in folds})
    return counts.div(speakers.value_counts(), axis=0).fillna(0.0).sort_index()
