"""One look for all figures: colour-blind-safe colours, direct labels, legible in print."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import fill

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from withstand.files import atomic_output

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#5A5A5A", "#882255")
"""Okabe & Ito's colours (Color Universal Design, 2008) without yellow, which vanishes on white; grey, wine."""

CHOICES = ["label_mode", "policy"]
"""Columns of tables that name a choice of protocol."""

CHARACTERS_PER_INCH = 17
"""Of a footnote."""

SEQUENTIAL, DIVERGING = "YlGnBu", "PuOr_r"
"""Colours of heat maps, from light to dark, and of deviations from a middle; for the colour-blind and in print."""

INK, MUTED, GRID = "#222222", "#6b6b6b", "#e3e3e3"

_SETTINGS = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "svg.hashsalt": "withstand",
    "svg.fonttype": "none",
    "figure.dpi": 100,
}


@dataclass(frozen=True)
class Style:
    """What the config says of figures: models, their labels, colours and families, labels of datasets, resolution."""

    models: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    colors: Mapping[str, str] = field(default_factory=dict)
    families: Mapping[str, str] = field(default_factory=dict)
    datasets: Mapping[str, str] = field(default_factory=dict)
    dpi: int = 150

    def label(self, model: str) -> str:
        return self.labels.get(model, model)

    def dataset(self, dataset: str) -> str:
        return self.datasets.get(dataset, dataset)

    def model_colors(self, drawn: Iterable[str]) -> dict[str, str]:
        """A colour for each model drawn, the same in all figures: the config's own, else the next of the palette; of
        more models than it has colours, one for each family."""
        free = [color for color in PALETTE if color not in self.colors.values()] or list(PALETTE)
        unnamed = [model for model in dict.fromkeys([*self.models, *drawn]) if model not in self.colors]
        groups = {model: model for model in unnamed}
        if len(unnamed) > len(free):
            groups = {model: self.families.get(model, model) for model in sorted(unnamed, key=self._family)}
        order = list(dict.fromkeys(groups.values()))
        chosen = {model: free[order.index(group) % len(free)] for model, group in groups.items()}
        return {model: self.colors.get(model) or chosen[model] for model in drawn}

    def _family(self, model: str) -> str:
        return self.families.get(model, "")


@contextmanager
def figure_style() -> Iterator[None]:
    """The look of all figures, for the block."""
    with mpl.rc_context(_SETTINGS):
        yield


def save(figure: Figure, svg: Path, png: Path, dpi: int) -> None:
    """Write a figure as SVG and PNG, without dates, so that the same data gives the same files."""
    with atomic_output(svg) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None}, bbox_inches="tight")
    with atomic_output(png) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)


def label_rows(axis: Axes, models: Sequence[str], colors: Mapping[str, str], style: Style) -> None:
    """A row for each model from the top, named at the left in its colour, along a share from 0 to 1."""
    axis.set_yticks(range(len(models)), [style.label(model) for model in models])
    for label, model in zip(axis.get_yticklabels(), models, strict=False):  # panels beside the first have no names
        label.set(color=colors[model], fontsize=8.5, fontweight="bold")
    axis.set(xlim=(0, 1), ylim=(len(models) - 0.4, -0.6))
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.grid()


def interval_point(axis: Axes, height: float, row: Mapping, color: str, *, marker: str = "o", filled: bool) -> None:
    """A value with its interval, from keys ``value``, ``low`` and ``high``; markers are filled or hollow."""
    axis.errorbar(
        row["value"],
        height,
        xerr=[[row["value"] - row["low"]], [row["high"] - row["value"]]],
        marker=marker,
        markersize=5,
        color=color,
        markerfacecolor=color if filled else "white",
        elinewidth=1.2,
        clip_on=False,
        zorder=3,
    )


def nothing(text: str) -> Figure:
    """A figure that says why there is nothing to show."""
    figure = plt.figure(figsize=(5, 0.8))
    figure.text(0.02, 0.5, fill(text, 70), va="center", color=MUTED)
    return figure


def footnote(figure: Figure, text: str) -> None:
    """A note below everything else, whatever the height of the figure, broken to its width."""
    width = max(40, int(CHARACTERS_PER_INCH * figure.get_figwidth()))
    lines = "\n".join(fill(line, width) for line in text.splitlines())
    figure.text(0.01, -0.06 / figure.get_figheight(), lines, va="top", fontsize=7.5, color=MUTED)


def spread(positions: Sequence[float], gap: float) -> np.ndarray:
    """Move label positions apart to at least ``gap``, in their order, as little as possible."""
    order = np.argsort(positions, kind="stable")
    offsets = np.arange(len(order)) * gap
    moved = _isotonic(np.asarray(positions, dtype=float)[order] - offsets) + offsets
    result = np.empty(len(order))
    result[order] = moved
    return result


def _isotonic(values: np.ndarray) -> np.ndarray:
    """The nearest non-decreasing sequence, by pooling adjacent violators."""
    pools: list[list[float]] = []
    for value in values:
        pools.append([value, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (mean, count), (last, more) = pools[-2], pools.pop()
            pools[-1] = [(mean * count + last * more) / (count + more), count + more]
    return np.concatenate([[mean] * count for mean, count in pools])


def in_families(data: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """Rows sorted by the family of their model, then its number of parameters, then of images it was trained on."""
    facts = ["family", "parameters", "pretraining_images"]
    return data.merge(models[["model", *facts]], on="model").sort_values([*facts, "model"], ignore_index=True)


def choices(data: pd.DataFrame) -> str:
    """The choices of protocol behind rows drawn, in words."""
    mode, policy = data["label_mode"].iloc[0], data["policy"].iloc[-1]  # the first may be the clean images
    outputs = {
        "all": "top-1 over all outputs",
        "subset": "top-1 over the set's classes",
        "categories": "the category with the highest mean probability",
    }[mode]
    images = {
        "stored": "images as stored, resized on the device",
        "published": "corrupted images as published, resized on the device",
        "corrupt_after_resize": "corrupted after the model's own resize",
        "model": "each model's own resize and crop",
    }.get(policy, policy)
    return f"{outputs}, {images}"


def words(name: str) -> str:
    """A name of the config as words: ``gaussian_noise`` is 'gaussian noise'."""
    return name.replace("_", " ")
