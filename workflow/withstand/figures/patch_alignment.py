"""Where perturbations are large: at the borders of patches, and on the object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from withstand.figures.style import MUTED, Style, footnote, in_families, interval_point, label_rows, words

MARKERS = {"o": "circles", "s": "squares", "^": "triangles", "D": "diamonds", "v": "wedges"}
"""Of sides of patches, from the smallest, with their names."""

METRICS = {
    "edge_ratio": "steps across borders of patches\n/ steps inside them",
    "border_ratio": "size at borders of patches\n/ size elsewhere",
    "foreground_ratio": "size on the object\n/ size beside it",
}


def select(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows drawn: all that have a value."""
    rows = table[table["value"].notna()]
    columns = ["dataset", "attack", "eps", "norm", "model", "metric", "patch_size", "own", "value", "low", "high", "n"]
    return in_families(rows[[*columns, "policy"]], models)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """A row an attack, a panel a ratio; of patches, a marker a side, filled for the model's own."""
    models, attacks = list(data["model"].unique()), sorted(data["attack"].unique())
    colors = style.model_colors(models)
    metrics = [metric for metric in METRICS if metric in set(data["metric"])]
    sides = sorted(data["patch_size"].dropna().unique())
    markers = dict(zip(sides, cycle(MARKERS), strict=False))
    size = (1.4 + 2.5 * len(metrics), 0.8 + len(attacks) * (0.7 + 0.4 * len(models)))
    figure, axes = plt.subplots(len(attacks), len(metrics), figsize=size, squeeze=False, sharex="col")
    for row, attack in zip(axes, attacks, strict=True):
        for axis, metric in zip(row, metrics, strict=True):
            chosen = data[(data["attack"] == attack) & (data["metric"] == metric)]
            _ratios(axis, chosen, models, colors, markers, style)
            axis.tick_params(labelleft=axis is row[0])
        about = data[data["attack"] == attack].iloc[0]
        row[0].set_title(f"{words(attack)}, {about['eps']}", loc="left", fontweight="bold")
    for axis, metric in zip(axes[-1], metrics, strict=True):
        bounds = data.loc[data["metric"] == metric, ["value", "low", "high"]].to_numpy(dtype=float)
        bounds = bounds[np.isfinite(bounds)]
        axis.set_xlim(min([0.9, *bounds - 0.02]), max([1.1, *bounds + 0.02]))
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_xlabel(METRICS[metric], fontsize=8.5)
    figure.tight_layout(w_pad=1.5)
    named = ", ".join(f"{MARKERS[marker]} {side:g} px" for side, marker in markers.items())
    footnote(
        figure,
        f"{style.dataset(data['dataset'].iloc[0])}: {int(data['n'].max()):,} images. Ratios of mean absolute"
        " perturbations, and of their mean absolute steps from pixel to pixel; geometric means over images with 95%"
        f" intervals. Sides of patches, on the model's input: {named}; filled where they are its own.",
    )
    return figure


def _ratios(
    axis: Axes, rows: pd.DataFrame, models: Sequence[str], colors: dict, markers: Mapping[float, str], style: Style
) -> None:
    label_rows(axis, models, colors, style)
    sides = list(markers) if rows["patch_size"].notna().any() else [None]
    for height, model in enumerate(models):
        for _, row in rows[rows["model"] == model].iterrows():
            has_side = row["patch_size"] in markers
            number = sides.index(row["patch_size"]) if has_side else 0
            offset = (number - (len(sides) - 1) / 2) * min(0.26, 0.6 / len(sides))
            marker = markers[row["patch_size"]] if has_side else "o"
            filled = not has_side or bool(row["own"])
            interval_point(axis, height + offset, row, colors[model], marker=marker, filled=filled)
    axis.axvline(1, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
