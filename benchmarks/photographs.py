"""Photographs of ImageNet, as a camera's files, and a model of ImageNet: what installs from the package index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from tests.photographs import ENTRY, efficientnet_weights, photographs

__all__ = ["ENTRY", "class_folders", "efficientnet_weights"]

SIDES = (500, 375)
"""Width and height of the usual image of ImageNet."""


def class_folders(folder: Path, count: int) -> Path:
    """So many JPEG files of the usual size, each another cut of one of twenty photographs, in folders of classes."""
    random = np.random.default_rng(0)
    known = list(photographs().items())
    for number in range(count):
        path, label = known[number % len(known)]
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            left, top = random.integers(0, 12, size=2)
            cut = image.convert("RGB").crop((left, top, image.width - left, image.height - top))
            cut.resize(SIDES, Image.Resampling.BICUBIC).save(folder / str(label) / f"{number}.jpg", quality=92)
    return folder
