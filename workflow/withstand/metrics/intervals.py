"""95% intervals of proportions and means."""

from __future__ import annotations

import numpy as np
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

LEVEL = 0.95


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927), for independent trials."""
    low, high = proportion_confint(successes, trials, alpha=1 - LEVEL, method="wilson")
    share = successes / trials  # which rounding may put outside, where it is 0 or 1
    return min(float(low), share), max(float(high), share)


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Student's interval of the mean of independent values: float (n); as wide as the axis for a single one."""
    if len(values) < 2:
        return -np.inf, np.inf
    half = stats.t.ppf(0.5 + LEVEL / 2, len(values) - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)


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
    if np.ptp(successes) == 0:
        effective = images
    else:
        variance = np.var(successes / trials, ddof=1) / images
        effective = min(share * (1 - share) / variance, images * trials)
    return wilson(share * effective, effective)
