"""Where perturbations are large: at the borders of patches, and on the object.

Each image gives a ratio of mean absolute perturbations, and the geometric mean over images is reported, with Student's
interval on the logarithms. One means that the place makes no difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from withstand.metrics.intervals import mean_interval


def own_patches(card: Mapping) -> tuple[int | None, int]:
    """The side of a model's own patches, None without square ones, and how many pixels from the top left of its input
    its patches cover; all of them without patches. Both in pixels of its input.

    Args:
        card: its card.
    """
    side, grid = card["preprocessing"]["input_size"], card.get("grid")
    if not grid:
        return None, side
    vertical, horizontal = card["patch_size"]
    covered = min(side, grid[0] * vertical, grid[1] * horizontal)
    return (vertical if vertical == horizontal else None), covered


def patch_borders(size: int, patch: float) -> np.ndarray:
    """The pixels that touch a border between patches: bool (size - 2, size - 2).

    The image's outermost pixels are left out: they touch the border of the image, which is something else.

    Args:
        size: height and width of the image, in pixels.
        patch: side of a patch, in pixels of the image; need not be whole.
    """
    place = (np.arange(1, size - 1) + 0.5) % patch
    at_border = (place < 1) | (place > patch - 1)
    return at_border[:, None] | at_border[None, :]


def ratios(magnitudes: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Mean absolute perturbation in one place over that elsewhere, image by image: float64 (n).

    Args:
        magnitudes: float (n, height, width).
        places: weights from 0 to 1 of the place, (height, width) for all images or (n, height, width).
    """
    inside = (magnitudes * places).sum((1, 2)) / np.broadcast_to(places, magnitudes.shape).sum((1, 2))
    outside = (magnitudes * (1 - places)).sum((1, 2)) / (1 - np.broadcast_to(places, magnitudes.shape)).sum((1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        return inside / outside


def edge_ratios(perturbations: np.ndarray, patch: float) -> np.ndarray:
    """Mean absolute step of perturbations across borders between patches over that inside them, image by image.

    Steps are between neighbouring pixels, along both axes. Unlike sizes they tell where a pattern breaks off, even
    where nearly every pixel uses up its budget.

    Args:
        perturbations: float (n, height, width, 3).
        patch: side of a patch, in pixels of the image; need not be whole.

    Returns float64 (n).
    """
    across = [step_borders(length, patch) for length in perturbations.shape[1:3]]
    steps = [np.abs(np.diff(perturbations, axis=axis)).mean((3, 3 - axis)) for axis in (1, 2)]
    inside, between = (
        sum(step[:, where].sum(1) for step, where in zip(steps, chosen, strict=True)) / sum(map(np.sum, chosen))
        for chosen in ([~where for where in across], across)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return between / inside


def step_borders(length: int, patch: float) -> np.ndarray:
    """Which steps between neighbouring pixels of a row cross a border between patches: bool (length - 1)."""
    return np.floor((np.arange(1, length) + 0.5) / patch) != np.floor((np.arange(length - 1) + 0.5) / patch)


def geometric_mean(found: Iterable[np.ndarray]) -> dict:
    """Value, interval and number of ratios; images without a perturbation on one side do not count, and one image has
    no interval."""
    values = np.concatenate(list(found))
    logarithms = np.log(values[np.isfinite(values) & (values > 0)])
    if not len(logarithms):
        return {"value": None, "low": None, "high": None, "n": 0, "images": 0}
    n = len(logarithms)
    low, high = np.exp(mean_interval(logarithms)) if n > 1 else (None, None)
    return {"value": np.exp(logarithms.mean()), "low": low, "high": high, "n": n, "images": n}


def has_both(size: int, patch: float) -> bool:
    """Whether patches of a side have an inside, and borders between them, on an image of ``size`` pixels."""
    return step_borders(size, patch).any() and not patch_borders(size, patch).all()
