"""The photographs of frost of ImageNet-C, from the data of an installed package (corrupt-tta)."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from withstand.corruptions.filters import sample
from withstand.errors import WithstandError

PICTURES = {
    "frost1.png": "ff9f907860bd7a835d459e32f9d588062b7f61ee267343cc7222b56753a14755",
    "frost2.png": "fe211a89b336999c207a852ce05818d4545d0b57c5beadd824b4cc9d9a9b6137",
    "frost3.png": "2d0d50b4a9bb213f38b024ef7768731bb83cc08d2f26b5766bbc167cdfa0e504",
    "frost4.jpg": "3f8b91ca1a9fa7167b09e773da53f5ae60d0a1fd88f02a783f6e328a72887f6e",
    "frost5.jpg": "5fc6a19df4a429ba68abdcc8f8a4278d4c9f81c9ccafd2c92ab0c8cf8992ebd2",
}
"""SHA-256 of each, in the order in which they are drawn."""


@lru_cache(maxsize=32)
def frost_picture(which: int, scale: float, height: int, width: int, device: torch.device) -> torch.Tensor:
    """A photograph scaled by ``scale``, or more where it would not cover ``height`` x ``width`` pixels.

    Returns:
        float32 (rows, columns, 3), RGB, whole grey levels 0 to 255; at least ``height`` rows and ``width`` columns.

    Raises:
        WithstandError: if the package that carries the photographs is missing, or holds others.
    """
    picture = torch.from_numpy(_photograph(list(PICTURES)[which])).float()
    scale = max(scale, height / picture.shape[0], width / picture.shape[1])
    if scale != 1:
        rows, columns = (_centres(length, scale) for length in picture.shape[:2])
        picture = sample(picture.permute(2, 0, 1)[None], rows, columns)[0].permute(1, 2, 0).add_(0.5).floor_()
    return picture.contiguous().to(device)


def _photograph(name: str) -> np.ndarray:
    package = find_spec("corrupt_tta")  # not imported: that would load OpenCV
    if package is None:
        raise WithstandError("frost needs the photographs in the package corrupt-tta: pip install corrupt-tta")
    path = Path(package.origin).parent / "assets" / "frost" / name
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != PICTURES[name]:
        raise WithstandError(f"{path} is not the photograph of ImageNet-C; reinstall corrupt-tta")
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def _centres(length: int, scale: float) -> torch.Tensor:
    """Where in a line the pixels of the scaled line lie (OpenCV's bilinear ``resize``)."""
    return ((torch.arange(round(length * scale), dtype=torch.float64) + 0.5) / scale - 0.5).clamp(0, length - 1)
