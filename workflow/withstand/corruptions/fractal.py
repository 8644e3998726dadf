"""Plasma fractals, of which fog is made."""

from __future__ import annotations

import torch

from withstand.corruptions.pixels import SampleNoise


def plasma(noise: SampleNoise, size: int, decay: float) -> torch.Tensor:
    """Height maps by the diamond-square algorithm on a torus: float32 (n, size, size), from 0 to 1.

    ``size`` is a power of two. From each scale to the next the random part shrinks by ``decay``. Quirk of the original:
    the random part is scaled twice, so it shrinks by the square of ``decay``.
    """
    steps = [size >> level for level in range(size.bit_length() - 1)]
    uniform = noise.uniform((3 * sum((size // step) ** 2 for step in steps),)).mul_(2).sub_(1)
    maps = torch.zeros(len(uniform), 1, 1, device=noise.device)
    used, wander = 0, 100.0
    for step in steps:
        cells = size // step
        draws = uniform[:, used : used + 3 * cells**2].unflatten(1, (3, cells, cells)) * wander**2
        maps = _refine(maps, *draws.unbind(1))
        used += 3 * cells**2
        wander /= decay
    maps -= maps.amin(dim=(1, 2), keepdim=True)
    return maps.div_(maps.amax(dim=(1, 2), keepdim=True))


def _refine(corners: torch.Tensor, *draws: torch.Tensor) -> torch.Tensor:
    """From the corners of squares, (n, k, k), to (n, 2 k, 2 k): their middles, then the middles of their upper and left
    sides, each a mean of four neighbours and a draw."""
    below, beside = corners.roll(-1, 1), corners.roll(-1, 2)
    middles = (corners + below + beside + below.roll(-1, 2)).div_(4).add_(draws[0])
    upper = (middles + middles.roll(1, 1) + corners + beside).div_(4).add_(draws[1])
    left = (middles + middles.roll(1, 2) + corners + below).div_(4).add_(draws[2])
    rows = torch.stack([torch.stack([corners, upper], -1), torch.stack([left, middles], -1)], 2)
    return rows.flatten(3).flatten(1, 2)
