"""Blur corruptions."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional

from withstand.corruptions import filters
from withstand.corruptions.pixels import SampleNoise, from_planes, to_bytes, to_planes, to_unit


def gaussian_blur(images: torch.Tensor, noise: SampleNoise, sigma: float) -> torch.Tensor:
    """Blur by a Gaussian of 4 sigmas; the edge pixels go on beyond the border."""
    return to_bytes(from_planes(filters.gaussian(to_planes(to_unit(images)), sigma)))


def defocus_blur(images: torch.Tensor, noise: SampleNoise, radius: float, edge_sigma: float) -> torch.Tensor:
    """Blur with a disk whose edge is smoothed; borders are mirrored without repeating the edge pixel.

    Quirks of the original: disks up to radius 8 are drawn on a 17 x 17 grid and smoothed with 3 x 3 taps, larger ones
    on their own grid with 5 x 5 taps; the grid's border is mirrored, so that disks that touch it gain 1% of light.
    """
    kernel = _disk(radius, edge_sigma).to(images.device)
    return to_bytes(from_planes(filters.convolve(to_planes(to_unit(images)), kernel)))


@lru_cache(maxsize=16)
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


def glass_blur(images: torch.Tensor, noise: SampleNoise, sigma: float, reach: int, rounds: int) -> torch.Tensor:
    """Blur, let each pixel take the colours of one nearby, and blur again; values are cut off after the first blur.

    Quirks of the original: its loop from the last pixel to the first is written as a swap but copies only, one pixel
    over the other, so colours that were copied before are copied on; offsets go from -``reach`` to ``reach`` - 1;
    pixels near the border (``reach`` + 1 at the start, ``reach`` - 1 at the end) stay.
    """
    blurred = to_bytes(filters.gaussian(to_planes(to_unit(images)), sigma)).flatten(2)
    height, width = images.shape[1:3]
    sources = torch.arange(height * width, device=images.device).expand(len(images), -1)
    for number in range(rounds):
        sources = sources.gather(1, _copied_from(height, width, reach, noise, number))
    shuffled = blurred.gather(2, sources[:, None].expand_as(blurred)).unflatten(2, (height, width))
    return to_bytes(from_planes(filters.gaussian(to_unit(shuffled), sigma)))


def _copied_from(height: int, width: int, reach: int, noise: SampleNoise, draw: int) -> torch.Tensor:
    """For each pixel the one whose colour it has after the loop over all pixels: int64 (n, height * width).

    A pixel copies from the one at its offset; where that had its turn before, it hands on what it copied itself. Such
    chains are followed in steps that double: links are kept as ``~pixel``, ends as ``pixel``.
    """
    pixels, inside = _turns(height, width, reach, noise.device)
    across, down = noise.uniform((2, height * width), draw).mul_(2 * reach).floor_().sub_(reach).unbind(1)
    targets = down.mul_(width).add_(across).mul_(inside).long().add_(pixels)
    linked = targets > pixels
    first = torch.arange(len(targets), device=noise.device)[:, None] * len(pixels)
    sources = targets.add_(first).bitwise_xor_(linked.long().neg_()).flatten()
    pending = torch.nonzero(linked.flatten())[:, 0]
    while len(pending):
        followed = sources[~sources[pending]]
        sources[pending] = followed
        pending = pending[followed < 0]
    return sources.view_as(targets) - first


@lru_cache(maxsize=8)
def _turns(height: int, width: int, reach: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The index of each pixel, int64, and whether it has a turn in the loop, float32: both (height * width)."""
    pixels = torch.arange(height * width, device=device)
    row, column = pixels // width, pixels % width
    inside = (row > reach) & (row <= height - reach) & (column > reach) & (column <= width - reach)
    return pixels, inside.float()


def motion_blur(images: torch.Tensor, noise: SampleNoise, radius: int, sigma: float) -> torch.Tensor:
    """Blur along a direction between -45 and 45 degrees, the same in all channels, with ImageMagick's kernel.

    Quirk of the original: the kernel is one half of a Gaussian, so the image also moves.
    """
    angles = (noise.uniform(()).double() * 90 - 45).tolist()
    planes = filters.motion_blur(to_planes(images.float()), radius, sigma, angles)
    return from_planes(planes).to(torch.uint8)


def zoom_blur(images: torch.Tensor, noise: SampleNoise, stop: float, step: float) -> torch.Tensor:
    """Mean of the image and its enlargements by factors from 1 on, in steps, short of ``stop``.

    Quirks of the original: factor 1 is among the enlargements, so the image counts twice; and so is ``stop`` itself
    where the steps, in floating point, fall just short of it.
    """
    planes = to_planes(to_unit(images))
    factors = np.arange(1, stop, step).tolist()
    total = planes.clone()
    for factor in factors:
        total.add_(filters.zoom(planes, factor))
    return to_bytes(from_planes(total.div_(len(factors) + 1)))
