"""ImageNet-A: natural adversarial examples (Hendrycks et al., CVPR 2021), 200 of the classes of ImageNet-1k."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from withstand.datasets import catalogue, label_spaces
from withstand.datasets.archives import Archive
from withstand.datasets.class_folders import ImageNetFolders, outputs_of


@dataclass(frozen=True)
class Source(ImageNetFolders):
    """All of it: 7,500 photographs that a ResNet-50 gets wrong."""

    path: str | None = None

    def archives(self) -> tuple[Archive, ...]:
        return catalogue.IMAGENET_A

    def available(self) -> int:
        return catalogue.SAMPLES["imagenet_a"]

    def expected(self) -> Iterable[int]:
        return outputs_of(label_spaces.imagenet_subset("imagenet_a"))
