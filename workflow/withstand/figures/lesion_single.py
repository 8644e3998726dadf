"""Accuracy without one block, one MLP or one attention: a panel a model, a line an arm (the paper's Fig. 8, top)."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from withstand.figures.lesions import MARKERS, PART_COLORS, PART_NAMES, by_part, draw_panels, of_design
from withstand.figures.panels import accuracy_axis, images_shown, name_lines, whole_numbers
from withstand.figures.style import INK, Style, choices, footnote

COLUMNS = [
    *("dataset", "image_family", "corruption", "severity", "model", "part", "block", "value", "low", "high", "n"),
    *("images", "chance"),
]


def select(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows drawn: the intact model, and each single lesion, pooled over conditions."""
    return of_design(table, models, "single", COLUMNS)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Accuracy against the removed block; a dashed line is the intact model, a dotted one chance."""
    figure = draw_panels(data, style, _panel)
    note = (
        f"{images_shown(data, style)}; {choices(data)}.\n"
        "Dashed: intact. Dotted: chance. Removed at inference, without training again; the residual path stays. Blocks "
        "that change the shape cannot be removed. Bars are 95% Wilson intervals."
    )
    footnote(figure, note)
    return figure


def _panel(axis: Axes, rows: pd.DataFrame) -> None:
    intact = rows[rows["part"] == "none"].iloc[0]
    accuracy_axis(axis, chance=intact["chance"])
    axis.axhline(intact["value"], color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=2)
    ends = []
    parts = list(by_part(rows))
    for number, (part, line) in enumerate(parts):
        ordered = line.sort_values("block")
        apart = 0.09 * (number - (len(parts) - 1) / 2)  # so that intervals do not hide each other
        axis.errorbar(
            ordered["block"].astype(float) + apart,
            ordered["value"],
            yerr=[(ordered["value"] - ordered["low"]).clip(0), (ordered["high"] - ordered["value"]).clip(0)],
            color=PART_COLORS[part],
            marker=MARKERS[part],
            markersize=4,
            elinewidth=0.9,
            linewidth=1.3,
        )
        ends.append((float(ordered["value"].iloc[-1]), PART_NAMES[part], PART_COLORS[part]))
    name_lines(axis, ends)
    axis.set_xlabel("removed block")
    whole_numbers(axis)
