"""Published values beside measured ones, in any figure of a table: grey bars across the row that they belong to.

A figure of a table takes part by a function ``with_published(data, reproduction, models)``, which calls :func:`beside`
with the columns that tell its rows apart. The step that draws it calls that function between ``select`` and ``draw``
where there is a table of reproduction. ``draw`` then finds the column ``published`` in its data, and so does the reader
of the data beside the figure; without any match the data, and so the figure, stay as they are.

    def with_published(data, reproduction, models):
        return beside(data, reproduction[reproduction["experiment"] == "spatial"])

    def draw(data, style):
        ...
        mark(axis, height, row, along="x")   # does nothing where the row has no published value
        ...
        footnote(figure, f"{text}{note(data)}")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes

from withstand.figures.style import MUTED
from withstand.published import sources

KEYS = ("model", "dataset", "label_mode", "policy", "metric")
"""Columns that data of most figures share with the table of reproduction."""

COLUMNS = ("published", "reading_error", "same_protocol", "source")
"""What :func:`beside` adds."""

_BAR = {  # corners of the marker, in its own units: a thin bar across the direction of the value
    "x": [(-0.14, -1), (0.14, -1), (0.14, 1), (-0.14, 1), (-0.14, -1)],
    "y": [(-1, -0.14), (1, -0.14), (1, 0.14), (-1, 0.14), (-1, -0.14)],
}


def beside(data: pd.DataFrame, reproduction: pd.DataFrame, on: Sequence[str] = KEYS) -> pd.DataFrame:
    """The rows of a figure, in their order, with the published value of each where there is one.

    Args:
        data: rows of a figure, with the columns ``on``.
        reproduction: rows of the table of reproduction, of the experiments that the figure shows; where a measured
            value has several published ones, one by the same protocol is taken, of the source that is named first.
        on: columns that name a measured value in both.

    Returns ``data`` with the columns published, reading_error (half width), same_protocol and source, or ``data`` as it
    is where nothing matches.
    """
    order = reproduction["source"].map({name: number for number, name in enumerate(sources())})
    ranked = reproduction.assign(order=order).sort_values(["same_protocol", "order"], ascending=[False, True])
    best = ranked.drop_duplicates(list(on))
    joined = data.merge(best[[*on, *COLUMNS]], on=list(on), how="left")
    return joined if joined["published"].notna().any() else data


def mark(
    axis: Axes, place: float, row: Mapping, *, along: Literal["x", "y"], size: float = 13, color: str = MUTED
) -> None:
    """The published value of a row, its reading error as a faint bar; hollow where the protocol is known to differ.

    Args:
        place: where the row is on the other axis.
        row: a row of the data of a figure; without a published value nothing is drawn.
        along: the axis that values lie along.
        size: length of the bar across that axis, in points.
    """
    value = row.get("published")
    if value is None or pd.isna(value):
        return
    x, y = (value, place) if along == "x" else (place, value)
    if pd.notna(row["reading_error"]):
        axis.errorbar(
            x, y, **{f"{along}err": row["reading_error"]}, fmt="none", ecolor=color, elinewidth=size * 0.55, alpha=0.18
        )
    axis.plot(
        x,
        y,
        marker=_BAR[along],
        markersize=size,
        color=color,
        markerfacecolor=color if row["same_protocol"] else "white",
        markeredgewidth=0.8,
        linestyle="none",
        clip_on=False,
        zorder=1.9,  # beneath what was measured
    )


def name_first(axis: Axes, rows: pd.DataFrame, models: Sequence[str]) -> None:
    """Name the first published value of a panel with a row for each model, below it; nothing where there is none.

    Args:
        rows: data of the panel, at most one row a model.
        models: from the top.
    """
    shown = rows.set_index("model")["published"].dropna() if "published" in rows else {}
    first = next((model for model in models if model in shown), None)
    if first is None:
        return
    axis.annotate(
        "published",
        (shown[first], models.index(first)),
        xytext=(0, -10),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=7.5,
        color=MUTED,
        annotation_clip=False,
    )


def key(axis: Axes, x: float, y: float) -> None:
    """A bar named 'published', in a free place of a panel of lines, given as shares of the panel."""
    axis.plot(x, y, marker=_BAR["y"], markersize=11, color=MUTED, transform=axis.transAxes)
    axis.annotate(
        "published",
        (x, y),
        xycoords=axis.transAxes,
        xytext=(9, 0),
        textcoords="offset points",
        va="center",
        fontsize=7.5,
        color=MUTED,
    )


def note(data: pd.DataFrame) -> str:
    """A sentence for the footnote on the published values that were drawn; empty where there are none."""
    if "published" not in data or data["published"].isna().all():
        return ""
    drawn = data[data["published"].notna()]
    cited = "; ".join(sources()[name]["citation"] for name in sources() if name in set(drawn["source"]))
    differs = ", hollow where the protocol differs" if not drawn["same_protocol"].all() else ""
    shaded = "; shaded: their reading error" if drawn["reading_error"].notna().any() else ""
    return f"\nShort bars across: published values ({cited}){differs}{shaded}."
