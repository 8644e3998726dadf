"""Every model on the perturbations that were made for every other: a heat map, grouped by family."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from withstand.figures.style import CHOICES, INK, MUTED, SEQUENTIAL, Style, choices, footnote, in_families, words

CELL = 0.62
"""Side of a cell, in inches."""


def select(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows drawn: over all outputs, what perturbations fool; with the place and family of both models."""
    rows = table[(table["label_mode"] == "all") & (table["metric"] == "fooled") & table["value"].notna()]
    columns = ["dataset", "attack", "eps", "norm", "source", "model", "value", "low", "high", "n", *CHOICES]
    both = pd.DataFrame({"model": sorted({*rows["model"], *rows["source"]})}, dtype=str)  # of none, numbers otherwise
    placed = in_families(both, models)[["model", "family"]].assign(place=range(len(both)))
    return (
        rows[columns]
        .merge(placed, on="model")
        .merge(placed.add_prefix("source_").rename(columns={"source_model": "source"}), on="source")
        .sort_values(["source_place", "place"], ignore_index=True)
    )


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Rows are the models that perturbations were made for, columns those that are shown them."""
    names = ["model", "family", "place"]
    sources = data[["source", "source_family", "source_place"]].set_axis(names, axis=1)
    placed = pd.concat([data[names], sources]).drop_duplicates("model").sort_values("place")
    models, families = list(placed["model"]), list(placed["family"])
    colors = style.model_colors(models)
    shares, low, high = (
        data.pivot_table(index="source", columns="model", values=value).reindex(index=models, columns=models).to_numpy()
        for value in ("value", "low", "high")
    )
    side = CELL * len(models)
    figure, axis = plt.subplots(figsize=(side + 2.2, side + 1.4))
    image = axis.imshow(shares, cmap=SEQUENTIAL, vmin=0, vmax=1)
    for row, column in np.ndindex(shares.shape):
        _write_cell(axis, row, column, shares[row, column], (high - low)[row, column] / 2)
    _name(axis, models, colors, style)
    for edge in _edges(families):
        axis.axhline(edge, color="white", linewidth=3)
        axis.axvline(edge, color="white", linewidth=3)
    bar = figure.colorbar(image, ax=axis, fraction=0.046, pad=0.03, shrink=0.9)
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    bar.set_label("wrong afterwards, of images right before", fontsize=8)
    axis.set_title(_title(data, style), loc="left", fontweight="bold")
    n = f"{int(data['n'].min()):,} to {int(data['n'].max()):,} images that the model shown gets right"
    norm = {"linf": "L∞", "l2": "L2"}[data["norm"].iloc[0]]
    note = (
        f"{norm} ≤ {data['eps'].iloc[0]}; {n}; {choices(data)}. Small: half the 95% Wilson interval, in points."
        " Families stand together; a cell with a dot was not measured."
    )
    footnote(figure, note)
    return figure


def _title(data: pd.DataFrame, style: Style) -> str:
    return f"{style.dataset(data['dataset'].iloc[0])}: {words(data['attack'].iloc[0])}"


def _write_cell(axis: Axes, row: int, column: int, value: float, half: float) -> None:
    if np.isnan(value):
        axis.text(column, row, "·", ha="center", va="center", color=MUTED)
        return
    color = "white" if value > 0.6 else INK
    axis.text(column, row - 0.1, f"{100 * value:.0f}", ha="center", va="center", color=color, fontsize=9.5)
    axis.text(column, row + 0.26, f"±{100 * half:.0f}", ha="center", va="center", color=color, fontsize=6.5)


def _name(axis: Axes, models: list[str], colors: dict, style: Style) -> None:
    names = [style.label(model) for model in models]
    axis.set_xticks(range(len(models)), names, rotation=30, ha="left", rotation_mode="anchor")
    axis.set_yticks(range(len(models)), names)
    axis.xaxis.tick_top()
    axis.xaxis.set_label_position("top")
    for labels in (axis.get_xticklabels(), axis.get_yticklabels()):
        for label, model in zip(labels, models, strict=True):
            label.set(color=colors[model], fontsize=8.5, fontweight="bold")
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.set_xlabel("model that is shown the images", labelpad=8)
    axis.set_ylabel("model that they were made for")


def _edges(families: list[str]) -> list[float]:
    """Where one family ends and the next begins."""
    return [number - 0.5 for number in range(1, len(families)) if families[number] != families[number - 1]]
