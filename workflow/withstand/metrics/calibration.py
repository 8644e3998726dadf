"""How far a model's probabilities can be trusted, on one dataset: tidy rows with 95% intervals.

Each metric is a mean over images, so its interval is Student's, and that of a pooled row is clustered by image. ``nll``
is the negative log-likelihood of the label in nats, ``brier`` the squared distance between probabilities and label
(Brier 1950), from 0 to 2. ``ece`` is the expected calibration error (Guo et al., "On calibration of modern neural
networks", ICML 2017, eq. 3): images are put into fifteen bins of equal width by the probability of their answer, and
the error is the mean, over images, of the distance between accuracy and mean probability in their bin. It is largest
in expectation where there are few images: compare models on the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from withstand.metrics.conditions import Condition, pooled
from withstand.metrics.intervals import mean_interval

METRICS = ("ece", "brier", "nll")
BINS = 15


def calibration_rows(conditions: Sequence[Condition], *, complete: bool = True) -> pd.DataFrame:
    """The three metrics under every condition, and pooled (see :func:`withstand.metrics.conditions.pooled`).

    Returns columns family, corruption, severity, metric, value, low, high, n (predictions) and images. A pooled value
    is the mean over conditions.
    """
    by_image = {id(condition): _by_image(condition) for condition in conditions}
    rows = []
    for keys, group in pooled(conditions, complete):
        means = np.mean([by_image[id(condition)] for condition in group], axis=0, dtype=np.float64)
        n, images = means.shape[1] * len(group), means.shape[1]
        for metric, values in zip(METRICS, means, strict=True):
            low, high = mean_interval(values)
            rows.append(
                keys
                | {"metric": metric, "value": values.mean(), "low": max(low, 0.0), "high": high}
                | {"n": n, "images": images}
            )
    return pd.DataFrame(rows)


def _by_image(condition: Condition) -> np.ndarray:
    """Values of each image whose means are the three metrics: float32 (3, images)."""
    brier = condition.squared_probability - 2 * condition.label_probability + 1
    return np.stack([_miscalibration(condition.confidence, condition.correct), brier, condition.loss])


def _miscalibration(confidence: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """What each image adds to the calibration error: float32 (images).

    In each bin the distance between mean probability and accuracy is a sum over its images of probability minus
    hit, with the sign of the whole; the sign is taken as known.
    """
    bins = np.minimum((confidence * BINS).astype(np.intp), BINS - 1)
    gaps = confidence - correct
    signs = np.sign(np.bincount(bins, weights=gaps, minlength=BINS))
    return (signs[bins] * gaps).astype(np.float32)
