"""The bootstrap over images, the same resamples for everything that is compared: intervals of paired quantities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from withstand.metrics.intervals import LEVEL
from withstand.random import key

RESAMPLES = 2000
_AT_ONCE = 50


def resampled_means(values: np.ndarray, seed: Sequence[str | int], resamples: int = RESAMPLES) -> np.ndarray:
    """Means over images drawn with replacement (Efron 1979).

    Args:
        values: float (images, quantities); a resample takes the same images for all quantities.
        seed: what the resamples are a function of, with the number of images.

    Returns float64 (resamples, quantities).
    """
    generator = np.random.Generator(np.random.Philox(key=key(*seed)))
    images = len(values)
    values = np.ascontiguousarray(values, dtype=np.float32)
    means = []
    for start in range(0, resamples, _AT_ONCE):
        count = min(_AT_ONCE, resamples - start)
        drawn = generator.integers(images, size=(count, images))
        drawn += np.arange(count)[:, None] * images
        weights = np.bincount(drawn.ravel(), minlength=count * images).reshape(count, images)
        means.append(weights.astype(np.float32) @ values / images)
    return np.concatenate(means).astype(np.float64)


def percentile_interval(estimates: np.ndarray, value: float) -> tuple[float, float]:
    """The interval between percentiles of resampled estimates (resamples), made to hold the value itself."""
    low, high = np.quantile(estimates, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return min(float(low), value), max(float(high), value)
