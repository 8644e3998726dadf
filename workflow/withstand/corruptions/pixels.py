"""What corruptions share: the scales and layouts of pixels, and the noise of a batch of samples.

A corruption is a function (images, noise, *constants) of uint8 images (n, height, width, 3) that returns the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from withstand import random

ROUNDING = 1e-3
"""Grey levels that are added before fractions are cut off, so that rounding errors decide nowhere."""


@dataclass(frozen=True)
class SampleNoise:
    """Random numbers of a batch: row i depends on seed, perturbation, severity and the id of sample i alone."""

    seed: int
    perturbation: str
    severity: int
    sample_ids: Sequence[str]
    device: torch.device

    def normal(self, shape: tuple[int, ...], draw: int = 0) -> torch.Tensor:
        """Standard normal float32 (n, *shape); use another ``draw`` for independent numbers."""
        return random.normal(self._keys(draw), shape)

    def uniform(self, shape: tuple[int, ...], draw: int = 0) -> torch.Tensor:
        """Uniform float32 (n, *shape) in [0, 1)."""
        return random.uniform(self._keys(draw), shape)

    def _keys(self, draw: int) -> torch.Tensor:
        return random.tensor_keys(self.seed, self.perturbation, self.severity, self.sample_ids, draw, self.device)


def to_unit(images: torch.Tensor) -> torch.Tensor:
    """uint8 to float32 in [0, 1]."""
    return images.float().div_(255)


def to_bytes(colours: torch.Tensor) -> torch.Tensor:
    """Float of any range to uint8: clipped to [0, 1], then cut off, not rounded, as the ImageNet-C scripts do."""
    return colours.mul(255).add_(ROUNDING).clamp_(0, 255).to(torch.uint8)


def to_planes(colours: torch.Tensor) -> torch.Tensor:
    """(n, height, width, 3) to contiguous (n, 3, height, width)."""
    return colours.permute(0, 3, 1, 2).contiguous()


def from_planes(planes: torch.Tensor) -> torch.Tensor:
    """(n, 3, height, width) to contiguous (n, height, width, 3)."""
    return planes.permute(0, 2, 3, 1).contiguous()
