"""Heat maps of the similarity of layers."""

from __future__ import annotations

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from withstand.figures.style import GRID, MUTED, Style, footnote, in_families

TOKENS = ("all_tokens", "summary")
SUMMARIES = {"class_token": "class token", "mean": "mean over positions"}
COLORS = "viridis"
MOST_WITH_NUMBERS = 8
"""Layers of a heat map whose cells have numbers in them."""

COLUMNS = [
    *("dataset", "corruption", "severity", "model", "tokens", "summary", "layer", "other_layer", "metric", "value"),
    *("low", "high", "n", "images", "minibatches"),
]


def within_models(table: pd.DataFrame, models: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Rows of one metric between the layers of each model, under the first condition."""
    rows = table[(table["metric"] == metric) & (table["model"] == table["other_model"])]
    if rows.empty:
        return rows
    rows = rows[(rows["corruption"] == rows["corruption"].iloc[0]) & (rows["severity"] == rows["severity"].iloc[0])]
    return in_families(rows[COLUMNS], models)


def draw_pairs(data: pd.DataFrame, style: Style, *, name: str, note: str) -> Figure:
    """For each model two heat maps side by side, all tokens and the class token or its stand-in; two models a line."""
    models = list(data["model"].unique())
    colors = style.model_colors(models)
    beside = min(2, len(models))
    lines = -(-len(models) // beside)
    figure, axes = plt.subplots(
        lines, 2 * beside, figsize=(3.6 * beside + 0.7, 2.3 * lines), squeeze=False, layout="constrained"
    )
    lowest = min(0.0, float(data["value"].min()))
    for axis in axes.flat[2 * len(models) :]:
        axis.set_visible(False)
    drawn = axes.flat[: 2 * len(models)]
    for number, (axis, (model, tokens)) in enumerate(zip(drawn, product(models, TOKENS), strict=True)):
        own = data[(data["model"] == model) & (data["tokens"] == tokens)]
        image = heat_map(axis, own, lowest)
        summary = data.loc[data["model"] == model, "summary"].iloc[0]
        title = "all tokens" if tokens == "all_tokens" else SUMMARIES[summary]
        axis.text(0, 1.03, title, transform=axis.transAxes, fontsize=8.5, color=MUTED)
        axis.set_xlabel("block")
        if number % 2 == 0:
            axis.set_ylabel("block")
            axis.set_title(style.label(model), loc="left", color=colors[model], fontweight="bold", pad=18)
    bar = figure.colorbar(image, ax=list(axes.flat), shrink=0.75, aspect=24, pad=0.02)
    bar.set_label(name)
    bar.outline.set_visible(False)
    images, minibatches = int(data["images"].max()), int(data["minibatches"].max())
    about = f"{style.dataset(data['dataset'].iloc[0])}: {images:,} images in {minibatches:,} minibatches. {note}"
    footnote(figure, about + f"\n{widest(data)}")
    return figure


def heat_map(axis: Axes, rows: pd.DataFrame, lowest: float) -> AxesImage:
    """Similarity of layers, the first at the lower left; cells of layers that cannot be compared stay grey, and so does
    all of it without rows."""
    height, width = (int(rows[name].max()) + 1 if len(rows) else 1 for name in ("layer", "other_layer"))
    values = np.full((height, width), np.nan)
    values[rows["layer"].astype(int), rows["other_layer"].astype(int)] = rows["value"]
    axis.set_facecolor(GRID)
    image = axis.imshow(values, origin="lower", cmap=COLORS, vmin=lowest, vmax=1, interpolation="nearest")
    if max(height, width) <= MOST_WITH_NUMBERS:
        _write(axis, values, lowest)
    for place in (axis.xaxis, axis.yaxis):
        place.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return image


def _write(axis: Axes, values: np.ndarray, lowest: float) -> None:
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            dark = (value - lowest) / (1 - lowest) < 0.6
            text = f"{value:.2f}".replace("0.", ".", 1) if value < 0.995 else "1"
            text = "0" if text in (".00", "-.00") else text
            axis.text(column, row, text, ha="center", va="center", fontsize=5.8, color="white" if dark else "black")


def widest(data: pd.DataFrame) -> str:
    """How wide the intervals of a heat map are, which its cells cannot show."""
    half = float(((data["high"] - data["low"]) / 2).max())
    if np.isnan(half):
        return "One minibatch, so there are no intervals."
    return f"95% intervals (jackknife over minibatches) reach at most {half:.2f} to either side."
