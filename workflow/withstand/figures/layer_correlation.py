"""Pearson correlation between the layers of each model, all tokens beside the class token (the paper's Fig. 7)."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from withstand.figures.heat_maps import draw_pairs, within_models
from withstand.figures.style import Style

METRIC = "pearson_joint"


def select(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows drawn: correlations of all activations, for models some of whose layers are of one size."""
    return within_models(table, models, METRIC)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Heat maps, the first block at the lower left."""
    note = (
        "Correlation of activations after one block with those after another, over all samples, tokens and features "
        "together. Grey: layers of different sizes, which have none."
    )
    return draw_pairs(data, style, name="Pearson correlation", note=note)
