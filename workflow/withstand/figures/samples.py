"""A sample sheet: the first images of a dataset, a column a class."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from withstand.figures.style import MUTED, Style, footnote
from withstand.images import ImageFile

ROWS, COLUMNS = 4, 10


def select(file: ImageFile) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """The first images of the first classes: a table of row, column, sample and class, and images uint8 (h, w, 3)."""
    samples = file.samples
    classes = [label for label in samples.subset if label in samples.labels][:COLUMNS]
    rows, pixels = [], []
    for column, label in enumerate(classes):
        for row, index in enumerate(np.flatnonzero(samples.labels == label)[:ROWS]):
            about = {"row": row, "column": column, "sample_id": samples.ids[index], "class": samples.class_names[label]}
            if samples.texture_labels is not None:
                about["texture"] = samples.class_names[samples.texture_labels[index]]
            rows.append(about)
            pixels.append(file.read("clean", 0, np.array([index]))[0])
    return pd.DataFrame(rows), pixels


def draw(data: pd.DataFrame, pixels: list[np.ndarray], style: Style) -> Figure:
    """Images side by side under the names of their classes; for cue conflict, those of their shapes."""
    columns, rows = data["column"].max() + 1, data["row"].max() + 1
    figure, axes = plt.subplots(rows, columns, figsize=(0.95 * columns, 0.95 * rows), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for row in data.itertuples():
        axes[row.row, row.column].imshow(pixels[row.Index])
    for column, name in data.groupby("column")["class"].first().items():
        axes[0, column].set_title("\n".join(name.split(maxsplit=1)), fontsize=8, color=MUTED)
    figure.subplots_adjust(wspace=0.04, hspace=0.04, left=0, right=1, top=1, bottom=0)
    if "texture" in data:
        footnote(figure, "Columns: the class of the shape.")
    return figure
