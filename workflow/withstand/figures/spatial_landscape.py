"""Accuracy by rotation and by translation, and which of them harm most."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from withstand.figures.style import CHOICES, SEQUENTIAL, Style, choices, footnote, in_families

PLACE = ["angle", "shift_x", "shift_y"]


def select(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows drawn: over all outputs, each transformation's accuracy, and the share that it harms most."""
    rows = table[(table["label_mode"] == "all") & table["metric"].isin(["accuracy", "worst_at"])]
    columns = ["dataset", "model", "metric", *PLACE, "value", "low", "high", "n", *CHOICES]
    return in_families(rows[columns], models)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """A column a model: accuracy against the angle, with no shift; a map of accuracy over shifts, with no rotation; a
    map of how often a shift is the worst, over all angles."""
    models = list(data["model"].unique())
    colors = style.model_colors(models)
    columns = min(len(models), 4)
    bands = -(-len(models) // columns)
    figure, axes = plt.subplots(
        3 * bands,
        columns,
        figsize=(0.9 + 1.95 * columns, 0.4 + 5.4 * bands),
        squeeze=False,
        height_ratios=[1, 1.15, 1.15] * bands,
    )
    images = {}
    for number, model in enumerate(models):
        band, column = divmod(number, columns)
        rows = data[data["model"] == model]
        curve, by_shift, worst = (axes[3 * band + part, column] for part in range(3))
        _by_angle(curve, rows, colors[model])
        curve.set_title(style.label(model), loc="left", fontweight="bold", color=colors[model])
        accuracy = rows[(rows["metric"] == "accuracy") & (rows["angle"] == _least(rows["angle"]))]
        images["accuracy"] = _map(by_shift, accuracy, vmax=1.0)
        share = rows[rows["metric"] == "worst_at"].groupby(["shift_x", "shift_y"])["value"].sum().reset_index()
        most = data[data["metric"] == "worst_at"].groupby(["model", "shift_x", "shift_y"])["value"].sum().max()
        images["worst"] = _map(worst, share, vmax=most)
        if column == 0:
            curve.set_ylabel("accuracy")
            by_shift.set_ylabel("shift down (px)")
            worst.set_ylabel("shift down (px)")
        worst.set_xlabel("shift right (px)")
    for axis in axes.flat[len(models) :]:
        if not axis.has_data():
            axis.set_axis_off()
    figure.tight_layout(w_pad=1, h_pad=1)
    for part, (key, label) in enumerate((("accuracy", "accuracy"), ("worst", "share worst here"))):
        bar = figure.colorbar(images[key], ax=list(axes[1 + part :: 3].flat), fraction=0.03, pad=0.02)
        bar.outline.set_visible(False)
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        bar.set_label(label, fontsize=8)
    still = {name: f"{_least(data[name]):g}" for name in PLACE}
    footnote(
        figure,
        f"{style.dataset(data['dataset'].iloc[0])}: {int(data['n'].max()):,} images; {choices(data)}. Top: by rotation,"
        f" with a shift of {still['shift_x']} and {still['shift_y']} px; bands are 95% Wilson intervals. Middle: by"
        f" shift, with a rotation of {still['angle']} degrees. Bottom: how often the transformation that harms an image"
        " most has this shift, over all rotations.",
    )
    return figure


def _least(values: pd.Series) -> float:
    """The value that is nearest to none; of two the positive one."""
    return min(values.unique(), key=lambda value: (abs(value), -value))


def _by_angle(axis: Axes, rows: pd.DataFrame, color: str) -> None:
    chosen = rows["metric"] == "accuracy"
    for shift in ("shift_x", "shift_y"):
        chosen &= rows[shift] == _least(rows[shift])
    curve = rows[chosen].set_index("angle").sort_index()
    axis.plot(curve.index, curve["value"], color=color, marker="o" if len(curve) < 12 else None, markersize=3)
    axis.fill_between(curve.index, curve["low"], curve["high"], color=color, alpha=0.15, linewidth=0)
    axis.set(ylim=(0, 1), xlabel="rotation (degrees)")
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.grid()


def _map(axis: Axes, rows: pd.DataFrame, vmax: float):
    values = rows.pivot_table(index="shift_y", columns="shift_x", values="value")
    image = axis.imshow(values, cmap=SEQUENTIAL, vmin=0, vmax=vmax, aspect="equal")
    for labels, setter in ((values.columns, axis.set_xticks), (values.index, axis.set_yticks)):
        shown = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), 3)).round().astype(int))
        setter(shown, [f"{labels[number]:.0f}" for number in shown])
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    return image
