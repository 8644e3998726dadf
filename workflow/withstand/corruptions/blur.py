"""Blur corruptions."""

from __future__ import annotations

import torch
from torch.nn import functional

from withstand.corruptions.pixels import SampleNoise, to_bytes, to_unit


def defocus_blur(images: torch.Tensor, noise: SampleNoise, radius: float, edge_sigma: float) -> torch.Tensor:
    """Blur with a disk whose edge is smoothed; borders are mirrored without repeating the edge pixel.

    Quirks of the original: disks up to radius 8 are drawn on a 17 x 17 grid and smoothed with 3 x 3 taps, larger ones
    on their own grid with 5 x 5 taps; the grid's border is mirrored, so that disks that touch it gain 1% of light.
    """
    kernel = _disk(radius, edge_sigma).to(images.device)
    reach = kernel.shape[-1] // 2
    count, channels, height, width = images.shape
    planes = to_unit(images).reshape(count * channels, 1, height, width)
    padded = functional.pad(planes, (reach,) * 4, mode="reflect")
    return to_bytes(functional.conv2d(padded, kernel[None, None]).reshape(images.shape))


def _disk(radius: float, edge_sigma: float) -> torch.Tensor:
    """The kernel of a defocused lens: float32 (2 reach + 1, 2 reach + 1), rows and columns of zeros cut off."""
    half, taps = (8, 3) if radius <= 8 else (int(radius), 5)
    axis = torch.arange(-half, half + 1, dtype=torch.float64)
    disk = (axis[:, None] ** 2 + axis[None, :] ** 2 <= radius**2).double()
    offsets = torch.arange(taps, dtype=torch.float64) - taps // 2
    weights = torch.exp(-(offsets**2) / (2 * edge_sigma**2))
    weights = weights / weights.sum()
    padded = functional.pad((disk / disk.sum())[None, None], (taps // 2,) * 4, mode="reflect")
    smooth = functional.conv2d(padded, torch.outer(weights, weights)[None, None])[0, 0]
    used = torch.nonzero(smooth.sum(0) > 0).flatten()
    return smooth[used[0] : used[-1] + 1, used[0] : used[-1] + 1].float()
