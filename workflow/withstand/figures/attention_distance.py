"""How far heads look, block by block: a panel a model, a point a head."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from withstand.figures.panels import MOST_IN_A_ROW, images_shown, model_panels, shown, whole_numbers
from withstand.figures.style import MUTED, Style, footnote, in_families

METRIC = "distance_share"
COLUMNS = [
    *(
        "dataset",
        "image_family",
        "corruption",
        "severity",
        "model",
        "block",
        "head",
        "metric",
        "value",
        "low",
        "high",
        "n",
        "images",
    ),
    "uniform",
]


def select(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows drawn: the distance as a share of the grid, of heads and of blocks, pooled over conditions."""
    rows = table[table["metric"] == METRIC]
    if rows.empty:
        return rows
    rows = shown(rows)
    return in_families(rows[COLUMNS], models)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Points are heads; the line joins the means of blocks."""
    models = list(data["model"].unique())
    colors = style.model_colors(models)
    figure, (axes,) = model_panels(models, style, height=2.2, colored=True)
    top = 1.1 * data[["high", "uniform"]].max(axis=None)
    for axis, model in zip(axes, models, strict=True):
        _panel(axis, data[data["model"] == model], colors[model])
        axis.set_ylim(0, top)
    for axis in axes[::MOST_IN_A_ROW]:
        axis.set_ylabel("mean attention distance\n(share of grid)")
    figure.tight_layout(w_pad=1.6)
    note = (
        f"{images_shown(data, style)}. Mean Chebyshev distance "
        "from a patch to where it attends, weighted by attention among patches. Points are heads, the line is their "
        "mean, its band a 95% interval over images. Dashed: attention to all patches alike."
    )
    footnote(figure, note)
    return figure


def _panel(axis: Axes, rows: pd.DataFrame, color: str) -> None:
    heads, means = rows[rows["head"].notna()], rows[rows["head"].isna()].sort_values("block")
    blocks = means["block"].astype(float)
    axis.fill_between(blocks, means["low"], means["high"], color=color, alpha=0.25, linewidth=0)
    axis.plot(blocks, means["value"], color=color)
    axis.scatter(heads["block"], heads["value"], s=16, color=color, edgecolor="white", linewidth=0.5, zorder=3)
    axis.axhline(rows["uniform"].iloc[0], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.grid(axis="y")
    axis.set_xlabel("block")
    whole_numbers(axis)
