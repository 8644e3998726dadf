"""Accuracy of one model on one dataset: tidy rows with 95% intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from withstand.metrics.conditions import Condition, pooled
from withstand.metrics.intervals import clustered_wilson

METRIC = "accuracy"


def accuracy_rows(conditions: Sequence[Condition], *, complete: bool = True) -> pd.DataFrame:
    """Accuracy under every condition, and pooled (see :func:`withstand.metrics.conditions.pooled`).

    Returns columns family, corruption, severity, metric, value, low, high, n (predictions) and images. The interval of
    a pooled row is clustered by image. Every condition counts the same.
    """
    rows = [keys | {"metric": METRIC} | _proportion(group) for keys, group in pooled(conditions, complete)]
    return pd.DataFrame(rows)


def _proportion(group: list[Condition]) -> dict:
    total, trials = np.sum([condition.correct for condition in group], axis=0, dtype=np.float64), len(group)
    n = len(total) * trials
    low, high = clustered_wilson(total, trials)
    return {"value": total.sum() / n, "low": low, "high": high, "n": n, "images": len(total)}
