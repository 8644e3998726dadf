"""Renditions of shapetex: six of its ten classes, drawn by hand in ink, in hatching or in flat colours.

The counterpart of ImageNet-R (Hendrycks et al., "The many faces of robustness", ICCV 2021), which has 200 of 1000
classes; a flat silhouette keeps the shape alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from withstand.datasets import splits
from withstand.datasets.drawing.scenes import Scene, compose
from withstand.datasets.drawing.styles import STYLES
from withstand.datasets.shapetex import CLASSES, SEED, Shapetex, numbers
from withstand.random import Stream

DRAWN = (0, 2, 3, 5, 7, 8)
"""The labels of the classes that are drawn."""


@dataclass(frozen=True)
class Source(Shapetex):
    """Drawings: classes take turns, and styles with each round of them, so any first n are balanced."""

    def available(self) -> int:
        return splits.SHAPETEX_RENDITIONS

    def sample_ids(self, count: int) -> list[str]:
        return [f"rendition-{number:06d}" for number in range(count)]

    def subset(self) -> list[int]:
        return list(DRAWN)

    def labels(self, sample_ids: Sequence[str]) -> np.ndarray:
        return np.array(DRAWN)[numbers(sample_ids) % len(DRAWN)]

    def scene(self, sample_id: str) -> tuple[Scene, Stream]:
        stream = Stream(SEED, "shapetex renditions", sample_id)
        shape, texture = CLASSES[self.labels([sample_id])[0]]
        return compose(stream, shape, texture), stream

    def read(self, sample_id: str) -> np.ndarray:
        turn = numbers([sample_id])[0] // len(DRAWN)
        draw = list(STYLES.values())[turn % len(STYLES)]
        return draw(*self.scene(sample_id))
