"""Noise corruptions."""

from __future__ import annotations

import torch

from withstand.corruptions.pixels import SampleNoise, to_bytes, to_unit


def gaussian_noise(images: torch.Tensor, noise: SampleNoise, std: float) -> torch.Tensor:
    """Add normal noise, independent in every pixel and channel."""
    return to_bytes(to_unit(images) + std * noise.normal(images.shape[1:]))
