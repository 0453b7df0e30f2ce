"""Small invented Records for the tests of the report: nothing in them was measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from mtlser.config import ALPHAS, EMOTIONS, get_preset
from mtlser.runs import metrics
from mtlser.runs.records import CORPUS_NAMES, RUN_COLUMNS, Records

SPEAKERS = tuple(f"Ses0{session}{gender}" for session in range(1, 6) for gender in "FM")
KEYS = ("run_id", "preset", "alpha", "protocol", "fold", "seed", "pooling")


def fake_records(
    preset: str = "pocket",
    *,
    alphas: tuple[float, ...] = ALPHAS,
    folds: tuple[str, ...] = SPEAKERS,
    epochs: int = 4,
    num_test: int = 12,
    accuracy: dict[float, float] | None = None,
    seeds: tuple[int, ...] = (0,),
) -> Records:
    """Done runs in which `accuracy[alpha]` of the utterances is right (default: rising from 0.5 with alpha).

    Every third speaker is one utterance above that, the next one below.
    """
    accuracy = accuracy or {alpha: 0.5 + 0.1 * place for place, alpha in enumerate(ALPHAS)}
    runs, histories, predictions = [], [], []
    for alpha in alphas:
        for fold in folds:
            for seed in seeds:
                config = replace(get_preset(preset).run, alpha=alpha, fold=fold, seed=seed, epochs=epochs)
                run = config.to_dict() | {"run_id": f"{alpha}-{fold}-{seed}"}
                table = _predictions(fold, num_test, round(accuracy[alpha] * num_test))
                correct = int((table["label"] == table["prediction"]).sum())
                share, wer = correct / num_test, table["word_errors"].sum() / table["words"].sum()
                run |= {"status": "done", "corpus": CORPUS_NAMES[preset], "num_test": num_test, "num_correct": correct,
                        "accuracy": share, "uar": metrics.unweighted_accuracy(table["label"], table["prediction"]),
                        "macro_f1": metrics.macro_f1(table["label"], table["prediction"]), "wer": wer,
                        "collapsed": False, "seconds": 60.0, "device": "cpu"}  # fmt: skip
                keys = {name: run[name] for name in KEYS}
                runs.append({name: run.get(name) for name in RUN_COLUMNS})
                histories.append(_history(epochs, alpha, share, wer).assign(**keys))
                predictions.append(table.assign(**keys))
    concat = (pd.concat(parts, ignore_index=True) for parts in (histories, predictions))
    return Records(pd.DataFrame(runs), *concat, source="invented")


def _predictions(fold: str, num_test: int, num_right: int) -> pd.DataFrame:
    num_right += (1, -1, 0)[SPEAKERS.index(fold) % 3] if fold in SPEAKERS[:9] else 0
    labels = [EMOTIONS[i % 4] for i in range(num_test)]
    predicted = [EMOTIONS[(i if i < num_right else i + 1) % 4] for i in range(num_test)]
    return pd.DataFrame(
        {
            "utterance": [f"{fold}_impro01_{fold[-1]}{i:03d}" for i in range(num_test)],
            "speaker": fold,
            "label": labels,
            "prediction": predicted,
            "logits": [np.zeros(4)] * num_test,
            "reference": "THE TEXT OF A TEST",
            "hypothesis": "THE TEXT OF TEST",
            "word_errors": 1,
            "words": 5,
        }
    )


def _history(epochs: int, alpha: float, accuracy: float, wer: float) -> pd.DataFrame:
    """Accuracy climbs to its end; WER falls from 1, the faster the larger alpha."""
    epoch = np.arange(1, epochs + 1)
    falling = 1 / epoch ** (0.2 + 5 * alpha**0.5)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "loss": 2 / epoch,
            "loss_ce": 1.4 / epoch,
            "loss_ctc": 60 / epoch,
            "accuracy": accuracy * epoch / epochs,
            "uar": accuracy * epoch / epochs,
            "wer": falling if alpha else np.ones(epochs),
            "learning_rate": 1e-3,
            "seconds": 6.0,
            "gradient_norm_ce": 1.0,
            "gradient_norm_ctc": 10.0,
            "gradient_cosine": 0.1,
        }
    )


def with_status(records: Records, run_id: str, status: str, error: str = "loss is not finite") -> Records:
    """The same records in which one run did not finish: no result, no predictions, half of its history."""
    runs = records.runs.copy()
    chosen = runs["run_id"] == run_id
    runs.loc[chosen, ["status", "error"]] = [status, error]
    runs.loc[chosen, ["accuracy", "uar", "macro_f1", "wer", "num_correct"]] = np.nan
    lost = records.history["run_id"].eq(run_id) & (records.history["epoch"] > 2)
    return Records(runs, records.history[~lost], records.predictions[records.predictions["run_id"] != run_id])
