"""The expected calibration error, without the part of it that chance makes, and its interval.

Images are put into fifteen bins of equal width by the probability of their answer; the error is the sum over bins of
the distance between accuracy and mean probability, weighted by their images (Guo et al., ICML 2017, eq. 3). Measured
like that it is never zero: the distance in each bin is the size of a gap g with a standard error s, and the size of a
normal variable, a folded normal one (Leone, Nelson & Nottingham, Technometrics 1961), has the mean

    s sqrt(2 / pi) exp(-g^2 / 2 s^2) + g (1 - 2 Phi(-g / s)) > |g|.

So we look for the true error that makes the one measured its expectation, and for all true errors that make it no
surprise (inversion of a test). The gaps behind a true error are taken to be those measured, less what chance adds to
their squares and at least s / 2, times a common factor. That is a choice: no unbiased estimate of a sum of sizes exists
(Cai & Low, Annals of Statistics 2011), and a model that is exactly calibrated in some bins and far off in others has an
error that is estimated somewhat too high. Near zero, which no error is below, the acceptance regions are those of
Feldman & Cousins (Physical Review D 1998), so that the interval neither is empty nor holds a true zero too often.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import optimize, special

from withstand.metrics.intervals import LEVEL

BINS = 15
_LEAST = 0.5
"""Of a gap, in standard errors, in the shape of the true ones."""

_FACTORS = np.r_[0.0, np.geomspace(0.01, 60.0, 300)]
"""Of that shape, that are tried."""


@dataclass(frozen=True)
class Binned:
    """One condition's answers by bin.

    Attributes:
        gaps: mean probability minus accuracy, times the share of images: float64 (bins that have images).
        variances: of the gaps, float64 (the same bins).
        signed: what each image adds to the sum of the sizes of gaps, their signs being taken as known: float32
            (images).
    """

    gaps: np.ndarray
    variances: np.ndarray
    signed: np.ndarray

    @classmethod
    def of(cls, confidence: np.ndarray, correct: np.ndarray) -> Binned:
        """From the probability of each answer, and whether it is right (images).

        A bin's variance is that of answers which are as often right as their probability says, and where the gap is
        plainly not chance that seen, if it is larger: of few answers all may be right.
        """
        images = len(confidence)
        bins = np.minimum((confidence * BINS).astype(np.intp), BINS - 1)
        apart = confidence - correct
        counts, sums, squares, chances = (
            np.bincount(bins, weights=weights, minlength=BINS)
            for weights in (None, apart, apart**2, confidence * (1 - confidence))
        )
        filled = counts > 0
        count = counts[filled]
        gaps = sums[filled]
        seen = (squares[filled] - gaps**2 / count) * count / np.maximum(count - 1, 1)
        chance = chances[filled]
        variances = np.where(gaps**2 > 4 * chance, np.maximum(seen, chance), chance) / images**2
        return cls(gaps / images, variances, (np.sign(sums)[bins] * apart).astype(np.float32))


def plug_in(conditions: Sequence[Binned]) -> float:
    """The error as measured, the mean over conditions: too high by what chance adds."""
    return float(np.mean([np.abs(each.gaps).sum() for each in conditions]))


def calibration_error(conditions: Sequence[Binned]) -> tuple[float, float, float]:
    """The mean over conditions of the true errors, and its 95% interval: value, low, high; the interval has no end for
    a single image.

    Answers to copies of one image go together, so the variance of what is linear in them is clustered by image.
    """
    measured, images = plug_in(conditions), len(conditions[0].signed)
    gaps = np.concatenate([each.gaps for each in conditions]) / len(conditions)
    variances = np.concatenate([each.variances for each in conditions]) / len(conditions) ** 2
    errors = np.sqrt(np.maximum(variances, 1e-18))
    shape = np.sqrt(np.maximum(gaps**2 - errors**2, (_LEAST * errors) ** 2))
    sizes = np.outer(_FACTORS, shape)
    scaled = sizes / errors
    known = 1 - 2 * special.ndtr(-scaled)  # how surely a gap has its sign
    means = errors * math.sqrt(2 / math.pi) * np.exp(-(scaled**2) / 2) + sizes * known
    truths, expected = sizes.sum(1), means.sum(1)
    value = float(np.interp(measured, expected, truths))
    if images < 2:
        return value, math.nan, math.nan
    by_image = np.mean([each.signed for each in conditions], axis=0, dtype=np.float64)
    clustered = max(by_image.var(ddof=1) / images / variances.sum() - 1, 0.0) if variances.any() else 0.0
    spread = (sizes**2 + errors**2 - means**2 + clustered * (errors * known) ** 2).sum(1)
    low, high = _accepted(measured, expected, np.sqrt(np.maximum(spread, 1e-18)), truths)
    return value, min(low, value), max(high, value)


def _accepted(measured: float, expected: np.ndarray, spread: np.ndarray, truths: np.ndarray) -> tuple[float, float]:
    """The smallest and the largest of truths under which the value measured is no surprise."""
    distance = (expected - expected[0]) / spread  # from what zero would give, in standard errors
    reach = np.interp(distance, *_reaches())
    above, from_zero = (measured - expected) / spread, (measured - expected[0]) / spread
    below = reach**2 / 2 - distance**2 / 2 + np.minimum(from_zero, 0) * distance
    upper = above + reach if measured >= expected[0] else below
    low, high = (
        float(np.interp(0.0, np.minimum.accumulate(part)[::-1], truths[::-1])) for part in (above - reach, upper)
    )
    return low, high


@lru_cache
def _reaches() -> tuple[np.ndarray, np.ndarray]:
    """How many standard errors a measured value may lie above its mean and, unless below what zero would give, under
    it, by the distance of the mean from that, in standard errors (Feldman & Cousins)."""

    def missing(reach: float, distance: float) -> float:
        lowest = distance - reach if reach <= distance else (distance**2 - reach**2) / (2 * distance)
        return float(special.ndtr(reach) - special.ndtr(lowest - distance)) - LEVEL

    distances = np.linspace(1e-6, 6.0, 121)
    return distances, np.array([optimize.brentq(missing, 1.0, 3.0, args=(distance,)) for distance in distances])
