"""What figures of the inside of models share: a panel for each model, and lines that are named where they end."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from withstand.figures.style import INK, MUTED, Style, spread, words

MOST_IN_A_ROW = 3


def model_panels(
    models: Sequence[str], style: Style, *, height: float, rows: int = 1, colored: bool = False
) -> tuple[Figure, np.ndarray]:
    """A figure with panels for each model, ``rows`` one above the other.

    Args:
        colored: whether models are named in their colours, which is clear only where nothing else has a colour.

    Returns the figure and its axes (rows, models).
    """
    columns = min(len(models), MOST_IN_A_ROW)
    lines = ceil(len(models) / columns)
    figure, axes = plt.subplots(
        lines * rows, columns, figsize=(2.05 + 2.2 * columns, (height * rows + 0.25) * lines), squeeze=False
    )
    placed = np.empty((rows, len(models)), dtype=object)
    for number in range(lines * columns):
        for row in range(rows):
            axis = axes[(number // columns) * rows + row, number % columns]
            if number < len(models):
                placed[row, number] = axis
            else:
                axis.set_visible(False)
    colors = style.model_colors(models)
    for axis, model in zip(placed[0], models, strict=True):
        axis.set_title(style.label(model), loc="left", color=colors[model] if colored else INK, fontweight="bold")
    return figure, placed


def accuracy_axis(axis: Axes, *, chance: float | None = None) -> None:
    """Accuracy from 0 to 1 in per cent, with a line at chance."""
    axis.set_ylim(0, 1.02)
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.grid(axis="y")
    if chance is not None:
        axis.axhline(chance, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)


def whole_numbers(axis: Axes) -> None:
    """Ticks along x at whole numbers only."""
    axis.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=2))


def name_lines(axis: Axes, ends: Sequence[tuple[float, str, str]], *, gap: float = 0.085, top: float = 1) -> None:
    """Names (height, text, color) at the right of a panel, moved apart where lines end close to each other."""
    if not ends:
        return
    heights = spread([end[0] for end in ends], gap=gap)
    heights -= max(0, heights.max() - top)  # the title is above
    for (_, text, color), height in zip(ends, heights, strict=True):
        axis.annotate(
            text,
            (1, height),
            xycoords=axis.get_yaxis_transform(),
            xytext=(4, 0),
            textcoords="offset points",
            color=color,
            va="center",
            fontsize=8,
            fontweight="bold",
            annotation_clip=False,
        )


def shown(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows pooled over conditions where there are several, else those of the only one. Their family of images is
    ``image_family``, beside that of models."""
    pooled = rows[rows["corruption"].isna()]
    return (pooled if len(pooled) else rows).rename(columns={"family": "image_family"})


def images_shown(data: pd.DataFrame, style: Style) -> str:
    """Which images a figure shows, as its footnote begins."""
    name, family, count = (
        style.dataset(data["dataset"].iloc[0]),
        data["image_family"].iloc[0],
        int(data["images"].max()),
    )
    if family == "clean":
        return f"{name}: {count:,} images"
    every = " under every corruption and severity" if data["corruption"].isna().all() else ""
    return f"{name}, {words(family)}: {count:,} images{every}"
