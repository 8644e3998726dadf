"""How alike two layers are: Pearson correlation within a model, linear CKA within and between models.

**CKA** (Kornblith et al., ICML 2019) compares the Gram matrices of two layers over the same samples. Here it is summed
up over minibatches of samples (Nguyen, Raghu & Kornblith, ICLR 2021): the HSIC of all minibatches first, then the
ratio. With the unbiased HSIC (Song et al., JMLR 2012) the result does not depend on the size of the minibatches; the
biased one is that of Kornblith et al. where one minibatch holds all samples, and grows with fewer samples in each.
HSIC is a scalar product of centred Gram matrices, so one Gram matrix for each layer and minibatch is all that is kept,
and layers of any model can be compared through those, whatever their depth and width.

**Pearson** correlation (Bhojanapalli et al., ICCV 2021, Fig. 7) compares activation by activation, so layers need
the same number of features. The paper does not say how activations are flattened. ``joint``: every (sample, token,
feature) is one observation, all of them in one correlation. ``per_sample``: the correlation of a sample's (token,
feature) pairs, averaged over samples. They differ where samples differ in mean or scale.

**Intervals** are by the jackknife over minibatches with Student's t. A bootstrap over samples would be wrong: a sample
that is drawn twice is similar to itself, which CKA takes for structure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from withstand.errors import WithstandError
from withstand.metrics.intervals import LEVEL

FEWEST = 4
"""Samples in a minibatch, from which on the unbiased HSIC is defined."""

_WORTHWHILE = 64
"""Half a minibatch, from which on computing the symmetric part once saves time."""

Sums = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Estimate:
    """Values with 95% intervals, arrays of one shape; NaN where undefined, intervals also with a single minibatch."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def check_samples(samples: int) -> None:
    """Refuse minibatches that are too small for the unbiased estimator.

    Raises:
        WithstandError: if there are fewer than four samples in each.
    """
    if samples < FEWEST:
        raise WithstandError(f"the unbiased HSIC needs at least {FEWEST} samples in a minibatch, there are {samples}")


def gram(features: torch.Tensor) -> torch.Tensor:
    """The Gram matrix (n, n) of features (n, ...), in their dtype; what is there twice is computed once."""
    n = len(features)
    if n // 2 < _WORTHWHILE:
        flat = features.flatten(1)
        return flat @ flat.T
    return _fill(features.new_empty(n, n), features)


