"""Calibration: how far confidence is from accuracy, and losses of the probabilities, on clean and corrupted images."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, ScalarFormatter

from withstand.figures.style import (
    CHOICES,
    Style,
    choices,
    footnote,
    in_families,
    interval_point,
    label_rows,
)
from withstand.predictions import MAIN_MODES

METRICS = {
    "ece": "expected calibration error",
    "nll": "negative log-likelihood (nats)",
    "brier": "Brier score",
}


def select(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows drawn: every metric of each model on clean images, and over all corruptions (``condition``)."""
    rows = table[table["label_mode"].isin(MAIN_MODES) & table["metric"].isin(METRICS)]
    clean, pooled = rows["corruption"] == "clean", rows[["family", "corruption", "severity"]].isna().all(axis=1)
    rows = rows.assign(condition=np.where(clean, "clean", "corrupted"))[(clean | pooled) & rows["value"].notna()]
    columns = ["dataset", "condition", "model", "metric", "value", "low", "high", "n", "images", *CHOICES]
    return in_families(rows[columns], models)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """A panel a metric, a row a model: filled on clean images, hollow over corruptions; less is better in all."""
    models, metrics = list(data["model"].unique()), [name for name in METRICS if name in set(data["metric"])]
    colors = style.model_colors(models)
    size = (1.2 + 2.1 * len(metrics), 1.0 + 0.27 * len(models))
    figure, axes = plt.subplots(1, len(metrics), figsize=size, sharey=True, squeeze=False)
    for axis, metric in zip(axes[0], metrics, strict=True):
        rows = data[data["metric"] == metric]
        label_rows(axis, models, colors, style)
        for height, model in enumerate(models):
            own = rows[rows["model"] == model]
            axis.plot(
                own["value"], [height] * len(own), color=colors[model], linewidth=1, linestyle=(0, (1, 1.5)), alpha=0.7
            )
            for _, row in own.iterrows():
                interval_point(axis, height, row, colors[model], filled=row["condition"] == "clean")
        ends = rows[["value", "high"]].to_numpy(dtype=float)
        axis.set_xlim(0, 1.06 * ends[np.isfinite(ends)].max())
        axis.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
        axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0) if metric == "ece" else ScalarFormatter())
        axis.set_xlabel(METRICS[metric])
    figure.tight_layout(w_pad=1.5)
    note = f"{style.dataset(data['dataset'].iloc[0])}: {int(data['images'].max()):,} images; {choices(data)}."
    if data["condition"].nunique() > 1:
        note += "\nFilled: clean images; hollow: mean over all corruptions and severities."
    footnote(figure, f"{note} Bars are 95% intervals over images. Less is better.")
    return figure
