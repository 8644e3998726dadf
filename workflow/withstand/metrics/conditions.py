"""Answers of one model to one dataset, condition by condition, from its predictions; and how conditions are pooled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from withstand.parquet import open_file, read_schema, reading
from withstand.predictions import LABEL_MODES

CLEAN = "clean"
_KEYS = ["corruption", "severity"]

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
    """A model's answers under one corruption and severity, in the samples' order.

    Attributes:
        correct: whether each image was right, bool (images).
        confidence: probability of the answer, float32 (images).
        label_probability: probability of the label, float32 (images).
        squared_probability: sum of squared probabilities, float32 (images).
        loss: negative log-likelihood of the label in nats, float32 (images).
    """

    family: str
    corruption: str
    severity: int
    correct: np.ndarray
    confidence: np.ndarray
    label_probability: np.ndarray
    squared_probability: np.ndarray
    loss: np.ndarray

    @property
    def is_clean(self) -> bool:
        return self.corruption == CLEAN

    @property
    def keys(self) -> dict:
        return {"family": self.family, "corruption": self.corruption, "severity": self.severity}


def modes_of(path: Path) -> list[str]:
    """The label modes of a file of predictions."""
    names = read_schema(path).names
    return [mode for mode in LABEL_MODES if f"correct_{mode}" in names]


def read_conditions(files: Mapping[str, Path], mode: str) -> list[Condition]:
    """All conditions of a model's predictions on one dataset, by family, in one label mode."""
    return [condition for family, path in files.items() for condition in _conditions(family, path, mode)]


def sample_ids(path: Path) -> pa.Array:
    """The ids of a file's samples, which all its conditions share: strings (images)."""
    first, parts = None, []
    with open_file(path, [*_KEYS, "sample_id"]) as file, reading(path):
        for group in range(file.num_row_groups):
            keys = file.read_row_group(group, columns=_KEYS).slice(0, 1).to_pylist()[0]
            first = first or keys
            if keys == first:
                parts += file.read_row_group(group, columns=["sample_id"])["sample_id"].chunks
    return pa.concat_arrays(parts)


def pooled(conditions: Sequence[Condition], complete: bool) -> Iterator[tuple[dict, list[Condition]]]:
    """The groups of conditions that tables have rows of: each alone, and those that are pooled.

    Args:
        complete: whether these are all families of the dataset; only then are families pooled.

    Yields family, corruption and severity of a group, None where it pools over them, and its conditions. Clean images
    are never pooled with corrupted ones.
    """
    for condition in conditions:
        yield condition.keys, [condition]
    corrupted = [condition for condition in conditions if not condition.is_clean]
    for kept in (keys for keys in POOLED_BY if complete or "family" in keys):
        groups: dict[tuple, list[Condition]] = {}
        for condition in corrupted:
            groups.setdefault(tuple(condition.keys[key] for key in kept), []).append(condition)
        for key, group in groups.items():
            yield dict.fromkeys(("family", "corruption", "severity")) | dict(zip(kept, key, strict=True)), group


def _row_groups(path: Path, columns: Sequence[str]) -> Iterator[tuple[dict, pa.Table]]:
    """Corruption and severity of each row group of a file, with some of its columns."""
    with open_file(path, [*_KEYS, *columns]) as file, reading(path):
        for group in range(file.num_row_groups):
            keys = file.read_row_group(group, columns=_KEYS).slice(0, 1).to_pylist()[0]
            yield keys, file.read_row_group(group, columns=columns)


def _conditions(family: str, path: Path, mode: str) -> list[Condition]:
    """The conditions of a file. A row group holds one shard's samples under one condition, in their order."""
    names = ("correct", "top5_probability", "label_probability", "squared_probability")
    columns = ["loss", *(f"{name}_{mode}" for name in names)]
    parts: dict[tuple[str, int], list[list[np.ndarray]]] = {}
    for key, table in _row_groups(path, columns):
        loss, correct, top, of_label, squared = (table[name].combine_chunks() for name in columns)
        confidence = top.flatten().to_numpy()[:: top.type.list_size]
        if mode == "subset":  # the loss of the file is over all outputs
            with np.errstate(divide="ignore"):
                loss = -np.log(np.maximum(of_label.to_numpy(), np.finfo(np.float32).tiny))
        arrays = [correct, confidence, of_label, squared, loss]
        parts.setdefault((key["corruption"], key["severity"]), []).append(
            [array if isinstance(array, np.ndarray) else array.to_numpy(zero_copy_only=False) for array in arrays]
        )
    return [
        Condition(family, *key, *(np.concatenate(shards) for shards in zip(*found, strict=True)))
        for key, found in parts.items()
    ]
