"""Accuracy on clean images against the mean over corruptions: does the one predict the other?"""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from withstand.figures.sets import looks_of
from withstand.figures.style import CHOICES, MUTED, Style, choices, footnote, spread
from withstand.predictions import MAIN_MODES

GAP = 0.045
"""Between labels, as a share of the axis, where they all have room."""


def select(accuracy: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """One row a model: accuracy on the clean images, and pooled over every corruption and severity."""
    rows = accuracy[accuracy["label_mode"].isin(MAIN_MODES)]
    values = ["value", "low", "high", "n"]
    clean = rows[rows["corruption"] == "clean"].drop_duplicates("model").set_index("model")
    clean = clean[["dataset"]].join(clean[values].add_prefix("clean_"))
    pooled = rows[rows[["family", "corruption", "severity"]].isna().all(axis=1)]
    pooled = pooled.set_index("model")
    corrupted = pooled[CHOICES].join(pooled[values].add_prefix("corrupted_"))
    about = models.set_index("model")[["family", "parameters", "pretraining_images"]]
    return clean.join(corrupted, how="inner").join(about).reset_index()


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """A point a model with 95% intervals, named at the right, marked by family; the diagonal is no loss."""
    figure, axis = plt.subplots(figsize=(4.2, 4.2))
    looks = looks_of(data, style)
    low = max(0.0, min(data["corrupted_low"].min(), data["clean_low"].min()) - 0.05)
    axis.plot([low, 1], [low, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    axis.text(low + 0.03, low + 0.05, "no loss", color=MUTED, fontsize=7.5, rotation=45, rotation_mode="anchor")
    for _, row in data.iterrows():
        color, marker = looks[row["model"]]
        axis.errorbar(
            row["clean_value"],
            row["corrupted_value"],
            xerr=[[row["clean_value"] - row["clean_low"]], [row["clean_high"] - row["clean_value"]]],
            yerr=[[row["corrupted_value"] - row["corrupted_low"]], [row["corrupted_high"] - row["corrupted_value"]]],
            marker=marker,
            color=color,
            markersize=6,
            elinewidth=1.1,
            zorder=3,
        )
    _name_points(axis, data, looks, style, low)
    axis.set(xlim=(low, 1.005), ylim=(low, 1.005), aspect="equal")
    axis.set_xlabel("accuracy on clean images")
    axis.set_ylabel("mean accuracy on corrupted images")
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.grid()
    images = int(data["clean_n"].max())
    note = (
        f"{style.dataset(data['dataset'].iloc[0])}: {images:,} images; {choices(data)}.\n"
        "Bars are 95% intervals, clustered by image."
    )
    figure.subplots_adjust(left=0.16, right=0.98, bottom=0.13, top=0.98)
    footnote(figure, note)
    return figure


def _name_points(axis: Axes, data: pd.DataFrame, looks: dict, style: Style, low: float) -> None:
    """Names of models in a column at the right, joined to their points."""
    gap = min(GAP, 1 / len(data))
    heights = spread(data["corrupted_value"].to_list(), gap=gap * (1 - low))
    heights += max(0.0, low - heights.min()) - max(0.0, heights.max() - 1)
    for (_, row), height in zip(data.iterrows(), heights, strict=True):
        color, _ = looks[row["model"]]
        axis.annotate(
            style.label(row["model"]),
            (row["clean_value"], row["corrupted_value"]),
            xytext=(1.02 + 0.03 * (1 - low), height),
            va="center",
            color=color,
            fontsize=8.5 * gap / GAP,
            fontweight="bold",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.6, "alpha": 0.5, "relpos": (0, 0.5)},
        )
