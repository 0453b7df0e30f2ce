"""Which of the two losses moves the encoder: the histories' gradient norms and cosines, compared over epochs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mtlser.report import tables
from mtlser.report.display import three_digits

HEADINGS = {"gradient_norm_ce": "cross-entropy norm", "gradient_norm_ctc": "CTC norm",
            "pull": "α · CTC / cross-entropy", "gradient_cosine": "cosine"}  # fmt: skip


def history(records: Any) -> pd.DataFrame:
    """The history of finished runs with a column `pull`: alpha · CTC norm over cross-entropy norm; NaN at alpha = 0.

    Norms of zero become NaN, which a logarithmic scale can't show.
    """
    found = records.only(status="done").history
    found = found.assign(gradient_cosine=found["gradient_cosine"].astype(float))
    numbers = found[["gradient_norm_ce", "gradient_norm_ctc", "alpha"]].astype(float).replace(0.0, np.nan)
    ce, ctc, alpha = (numbers[name] for name in numbers)
    return found.assign(gradient_norm_ce=ce, gradient_norm_ctc=ctc, pull=alpha * ctc / ce)


def _ends(records: Any) -> dict[str, pd.DataFrame]:
    """The rows of `history` of each run's "first" and "last" epoch."""
    found = history(records)
    last = found.groupby("run_id")["epoch"].transform("max")
    return {"first": found[found["epoch"] == 1], "last": found[found["epoch"] == last]}


def medians(records: Any) -> pd.DataFrame:
    """Medians over folds after the first and the last epoch, two columns for each quantity; or MixedRecordsError."""
    tables.check_one_experiment(records)
    found = {when: part.groupby("alpha")[list(HEADINGS)].median() for when, part in _ends(records).items()}
    columns = {
        f"{heading}, {when}": median[column].map(three_digits)
        for column, heading in HEADINGS.items() for when, median in found.items()
    }  # fmt: skip
    return pd.DataFrame(columns).reset_index()


def alphas_where_ctc_pulls_harder(records: Any) -> dict[str, list[float]]:
    """The alphas whose median pull over folds is above 1, after the "first" epoch and after each run's "last"."""
    pulls = {when: part.groupby("alpha")["pull"].median() for when, part in _ends(records).items()}
    return {when: median.index[median > 1].tolist() for when, median in pulls.items()}


def last_cosines(records: Any) -> tuple[float, float, float]:
    """Quartiles, over all finished runs, of the cosine of the two gradients after a run's last epoch; NaN without."""
    return tuple(_ends(records)["last"]["gradient_cosine"].quantile([0.25, 0.5, 0.75]))
