"""95% intervals of proportions and means; docs/coverage.md says how often each holds the truth."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

LEVEL = 0.95
Z = float(stats.norm.ppf(0.5 + LEVEL / 2))

NONE = (math.nan, math.nan)
"""Of what has no interval: null in tables."""


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927), for independent trials."""
    low, high = proportion_confint(successes, trials, alpha=1 - LEVEL, method="wilson")
    share = successes / trials  # which rounding may put outside, where it is 0 or 1
    return min(max(float(low), 0.0), share), max(min(float(high), 1.0), share)


def student(degrees: float) -> float:
    """How many standard errors of so many degrees of freedom a 95% interval reaches to each side."""
    return float(stats.t.ppf(0.5 + LEVEL / 2, degrees))


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Student's interval of the mean of independent values: float (n); none for a single one."""
    n = len(values)
    if n < 2:
        return NONE
    half = student(n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return float(values.mean() - half), float(values.mean() + half)


def skewed_mean_interval(values: np.ndarray) -> tuple[float, float]:
    """The interval of the mean of independent values with a long tail, such as losses: float (n); none for one.

    Hall's transformation takes the skewness out of Student's statistic (Hall, JRSS B 1992; Zhou & Dinh, Biostatistics
    2005, eq. 4); without skewness it is Student's interval.
    """
    n = len(values)
    if n < 2:
        return NONE
    apart = values - values.mean(dtype=np.float64)
    second = float(np.mean(apart**2))
    if second == 0:
        return float(values.mean()), float(values.mean())
    skewness = float(np.mean(apart**3)) / second**1.5 / math.sqrt(n)
    ends = student(n - 1) * np.array([1.0, -1.0])
    if abs(skewness) > 1e-6:
        ends = 3 / skewness * (np.cbrt(1 + skewness * (ends - skewness / 6)) - 1)
    low, high = values.mean(dtype=np.float64) - ends * math.sqrt(second / (n - 1))
    return float(low), float(high)


def paired_interval(differences: np.ndarray) -> tuple[float, float]:
    """The interval of the mean of paired differences, most of which may be zero: float (n); none for a single one.

    Student's, after half a pair is added to each side and one without a difference, as Agresti and Min (2005) do for
    proportions; added pairs differ by the root mean square of those that differ (by 1 where none does). Where many
    differ, this is Student's.
    """
    n = len(differences)
    if n < 2:
        return NONE
    squares, differing = float(np.sum(differences**2, dtype=np.float64)), int(np.count_nonzero(differences))
    squares += squares / differing if differing else 1.0
    value, middle = float(differences.mean(dtype=np.float64)), float(differences.sum(dtype=np.float64)) / (n + 2)
    half = student(n - 1) * math.sqrt((squares / (n + 2) - middle**2) / (n + 2))
    return min(middle - half, value), max(middle + half, value)


def jackknife_interval(value: float, without: np.ndarray) -> tuple[float, float]:
    """Student's interval by leaving out one image after the other (Tukey 1958); none if one of them decides alone.

    Args:
        value: the estimate from all n images.
        without: the estimates without each one: float (n).
    """
    n = len(without)
    if n < 2 or not (math.isfinite(value) and np.isfinite(without).all()):
        return NONE
    half = student(n - 1) * math.sqrt((n - 1) * float(np.var(without)))
    return value - half, value + half


def mover(value, low, high, other_value, other_low, other_high):
    """The interval of a difference, recovered from those of its two sides as if they were independent (MOVER: Zou and
    Donner, Statistics in Medicine 2008): low and high, of floats or arrays."""
    difference = value - other_value
    below, above = np.hypot(value - low, other_high - other_value), np.hypot(high - value, other_value - other_low)
    return difference - below, difference + above


def clustered_wilson(successes: np.ndarray, trials: int) -> tuple[float, float]:
    """Wilson's interval of a proportion pooled over several trials of each image.

    Trials of one image are not independent, so the number of trials is replaced by the effective sample size:
    trials divided by the design effect, the variance of the mean over images against that of independent trials
    (Dean & Pagano, "Evaluating confidence interval methods for binomial proportions in clustered surveys", 2015).
    The effective sample is never larger than the trials; where all images agree, the images themselves are the sample.

    Args:
        successes: for each image the number of its successes, float or int (images).
        trials: trials of each image.
    """
    images = len(successes)
    share = successes.sum() / (images * trials)
    if trials == 1 or np.ptp(successes) == 0:
        effective = images
    else:
        variance = np.var(successes / trials, ddof=1) / images
        effective = min(share * (1 - share) / variance, images * trials)
    return wilson(share * effective, effective)


def crossed_wilson(successes: np.ndarray) -> tuple[float, float]:
    """Wilson's interval of a proportion over draws and images, both of which are samples.

    The variance of the mean has a part of each, by the mean squares of a two-way layout without interaction, and
    Satterthwaite's (1946) degrees of freedom, which few draws make few. The number of trials is replaced by the
    effective sample size of that variance, times the square of the normal quantile over Student's (Dean & Pagano 2015).

    Args:
        successes: shares from 0 to 1, float or bool (draws, images), of two draws and two images at least.
    """
    draws, images = successes.shape
    share = float(successes.mean())
    by_draw, by_image = successes.mean(1), successes.mean(0)
    mean_squares = np.array([images * by_draw.var(ddof=1), draws * by_image.var(ddof=1)])
    freedom = np.array([draws - 1, images - 1])
    left = float(np.sum((successes - by_draw[:, None] - by_image + share) ** 2)) / freedom.prod()
    together = mean_squares.sum() - left
    if mean_squares[0] <= left:  # draws differ no more than by chance
        together, degrees = mean_squares[1], freedom[1]
    else:
        degrees = together**2 / (np.sum(mean_squares**2 / freedom) + left**2 / freedom.prod())
    if share in (0, 1) or together == 0:
        return wilson(share * images, images)
    size = min(share * (1 - share) * successes.size / together, successes.size) * (Z / student(degrees)) ** 2
    return wilson(share * size, size)
