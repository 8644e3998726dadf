"""What corruptions share: the two scales of pixels, and the noise of a batch of samples.

A corruption is a function (images, noise, *constants) of uint8 images (n, 3, height, width) that returns the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from withstand import random


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
    return images.float() / 255


def to_bytes(images: torch.Tensor) -> torch.Tensor:
    """Float in [0, 1] to uint8: clipped, then cut off rather than rounded, as the ImageNet-C scripts do."""
    return (images.clamp(0, 1) * 255).to(torch.uint8)
