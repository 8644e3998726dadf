"""Apply a corruption, by name or as a plan that names all that shapes the result."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import torch

from withstand.corruptions.constants import CORRUPTIONS, SEVERITIES
from withstand.corruptions.pixels import SampleNoise


def corrupt(images: torch.Tensor, name: str, severity: int, sample_ids: Sequence[str], seed: int) -> torch.Tensor:
    """Corrupt a batch of images with the constants for their size.

    Args:
        images: uint8 (n, height, width, 3), RGB, on any device.
        name: a corruption of ``constants.CORRUPTIONS``.
        severity: 1 to 5.
        sample_ids: n ids; with ``seed`` they decide all that is random.
        seed: the study's seed.

    Returns:
        uint8 (n, height, width, 3) on the same device; the same pixels however the samples are batched.

    Raises:
        KeyError: for an unknown corruption.
        ValueError: for a severity that is not 1 to 5, or a wrong shape or dtype.
    """
    if severity not in SEVERITIES:
        raise ValueError(f"severity {severity} is not one of {SEVERITIES}")
    corruption = CORRUPTIONS[name]
    arguments = corruption.arguments(min(images.shape[1:3]), severity)
    return apply_corruption(images, corruption.category, name, severity, arguments, sample_ids, seed)


def apply_corruption(
    images: torch.Tensor,
    category: str,
    name: str,
    severity: int,
    arguments: Sequence,
    sample_ids: Sequence[str],
    seed: int,
) -> torch.Tensor:
    """Corrupt a batch with given constants; as :func:`corrupt`, but without a look at the table of constants.

    Raises:
        ValueError: for a wrong shape or dtype, or a number of ids that is not that of the images.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images are {images.dtype} {tuple(images.shape)}, expected uint8 (n, height, width, 3)")
    if len(sample_ids) != len(images):
        raise ValueError(f"{len(images)} images but {len(sample_ids)} sample ids")
    function = getattr(import_module(f"withstand.corruptions.{category}"), name)
    noise = SampleNoise(seed, name, severity, sample_ids, images.device)
    return function(images.permute(0, 3, 1, 2), noise, *arguments).permute(0, 2, 3, 1).contiguous()
