"""Estimates with 95% intervals, and how means and differences of them get theirs.

An estimate that rests on single answers knows what each image, and each random draw, adds to its error (``errors``).
Means and differences add these up image by image and draw by draw, so what two sides have in common cancels out.
Without them, intervals are cautious: a mean is as uncertain as if all its parts erred at once, and a difference as if
its sides were independent (MOVER: Zou and Donner, Statistics in Medicine 2008).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from withstand.metrics.intervals import LEVEL, mover

TAIL = (1 - LEVEL) / 2

Errors = Mapping[Hashable, np.ndarray]
"""By sample, what each of its members adds: float (n) around 0; the error of the estimate is the sum of their means."""


@dataclass(frozen=True)
class Images:
    """A sample of images, by a digest of their ids."""

    digest: str


@dataclass(frozen=True)
class Draws:
    """A sample of random choices; of the same name they are the same ones, in the same order."""

    name: tuple


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval, the number of images behind it, and the models that it rests on."""

    value: float
    low: float
    high: float
    n: int
    models: tuple[str, ...] = ()
    errors: Errors | None = None

    @classmethod
    def of(cls, row: Mapping, *models: str, errors: Errors | None = None) -> Estimate:
        """From a row of a table."""
        n = row["images"] if "images" in row else row["n"]
        ends = (float(row[name]) for name in ("value", "low", "high"))
        return cls(*ends, int(n), models or (row["model"],), errors)

    def __neg__(self) -> Estimate:
        errors = None if self.errors is None else {sample: -each for sample, each in self.errors.items()}
        return replace(self, value=-self.value, low=-self.high, high=-self.low, errors=errors)

    def __sub__(self, other: Estimate) -> Estimate:
        if self.errors is not None and other.errors is not None:
            return _sum([(1.0, self), (-1.0, other)])
        ends = mover(self.value, self.low, self.high, other.value, other.low, other.high)
        return Estimate(self.value - other.value, *map(float, ends), min(self.n, other.n), _models([self, other]))

    def map(self, function) -> Estimate:
        """Under a function that grows."""
        return replace(self, **{key: function(getattr(self, key)) for key in ("value", "low", "high")}, errors=None)


def mean(estimates: Iterable[Estimate]) -> Estimate | None:
    """None for none; of one, that one."""
    found = list(estimates)
    if len(found) < 2:
        return found[0] if found else None
    if all(each.errors is not None for each in found):
        return _sum([(1 / len(found), each) for each in found])
    value, low, high = (sum(getattr(each, key) for each in found) / len(found) for key in ("value", "low", "high"))
    return Estimate(value, low, high, min(each.n for each in found), _models(found))


def difference(first: Estimate | None, second: Estimate | None) -> Estimate | None:
    """None where one side is missing."""
    return None if first is None or second is None else first - second


def smallest(estimates: Iterable[Estimate]) -> Estimate | None:
    """The smallest of several true values. That of their estimates lies below it on the average, for it is chosen.

    All true values are above the lowest of all lower ends if each is above its own; one of them is below the lowest of
    all upper ends if each of k is below its own, so these take k-fold confidence (Bonferroni): both sides err in 2.5%
    of cases at most. None for none.
    """
    found = list(estimates)
    if not found:
        return None
    wider = special.ndtri(TAIL / len(found)) / special.ndtri(TAIL)
    high = min(each.value + wider * (each.high - each.value) for each in found)
    low, value = (min(getattr(each, key) for each in found) for key in ("low", "value"))
    return Estimate(value, low, high, min(each.n for each in found), _models(found))


def _sum(parts: Sequence[tuple[float, Estimate]]) -> Estimate:
    errors: dict[Hashable, np.ndarray] = {}
    for factor, estimate in parts:
        for sample, each in estimate.errors.items():
            errors[sample] = errors.get(sample, 0) + factor * each
    value = math.fsum(factor * estimate.value for factor, estimate in parts)
    found = [estimate for _, estimate in parts]
    return Estimate(value, *interval(value, errors), min(each.n for each in found), _models(found), errors)


def interval(value: float, errors: Errors) -> tuple[float, float]:
    """The 95% interval of an estimate: Student's, with Satterthwaite's degrees of freedom where there are draws, too.

    To images, half a one is added that speaks for each side and one that speaks for none (Agresti and Min, Statistics
    in Medicine 2005): images that do not differ in a sample may do so elsewhere.
    """
    variances, freedom = [], []
    for sample, each in errors.items():
        n, squares = len(each), float(np.sum(np.square(each), dtype=np.float64))
        if isinstance(sample, Images):
            variances.append((squares + 1) / (n + 2) ** 2)
        else:
            variances.append(squares / (n - 1) / n if n > 1 else math.inf)
        freedom.append(max(n - 1, 1))
    variance = sum(variances)
    if not math.isfinite(variance):
        return -math.inf, math.inf
    degrees = variance**2 / sum(each**2 / count for each, count in zip(variances, freedom, strict=True))
    half = float(special.stdtrit(degrees, 1 - TAIL)) * math.sqrt(variance)
    return value - half, value + half


def _models(estimates: Iterable[Estimate]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(model for each in estimates for model in each.models))
