"""ImageNet-R: renditions (Hendrycks et al., "The many faces of robustness", ICCV 2021), 200 classes of ImageNet-1k."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from withstand.datasets import catalogue, label_spaces
from withstand.datasets.archives import Archive
from withstand.datasets.class_folders import ImageNetFolders, outputs_of


@dataclass(frozen=True)
class Source(ImageNetFolders):
    """All of it: 30,000 paintings, cartoons, toys, tattoos and other renditions."""

    path: str | None = None

    def archives(self) -> tuple[Archive, ...]:
        return catalogue.IMAGENET_R

    def available(self) -> int:
        return catalogue.SAMPLES["imagenet_r"]

    def expected(self) -> Iterable[int]:
        return outputs_of(label_spaces.imagenet_subset("imagenet_r"))
