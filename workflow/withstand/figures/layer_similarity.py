"""Linear CKA between the layers of each model, all tokens beside the class token."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from withstand.figures.heat_maps import draw_pairs, within_models
from withstand.figures.style import Style

METRIC = "cka"


def select(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows drawn: unbiased CKA within each model."""
    return within_models(table, models, METRIC)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Heat maps, the first block at the lower left."""
    note = "Linear CKA of the activations after two blocks, unbiased, summed up over minibatches (Nguyen et al., 2021)."
    return draw_pairs(data, style, name="linear CKA", note=note)
