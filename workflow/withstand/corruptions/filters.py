"""Filters that several corruptions are made of. Planes are float32 (n, channels, height, width)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch.nn import functional

NEGLIGIBLE = 1e-7
"""Weights of a kernel below this change no pixel."""


def gaussian(
    planes: torch.Tensor, sigma: float, *, truncate: float = 4.0, border: Literal["edge", "symmetric"] = "edge"
) -> torch.Tensor:
    """Blur by a Gaussian of ``sigma`` pixels that ends at ``truncate`` sigmas, as ``skimage.filters.gaussian`` does.

    Beyond the border stands the edge pixel (skimage's ``nearest``), or the mirrored image with the edge pixel
    repeated (its ``reflect``). Both directions are products with a matrix, whose cost does not grow with sigma.
    """
    height, width = planes.shape[-2:]
    down = _gaussian_matrix(height, sigma, truncate, border, planes.device)
    across = _gaussian_matrix(width, sigma, truncate, border, planes.device)
    return down @ (planes @ across.T)


@lru_cache(maxsize=32)
def _gaussian_matrix(length: int, sigma: float, truncate: float, border: str, device: torch.device) -> torch.Tensor:
    """Row i holds the weights that the pixels of a line have in pixel i of the blurred line."""
    reach = int(truncate * sigma + 0.5)
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / max(sigma, 1e-9)) ** 2)
    sources = torch.arange(length)[:, None] + offsets.long()
    if border == "edge":
        sources = sources.clamp(0, length - 1)
    else:
        sources = sources.remainder(2 * length)
        sources = torch.minimum(sources, 2 * length - 1 - sources)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    matrix.scatter_add_(1, sources, (weights / weights.sum()).expand(length, -1))
    return matrix.float().to(device)


def convolve(
    planes: torch.Tensor, kernel: torch.Tensor, border: Literal["reflect", "replicate"] = "reflect"
) -> torch.Tensor:
    """Correlate with square kernels of odd side, float32 (side, side) or (n, 1, side, side), by Fourier transform.

    Beyond the border the image is mirrored without repeating the edge pixel (OpenCV's ``BORDER_REFLECT_101``), or the
    edge pixel goes on.
    """
    height, width = planes.shape[-2:]
    reach = kernel.shape[-1] // 2
    padded = functional.pad(planes, (reach,) * 4, mode=border)
    size = [_fast_length(length) for length in padded.shape[-2:]]
    spectrum = torch.fft.rfft2(padded, s=size) * torch.fft.rfft2(kernel.flip(-2, -1), s=size)
    blurred = torch.fft.irfft2(spectrum, s=size)
    return blurred[..., 2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width]


@lru_cache
def _fast_length(length: int) -> int:
    """The next length whose only prime factors are 2, 3 and 5; others take several times as long to transform."""
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1


def sample(planes: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Bilinear samples at every pair of a row and a column: (n, channels, rows, columns).

    ``rows`` and ``columns`` are float64 coordinates; pixel centres are integers, and beyond them the edge goes on.
    """
    grid = _grid(rows, columns, *planes.shape[-2:]).to(planes.device)
    return _sample_grid(planes, grid)


def _grid(rows: torch.Tensor, columns: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Coordinates as ``grid_sample`` wants them, from -1 at the first pixel to 1 at the last: (rows, columns, 2)."""
    x, y = torch.meshgrid(2 * columns / (width - 1) - 1, 2 * rows / (height - 1) - 1, indexing="xy")
    return torch.stack([x, y], -1).float()


def _sample_grid(planes: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    return functional.grid_sample(
        planes, grid.expand(len(planes), -1, -1, -1), padding_mode="border", align_corners=True
    )


def zoom(planes: torch.Tensor, factor: float) -> torch.Tensor:
    """Enlarge the centre of an image ``factor`` times, keeping the image's size (``clipped_zoom`` of ImageNet-C).

    The crop is a whole number of pixels, whose outermost centres become those of the enlarged crop; of that, what is
    too much is trimmed, the odd pixel at the end.
    """
    return _sample_grid(planes, _zoom_grid(*planes.shape[-2:], factor, planes.device))


@lru_cache(maxsize=64)
def _zoom_grid(height: int, width: int, factor: float, device: torch.device) -> torch.Tensor:
    return _grid(_zoomed(height, factor), _zoomed(width, factor), height, width).to(device)


def _zoomed(length: int, factor: float) -> torch.Tensor:
    """Where in a line the pixels of its enlarged middle lie."""
    cropped = math.ceil(length / factor)
    enlarged = round(cropped * factor)
    first = (enlarged - length) // 2
    steps = torch.arange(first, first + length, dtype=torch.float64)
    return (length - cropped) // 2 + steps * (cropped - 1) / (enlarged - 1)


def motion_blur(planes: torch.Tensor, radius: int, sigma: float, angles: Sequence[float]) -> torch.Tensor:
    """Blur along a direction, one way, as ImageMagick's ``MotionBlurImage``; in and out are grey levels 0 to 255.

    Half a Gaussian of 2 ``radius`` + 1 pixels lies along the direction, its offsets rounded to pixels (halves towards
    the start); beyond the border stands the edge pixel. The result is rounded to 1/257 level, ImageMagick's 16 bits,
    and cut off to whole levels, its 8 bits. ``angles`` are in degrees, one for each image.
    """
    weights = [math.exp(-(step**2) / (2 * sigma**2)) for step in range(2 * radius + 1)]
    weights = [weight / sum(weights) for weight in weights]
    reach = max(step for step, weight in enumerate(weights) if weight > NEGLIGIBLE)
    steps, turns = np.arange(reach + 1), np.radians(angles)[:, None]
    down, across = (reach + np.ceil(steps * turn - 0.5).astype(int) for turn in (np.sin(turns), np.cos(turns)))
    along = _along_by_slices if planes.device.type == "cpu" else _along_by_kernels
    return along(planes, down, across, weights[: reach + 1]).add_(0.5 / 257).floor_()


def _along_by_slices(
    planes: torch.Tensor, down: np.ndarray, across: np.ndarray, weights: Sequence[float]
) -> torch.Tensor:
    """Sums of shifted planes by weight, whose shifts, from the edge of the padding, are integers (n, weights).

    On a CPU three times as fast as :func:`_along_by_kernels`, which needs no launch for each image and weight.
    """
    height, width = planes.shape[-2:]
    padded = functional.pad(planes, (len(weights) - 1,) * 4, mode="replicate")
    total = torch.zeros_like(planes)
    for row, step in np.ndindex(down.shape):
        top, left = down[row, step], across[row, step]
        total[row].add_(padded[row, :, top : top + height, left : left + width], alpha=weights[step])
    return total


def _along_by_kernels(
    planes: torch.Tensor, down: np.ndarray, across: np.ndarray, weights: Sequence[float]
) -> torch.Tensor:
    side = 2 * len(weights) - 1
    kernels = np.zeros((len(down), 1, side, side), np.float32)
    np.add.at(kernels, (np.arange(len(down))[:, None], 0, down, across), np.float32(weights))
    return convolve(planes, torch.from_numpy(kernels).to(planes.device), "replicate")
