"""ImageNet-V2: new test images, collected like ImageNet's own (Recht et al., ICML 2019).

Folders are named by the index of the class, as a number without leading zeros: sorted as text, as most loaders do,
"10" comes before "2" and labels are scrambled (modestyachts/ImageNetV2#4).
"""

from __future__ import annotations

from dataclasses import dataclass

from withstand.datasets import catalogue
from withstand.datasets.archives import Archive
from withstand.datasets.class_folders import ImageNetFolders


@dataclass(frozen=True)
class Source(ImageNetFolders):
    """One of its three samplings, of 10,000 images each."""

    variant: str
    path: str | None = None

    named_by = "index"

    def archives(self) -> tuple[Archive, ...]:
        return (catalogue.IMAGENET_V2[self.variant],)

    def available(self) -> int:
        return catalogue.SAMPLES["imagenet_v2"]
