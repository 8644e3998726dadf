"""Which samples of an image set are taken where not all are: a fixed, seeded choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from withstand.random import key


@dataclass(frozen=True)
class Subset:
    """So many samples of an image set, the same for every model and analysis of a study.

    A sample's rank is a hash of the study's seed and its id, so that a smaller subset is a part of a larger one, and
    neither shards nor order matter.
    """

    count: int
    seed: int = 0

    def positions(self, sample_ids: Sequence[str]) -> np.ndarray:
        """Where the chosen samples stand, ascending: int64 (at most ``count``)."""
        return np.sort(self.shuffled(sample_ids))

    def shuffled(self, sample_ids: Sequence[str]) -> np.ndarray:
        """Where the chosen samples stand, in the order of their ranks, which is as good as random: int64 (at most
        ``count``)."""
        ranks = [key(self.seed, "subset", sample_id) for sample_id in sample_ids]
        return np.array(sorted(range(len(ranks)), key=ranks.__getitem__)[: self.count], dtype=np.int64)
