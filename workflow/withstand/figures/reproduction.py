"""Measured against published values: a panel an experiment on a dataset, a point a pair."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from withstand.figures.style import INK, MUTED, PALETTE, Style, footnote, in_families, spread
from withstand.published import sources

MOST_IN_A_ROW = 3
FAINT = "#c4c4c4"
MOST_NAMES = 5
"""Points named in a panel: those that are furthest off, of those that do not agree."""

PANEL = ["experiment", "dataset", "metric", "label_mode", "policy"]
EXPERIMENTS = {
    "clean": "clean images",
    "corruptions": "mean over corruptions",
    "before_attacks": "attacked images, as they are",
    "fgsm": "FGSM",
    "pgd": "PGD",
    "spatial": "worst rotation and translation",
    "shape": "cue conflict",
    "lesions": "lesions",
    "attention_limit": "limited attention",
}
"""What panels are called, in their order."""

METRICS = {"mce": "mCE", "shape_bias": "shape bias", "shape_accuracy": "shape", "texture_accuracy": "texture"}
MODES = {"subset": "the set's classes"}
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
LEAST_SPAN = 0.04
"""Of a panel of shares; a panel of mCE, in percent, has a hundred times as much."""


def select(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows drawn: all, in the order of panels."""
    columns = [*PANEL, "setting", "model", "value", "low", "high", "n", "published", "reading_error"]
    rows = in_families(table[[*columns, "source", "source_model", "protocol", "same_protocol", "agrees"]], models)
    order = rows["experiment"].map({name: number for number, name in enumerate(EXPERIMENTS)})
    return (
        rows.assign(order=order)
        .sort_values(["order", *PANEL[1:]], kind="stable", ignore_index=True)
        .drop(columns="order")
    )


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Points on the diagonal are reproduced; hollow ones were published by another protocol."""
    panels = list(data.groupby(PANEL, sort=False))
    columns = min(MOST_IN_A_ROW, len(panels))
    lines = ceil(len(panels) / columns)
    figure, axes = plt.subplots(lines, columns, figsize=(3.5 * columns, 2.85 * lines + 0.4), squeeze=False)
    looks = {name: (PALETTE[number], MARKERS[number]) for number, name in enumerate(sources())}
    for axis, (panel, rows) in zip(axes.flat, panels, strict=False):
        _panel(axis, rows, looks)
        _name_furthest(axis, rows, style)
        _title(axis, dict(zip(PANEL, panel, strict=True)), rows, style)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis in axes[:, 0]:
        axis.set_ylabel("measured")
    figure.tight_layout(w_pad=0.5, h_pad=1.2, rect=(0, 0, 1, 1 - 0.3 / figure.get_figheight()))
    _name_sources(figure, data, looks)
    figure.align_ylabels()
    footnote(figure, _note(data))
    return figure


def _panel(axis: Axes, rows: pd.DataFrame, looks: Mapping[str, tuple[str, str]]) -> None:
    scale = 100 if rows["metric"].iloc[0] == "mce" else 1
    error = rows["reading_error"].fillna(0)
    low = min(rows["low"].min(), (rows["published"] - error).min())
    high = max(rows["high"].max(), (rows["published"] + error).max())
    pad = max(0.06 * (high - low), (LEAST_SPAN * scale - (high - low)) / 2)
    limits = (low - pad, high + pad)
    axis.axline((limits[0], limits[0]), slope=1, color=MUTED, linewidth=0.8, zorder=1)
    for row, width in zip(rows.to_dict("records"), error, strict=True):
        color, marker = looks[row["source"]]
        axis.errorbar(
            row["published"],
            row["value"],
            xerr=width or None,
            yerr=[[row["value"] - row["low"]], [row["high"] - row["value"]]],
            color=color,
            marker=marker,
            markersize=4.5,
            markerfacecolor=color if row["same_protocol"] else "white",
            markeredgewidth=0.9,
            elinewidth=0.8,
            zorder=3 if row["same_protocol"] else 2.5,
        )
    axis.set(xlim=limits, ylim=limits, xlabel="published")
    axis.set_box_aspect(1)
    axis.set_anchor("W")
    for direction in (axis.xaxis, axis.yaxis):
        direction.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        direction.set_major_formatter(PercentFormatter(scale, decimals=0 if high - low > 0.04 * scale else 1))
    axis.grid()


def _name_furthest(axis: Axes, rows: pd.DataFrame, style: Style) -> None:
    """Names at the right of a panel, in the order of their points, with a line to each."""
    apart = rows[~rows["agrees"]]
    order = (apart["value"] - apart["published"]).abs().sort_values(ascending=False, kind="stable").index
    furthest = apart.loc[order].drop_duplicates(["model", "setting"])[:MOST_NAMES]
    if furthest.empty:
        return
    names = [_name(row, style) for row in furthest.to_dict("records")]
    bottom, top = axis.get_ylim()
    gap = 0.09 * max(name.count("\n") + 1 for name in names)
    heights = spread((furthest["value"] - bottom) / (top - bottom), gap=gap)
    heights += max(0.0, -heights.min()) - max(0.0, heights.max() - 1)
    for name, height, point in zip(names, heights, furthest[["published", "value"]].to_numpy(), strict=True):
        axis.annotate(
            name,
            point,
            xytext=(1.04, height),
            textcoords=axis.transAxes,
            va="center",
            fontsize=7,
            color=INK,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 3, "zorder": 1.5},
        )


def _name(row: Mapping, style: Style) -> str:
    several = row["experiment"] in ("lesions", "attention_limit")
    return style.label(row["model"]) + (f"\n{row['setting']}" if several else "")


def _title(axis: Axes, panel: Mapping[str, str], rows: pd.DataFrame, style: Style) -> None:
    axis.set_title(f"{style.dataset(panel['dataset'])}\n\n", loc="left", fontweight="bold")
    named = METRICS.get(panel["metric"]), MODES.get(panel["label_mode"])
    about = ", ".join([EXPERIMENTS[panel["experiment"]], *(name for name in named if name)])
    counts = [
        f"{int(part['agrees'].sum())} of {len(part)} agree" + text
        for text, part in (("", rows[rows["same_protocol"]]), (" by another protocol", rows[~rows["same_protocol"]]))
        if len(part)
    ]
    told = f"{about}\n{', '.join(counts)}"
    axis.text(0, 1.03, told, transform=axis.transAxes, va="bottom", fontsize=7.5, color=MUTED, linespacing=1.3)


def _name_sources(figure: Figure, data: pd.DataFrame, looks: Mapping[str, tuple[str, str]]) -> None:
    drawn = [name for name in sources() if name in set(data["source"])]
    handles = [
        Line2D([], [], color=looks[name][0], marker=looks[name][1], markersize=5, linestyle="none") for name in drawn
    ]
    figure.legend(
        handles,
        [sources()[name]["citation"] for name in drawn],
        loc="upper left",
        ncols=len(drawn),
        frameon=False,
        fontsize=8,
        labelcolor="linecolor",
        handletextpad=0.1,
        columnspacing=1.2,
        borderpad=0,
    )


def _note(data: pd.DataFrame) -> str:
    hollow = "; hollow: published by a protocol that is known to differ" if not data["same_protocol"].all() else ""
    return (
        f"Measured against published values of {data['model'].nunique()} models. On the diagonal both are the same. "
        f"Bars: 95% intervals of what was measured, reading errors of what was published{hollow}. "
        "A pair agrees where the two meet. Named: those furthest apart that do not."
    )
