"""Error against the number of parameters on logarithmic axes, with a line for each family (the paper's Fig. 4)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from withstand.figures.published import mark, note
from withstand.figures.sets import (
    about_set,
    by_set,
    family_looks,
    outputs,
    pretraining_name,
    published_sets,
    rows_of,
    set_name,
    sets_of,
    short,
)
from withstand.figures.style import MUTED, Style, footnote
from withstand.metrics.trends import FEWEST_MODELS, line_of, of_smallest_patches

PANEL, GAP, LINE = (1.6, 1.6), 0.55, 0.15
"""Width and height of a panel, what is between panels, and the height of a line of a panel's key, in inches."""

LEFT, TOP, BOTTOM = 0.85, 0.55, 0.45
"""Around all panels, in inches."""

FEWEST_TICKS = 3


def select(accuracy: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """One row a model and set, ``error`` with its interval and, where the family has three sizes or more after the same
    pre-training, the ``slope`` of its line and ``intercept``, both of natural logarithms, and for ten models or more
    ``slope_low`` and ``slope_high``. Models without parameters have no place on a logarithmic axis."""
    rows = by_set(accuracy, models).merge(models[["model", "patch_size"]], on="model")
    rows = rows[rows["parameters"] > 0]
    if rows.empty:
        return rows
    rows = rows.assign(error=1 - rows["value"], error_low=1 - rows["high"], error_high=1 - rows["low"])
    groups = ["dataset", "condition", "policy", "label_mode", "family", "pretraining_dataset", "pretraining_images"]
    return rows.groupby(groups, sort=False, dropna=False, group_keys=False)[list(rows.columns)].apply(_fitted)


def _fitted(rows: pd.DataFrame) -> pd.DataFrame:
    line = line_of(rows[of_smallest_patches(rows)]) or {}
    names = {"slope": "slope", "slope_low": "low", "slope_high": "high", "intercept": "intercept"}
    return rows.assign(**{column: line.get(key, np.nan) for column, key in names.items()})


def with_published(data: pd.DataFrame, reproduction: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows with the published values that match."""
    return published_sets(data, reproduction)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """A column of panels a set, a row a pre-training set; in each, points and lines of families."""
    drawn, groups = sets_of(data), _groups(data)
    looks = family_looks(data, style)
    keys = LINE * len(looks)
    figure, axes = _panels(len(groups), len(drawn), keys)
    for column, each in zip(axes.T, drawn, strict=True):
        rows = rows_of(data, each)
        for axis, group in zip(column, groups, strict=True):
            own = rows[_in_group(rows, group)]
            _panel(axis, own, looks)
            _key(axis, own, looks)
        _name(column[0], set_name(each, style), about_set(rows), above=72 * keys)
        shown = rows[["error", "error_low", "error_high"]].to_numpy().ravel()
        if "published" in rows:
            shown = np.append(shown, 1 - rows["published"].dropna())
        low, high = _bounds(shown[shown > 0])
        ticks = _ticks(low, high)
        column[0].set(ylim=(low, high), yscale="log")
        column[0].set_yticks(ticks, [f"{100 * tick:.3g}%" for tick in ticks])
        column[-1].set_xlabel("parameters")
    low, high = _bounds(data["parameters"].to_numpy(dtype=float))
    ticks = _ticks(low, high)
    axes[0, 0].set(xlim=(low, high), xscale="log")
    axes[0, 0].set_xticks(ticks, [short(tick) for tick in ticks])
    for axis in axes.flat:
        axis.minorticks_off()
    for axis, group in zip(axes[:, 0], groups, strict=True):
        name = pretraining_name(*group).replace("\n", ", ")
        axis.set_ylabel(f"{name}\nerror" if len(groups) > 1 else "error")
    footnote(figure, f"{_note(data)}{note(data)}")
    return figure


def _panels(rows: int, columns: int, keys: float) -> tuple[Figure, np.ndarray]:
    """Panels of one size with so many inches above each, whatever the length of what is written there."""
    width = LEFT + PANEL[0] * columns + GAP * (columns - 0.5)
    between = keys + 0.2
    height = TOP + BOTTOM + (PANEL[1] + keys) * rows + 0.2 * (rows - 1)
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), sharex=True, sharey="col", squeeze=False)
    figure.subplots_adjust(
        left=LEFT / width,
        right=1 - GAP / 2 / width,
        bottom=BOTTOM / height,
        top=1 - (TOP + keys) / height,
        wspace=GAP / PANEL[0],
        hspace=between / PANEL[1],
    )
    return figure, axes


def _groups(data: pd.DataFrame) -> list[tuple[str, float]]:
    keys = ["pretraining_images", "pretraining_dataset"]
    ordered = data.drop_duplicates(keys).sort_values(keys)
    return list(zip(ordered["pretraining_dataset"], ordered["pretraining_images"], strict=True))


def _in_group(rows: pd.DataFrame, group: tuple[str, float]) -> pd.Series:
    dataset, images = group
    same = rows["pretraining_images"].isna() if pd.isna(images) else rows["pretraining_images"] == images
    return (rows["pretraining_dataset"] == dataset) & same


def _panel(axis: Axes, rows: pd.DataFrame, looks: dict) -> None:
    for family, points in rows.groupby("family", sort=False):
        color, marker = looks[family]
        for _, row in points.iterrows():
            if row["error"] > 0:
                _point(axis, row, color, marker)
            else:
                axis.plot(row["parameters"], row["error_high"], marker=r"$\downarrow$", markersize=8, color=color)
            mark(
                axis,
                row["parameters"],
                {**row, "published": 1 - row.get("published", np.nan)},
                along="y",
                size=9,
                color=color,
            )
        first = points.iloc[0]
        if pd.notna(first["slope"]):
            ends = np.array([points["parameters"].min(), points["parameters"].max()], dtype=float)
            told = {"linewidth": 1.3} if pd.notna(first["slope_low"]) else {"linewidth": 0.9, "linestyle": (0, (4, 3))}
            axis.plot(ends, np.exp(first["intercept"]) * ends ** first["slope"], color=color, zorder=2, **told)
    axis.grid()


def _point(axis: Axes, row: pd.Series, color: str, marker: str) -> None:
    axis.errorbar(
        row["parameters"],
        row["error"],
        yerr=[[row["error"] - row["error_low"]], [row["error_high"] - row["error"]]],
        color=color,
        marker=marker,
        markersize=5.5,
        markeredgecolor="white",
        markeredgewidth=0.5,
        elinewidth=1.1,
        zorder=3,
    )


def _key(axis: Axes, rows: pd.DataFrame, looks: dict) -> None:
    """The families of a panel above it, with the slopes of their lines."""
    handles = []
    for family, points in rows.groupby("family"):
        first, (color, marker) = points.iloc[0], looks[family]
        slope, low, high = (f"{first[name]:.2f}" for name in ("slope", "slope_low", "slope_high"))
        fitted = "" if pd.isna(first["slope_low"]) else f" {slope} [{low}, {high}]".replace("-", "\N{MINUS SIGN}")
        look = {"color": color, "marker": marker, "markersize": 5, "linestyle": "none"}
        handles.append(Line2D([], [], label=family + fitted, **look))
    axis.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(-0.05, 1.0),
        frameon=False,
        fontsize=7.5,
        labelcolor="linecolor",
        handletextpad=0.1,
        labelspacing=0.2,
        borderaxespad=0.1,
        borderpad=0.1,
    )


def _name(axis: Axes, name: str, about: str, *, above: float) -> None:
    """The name of a set, and what it holds, so many points above a panel."""
    for text, height, look in ((about, 8, {"fontsize": 7.5, "color": MUTED}), (name, 20, {"fontweight": "bold"})):
        axis.annotate(
            text, (0, 1), xycoords="axes fraction", xytext=(0, above + height), textcoords="offset points", **look
        )


def _bounds(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    pad = max(1.06, (high / low) ** 0.07)
    return low / pad, high * pad


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two, few and even on a logarithmic scale where there are three, else even as they are."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        ticks = [power * factor for power in powers for factor in factors if low <= power * factor <= high]
        if len(ticks) >= FEWEST_TICKS:
            return ticks
    return [tick for tick in MaxNLocator(3, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= tick <= high]


def _note(data: pd.DataFrame) -> str:
    corrupted = "Corrupted: mean over all corruptions and severities. " if "corrupted" in set(data["condition"]) else ""
    lines = " No family has three sizes after the same pre-training, which a line needs."
    if data["slope"].notna().any():
        lines = (
            " Lines are fitted to the logarithms for families of three sizes or more; dashed ones only describe fewer"
            f" than {FEWEST_MODELS} models, too few for a slope."
        )
    if data["slope_low"].notna().any():
        lines += " Slopes have 95% intervals, over models and images."
    whole = ""
    if (data["error"] == 0).any():
        whole = " Arrows: no error was seen; they stand at the upper end of the interval, and are in no fit."
    return (
        f"{corrupted}{outputs(data).capitalize()}. Bars are 95% Wilson intervals; those of means are clustered by"
        f" image.{lines}{whole}"
    )
