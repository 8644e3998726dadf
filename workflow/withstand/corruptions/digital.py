"""Digital corruptions."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from withstand.corruptions.pixels import SampleNoise, to_bytes, to_unit


def contrast(images: torch.Tensor, noise: SampleNoise, factor: float) -> torch.Tensor:
    """Shrink the differences from each channel's mean over the image."""
    colours = to_unit(images)
    means = colours.mean(dim=(2, 3), keepdim=True)
    return to_bytes((colours - means) * factor + means)


def jpeg_compression(images: torch.Tensor, noise: SampleNoise, quality: int) -> torch.Tensor:
    """Encode as JPEG and decode, with Pillow's defaults (4:2:0 subsampling), on the CPU."""
    arrays = images.permute(0, 2, 3, 1).cpu().numpy()
    decoded = np.stack([_through_jpeg(array, quality) for array in arrays])
    return torch.from_numpy(decoded).permute(0, 3, 1, 2).to(images.device)


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=quality)
    with Image.open(buffer) as encoded:
        return np.asarray(encoded.convert("RGB"))
