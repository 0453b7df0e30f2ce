"""What shared tables may hold, for who writes and who reads them: a form for every column, so that no free text (errors
and paths quote transcripts) is committed, and no result that its own predictions contradict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from mtlser.config import EMOTIONS, ConfigError, RunConfig

NAME, HARDWARE = r"[^\s/]\S{0,119}", r"[A-Za-z0-9][\w()@.,+ -]{0,79}"
DIGESTS = [f"{kind}_digest" for kind in ("backbone", "audio", "labels", "transcripts", "split")]
TEXTS = {
    **dict.fromkeys(("run_id", "preset", "fold", "utterance", "speaker", "instrument", "system", "corpus_id"), NAME),
    **dict.fromkeys(("label", "prediction"), "|".join(EMOTIONS)),
    **dict.fromkeys(("device", "processor"), HARDWARE),
    **dict.fromkeys(("started", "finished"), r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"),
    **dict.fromkeys(DIGESTS, "[0-9a-f]{64}"),
    "status": "done|failed|diverged",
    "error": r"[A-Za-z_]\w{0,63}",
    "launched_by": r"engine \w{1,20}",
    "revision": r"unknown|[0-9a-f]{7,40}(\+changes)?",
    "rules": "unknown|[0-9a-f]{40}",
    "backbone": r"[\w.-]{1,60}(/[\w.-]{1,60})?",
}
DIFFERS = " (a copy that differs from the known corpus)"
KEYS = ("preset", "alpha", "protocol", "fold", "seed", "pooling")
CHOICES = ("protocol", "pooling", "transcript_style", "encoder_padding", "precision", "initialisation",
           "training_texts", "ctc_gradient")  # fmt: skip
RANGES = dict.fromkeys(("accuracy", "uar", "macro_f1"), (0, 1)) | {"gradient_cosine": (-1, 1)}  # others: at least 0
ROUNDING = 1e-6


def problems(
    runs: pd.DataFrame, history: pd.DataFrame, predictions: pd.DataFrame, corpora: tuple[str, ...]
) -> list[str]:
    """What is wrong with the tables, a sentence each that quotes no cell but a run's id.

    `corpora`: the names that a corpus has, alone or followed by DIFFERS.
    """
    tables = {"runs": runs, "history": history, "predictions": predictions}
    forms = [
        f"{name}.parquet: {what}"
        for name, table in tables.items()
        for what in _forms(table.drop(columns="corpus", errors="ignore"))
    ]
    if not runs["corpus"].str.removesuffix(DIFFERS).isin(corpora).all():
        forms.append("runs.parquet: corpus is none of " + ", ".join(corpora))
    return forms or list(_contradictions(**tables))  # words in place of numbers can't be counted


def _forms(table: pd.DataFrame) -> Iterator[str]:
    for name in table.columns.difference(CHOICES):  # RunConfig knows their values
        values, (low, high) = table[name].dropna(), RANGES.get(name, (0, np.inf))
        if name == "logits":
            right = {np.shape(row) for row in values} <= {(len(EMOTIONS),)} and np.isfinite([*values]).all()
        elif name in TEXTS:
            right = pd.Series(values.unique()).astype(str).str.fullmatch(TEXTS[name]).all()
        else:
            right = pd.to_numeric(values, errors="coerce").between(low - ROUNDING, high + ROUNDING).all()
        if not right:
            yield f"{name} holds free text, or what is out of range"


def _contradictions(runs: pd.DataFrame, history: pd.DataFrame, predictions: pd.DataFrame) -> Iterator[str]:
    for key, table in {None: runs, "epoch": history, "utterance": predictions}.items():
        if twice := _ids(table, table.duplicated(["run_id", *([key] if key else [])])):
            yield f"rows stand twice of {twice}"
            return
    kinds = runs.drop_duplicates([name for name in RunConfig.__dataclass_fields__ if name not in ("fold", "seed")])
    for run_id, row in zip(kinds["run_id"], kinds.astype(object).to_dict("records"), strict=True):
        try:
            RunConfig(**{name: None if pd.isna(row[name]) else row[name] for name in RunConfig.__dataclass_fields__})
        except (ConfigError, TypeError) as error:
            yield f"{run_id}: {error}"
    for table in (history, predictions):
        keys = table[["run_id"]].merge(runs[["run_id", *KEYS]], on="run_id")[list(KEYS)]
        if wrong := _ids(table, (keys != table[list(KEYS)].reset_index(drop=True)).any(axis=1).to_numpy()):
            yield f"a row names another alpha, fold or seed than its run, of {wrong}"
    logits = np.array([*predictions["logits"]]).reshape(-1, len(EMOTIONS))
    chosen = logits[np.arange(len(logits)), predictions["prediction"].map(EMOTIONS.index).astype(int)]
    if wrong := _ids(predictions, chosen != logits.max(axis=1)):
        yield f"a prediction is not its largest logit, of {wrong}"
    done = runs[runs["status"] == "done"].set_index("run_id")
    for name, counted in _counted(history, predictions, done.index).items():
        stated = done[name.split()[0]].astype(float)
        same = (stated - counted).abs() < ROUNDING
        wrong = stated.index[~(same | (stated.isna() & counted.isna()))]
        if len(wrong):
            yield f"{name} is not what the other tables say, of {', '.join(wrong)}"


def _ids(table: pd.DataFrame, chosen: np.ndarray | pd.Series) -> str:
    return ", ".join(table["run_id"][np.asarray(chosen)].unique())


def _counted(history: pd.DataFrame, predictions: pd.DataFrame, done: pd.Index) -> Mapping[str, pd.Series]:
    """What the row of each done run says, by its other rows; NaN where it has none."""
    epochs = history.groupby("run_id")["epoch"].agg(["size", "max"]).reindex(done)
    words = predictions.groupby("run_id")[["word_errors", "words"]].sum().reindex(done)
    kinds = pd.MultiIndex.from_product([done, EMOTIONS, EMOTIONS])
    counts = predictions.groupby(["run_id", "label", "prediction"]).size().reindex(kinds, fill_value=0)
    counts = counts.to_numpy(float).reshape(-1, len(EMOTIONS), len(EMOTIONS))  # (run, label, prediction)
    right, labels, said = counts.diagonal(axis1=1, axis2=2), counts.sum(2), counts.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = {
            "num_test": labels.sum(1),
            "num_correct": right.sum(1),
            "accuracy": right.sum(1) / labels.sum(1),
            "uar": pd.DataFrame(right / labels).mean(axis=1),
            "macro_f1": pd.DataFrame(2 * right / (labels + said)).mean(axis=1),
            "wer": words["word_errors"] / words["words"].where(words["words"] > 0),
            "epochs (their number)": epochs["size"],
            "epochs (the last)": epochs["max"],
        }
    return {name: pd.Series(np.asarray(values, float), done) for name, values in found.items()}