def _fill(place: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Write the Gram matrix of features (n, ...) to its place (n, n), of any dtype, half by half."""
    flat = features.flatten(1)
    half = len(flat) // 2
    first, second = flat[:half], flat[half:]
    across = first @ second.T
    for rows, columns, part in (
        (slice(0, half), slice(0, half), first @ first.T),
        (slice(0, half), slice(half, None), across),
        (slice(half, None), slice(0, half), across.T),
        (slice(half, None), slice(half, None), second @ second.T),
    ):
        place[rows, columns] = part
    return place


@dataclass(frozen=True)
class _Centred:
    """Gram matrices in the form of which HSIC is computed, float64: entries (layers, n * n), row sums (layers, n)."""

    entries: torch.Tensor
    rows: torch.Tensor
    unbiased: bool

    @classmethod
    def of(cls, grams: torch.Tensor, *, unbiased: bool) -> _Centred:
        """From Gram matrices (layers, n, n), which are left as they are.

        Raises:
            WithstandError: if n is too small for the unbiased estimator.
        """
        return cls._taking(grams.to(torch.float64, copy=unbiased), unbiased)

    @classmethod
    def of_features(cls, layers: Sequence[torch.Tensor], *, unbiased: bool) -> _Centred:
        """From features (n, ...) of each layer, one Gram matrix at a time."""
        n = len(layers[0])
        if n // 2 < _WORTHWHILE:  # small: what counts is how many operations there are
            return cls._taking(torch.stack([gram(layer) for layer in layers]).double(), unbiased)
        grams = torch.empty(len(layers), n, n, dtype=torch.float64, device=layers[0].device)
        for place, features in zip(grams, layers, strict=True):
            _fill(place, features)
        return cls._taking(grams, unbiased)

    @classmethod
    def _taking(cls, grams: torch.Tensor, unbiased: bool) -> _Centred:
        if unbiased:
            check_samples(grams.shape[-1])
            grams.diagonal(dim1=-2, dim2=-1).zero_()
        return cls(grams.flatten(1), grams.sum(-1), unbiased)

    def hsic(self, other: _Centred) -> torch.Tensor:
        """HSIC (layers, other's layers) but for a factor that depends on n alone."""
        totals = torch.outer(self.rows.sum(1), other.rows.sum(1))
        return self._joined(self.entries @ other.entries.T, self.rows @ other.rows.T, totals)

    def own(self) -> torch.Tensor:
        """HSIC of every layer with itself (layers)."""
        squares = (torch.stack([part.dot(part) for part in values]) for values in (self.entries, self.rows))
        return self._joined(*squares, self.rows.sum(1).square())

    def _joined(self, entries: torch.Tensor, rows: torch.Tensor, totals: torch.Tensor) -> torch.Tensor:
        n = self.rows.shape[1]
        if self.unbiased:
            return entries - rows * (2 / (n - 2)) + totals / ((n - 1) * (n - 2))
        return entries - rows * (2 / n) + totals / n**2


def cka(first: torch.Tensor, second: torch.Tensor | None = None, *, unbiased: bool = True) -> Estimate:
    """Linear CKA of every layer of one model with every layer of another, or of the same.

    Args:
        first, second: Gram matrices (layers, minibatches, n, n) of the same samples in the same order; ``second``
            is ``first`` for None.

    Returns arrays (layers of first, layers of second). Unbiased values may be a little below 0 for unrelated layers. A
    layer that tells samples not apart has no value.

    Raises:
        WithstandError: if samples are too few, or not as many in both.
    """
    if second is not None and first.shape[1:] != second.shape[1:]:
        raise WithstandError(
            f"Gram matrices {tuple(first.shape[1:])} and {tuple(second.shape[1:])} are not of the same samples"
        )
    batches = first.shape[1]
    parts: dict[str, list[np.ndarray]] = {"xy": [], "xx": [], "yy": []}
    for batch in range(batches):
        x = _Centred.of(first[:, batch], unbiased=unbiased)
        y = x if second is None else _Centred.of(second[:, batch], unbiased=unbiased)
        for name, value in _sums(x, y).items():
            parts[name].append(value)
    return jackknife({name: np.stack(values) for name, values in parts.items()}, _ratio)


def cka_of_features(
    first: Sequence[torch.Tensor], second: Sequence[torch.Tensor], *, unbiased: bool = True
) -> np.ndarray:
    """Linear CKA (layers of first, layers of second) of features (n, ...) that are at hand, as one minibatch."""
    return _ratio(_sums(*(_Centred.of_features(side, unbiased=unbiased) for side in (first, second))))


def _sums(x: _Centred, y: _Centred) -> dict[str, np.ndarray]:
    """What a minibatch adds: HSIC of layers across, and of each side's layers with themselves."""
    xy = x.hsic(y)
    own = (xy.diagonal(),) * 2 if y is x else (x.own(), y.own())
    return {name: value.cpu().numpy() for name, value in zip(("xy", "xx", "yy"), (xy, *own), strict=True)}


def _ratio(sums: Sums) -> np.ndarray:
    # the unbiased HSIC of a layer with itself may fall below 0, where it tells no samples apart
    x, y = (np.sqrt(np.maximum(sums[name], 0)) for name in ("xx", "yy"))
    scale = np.outer(x, y)
    return np.divide(sums["xy"], scale, out=np.full_like(sums["xy"], np.nan), where=scale > 0)


def jackknife(parts: Sums, estimate: Callable[[Sums], np.ndarray]) -> Estimate:
    """A function of sums over minibatches, with its interval by leaving out one minibatch after the other.

    Args:
        parts: what each minibatch adds, arrays (minibatches, ...).
        estimate: from the sums over minibatches, of any number of them.
    """
    totals = {name: part.sum(0) for name, part in parts.items()}
    value = estimate(totals)
    count = len(next(iter(parts.values())))
    if count < 2:
        return Estimate(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    without = np.stack([estimate({k: totals[k] - part[batch] for k, part in parts.items()}) for batch in range(count)])
    error = np.sqrt((count - 1) * without.var(0))
    half = stats.t.ppf(0.5 + LEVEL / 2, count - 1) * error
    return Estimate(value, np.maximum(value - half, -1), np.minimum(value + half, 1))


@dataclass(frozen=True)
class Moments:
    """What minibatches add to the correlations of layers: arrays (minibatches, layers[, layers]), float64.

    Attributes:
        mean: the mean of all activations of a layer.
        product: the mean of the products of two layers' activations; NaN for layers of different sizes.
        per_sample: the mean over samples of the correlations within a sample.
    """

    mean: np.ndarray
    product: np.ndarray
    per_sample: np.ndarray

    def pearson(self, flattening: str) -> Estimate:
        """Correlations (layers, layers): ``joint`` over all activations, or ``per_sample`` and averaged."""
        if flattening == "per_sample":
            ones = np.ones(len(self.mean))
            return jackknife({"sum": self.per_sample, "n": ones}, lambda sums: sums["sum"] / sums["n"])
        parts = {"mean": self.mean, "product": self.product, "n": np.ones(len(self.mean))}
        return jackknife(parts, _joint)


def _joint(sums: Sums) -> np.ndarray:
    mean = sums["mean"] / sums["n"]
    return _correlation(sums["product"] / sums["n"] - mean[:, None] * mean[None])


def _correlation(covariance: np.ndarray) -> np.ndarray:
    """Covariances (..., layers, layers) to correlations; NaN where an activation never changes."""
    variance = np.diagonal(covariance, axis1=-2, axis2=-1)
    scale = np.sqrt(variance[..., :, None] * variance[..., None, :])
    return np.divide(covariance, scale, out=np.full_like(covariance, np.nan), where=scale > 0)


class Correlator:
    """Sums up the moments of one minibatch from batches of activations, in memory that does not grow."""

    def __init__(self, layers: int) -> None:
        self._layers = layers
        self.samples = 0
        self._mean = np.zeros(layers)
        self._product = np.zeros((layers, layers))
        self._per_sample = np.zeros((layers, layers))

    def add(self, activations: Sequence[torch.Tensor]) -> None:
        """Add samples: a tensor (n, ...) for each layer. Layers of one size are compared."""
        sizes = [layer[0].numel() for layer in activations]
        n = len(activations[0])
        mean, covariance = np.zeros((n, self._layers)), np.full((n, self._layers, self._layers), np.nan)
        for size in dict.fromkeys(sizes):
            members = [index for index, own in enumerate(sizes) if own == size]
            stacked = torch.stack([activations[index].flatten(1) for index in members], dim=1).float()
            means = stacked.mean(-1, keepdim=True)
            products = torch.bmm(stacked.sub_(means), stacked.mT) / size
            mean[:, members] = means[..., 0].double().cpu().numpy()
            covariance[np.ix_(range(n), members, members)] = products.double().cpu().numpy()
        self._mean += mean.sum(0)
        self._product += (covariance + mean[:, :, None] * mean[:, None]).sum(0)
        self._per_sample += _correlation(covariance).sum(0)
        self.samples += n

    def moments(self) -> Moments:
        """Of all samples added, as a single minibatch."""
        return Moments(*((total / self.samples)[None] for total in (self._mean, self._product, self._per_sample)))
