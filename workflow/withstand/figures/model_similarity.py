"""Linear CKA between the layers of every two models, all tokens."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from withstand.figures.heat_maps import heat_map, widest
from withstand.figures.style import Style, footnote, in_families

COLUMNS = [
    *("dataset", "corruption", "severity", "model", "other_model", "tokens", "layer", "other_layer", "metric", "value"),
    *("low", "high", "n", "images", "minibatches"),
]


def select(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows drawn: unbiased CKA of all tokens, of each model with itself and with the others, first condition."""
    rows = table[(table["metric"] == "cka") & (table["tokens"] == "all_tokens")]
    if rows["model"].nunique() < 2 and rows["other_model"].nunique() < 2:
        return rows.iloc[:0]
    rows = rows[(rows["corruption"] == rows["corruption"].iloc[0]) & (rows["severity"] == rows["severity"].iloc[0])]
    return in_families(rows[COLUMNS], models)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """A table of heat maps: a row and a column for each model."""
    models = list(dict.fromkeys([*data["model"], *data["other_model"]]))
    colors = style.model_colors(models)
    count, size = len(models), min(2.1, 7.4 / len(models))
    figure, axes = plt.subplots(
        count, count, figsize=(size * count + 0.9, size * count + 0.4), squeeze=False, layout="constrained"
    )
    lowest = min(0.0, float(data["value"].min()))
    for row, model in enumerate(models):
        for column, other in enumerate(models):
            axis = axes[row, column]
            image = heat_map(axis, _between(data, model, other), lowest)
            axis.set_aspect("auto")
            if row == 0:
                axis.set_title(style.label(other), color=colors[other], fontweight="bold")
            if column == 0:
                axis.set_ylabel(style.label(model), color=colors[model], fontweight="bold")
            if row == count - 1:
                axis.set_xlabel("block")
    bar = figure.colorbar(image, ax=list(axes.flat), shrink=0.6, aspect=26, pad=0.02)
    bar.set_label("linear CKA")
    bar.outline.set_visible(False)
    images, minibatches = int(data["images"].max()), int(data["minibatches"].max())
    footnote(
        figure,
        f"{style.dataset(data['dataset'].iloc[0])}: {images:,} images in {minibatches:,} minibatches. Linear CKA of "
        "all tokens after a block of one model (upwards) with those of another (to the right), unbiased.\n"
        + widest(data),
    )
    return figure


def _between(data: pd.DataFrame, model: str, other: str) -> pd.DataFrame:
    rows = data[(data["model"] == model) & (data["other_model"] == other)]
    if len(rows):
        return rows
    turned = data[(data["model"] == other) & (data["other_model"] == model)]
    return turned.rename(columns={"layer": "other_layer", "other_layer": "layer"})
