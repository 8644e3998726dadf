"""Apply a corruption, by name or as a plan that names all that shapes the result."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from numbers import Integral

import numpy as np
import torch

from withstand.corruptions.constants import CORRUPTIONS, SEVERITIES
from withstand.corruptions.pixels import SampleNoise
from withstand.errors import WithstandError, nearest

SMALLEST = 16
"""Height and width, in pixels, below which kernels are wider than the image."""

CHUNK = {"cpu": 1, "cuda": 64}
"""Images that a corruption gets at once. Always as many, so that no kernel can be chosen by the size of a batch."""


class CorruptionError(WithstandError, ValueError):
    """Images or a corruption that cannot be applied to them."""


def corrupt(images: torch.Tensor, name: str, severity: int, sample_ids: Sequence[str], seed: int) -> torch.Tensor:
    """Corrupt a batch of images with the constants for their size.

    Args:
        images: uint8 (n, height, width, 3), RGB, on any device; at least 16 pixels high and wide.
        name: a corruption of ``constants.CORRUPTIONS``.
        severity: 1 to 5.
        sample_ids: n ids; with ``seed`` they decide all that is random.
        seed: the study's seed.

    Returns:
        uint8 (n, height, width, 3) on the same device; the same pixels however the samples are batched.

    Raises:
        CorruptionError: for an unknown corruption, a severity that is not 1 to 5, images that are no tensor, of a wrong
            shape or dtype or too small, or a number of ids that is not that of the images.

    Source: Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations",
    ICLR 2019, and its scripts.
    """
    if name not in CORRUPTIONS:
        raise CorruptionError(f"unknown corruption {name!r}{nearest(name, CORRUPTIONS)}")
    is_whole = isinstance(severity, Integral) and not isinstance(severity, bool)  # 1.0 and True are equal to 1
    if not is_whole or severity not in SEVERITIES:
        raise CorruptionError(f"severity {severity!r} is not one of the whole numbers {SEVERITIES}")
    _check(images, sample_ids)
    corruption = CORRUPTIONS[name]
    arguments = corruption.arguments(min(images.shape[1:3]), severity)
    return apply_corruption(images, corruption.category, name, int(severity), arguments, sample_ids, seed)


@torch.inference_mode()
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
        CorruptionError: for images of a wrong shape or dtype or too small, or a number of ids that is not theirs.
    """
    _check(images, sample_ids)
    function = getattr(import_module(f"withstand.corruptions.{category}"), name)
    corrupted = torch.empty_like(images)
    chunk = CHUNK.get(images.device.type, 1)
    for start in range(0, len(images), chunk):
        part, ids = images[start : start + chunk], list(sample_ids[start : start + chunk])
        count, missing = len(part), chunk - len(part)
        if missing:
            part, ids = torch.cat([part, part[-1:].expand(missing, -1, -1, -1)]), ids + ids[-1:] * missing
        noise = SampleNoise(seed, name, severity, ids, images.device)
        corrupted[start : start + count] = function(part, noise, *arguments)[:count]
    return corrupted


def _check(images: torch.Tensor, sample_ids: Sequence[str]) -> None:
    if not isinstance(images, torch.Tensor):
        kind = f"{type(images).__module__}.{type(images).__qualname__}".removeprefix("builtins.")
        advice = "; make it a tensor by torch.from_numpy" if isinstance(images, np.ndarray) else ""
        raise CorruptionError(f"images are a {kind}, expected a uint8 tensor (n, height, width, 3){advice}")
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise CorruptionError(
            f"images are {images.dtype} {tuple(images.shape)}, "
            "expected uint8 (n, height, width, 3) of red, green and blue"
        )
    if min(images.shape[1:3]) < SMALLEST:
        height, width = images.shape[1:3]
        raise CorruptionError(f"images of {height} x {width} pixels are too small, at least {SMALLEST} x {SMALLEST}")
    if len(sample_ids) != len(images):
        raise CorruptionError(f"{len(images)} images but {len(sample_ids)} sample ids")
