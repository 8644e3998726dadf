"""Accuracy on every set against pre-training data: clean, corrupted and shifted images (the paper's Fig. 2)."""

from __future__ import annotations

from itertools import pairwise
from math import ceil
from textwrap import wrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from withstand.figures.published import mark, note
from withstand.figures.sets import (
    about_set,
    by_set,
    looks_of,
    outputs,
    pretraining_name,
    published_sets,
    rows_of,
    set_name,
    sets_of,
    short,
)
from withstand.figures.style import MUTED, Style, footnote

SLOT, NARROWEST = 0.23, 2.6
"""Width of a model's place, and of all of them together at least, in inches."""

CHARACTER = 0.072
"""Width of a character of the names of pre-training sets, in inches."""

TITLE_CHARACTER, NOTE_CHARACTER = 0.09, 0.06
"""And of those of panels, which are bold, and of their notes."""

TITLE_LINE = 0.2
"""Height of one of their lines, in inches."""

SMALLEST, LARGEST = 4.0, 8.0
"""Marks of the models with fewest and with most parameters, in points."""

LEAST_RATIO = 20
"""Of parameters, between marks of these sizes."""

LEAST_SPAN = 0.12
"""Of accuracy on a panel: what is less apart looks so."""


def select(accuracy: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """One row a model and set: clean images of each dataset, and the mean over corruptions where it has any."""
    return by_set(accuracy, models)


def with_published(data: pd.DataFrame, reproduction: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows with the published values that match."""
    return published_sets(data, reproduction)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """A panel a set, one above the other. Every model has its place along x, grouped by pre-training set from the
    smallest, then by family from its smallest model; models of a family are joined."""
    groups = _groups(data)
    places, edges = _places(groups)
    width = max(NARROWEST, SLOT * edges[-1])
    drawn = sets_of(data)
    titles = {each: _title(set_name(each, style), about_set(rows_of(data, each)), width) for each in drawn}
    most = max(map(len, titles.values()))
    height = (1.45 + TITLE_LINE * (most - 1)) * len(drawn) + 0.5
    figure, axes = plt.subplots(len(drawn), 1, figsize=(width + 0.7, height), sharex=True, squeeze=False)
    looks, sizes = looks_of(data, style), _sizes(data)
    for axis, each in zip(axes[:, 0], drawn, strict=True):
        rows = rows_of(data, each)
        _panel(axis, rows, groups, places, looks, sizes)
        for number, (start, end) in enumerate(pairwise(edges)):
            if number % 2 == 0 and len(groups) > 1:
                axis.axvspan(start - 0.5, end - 0.5, color="#f4f4f4", linewidth=0, zorder=0)
        axis.set_title("\n".join(titles[each]), loc="left", fontweight="bold")
        axis.set_title(about_set(rows), loc="right", fontsize=7.5, color=MUTED)
    _name_models(axes[-1, 0], places, looks, style)
    for group, (start, end) in zip(groups, pairwise(edges), strict=True):
        axes[0, 0].annotate(
            pretraining_name(*group),
            ((start + end - 1) / 2, 1),
            xycoords=axes[0, 0].get_xaxis_transform(),
            xytext=(0, 8 + 14 * len(titles[drawn[0]])),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
        )
    axes[0, 0].set_xlim(-0.5, edges[-1] - 0.5)
    figure.tight_layout(h_pad=0.8)
    figure.align_ylabels()
    footnote(figure, f"{_note(data)}{note(data)}")
    return figure


def _title(name: str, about: str, width: float) -> list[str]:
    """Lines of the name of a set; the last is left free where what is said of it does not fit beside its name."""
    both = len(name) * TITLE_CHARACTER + (len(about) + 2) * NOTE_CHARACTER
    return wrap(name, int(width / TITLE_CHARACTER)) + ([""] if both > width else [])


def _groups(data: pd.DataFrame) -> dict[tuple[str, float], list[str]]:
    """Models by pre-training set and its size, in the order of places."""
    keys = ["pretraining_images", "pretraining_dataset", "family", "parameters", "model"]
    models = data.drop_duplicates("model").sort_values(keys)
    by = models.groupby(["pretraining_dataset", "pretraining_images"], sort=False, dropna=False)
    return {group: list(members["model"]) for group, members in by}


def _places(groups: dict[tuple[str, float], list[str]]) -> tuple[dict[str, float], list[int]]:
    """Where each model stands, and where groups begin and end; groups are wide enough for their names."""
    places, edges = {}, [0]
    for group, members in groups.items():
        longest = max(len(line) for line in pretraining_name(*group).splitlines())
        wide = max(len(members), ceil((longest + 2) * CHARACTER / SLOT))
        start = edges[-1] + (wide - len(members)) / 2
        places |= {model: start + number for number, model in enumerate(members)}
        edges.append(edges[-1] + wide)
    return places, edges


def _sizes(data: pd.DataFrame) -> dict[str, float]:
    """Marks in points, from the logarithm of the number of parameters."""
    parameters = np.log(data.drop_duplicates("model").set_index("model")["parameters"].astype(float))
    middle = (parameters.min() + parameters.max()) / 2
    share = 0.5 + (parameters - middle) / max(np.ptp(parameters), np.log(LEAST_RATIO))
    return dict(SMALLEST + share * (LARGEST - SMALLEST))


def _panel(axis: Axes, rows: pd.DataFrame, groups: dict, places: dict, looks: dict, sizes: dict) -> None:
    for members in groups.values():
        for _, line in rows[rows["model"].isin(members)].groupby("family", sort=False):
            drawn = sorted(line.to_dict("records"), key=lambda row: places[row["model"]])
            x, values = [places[row["model"]] for row in drawn], [row["value"] for row in drawn]
            axis.plot(x, values, color=MUTED, linewidth=0.8, alpha=0.6, zorder=2)
            for place, row in zip(x, drawn, strict=True):
                color, marker = looks[row["model"]]
                mark(axis, place, row, along="y", size=10)
                axis.errorbar(
                    place,
                    row["value"],
                    yerr=[[row["value"] - row["low"]], [row["high"] - row["value"]]],
                    color=color,
                    marker=marker,
                    markersize=sizes[row["model"]],
                    markeredgecolor="white",
                    markeredgewidth=0.6,
                    elinewidth=1.2,
                    clip_on=False,
                    zorder=3,
                )
    shown = rows[["low", "high", *(["published"] if "published" in rows else [])]]
    low, high = shown.min(axis=None), shown.max(axis=None)
    pad = max(0.0, LEAST_SPAN - (high - low)) / 2 + 0.08 * (high - low)
    axis.set_ylim(max(0.0, low - pad), min(1.0, high + pad))
    axis.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_ylabel("accuracy")
    axis.grid(axis="y")
    axis.tick_params(axis="x", length=0)


def _name_models(axis: Axes, places: dict, looks: dict, style: Style) -> None:
    names = [style.label(model) for model in places]
    axis.set_xticks(list(places.values()), names, rotation=45, ha="right", rotation_mode="anchor")
    for label, model in zip(axis.get_xticklabels(), places, strict=True):
        label.set(color=looks[model][0], fontsize=8, fontweight="bold")


def _note(data: pd.DataFrame) -> str:
    fewest, most = short(data["parameters"].min()), short(data["parameters"].max())
    sizes = f"Larger marks: more parameters ({fewest} to {most}). " if fewest != most else ""
    corrupted = "Corrupted: mean over all corruptions and severities. " if "corrupted" in set(data["condition"]) else ""
    return (
        f"Groups: the set that models were pre-trained on. {sizes}{corrupted}"
        f"{outputs(data).capitalize()}. Bars are 95% Wilson intervals; those of means are clustered by image."
    )
