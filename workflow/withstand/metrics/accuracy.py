"""Accuracy of one model on one dataset, from its predictions: tidy rows with 95% intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from withstand.metrics.intervals import clustered_wilson, wilson
from withstand.predictions import LABEL_MODES

METRIC = "accuracy"
CLEAN = "clean"

POOLED_BY = (
    ("family", "corruption"),
    ("family", "severity"),
    ("family",),
    ("severity",),
    (),
)
"""What each kind of pooled rows keeps apart: at first the corruptions of each family, at last nothing."""


@dataclass(frozen=True)
class Condition:
    """Whether each image was right under one corruption and severity: float64 (images), in the samples' order."""

    family: str
    corruption: str
    severity: int
    correct: np.ndarray


def accuracy_rows(files: Mapping[str, Path], *, complete: bool = True) -> pd.DataFrame:
    """Accuracy under every condition, and pooled.

    Args:
        files: the files of predictions by family, of one model on one dataset.
        complete: whether these are all families of the dataset; only then are families pooled.

    Returns columns family, corruption, severity, label_mode, metric, value, low, high, n (predictions) and images. A
    pooled row has no value in the columns over which it pools, and its interval is clustered by image; clean images
    are never pooled with corrupted ones. Every condition counts the same.
    """
    rows = []
    for mode in _modes(next(iter(files.values()))):
        conditions = [condition for family, path in files.items() for condition in _conditions(family, path, mode)]
        rows += [row | {"label_mode": mode, "metric": METRIC} for row in _rows(conditions, complete)]
    return pd.DataFrame(rows)


def _modes(path: Path) -> list[str]:
    names = pq.read_schema(path).names
    return [mode for mode in LABEL_MODES if f"correct_{mode}" in names]


def _rows(conditions: list[Condition], complete: bool) -> Iterator[dict]:
    for condition in conditions:
        keys = {"family": condition.family, "corruption": condition.corruption, "severity": condition.severity}
        yield keys | _proportion([condition])
    corrupted = [condition for condition in conditions if condition.corruption != CLEAN]
    for kept in (keys for keys in POOLED_BY if complete or "family" in keys):
        groups: dict[tuple, list[Condition]] = {}
        for condition in corrupted:
            groups.setdefault(tuple(getattr(condition, key) for key in kept), []).append(condition)
        for key, group in groups.items():
            yield (
                dict.fromkeys(("family", "corruption", "severity"))
                | dict(zip(kept, key, strict=True))
                | (_proportion(group))
            )


def _proportion(group: list[Condition]) -> dict:
    total, trials = np.sum([condition.correct for condition in group], axis=0), len(group)
    n = len(total) * trials
    low, high = wilson(total.sum(), n) if trials == 1 else clustered_wilson(total, trials)
    return {"value": total.sum() / n, "low": low, "high": high, "n": n, "images": len(total)}


def _conditions(family: str, path: Path, mode: str) -> list[Condition]:
    """The conditions of a file. A row group holds one shard's samples under one condition, in their order."""
    file = pq.ParquetFile(path)
    parts: dict[tuple[str, int], list[np.ndarray]] = {}
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=["corruption", "severity", f"correct_{mode}"])
        key = table["corruption"][0].as_py(), table["severity"][0].as_py()
        parts.setdefault(key, []).append(table[f"correct_{mode}"].to_numpy().astype(np.float64))
    return [Condition(family, *key, np.concatenate(arrays)) for key, arrays in parts.items()]
