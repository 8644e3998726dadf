"""Tiny-ImageNet-C as published: corrupted copies of the validation images of Tiny ImageNet, 64 px."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from withstand.datasets import catalogue
from withstand.datasets.archives import Archive
from withstand.datasets.corrupted import CorruptedFolders
from withstand.datasets.tiny_imagenet import SIZE


@dataclass(frozen=True)
class Source(CorruptedFolders):
    """The wanted corruptions of the fifteen."""

    corruptions: Sequence[str]
    severities: Sequence[int]
    path: str | None = None

    def clean(self) -> dict:
        return {"kind": "tiny_imagenet"}

    def archives(self) -> tuple[Archive, ...]:
        return (catalogue.TINY_IMAGENET_C,)

    def known(self) -> Sequence[str]:
        extra = {"speckle_noise", "spatter", "gaussian_blur", "saturate"}
        return [corruption for corruption in super().known() if corruption not in extra]

    def native_size(self) -> int:
        return SIZE
