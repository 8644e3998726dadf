"""Shape against texture on cue conflicts: how often each model names the one, the other, and which it prefers."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
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
from withstand.predictions import MAIN_MODES

MARKERS = {"shape_accuracy": "o", "texture_accuracy": "s"}


def select(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows drawn: the three metrics of each model over all outputs, or over categories of several outputs."""
    rows = table[table["label_mode"].isin(MAIN_MODES) & table["value"].notna()]
    columns = ["dataset", "model", "metric", "value", "low", "high", "n", "images", *CHOICES]
    return in_families(rows[columns], models)


def with_published(data: pd.DataFrame, reproduction: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows with published values, where there are some."""
    return beside(data, reproduction[reproduction["experiment"] == "shape"])


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Left, shares of all images; right, the share of shape among the answers that are one of the two."""
    models = list(data["model"].unique())
    colors = style.model_colors(models)
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 1.1 + 0.36 * len(models)), sharey=True)
    for row, model in enumerate(models):
        values = data[data["model"] == model].set_index("metric")
        _accuracies(left, row, values, colors[model])
        if "shape_bias" in values.index:
            interval_point(right, row, values.loc["shape_bias"], colors[model], marker="D", filled=True)
            mark(right, row, values.loc["shape_bias"], along="x")
    for axis in (left, right):
        label_rows(axis, models, colors, style)
    _name_markers(left, data[data["model"] == models[0]].set_index("metric"))
    name_first(left, data[data["metric"] == "shape_accuracy"], models)
    left.set_xlabel("share of all images")
    right.set_xlabel("shape bias: share of shape among both")
    right.axvline(0.5, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    for x, side, text in ((0.0, "left", "← texture"), (1.0, "right", "shape →")):
        right.text(x, -0.62, text, ha=side, va="bottom", fontsize=8, color=MUTED)
    figure.tight_layout(w_pad=2)
    text = (
        f"{style.dataset(data['dataset'].iloc[0])}: {int(data['images'].max()):,} images; {choices(data)}.\n"
        "Bars are 95% Wilson intervals; those of the shape bias rest on the images whose shape or texture was named."
    )
    footnote(figure, f"{text}{note(data)}")
    return figure


def _accuracies(axis: Axes, row: int, values: pd.DataFrame, color: str) -> None:
    axis.plot(values.loc[list(MARKERS), "value"], [row, row], color=color, linewidth=0.9, alpha=0.5)
    for metric, marker in MARKERS.items():
        interval_point(axis, row, values.loc[metric], color, marker=marker, filled=metric == "shape_accuracy")
        mark(axis, row, values.loc[metric], along="x")


def _name_markers(axis: Axes, first: pd.DataFrame) -> None:
    for metric, x in zip(MARKERS, spread(first.loc[list(MARKERS), "value"].to_list(), gap=0.17), strict=True):
        axis.text(x, -0.32, metric.removesuffix("_accuracy"), ha="center", fontsize=8, color=MUTED)
