"""Accuracy on the clean images of every dataset: a panel a dataset, a row a model."""

from __future__ import annotations

from textwrap import fill

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from withstand.figures.style import CHOICES, MUTED, Style, footnote, in_families

OFFSETS = {"all": 0.0, "subset": 0.28}
"""How far below its model's row each label mode stands."""


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
    figure, axes = plt.subplots(
        1, len(datasets), figsize=(1.2 + 2.1 * len(datasets), 0.7 + 0.33 * len(models)), sharey=True, squeeze=False
    )
    for axis, dataset in zip(axes[0], datasets, strict=True):
        rows = data[data["dataset"] == dataset]
        _panel(axis, rows, models, colors)
        axis.set_title(fill(style.dataset(dataset), 20) + "\n", loc="left", fontweight="bold")
        axis.text(0, 1.02, f"{int(rows['n'].max()):,} images", transform=axis.transAxes, fontsize=7.5, color=MUTED)
    axes[0, 0].set_yticks(range(len(models)), [style.label(model) for model in models])
    for label, model in zip(axes[0, 0].get_yticklabels(), models, strict=True):
        label.set(color=colors[model], fontsize=8.5, fontweight="bold")
    note = "Bars are 95% Wilson intervals."
    if (data["label_mode"] == "subset").any():
        note = f"Filled: top-1 over all outputs; hollow: over the classes that the set has. {note}"
    for axis in axes[0]:
        axis.set_xlabel("accuracy")
    figure.tight_layout(w_pad=1.5)
    footnote(figure, note)
    return figure


def _panel(axis: Axes, rows: pd.DataFrame, models: list[str], colors: dict[str, str]) -> None:
    for row in rows.itertuples():
        color = colors[row.model]
        axis.errorbar(
            row.value,
            models.index(row.model) + OFFSETS[row.label_mode],
            xerr=[[row.value - row.low], [row.high - row.value]],
            marker="o",
            markersize=5.5 if row.label_mode == "all" else 4.5,
            color=color,
            markerfacecolor=color if row.label_mode == "all" else "white",
            elinewidth=1.2,
            clip_on=False,
            zorder=3,
        )
    axis.set(xlim=(0, 1), ylim=(len(models) - 0.4, -0.6))
    axis.set_xticks([0, 0.5, 1])
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.grid()
