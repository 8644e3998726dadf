"""Shape bias of one model on a set of cue conflicts, from its predictions.

Each image has the shape of one class and the texture of another (Geirhos et al., "ImageNet-trained CNNs are biased
towards texture", ICLR 2019). Shape accuracy and texture accuracy are shares of all images; shape bias is the share of
shape among the answers that are one of the two, and the number of those is its denominator. The three must not be
confused: a model may have a high shape bias because it rarely names either class.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from withstand.metrics.intervals import wilson
from withstand.parquet import read_schema, read_table
from withstand.predictions import LABEL_MODES

METRICS = ("shape_accuracy", "texture_accuracy", "shape_bias")


def shape_bias_rows(path: Path) -> pd.DataFrame:
    """The three metrics in every label mode of a file of predictions.

    Returns columns label_mode, metric, value, low, high (95% Wilson interval), n (the denominator) and images (all).
    The shape bias of a model that named neither class of any image has no value.
    """
    names = read_schema(path).names
    rows = []
    for mode in (mode for mode in LABEL_MODES if f"texture_correct_{mode}" in names):
        table = read_table(path, columns=[f"correct_{mode}", f"texture_correct_{mode}"])
        images = len(table)
        shape, texture = (int(column.to_numpy().sum()) for column in table.columns)
        counts = ((shape, images), (texture, images), (shape, shape + texture))
        for metric, (hits, n) in zip(METRICS, counts, strict=True):
            low, high = wilson(hits, n) if n else (None, None)
            value = hits / n if n else None
            rows.append(
                {"label_mode": mode, "metric": metric, "value": value, "low": low, "high": high, "n": n}
                | {"images": images}
            )
    return pd.DataFrame(rows)
