"""ImageNet-C as published: corrupted copies of the validation images, 224 px (Hendrycks and Dietterich, ICLR 2019).

They are 224 px already: resizing and cropping them once more, as validation images are, changes results (AlexNet's
mCE from 100 to 102.3) and ranks (RobustBench#59).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from withstand.datasets import catalogue
from withstand.datasets.archives import Archive
from withstand.datasets.corrupted import CorruptedFolders
from withstand.datasets.label_spaces import LabelError, wnids

SIZE = 224


@dataclass(frozen=True)
class Source(CorruptedFolders):
    """The wanted corruptions, each in the archive of its group."""

    corruptions: Sequence[str]
    severities: Sequence[int]
    path: str | None = None

    def clean(self) -> dict:
        return {"kind": "imagenet"}

    def archives(self) -> tuple[Archive, ...]:
        groups = {group: archive for group, archive in catalogue.IMAGENET_C.items() if set(group) & {*self.corruptions}}
        return tuple(groups.values())

    def native_size(self) -> int:
        return SIZE

    def class_names(self) -> list[str]:
        return list(wnids())

    def label(self, folder: str) -> int:
        if folder not in self._outputs:
            raise LabelError(f"{self.roots()[0]}: class '{folder}' is no WordNet id of ImageNet-1k")
        return self._outputs[folder]

    @cached_property
    def _outputs(self) -> dict[str, int]:
        return {wnid: output for output, wnid in enumerate(wnids())}
