"""ImageNet-Sketch: black-and-white sketches of all classes of ImageNet-1k (Wang et al., NeurIPS 2019)."""

from __future__ import annotations

from dataclasses import dataclass

from withstand.datasets import catalogue
from withstand.datasets.archives import Archive
from withstand.datasets.class_folders import ImageNetFolders


@dataclass(frozen=True)
class Source(ImageNetFolders):
    """All of it."""

    path: str | None = None

    def archives(self) -> tuple[Archive, ...]:
        return catalogue.IMAGENET_SKETCH

    def available(self) -> int:
        return catalogue.SAMPLES["imagenet_sketch"]
