"""Accuracy with limited attention: by distance beside a random control, and to the class token alone (Fig. 9)."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator, PercentFormatter

from withstand.figures.panels import (
    MOST_IN_A_ROW,
    accuracy_axis,
    images_shown,
    model_panels,
    name_lines,
    shown,
    whole_numbers,
)
from withstand.figures.published import beside, key, mark, note
from withstand.figures.style import CHOICES, INK, PALETTE, Style, choices, footnote, in_families
from withstand.metrics.reproduction import UNLIMITED, attention_limit
from withstand.predictions import MAIN_MODES

COLUMNS = [
    *(
        "dataset",
        "image_family",
        "corruption",
        "severity",
        "model",
        "arm",
        "distance",
        "masked",
        "blocks",
        "same_as",
        "value",
        "low",
        "high",
        "n",
    ),
    *("images", "draws", "lowest", "highest", "chance"),
]
COLORS = {"local": PALETTE[0], "random": PALETTE[1], "first": PALETTE[3], "last": PALETTE[2]}
NAMES = {"local": "within\ndistance", "random": "as many\nat random", "first": "first\nblocks", "last": "last\nblocks"}
STYLES = {"local": ("o", "-"), "random": ("D", "--"), "first": ("v", "-"), "last": ("^", "-")}
OF_DISTANCE, OF_BLOCKS = ("local", "random"), ("first", "last")


def select(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows drawn: every arm, random masks on their average where they differ from the mask by distance, pooled over
    conditions."""
    rows = table[table["label_mode"].isin(MAIN_MODES) & table["draw"].isna()]
    rows = rows[rows["same_as"].isna() | (rows["arm"] != "random")]
    if rows.empty:
        return rows
    rows = shown(rows)
    return in_families(rows[[*COLUMNS, *CHOICES]], models)


def with_published(data: pd.DataFrame, reproduction: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows with published accuracies, and the ``setting`` that they are of, where there are some."""
    limits = reproduction["setting"] != UNLIMITED
    rows = reproduction[(reproduction["experiment"] == "attention_limit") & limits]
    sides = data["model"].map(models.set_index("model")["grid"])
    names = (data["arm"], data["distance"], data["blocks"], sides)
    settings = [attention_limit(*limit) for limit in zip(*names, strict=True)]
    joined = beside(data.assign(setting=settings), rows, ["model", "dataset", *CHOICES, "setting"])
    return joined if "published" in joined else data


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Above, accuracy against distance; below, against the number of blocks limited to the class token."""
    models = list(data["model"].unique())
    rows = 1 + int(data["arm"].isin(OF_BLOCKS).any())
    figure, axes = model_panels(models, style, height=2.25, rows=rows)
    for model, column in zip(models, axes.T, strict=True):
        own = data[data["model"] == model]
        _distances(column[0], own)
        if rows == 2:
            _class_only(column[1], own)
    if "published" in data:
        with_some = data.loc[data["published"].notna(), "model"].iloc[0]
        key(axes[0, models.index(with_some)], 0.1, 0.1)
    for axis in axes[:, ::MOST_IN_A_ROW].flat:
        axis.set_ylabel("accuracy")
    figure.tight_layout(w_pad=1.6, h_pad=1.4)
    masks = data.loc[data["arm"] == "random", "draws"]
    control = ""
    if len(masks):
        control = f"; the control masks as many pairs at random (mean of {int(masks.max())} masks, band: their range)"
    text = (
        f"{images_shown(data, style)}; {choices(data)}.\n"
        "Above: patches attend to patches within a Chebyshev distance, a share of the grid's side"
        f"{control}. Class token and other prefix tokens stay "
        "connected. Dashed: no limit. Dotted: chance. Bars are 95% intervals."
    )
    if rows == 2:
        text += "\nBelow: patches attend to the prefix tokens alone, in the first or in the last blocks."
    footnote(figure, f"{text}{note(data)}")
    return figure


def _distances(axis: Axes, rows: pd.DataFrame) -> None:
    _axis(axis, rows)
    for arm in reversed(OF_DISTANCE):  # the control beneath, in larger marks
        line = rows[rows["arm"] == arm].sort_values("distance")
        if arm == "random" and len(line):
            bounds = (line[name].astype(float) for name in ("lowest", "highest"))
            axis.fill_between(line["distance"], *bounds, color=COLORS[arm], alpha=0.15, linewidth=0)
        _line(axis, line["distance"], line, arm)
    _name(axis, rows, OF_DISTANCE, "distance", last=False)
    axis.set_xlim(min(1.0, rows["distance"].max() + 0.08), -0.04)
    axis.xaxis.set_major_locator(MultipleLocator(0.25))
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_xlabel("attention within, share of grid")


def _class_only(axis: Axes, rows: pd.DataFrame) -> None:
    _axis(axis, rows)
    intact = rows[rows["arm"] == "none"].assign(blocks=0)
    for arm in OF_BLOCKS:
        line = rows[rows["arm"] == arm]
        if len(line):
            joined = pd.concat([intact, line.sort_values("blocks")])
            _line(axis, joined["blocks"], joined, arm)
    _name(axis, rows, OF_BLOCKS, "blocks", last=True)
    axis.set_xlabel("blocks limited to the class token")
    whole_numbers(axis)


def _axis(axis: Axes, rows: pd.DataFrame) -> None:
    intact = rows[rows["arm"] == "none"].iloc[0]
    accuracy_axis(axis, chance=intact["chance"])
    axis.axhline(intact["value"], color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1.5)


def _line(axis: Axes, x: pd.Series, line: pd.DataFrame, arm: str) -> None:
    marker, dashes = STYLES[arm]
    axis.errorbar(
        x.astype(float),
        line["value"],
        yerr=[(line["value"] - line["low"]).clip(0), (line["high"] - line["value"]).clip(0)],
        color=COLORS[arm],
        marker=marker,
        linestyle=dashes,
        markersize=7 if arm == "random" else 4,
        elinewidth=0.9,
        linewidth=1.4,
        markerfacecolor="white" if arm == "random" else COLORS[arm],
    )
    for place, row in zip(x, line.to_dict("records"), strict=True):
        mark(axis, float(place), row, along="y", color=COLORS[arm])


def _name(axis: Axes, rows: pd.DataFrame, arms: tuple[str, ...], by: str, *, last: bool) -> None:
    ends = []
    for arm in arms:
        line = rows[rows["arm"] == arm].sort_values(by)
        if len(line):
            ends.append((float(line["value"].iloc[-1 if last else 0]), NAMES[arm], COLORS[arm]))
    name_lines(axis, ends, gap=0.2, top=0.93)
