"""shapetex: generated images of ten classes that both shape and texture tell apart.

An image shows one object, whose outline and surface both name its class, before a shaded background. Position, size,
rotation, colours, background, shadow and lighting vary; most images are easy, a few are hard (small, faded, cut off).
A sample is a function of its id alone, so sets of any size are made in any order and in parallel, without a file to
download. Two more kinds show the same objects otherwise: ``shapetex_renditions`` and ``shapetex_cue_conflict``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from withstand.datasets import splits
from withstand.datasets.drawing.scenes import SIZE, Scene, compose, photograph
from withstand.datasets.drawing.shapes import SHAPES
from withstand.datasets.drawing.textures import TEXTURES
from withstand.datasets.source import Generated
from withstand.random import Stream

SEED = 2021
CLASSES = tuple(zip(SHAPES, TEXTURES, strict=True))
"""(shape, texture) of each class, in the order of the labels."""


class Shapetex(Generated):
    """What all sets of shapetex have in common."""

    def class_names(self) -> list[str]:
        """The ten classes, in the order of their labels: '<texture> <shape>'."""
        return [f"{texture} {shape}" for shape, texture in CLASSES]

    def label_space(self) -> str:
        return "shapetex"

    def native_size(self) -> int:
        return SIZE

    def scene(self, sample_id: str) -> tuple[Scene, Stream]:
        """What a sample shows, and the random numbers that the way of showing it takes next."""
        raise NotImplementedError

    def foreground(self, sample_id: str) -> np.ndarray:
        return self.scene(sample_id)[0].mask


@dataclass(frozen=True)
class Source(Shapetex):
    """One split of photographs. Splits share no sample."""

    split: str

    def available(self) -> int:
        return splits.SHAPETEX[self.split]

    def sample_ids(self, count: int) -> list[str]:
        return [f"{self.split}-{number:06d}" for number in range(count)]

    def labels(self, sample_ids: Sequence[str]) -> np.ndarray:
        """Classes take turns, so any first n of a split are balanced."""
        return numbers(sample_ids) % len(CLASSES)

    def scene(self, sample_id: str) -> tuple[Scene, Stream]:
        stream = Stream(SEED, "shapetex", sample_id)
        shape, texture = CLASSES[self.labels([sample_id])[0]]
        return compose(stream, shape, texture), stream

    def read(self, sample_id: str) -> np.ndarray:
        return photograph(*self.scene(sample_id))


def numbers(sample_ids: Sequence[str]) -> np.ndarray:
    """The position of each sample in its set, the number that ends its id: int64 (n)."""
    return np.array([int(sample_id.rsplit("-", 1)[1]) for sample_id in sample_ids], dtype=np.int64)
