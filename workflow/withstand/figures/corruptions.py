"""One image under every corruption at every severity, in the order of the categories."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from withstand.figures.style import MUTED, Style, words
from withstand.shards import CLEAN, CorruptedShard

COLUMNS = 2
"""Corruptions side by side."""


def select(shard: CorruptedShard, sample: int = 0) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Every copy of one sample: a table of sample, corruption, severity, and the images uint8 (h, w, 3)."""
    label = int(shard.samples.labels[sample])
    about = {"sample_id": shard.samples.ids[sample], "class": shard.samples.class_names[label]}
    rows, pixels = [], []
    for corruption, severity, index in shard.conditions:
        rows.append({**about, "corruption": corruption, "severity": severity})
        pixels.append(shard.read(corruption, index, slice(sample, sample + 1))[0])
    return pd.DataFrame(rows), pixels


def draw(data: pd.DataFrame, pixels: list[np.ndarray], style: Style) -> Figure:
    """Rows of images from the clean one to the last severity, in columns of corruptions."""
    corruptions = [name for name in data["corruption"].unique() if name != CLEAN]
    severities = sorted(severity for severity in data["severity"].unique() if severity > 0)
    copies = {(row.corruption, row.severity): pixels[row.Index] for row in data.itertuples()}
    columns = min(COLUMNS, len(corruptions))
    lines, width = -(-len(corruptions) // columns), 1 + len(severities)
    figure = plt.figure(figsize=((0.85 * width + 1.1) * columns, 0.87 * lines))
    for number, part in enumerate(figure.subfigures(1, columns, squeeze=False)[0]):
        axes = part.subplots(lines, width, squeeze=False)
        part.subplots_adjust(wspace=0.04, hspace=0.04, left=0.2, right=1, top=1, bottom=0)
        for axis in axes.flat:
            axis.set_axis_off()
        for line, corruption in zip(axes, corruptions[number * lines :][:lines], strict=False):
            _draw_line(line, corruption, severities, copies)
        axes[0, 0].set_title("clean", fontsize=9, color=MUTED)
        for axis, severity in zip(axes[0, 1:], severities, strict=True):
            title = f"severity {severity}" if severity == severities[0] else str(severity)
            axis.set_title(title, fontsize=9, color=MUTED)
    return figure


def _draw_line(line: list[Axes], corruption: str, severities: list[int], copies: dict) -> None:
    line[0].imshow(copies[CLEAN, 0])
    name = words(corruption).replace(" ", "\n", 1)
    line[0].text(-0.08, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=9)
    for axis, severity in zip(line[1:], severities, strict=True):
        if (corruption, severity) in copies:
            axis.imshow(copies[corruption, severity])
