"""Accuracy on the clean images of every dataset: a panel a dataset, a row a model."""

from __future__ import annotations

from textwrap import fill

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from withstand.figures.style import CHOICES, MUTED, Style, footnote, in_families, interval_point, label_rows

OFFSETS = {"all": 0.0, "subset": 0.28}
"""How far below its model's row each label mode stands."""

POLICIES = {"model": ", models' own crop"}
"""What is said of sets that are not the study's stored images, resized."""


def select(accuracy: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows drawn: clean images of every dataset, in both label modes where they differ."""
    rows = accuracy[accuracy["family"] == "clean"]
    return in_families(rows[["dataset", "model", "value", "low", "high", "n", *CHOICES]], models)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Dots with 95% intervals, filled over all outputs, hollow over the set's classes only; easy datasets first."""
    mean_accuracies = data[data["label_mode"] == "all"].groupby("dataset")["value"].mean()
    datasets = list(mean_accuracies.sort_values(ascending=False).index)
    models = list(data["model"].unique())
    colors = style.model_colors(models)
    size = (1.2 + 2.1 * len(datasets), max(1.9, 0.7 + 0.33 * len(models)))
    figure, axes = plt.subplots(1, len(datasets), figsize=size, sharey=True, squeeze=False)
    for axis, dataset in zip(axes[0], datasets, strict=True):
        rows = data[data["dataset"] == dataset]
        label_rows(axis, models, colors, style)
        axis.set_xticks([0, 0.5, 1])
        for _, row in rows.iterrows():
            height = models.index(row["model"]) + OFFSETS[row["label_mode"]]
            interval_point(axis, height, row, colors[row["model"]], filled=row["label_mode"] == "all")
        axis.set_title(fill(style.dataset(dataset), 20), loc="left", fontweight="bold", pad=18)
        about = f"{int(rows['n'].max()):,} images{POLICIES.get(rows['policy'].iloc[0], '')}"
        above = {"xycoords": "axes fraction", "xytext": (0, 5), "textcoords": "offset points"}
        axis.annotate(about, (0, 1), **above, fontsize=7.5, color=MUTED)
    note = "Bars are 95% Wilson intervals."
    if (data["label_mode"] == "subset").any():
        note = f"Filled: top-1 over all outputs; hollow: over the classes that the set has. {note}"
    for axis in axes[0]:
        axis.set_xlabel("accuracy")
    figure.tight_layout(w_pad=2.2)
    footnote(figure, note)
    return figure
