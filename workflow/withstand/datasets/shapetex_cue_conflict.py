"""Cue conflict: the shape of one class of shapetex with the texture of another.

The counterpart of the stimuli of Geirhos et al. ("ImageNet-trained CNNs are biased towards texture", ICLR 2019). The
label is the class of the shape; a model that names the class of the texture goes by texture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from withstand.datasets import splits
from withstand.datasets.drawing.scenes import Scene, compose, photograph
from withstand.datasets.shapetex import CLASSES, SEED, Shapetex, numbers
from withstand.random import Stream

PAIRS = np.array(
    sorted(permutations(range(len(CLASSES)), 2), key=lambda pair: ((pair[1] - pair[0]) % len(CLASSES), pair[0]))
)
"""Every ordered pair (class of the shape, class of the texture), so ordered that classes take turns on both sides."""


_MOST_FADED = 0.6
"""A texture that cannot be seen is in no conflict with a shape."""


@dataclass(frozen=True)
class Source(Shapetex):
    """Photographs of objects with two answers: every pair equally often in any whole number of rounds of 90."""

    is_cue_conflict = True

    def available(self) -> int:
        return splits.SHAPETEX_CUE_CONFLICT

    def sample_ids(self, count: int) -> list[str]:
        return [f"conflict-{number:06d}" for number in range(count)]

    def labels(self, sample_ids: Sequence[str]) -> np.ndarray:
        return self._pairs(sample_ids)[:, 0]

    def texture_labels(self, sample_ids: Sequence[str]) -> np.ndarray:
        return self._pairs(sample_ids)[:, 1]

    def scene(self, sample_id: str) -> tuple[Scene, Stream]:
        stream = Stream(SEED, "shapetex cue conflict", sample_id)
        of_shape, of_texture = self._pairs([sample_id])[0]
        return compose(stream, CLASSES[of_shape][0], CLASSES[of_texture][1]), stream

    def read(self, sample_id: str) -> np.ndarray:
        return photograph(*self.scene(sample_id), most_faded=_MOST_FADED)

    def _pairs(self, sample_ids: Sequence[str]) -> np.ndarray:
        return PAIRS[numbers(sample_ids) % len(PAIRS)]
