"""Every model against every other on the same images: differences of accuracy, and whether they are beyond chance."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from withstand.figures.sets import looks_of
from withstand.figures.style import CHOICES, DIVERGING, INK, MUTED, Style, choices, footnote
from withstand.predictions import MAIN_MODES

CELL, SMALL_CELL = 0.5, 0.21
"""Side of a cell with a number in it, and without, in inches."""

LEFT, NARROWEST = 1.3, 4.4
"""Room for names at the left, and width of the figure at least, in inches."""

MOST_WITH_NUMBERS = 12
"""Models of a matrix whose cells have numbers in them."""

EVEN = "#dcdcdc"
"""Colour of cells of models that do not differ beyond chance."""

LEVEL = 0.05
"""Adjusted p-values above it are no difference beyond chance."""


def select(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """Every ordered pair of models, on clean images and on the mean over corruptions (``condition``): the difference of
    their accuracies, and the ``place`` and ``other_place`` of both, from the most accurate one."""
    rows = table[table["label_mode"].isin(MAIN_MODES) & (table["metric"] == "accuracy")]
    rows = rows.assign(condition=np.where(rows["family"] == "clean", "clean", "corrupted"))
    columns = ["dataset", "condition", "model", "other_model", "value", "low", "high", "p_holm", "n", "images", "test"]
    rows = rows.loc[rows["family"].isna() | (rows["family"] == "clean"), [*columns, *CHOICES]]
    turned = rows.rename(columns={"model": "other_model", "other_model": "model", "low": "high", "high": "low"})
    turned[["value", "low", "high"]] *= -1
    both = pd.concat([rows, turned[rows.columns]])
    hardest = both[both["condition"] == both["condition"].max()]  # corrupted, where there are corruptions
    lead = hardest.groupby("model")["value"].mean().reindex(sorted(both["model"].unique())).fillna(-np.inf)
    places = {model: place for place, model in enumerate(lead.sort_values(ascending=False, kind="stable").index)}
    both = both.assign(place=both["model"].map(places), other_place=both["other_model"].map(places))
    facts = models[["model", "family", "parameters", "pretraining_images"]]
    return both.merge(facts, on="model").sort_values(["condition", "place", "other_place"], ignore_index=True)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """A matrix: above the diagonal clean images, below it the mean over corruptions."""
    models = list(data.drop_duplicates("model").sort_values("place")["model"])
    count, numbers = len(models), len(models) <= MOST_WITH_NUMBERS
    side = count * (CELL if numbers else SMALL_CELL)
    width, height = max(LEFT + side + 0.9, NARROWEST), side + 0.25
    figure = plt.figure(figsize=(width, height))
    axis = figure.add_axes((LEFT / width, 0.25 / height, side / width, side / height))
    shown = data[(data["place"] < data["other_place"]) == (data["condition"] == "clean")]
    values, beyond, half = _matrices(shown, count)
    reach = max(0.01, float(np.nanmax(np.abs(values))))
    image = axis.imshow(np.where(beyond, values, np.nan), cmap=DIVERGING, vmin=-reach, vmax=reach)
    for row, column in np.ndindex(values.shape):
        _cell(axis, row, column, values[row, column], half[row, column], bool(beyond[row, column]), reach, numbers)
    _name(axis, models, looks_of(data, style), style, numbers)
    if data["condition"].nunique() > 1:
        for x, place, text in ((0, "left", "◣ mean over corruptions"), (1, "right", "clean images ◥")):
            axis.text(x, -0.06 / side, text, transform=axis.transAxes, ha=place, va="top", fontsize=7.5, color=MUTED)
    bar = figure.colorbar(image, cax=axis.inset_axes((1 + 0.15 / side, 0.1, 0.13 / side, 0.8)))
    bar.outline.set_visible(False)
    bar.set_label("row minus column, points", fontsize=8)
    bar.locator = MaxNLocator(5, steps=[1, 2, 5, 10])
    bar.ax.yaxis.set_major_formatter(lambda value, _: _points(value))
    footnote(figure, _note(data, style, numbers))
    return figure


def _matrices(shown: pd.DataFrame, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Differences, NaN where there are none; whether they are beyond chance; and half their intervals."""
    values, half = np.full((2, count, count), np.nan)
    beyond = np.zeros((count, count), dtype=bool)
    cells = shown["place"], shown["other_place"]
    values[cells], half[cells] = shown["value"], (shown["high"] - shown["low"]) / 2
    beyond[cells] = shown["p_holm"] <= LEVEL
    return values, beyond, half


def _cell(
    axis: Axes, row: int, column: int, value: float, half: float, beyond: bool, reach: float, numbers: bool
) -> None:
    if np.isnan(value):
        if row != column and numbers:
            axis.text(column, row, "·", ha="center", va="center", color=MUTED)
        return
    if not beyond:
        axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color=EVEN, linewidth=0))
    if numbers:
        color = MUTED if not beyond else "white" if abs(value) > 0.6 * reach else INK
        axis.text(column, row - 0.1, _points(value), ha="center", va="center", color=color, fontsize=8.5)
        axis.text(column, row + 0.27, f"±{100 * half:.0f}", ha="center", va="center", color=color, fontsize=6)


def _points(value: float) -> str:
    """A difference of accuracies in points with its sign."""
    points = round(100 * value)
    return f"{points:+d}".replace("-", "\N{MINUS SIGN}") if points else "0"


def _name(axis: Axes, models: list[str], looks: dict, style: Style, numbers: bool) -> None:
    names = [style.label(model) for model in models]
    axis.set_xticks(range(len(models)), names, rotation=45, ha="left", rotation_mode="anchor")
    axis.set_yticks(range(len(models)), names)
    axis.xaxis.tick_top()
    for labels in (axis.get_xticklabels(), axis.get_yticklabels()):
        for label, model in zip(labels, models, strict=True):
            label.set(color=looks[model][0], fontsize=8.5 if numbers else 7, fontweight="bold")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_xticks(np.arange(1, len(models)) - 0.5, minor=True)
    axis.set_yticks(np.arange(1, len(models)) - 0.5, minor=True)
    axis.tick_params(which="minor", length=0)
    axis.grid(which="minor", color="white", linewidth=1.2 if numbers else 0.6)
    axis.set_axisbelow(False)


def _note(data: pd.DataFrame, style: Style, numbers: bool) -> str:
    tests = {"mcnemar": "McNemar's exact test", "paired t": "Student's paired test", "signs": "the test over all signs"}
    used = " and ".join(words for test, words in tests.items() if test in set(data["test"]))
    both = data["condition"].nunique() > 1
    images = "" if both else f"{'Clean images' if 'clean' in set(data['condition']) else 'Mean over corruptions'}. "
    small = " Small: half the 95% interval." if numbers else ""
    widest = f"{100 * (data['high'] - data['low']).max() / 2:.1f}"
    wide = "" if numbers else f" 95% intervals reach at most {widest} points to either side."
    return (
        f"{style.dataset(data['dataset'].iloc[0])}: {int(data['images'].max()):,} images; {choices(data)}. {images}"
        f"Grey: no difference beyond chance (Holm-adjusted p > {LEVEL}; {used}).{small}{wide}"
        " Models stand in the order of their accuracy."
    )
