"""Accuracy under rotation and translation: without, on average, the worst of some at random, the worst of all."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from withstand.figures.published import beside, mark, name_first, note
from withstand.figures.style import (
    CHOICES,
    MUTED,
    Style,
    choices,
    footnote,
    in_families,
    interval_point,
    label_rows,
    spread,
)

METRICS = {
    "clean_accuracy": ("o", "as it is"),
    "mean": ("s", "mean"),
    "worst_of_draws": ("D", "worst of {draws}"),
    "worst": ("o", "worst of all"),
}
"""Marker and name of each number."""


def select(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows drawn: the four accuracies over all outputs."""
    rows = table[(table["label_mode"] == "all") & table["metric"].isin(METRICS)]
    columns = ["dataset", "model", "metric", "value", "low", "high", "n", "images", "draws", *CHOICES]
    return in_families(rows[columns], models)


def with_published(data: pd.DataFrame, reproduction: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows with published accuracies under the worst transformation, where there are some."""
    return beside(data, reproduction[reproduction["experiment"] == "spatial"])


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """A row a model; the clean image is hollow."""
    models = list(data["model"].unique())
    colors = style.model_colors(models)
    figure, axis = plt.subplots(figsize=(6.4, 1.0 + 0.4 * len(models)))
    label_rows(axis, models, colors, style)
    for height, model in enumerate(models):
        values = data[data["model"] == model].set_index("metric")
        axis.plot(values.loc[list(METRICS), "value"], [height] * 4, color=colors[model], linewidth=0.9, alpha=0.5)
        for metric, (marker, _) in METRICS.items():
            filled = metric != "clean_accuracy"
            interval_point(axis, height, values.loc[metric], colors[model], marker=marker, filled=filled)
        mark(axis, height, values.loc["worst"], along="x")
    name_first(axis, data[data["metric"] == "worst"], models)
    draws = int(data["draws"].max())
    first = data[data["model"] == models[0]].set_index("metric").loc[list(METRICS), "value"]
    for (_, name), place in zip(METRICS.values(), spread(first.to_list(), gap=0.15), strict=True):
        axis.text(place, -0.4, name.format(draws=draws), ha="center", fontsize=8, color=MUTED)
    axis.set_xlabel("accuracy")
    figure.tight_layout()
    images = int(data["images"].max())
    transformations = int(data.loc[data["metric"] == "mean", "n"].max()) // images
    footnote(
        figure,
        f"{style.dataset(data['dataset'].iloc[0])}: {images:,} images, {transformations:,} rotations and translations."
        f" Worst of {draws}: right under every one drawn at random for the image; worst of all: under all."
        f" {choices(data).capitalize()}. Bars are 95% intervals, those of the mean clustered by image."
        f"{note(data)}",
    )
    return figure
