"""Noise corruptions."""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from withstand.corruptions.pixels import SampleNoise, to_bytes, to_unit


def gaussian_noise(images: torch.Tensor, noise: SampleNoise, std: float) -> torch.Tensor:
    """Add normal noise, independent in every pixel and channel."""
    return to_bytes(noise.normal(images.shape[1:]).mul_(std).add_(to_unit(images)))


def speckle_noise(images: torch.Tensor, noise: SampleNoise, std: float) -> torch.Tensor:
    """Multiply by normal noise about 1, independent in every pixel and channel."""
    return to_bytes(noise.normal(images.shape[1:]).mul_(std).add_(1).mul_(to_unit(images)))


def shot_noise(images: torch.Tensor, noise: SampleNoise, rate: float) -> torch.Tensor:
    """Replace each value by the share that a Poisson process of ``rate`` events at full light counts.

    Counts come from the inverse of the distribution function, by one uniform number a value: mostly from a table over
    equal intervals of it, and by search in the few intervals where the count changes.
    """
    table, bounds = _poisson_tables(rate, images.device)
    uniform = noise.uniform(images.shape[1:])
    greys = images.int()
    noisy = table.take(greys.mul(_INTERVALS).add_((uniform * _INTERVALS).int()).long())
    unsure = torch.nonzero(noisy < 0, as_tuple=True)
    keys = greys[unsure].double().add_(uniform[unsure])
    counts = torch.searchsorted(bounds.flatten(), keys, right=True) - greys[unsure] * bounds.shape[1]
    noisy[unsure] = _shares(counts, rate).to(noisy.dtype)
    return noisy.to(torch.uint8)


_INTERVALS = 2048


@lru_cache(maxsize=8)
def _poisson_tables(rate: float, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """For each grey level: the value by interval of the uniform number, int16 (256 * intervals), -1 where it changes
    inside the interval; and the distribution function at 0 to ``rate`` - 1 events plus the grey level, float64."""
    greys = torch.arange(256, dtype=torch.float64)[:, None]
    events = torch.arange(math.ceil(rate), dtype=torch.float64)  # more of them are white in any case
    cumulated = torch.special.gammaincc(events + 1, greys / 255 * rate)
    edges = torch.arange(_INTERVALS + 1, dtype=torch.float64).div(_INTERVALS).expand(256, -1).contiguous()
    first = _shares(torch.searchsorted(cumulated, edges[:, :-1].contiguous(), right=True), rate)
    last = _shares(torch.searchsorted(cumulated, edges[:, 1:].contiguous(), right=False), rate)
    table = torch.where(first == last, first.short(), -1)
    return table.flatten().to(device), (cumulated + greys).to(device)


def _shares(counts: torch.Tensor, rate: float) -> torch.Tensor:
    """Counted events as uint8 shares of ``rate``."""
    return to_bytes(counts / rate)


def impulse_noise(images: torch.Tensor, noise: SampleNoise, amount: float) -> torch.Tensor:
    """Set a share of the values, each channel on its own, to 0 or 255, which are equally likely."""
    uniform = noise.uniform(images.shape[1:])
    white = (uniform < amount / 2).byte()
    return (uniform >= amount).byte().mul_(images).add_(white, alpha=255)
