"""The two numbers of a row of Table 4: accuracy over all folds (Eq. 4), and the mean of the folds' WER (Eq. 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd


def mean_wer(per_fold: Sequence[float]) -> float:
    """Eq. 5: the mean of the folds' WER, each fold counting the same. Raises ValueError if a fold has none."""
    values = np.asarray(per_fold, dtype=float)
    if values.size == 0 or np.isnan(values).any():
        raise ValueError(f"a mean over folds needs a WER from each; got {values.tolist()}")
    return float(values.mean())


def pooled_accuracy(records: Any) -> float:
    """Eq. 4 over folds: all correct / all tested utterances of the finished runs, so each fold weighs by its size.

    `records` is a Records or its `runs` table (columns status, num_correct, num_test). Raises ValueError if no run is
    finished or if more than one alpha or protocol would be pooled.
    """
    runs: pd.DataFrame = getattr(records, "runs", records)
    finished = runs[runs["status"] == "done"]
    if finished.empty:
        raise ValueError("no finished run to pool")
    for column in ("alpha", "protocol"):
        if column in finished and finished[column].nunique() > 1:
            raise ValueError(f"runs of several {column}s would be pooled: {sorted(finished[column].unique())}")
    return float(finished["num_correct"].sum() / finished["num_test"].sum())
