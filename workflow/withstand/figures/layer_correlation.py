"""Pearson correlation between the layers of each model, all tokens beside the class token (the paper's Fig. 7)."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from withstand.figures.heat_maps import draw_pairs, within_models
from withstand.figures.style import Style

NOTES = {
    "pearson_joint": "over all samples, tokens and features together",
    "pearson_per_sample": "over the tokens and features of a sample, averaged over samples",
}


def select(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows drawn: correlations with the flattening that stands first in the table, within each model."""
    metrics = table.loc[table["metric"].isin(NOTES), "metric"]
    return within_models(table, models, metrics.iloc[0]) if len(metrics) else table.iloc[:0]


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Heat maps, the first block at the lower left."""
    note = (
        f"Correlation of activations after one block with those after another, {NOTES[data['metric'].iloc[0]]}. "
        "Grey: layers of different sizes, which have none."
    )
    return draw_pairs(data, style, name="Pearson correlation", note=note)
