"""What figures of lesions share: their rows, and a panel for each model in which each arm is a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from withstand.figures.panels import MOST_IN_A_ROW, model_panels, shown
from withstand.figures.style import CHOICES, PALETTE, Style, in_families
from withstand.predictions import MAIN_MODES

PART_COLORS = {"block": PALETTE[6], "mlp": PALETTE[0], "attention": PALETTE[1]}
PART_NAMES = {"block": "block", "mlp": "MLP", "attention": "attention"}
MARKERS = {"block": "s", "mlp": "o", "attention": "^"}


def of_design(table: pd.DataFrame, models: pd.DataFrame, design: str, columns: Sequence[str]) -> pd.DataFrame:
    """The rows of one design, ``single`` or ``several``, and of the intact model, pooled over conditions; of models
    that have the design."""
    rows = table[table["design"].isin(["intact", design]) & table["label_mode"].isin(MAIN_MODES)]
    rows = shown(rows)
    lesioned = rows.loc[rows["design"] == design, "model"].unique()
    return in_families(rows.loc[rows["model"].isin(lesioned), [*columns, *CHOICES]], models)


def draw_panels(data: pd.DataFrame, style: Style, panel: Callable[[Axes, pd.DataFrame], None]) -> Figure:
    """Accuracy, a panel for each model, drawn by ``panel(axis, rows)``."""
    models = list(data["model"].unique())
    figure, (axes,) = model_panels(models, style, height=2.3)
    for axis, model in zip(axes, models, strict=True):
        panel(axis, data[data["model"] == model])
    for axis in axes[::MOST_IN_A_ROW]:
        axis.set_ylabel("accuracy")
    figure.tight_layout(w_pad=1.6)
    return figure


def by_part(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows of each arm of a lesion experiment, in one order."""
    for part in PART_COLORS:
        own = rows[rows["part"] == part]
        if len(own):
            yield part, own
