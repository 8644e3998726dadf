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

    def counts(self) -> tuple[int, ...]:
        """Sources do not agree on whether it is 50 of each class, or some more."""
        return (self.available(), 50_000)
