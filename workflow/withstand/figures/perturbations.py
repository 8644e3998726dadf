"""Adversarial perturbations, made visible: their mean size at each pixel beside the patches of the model, and those of
two images (as in the paper's Fig. 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from withstand.figures.style import DIVERGING, MUTED, Style, footnote, in_families, words
from withstand.perturbations import PerturbationFile

SHOWN = 2
"""Images whose perturbations are shown."""


@dataclass(frozen=True)
class Drawn:
    """One model's perturbations.

    Attributes:
        facts: those of the file.
        magnitude: mean absolute perturbation of each pixel over all samples, float64 (height, width), in [0, 1].
        images: uint8 (n, height, width, 3).
        perturbations: those of the images, float64 (n, height, width, 3), from 0 (largest darkening) over one half
            (none) to 1.
        patch: side of the model's own patches in pixels of the image, if it has some.
        samples: how many the mean is over.
        file, content: where the pixels lie, and a digest of all perturbations there.
    """

    facts: dict
    magnitude: np.ndarray
    images: np.ndarray
    perturbations: np.ndarray
    patch: float | None
    samples: int
    file: str
    content: str


def select(files: Sequence[PerturbationFile], table: pd.DataFrame, models: pd.DataFrame) -> list[Drawn]:
    """What is drawn, models in the order of their families."""
    found = {file.facts["model"]: file for file in files if not file.failure}
    order = in_families(pd.DataFrame({"model": list(found)}), models)["model"] if found else []
    own = table[table["own"].fillna(False).astype(bool)].drop_duplicates("model").set_index("model")["patch_size"]
    input_sizes = models.set_index("model")["input_size"]
    return [_drawn(found[model], own.get(model), input_sizes[model]) for model in order]


def _drawn(file: PerturbationFile, patch: float | None, input_size: float) -> Drawn:
    images = file.examples()[:SHOWN]
    changes = file.read(slice(0, len(images))).astype(np.float64)
    largest = np.abs(changes).max() or 1.0
    scaled = 0.5 + changes / (2 * largest)
    side = images.shape[1]
    return Drawn(
        facts=file.facts,
        magnitude=file.magnitude(),
        images=images,
        perturbations=scaled,
        patch=None if patch is None else patch * side / input_size,
        samples=len(file.sample_ids),
        file=str(file.path),
        content=file.content,
    )


def table(drawn: Sequence[Drawn]) -> pd.DataFrame:
    """A row a model: the file that holds the pixels drawn, with a digest of its perturbations, and their sizes."""
    return pd.DataFrame(
        {
            "model": one.facts["model"],
            "attack": one.facts["family"],
            "file": one.file,
            "content": one.content,
            "n": one.samples,
            "patch_size": one.patch,
            "mean": one.magnitude.mean(),
            "lowest": one.magnitude.min(),
            "highest": one.magnitude.max(),
        }
        for one in drawn
    )


def draw(drawn: Sequence[Drawn], style: Style) -> Figure:
    """A row a model below the images: mean size with ticks at the borders of patches, then perturbations."""
    colors = style.model_colors([one.facts["model"] for one in drawn])
    shown = len(drawn[0].images)
    figure, axes = plt.subplots(
        len(drawn) + 1, shown + 1, figsize=(0.6 + 1.75 * (shown + 1), 0.3 + 1.75 * (len(drawn) + 1)), squeeze=False
    )
    axes[0, 0].set_axis_off()
    most = _largest_deviation(drawn)
    for axis, image in zip(axes[0, 1:], drawn[0].images, strict=True):
        axis.imshow(image)
        _bare(axis)
    for row, one in zip(axes[1:], drawn, strict=True):
        # relative to its own mean, so that models of different sizes of perturbation can be compared
        relative = one.magnitude / one.magnitude.mean()
        image = row[0].imshow(relative, cmap=DIVERGING, vmin=1 - most, vmax=1 + most)
        _bare(row[0])
        if one.patch:
            _mark_patches(row[0], one.magnitude.shape[0], one.patch)
        model = one.facts["model"]
        row[0].set_ylabel(style.label(model), color=colors[model], fontweight="bold", labelpad=8)
        for axis, changes in zip(row[1:], one.perturbations, strict=True):
            axis.imshow(changes)
            _bare(axis)
    axes[1, 0].set_title("mean size", fontsize=8.5)
    figure.tight_layout(w_pad=0.6, h_pad=0.6)
    place = axes[0, 0].inset_axes([0.12, 0.42, 0.7, 0.09])
    bar = figure.colorbar(image, cax=place, orientation="horizontal", ticks=[1 - most, 1, 1 + most])
    bar.outline.set_visible(False)
    bar.set_label("mean size, relative", fontsize=7.5)
    bar.ax.tick_params(labelsize=7, length=2)
    attack = drawn[0].facts["attack"]
    footnote(
        figure,
        f"{words(attack['name'])} on {style.dataset(drawn[0].facts['dataset'])}, eps {attack['eps']}. Left: mean"
        f" absolute perturbation of each pixel over {drawn[0].samples:,} images, relative to its mean over the image;"
        " ticks are borders of the model's patches. Right: perturbations of the images above, from 0 (largest"
        f" darkening) over grey (none) to 255.{_about_images(drawn)}",
    )
    return figure


def _about_images(drawn: Sequence[Drawn]) -> str:
    shown = drawn[0].images
    same = all(one.images.shape == shown.shape and (one.images == shown).all() for one in drawn)
    return "" if same else " Models crop images each in its own way; those above are the first model's."


def _largest_deviation(drawn: Sequence[Drawn]) -> float:
    """Of all but the most extreme pixels from the mean, rounded up to a tenth."""
    deviations = [np.abs(one.magnitude / one.magnitude.mean() - 1) for one in drawn]
    return max(0.1, np.ceil(10 * max(np.quantile(values, 0.99) for values in deviations)) / 10)


def _bare(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)


def _mark_patches(axis: Axes, size: int, patch: float) -> None:
    borders = np.arange(0, size + 1e-6, patch) - 0.5
    axis.set_xticks(borders, [])
    axis.set_yticks(borders, [])
    axis.tick_params(length=3, width=0.7, color=MUTED)
