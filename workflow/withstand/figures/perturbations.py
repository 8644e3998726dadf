"""One image under every perturbation: a row a corruption, a column a severity."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from withstand.figures.style import MUTED, Style, words
from withstand.images import ImageFile

CLEAN = "clean"


def select(files: list[ImageFile], sample: int = 0) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Every copy of one sample: a table of sample, corruption, severity, and the images uint8 (h, w, 3)."""
    rows, pixels = [], []
    for file in files:
        label = int(file.samples.labels[sample])
        about = {"sample_id": file.samples.ids[sample], "class": file.samples.class_names[label]}
        for corruption, severity, index in file.conditions:
            rows.append({**about, "corruption": corruption, "severity": severity})
            pixels.append(file.read(corruption, index, slice(sample, sample + 1))[0])
    return pd.DataFrame(rows), pixels


def draw(data: pd.DataFrame, pixels: list[np.ndarray], style: Style) -> Figure:
    """A grid of images without gaps between severities; the clean image opens each row."""
    corruptions = [name for name in data["corruption"].unique() if name != CLEAN]
    severities = sorted(severity for severity in data["severity"].unique() if severity > 0)
    copies = {(row.corruption, row.severity): pixels[row.Index] for row in data.itertuples()}
    columns = 1 + len(severities)
    figure, axes = plt.subplots(
        len(corruptions), columns, figsize=(1.12 * columns, 1.12 * len(corruptions)), squeeze=False
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for line, corruption in zip(axes, corruptions, strict=True):
        line[0].imshow(copies[CLEAN, 0])
        line[0].text(-0.08, 0.5, words(corruption), transform=line[0].transAxes, ha="right", va="center", fontsize=9)
        for axis, severity in zip(line[1:], severities, strict=True):
            if (corruption, severity) in copies:
                axis.imshow(copies[corruption, severity])
    axes[0, 0].set_title("clean", fontsize=9, color=MUTED)
    for axis, severity in zip(axes[0, 1:], severities, strict=True):
        axis.set_title(f"severity {severity}" if severity == severities[0] else str(severity), fontsize=9, color=MUTED)
    figure.subplots_adjust(wspace=0.04, hspace=0.04, left=0, right=1, top=1, bottom=0)
    return figure
