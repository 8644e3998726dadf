"""Accuracy against severity: one panel a corruption, one line a model, and the mean over corruptions."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from withstand.figures.style import CHOICES, PALETTE, Style, choices, footnote, spread, words
from withstand.predictions import MAIN_MODES

CLEAN = "clean"
MEAN = "mean over corruptions"
COLUMNS = 3
"""Panels side by side; one more where there are many rows."""

SMALLEST_GAP = 0.075
"""Between names of models, as a share of a panel's height."""


def select(accuracy: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows drawn: every corruption and severity, their mean, and the clean images, if any, as severity 0."""
    rows = accuracy[accuracy["severity"].notna() & accuracy["label_mode"].isin(MAIN_MODES)]
    clean = rows[rows["corruption"] == CLEAN].drop_duplicates("model")
    corrupted = rows[(rows["corruption"] != CLEAN) & rows["corruption"].notna()]
    means = rows[rows["family"].isna()].assign(corruption=MEAN)
    names = [*corrupted["corruption"].unique(), MEAN]
    unchanged = [clean.assign(corruption=name) for name in names] if len(clean) else []
    drawn = pd.concat([*unchanged, corrupted, means])
    drawn["corruption"] = pd.Categorical(drawn["corruption"], names, ordered=True)
    columns = ["dataset", "corruption", "model", "severity", "value", "low", "high", "n", "images", *CHOICES]
    return drawn[columns].sort_values(["corruption", "model", "severity"], ignore_index=True)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Small multiples; lines carry 95% intervals and are labelled in the panel of the mean, at the lower right."""
    corruptions = [name for name in data["corruption"].unique() if name != MEAN]
    colors = style.model_colors(data["model"].unique())
    panels = len(corruptions) + 1
    columns = min(COLUMNS + (panels > COLUMNS**2), panels)
    rows = -(-panels // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.5 * columns, 2.05 * rows + 0.3), sharex=True, sharey=True, squeeze=False
    )
    drawn = {**dict(zip(corruptions, axes.flat, strict=False)), MEAN: axes[-1, -1]}
    for axis in set(axes.flat) - set(drawn.values()):
        axis.set_visible(False)
    for corruption, axis in drawn.items():
        _panel(axis, data[data["corruption"] == corruption], colors)
        axis.set_title(words(corruption), loc="left", fontweight="bold" if corruption == MEAN else None)
    for axis in axes[:, 0]:
        axis.set_ylabel("accuracy")
    for column in axes.T:
        lowest = [axis for axis in column if axis.get_visible()][-1]
        lowest.set_xlabel("severity (0: clean)" if (data["severity"] == 0).any() else "severity")
        lowest.tick_params(labelbottom=True)
    images = int(data["images"].max())
    note = (
        f"{style.dataset(data['dataset'].iloc[0])}: {images:,} images at each point; {choices(data)}.\n"
        "Bands are 95% Wilson intervals, in the mean clustered by image."
    )
    figure.tight_layout(h_pad=1.1, w_pad=1.0)
    _label_lines(axes[-1, -1], data[data["corruption"] == MEAN], colors, style)
    footnote(figure, note)
    return figure


def _panel(axis: Axes, data: pd.DataFrame, colors: dict[str, str]) -> None:
    many = data["model"].nunique() > len(PALETTE)
    for model, line in data.groupby("model", sort=False):
        look = {"linewidth": 0.8, "markersize": 1.5} if many else {"markersize": 2.8}
        axis.plot(line["severity"], line["value"], color=colors[model], marker="o", **look)
        axis.fill_between(
            line["severity"].astype(float), line["low"], line["high"], color=colors[model], alpha=0.16, linewidth=0
        )
    axis.set_ylim(0, 1.02)
    axis.set_xticks(sorted(data["severity"].unique()))
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.grid(axis="y")


def _label_lines(axis: Axes, means: pd.DataFrame, colors: dict[str, str], style: Style) -> None:
    """Names of models at the ends of their lines; many reach above the panel, where nothing else is."""
    ends = means.sort_values("severity").groupby("model", sort=False).tail(1)
    gap = max(SMALLEST_GAP, min(0.1, 1.05 / len(ends)))
    heights = spread(ends["value"].to_list(), gap=gap)
    heights += max(0.0, -heights.min())
    for (_, end), height in zip(ends.iterrows(), heights, strict=True):
        color = colors[end["model"]]
        joined = {"arrowstyle": "-", "color": color, "linewidth": 0.5, "alpha": 0.5, "relpos": (0, 0.5), "shrinkB": 2}
        axis.annotate(
            style.label(end["model"]),
            (end["severity"], end["value"]),
            xytext=(end["severity"] + 0.4, height),
            color=color,
            va="center",
            fontsize=85 * gap,
            fontweight="bold",
            annotation_clip=False,
            arrowprops=joined,
        )
