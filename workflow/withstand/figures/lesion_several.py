"""Accuracy without several blocks, MLPs or attentions at random: a panel a model, a line an arm (Fig. 8, bottom)."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from withstand.figures.lesions import MARKERS, PART_COLORS, PART_NAMES, by_part, draw_panels, of_design
from withstand.figures.panels import accuracy_axis, images_shown, name_lines, whole_numbers
from withstand.figures.style import Style, choices, footnote

COLUMNS = [
    *("dataset", "image_family", "corruption", "severity", "model", "part", "removed", "value", "low", "high", "n"),
    *("images", "draws", "standard_error", "lowest", "highest", "chance"),
]


def select(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows drawn: the intact model, and the mean over draws at each number, pooled over conditions."""
    return of_design(table[table["draw"].isna()], models, "several", COLUMNS)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Accuracy against how many are removed: means with standard errors over draws, and their range."""
    figure = draw_panels(data, style, _panel)
    drawn = int(data.loc[data["part"] != "none", "draws"].max())
    note = (
        f"{images_shown(data, style)}; {choices(data)}.\n"
        f"Means of {drawn} choices, random ones unless there are no more; the first block is kept. Bars are standard "
        "errors over random choices, bands the range of choices. Dotted: chance; a line ends where it has stayed there."
    )
    footnote(figure, note)
    return figure


def _panel(axis: Axes, rows: pd.DataFrame) -> None:
    intact = rows[rows["part"] == "none"].iloc[0]
    accuracy_axis(axis, chance=intact["chance"])
    ends = []
    for part, line in by_part(rows):
        ordered = pd.concat([intact.to_frame().T, line.sort_values("removed")]).astype({"value": float})
        removed = ordered["removed"].astype(float)
        axis.fill_between(
            removed,
            ordered["lowest"].astype(float),
            ordered["highest"].astype(float),
            color=PART_COLORS[part],
            alpha=0.13,
            linewidth=0,
        )
        axis.errorbar(
            removed,
            ordered["value"],
            yerr=ordered["standard_error"].astype(float).fillna(0),
            color=PART_COLORS[part],
            marker=MARKERS[part],
            markersize=4,
            elinewidth=1.1,
        )
        ends.append((float(ordered["value"].iloc[-1]), PART_NAMES[part], PART_COLORS[part]))
    name_lines(axis, ends)
    axis.set_xlabel("number removed")
    axis.set_xlim(left=-0.2)
    whole_numbers(axis)
