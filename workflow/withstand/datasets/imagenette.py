"""Imagenette: ten easy classes of ImageNet-1k, with a split of its own (Howard, fast.ai)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from withstand.datasets import catalogue
from withstand.datasets.archives import Archive
from withstand.datasets.class_folders import ImageNetFolders
from withstand.datasets.containers import Member

CLASSES = (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)
"""The outputs of ImageNet-1k whose classes occur."""


@dataclass(frozen=True)
class Source(ImageNetFolders):
    """One of its splits, with the short side as it was, or of 320 or 160 px."""

    split: str
    side: str
    path: str | None = None

    def archives(self) -> tuple[Archive, ...]:
        return (catalogue.IMAGENETTE[self.side],)

    def available(self) -> int:
        return catalogue.SAMPLES[f"imagenette_{self.split}"]

    def images(self) -> Iterator[Member]:
        """The images of the split: in ``<split>/<wnid>/``."""
        return (member for member in super().images() if f"/{member.name}".split("/")[-3:-2] == [self.split])

    def expected(self) -> Iterable[int]:
        return CLASSES
