"""Where perturbations live: the ball of an attack's budget about uint8 images, cut to the range of pixels.

Images are uint8 (n, height, width, 3); perturbations have the same shape and are added in [0, 1] pixel space, where a
grey level is 1/255. A perturbation is kept as it will be stored, so that what is applied again is the very image that
the model answered.

Steps of a fixed size from an image on the grid of grey levels stay on a lattice, whatever is cut off: there the attack
computes with whole numbers, and int8 holds them exactly (:class:`Lattice`). Elsewhere (random starts, L2) perturbations
are real, and float16 holds them, rounded towards zero so that they stay within budget and range (:class:`Ball`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch

from withstand import random
from withstand.errors import WithstandError

Norm = Literal["linf", "l2"]
NORMS = ("linf", "l2")
Keys = Callable[[int], torch.Tensor]
"""Keys of random numbers, one a sample (see :func:`withstand.random.tensor_keys`), by the number of the draw."""

GREY_LEVEL = Fraction(1, 255)
_INT8 = 127
_EXACT_FLOAT32 = 1 << 24


@dataclass(frozen=True)
class Budget:
    """How far, and in which steps.

    Attributes:
        norm: ``linf`` (the largest change of a channel of a pixel) or ``l2`` (over all of the image).
        eps: the most that a perturbation may measure, in [0, 1] pixel space.
        step_size: what one step may measure, in the same norm.
        random_start: whether steps begin at a random point of the budget, instead of at the image.
    """

    norm: Norm
    eps: Fraction
    step_size: Fraction
    random_start: bool = False

    def __post_init__(self) -> None:
        """Raises ``WithstandError`` for a norm that there is not, or a negative length."""
        if self.norm not in NORMS:
            raise WithstandError(f"norm: {self.norm!r} is none of {', '.join(NORMS)}")
        for name in ("eps", "step_size"):
            if getattr(self, name) < 0:
                raise WithstandError(f"{name}: {getattr(self, name)} is negative")

    @property
    def unit(self) -> Fraction | None:
        """The distance of the lattice on which all perturbations lie, if int8 holds them; else None."""
        if self.norm != "linf" or self.random_start:
            return None
        unit = _common(self.eps, self.step_size, GREY_LEVEL)
        fits = self.eps / unit <= _INT8 and 1 / unit < _EXACT_FLOAT32
        return unit if fits else None


def _common(*lengths: Fraction) -> Fraction:
    """The greatest length of which all of these are multiples; those of zero apart."""
    lengths = [length for length in lengths if length]
    denominator = math.lcm(*(length.denominator for length in lengths))
    return Fraction(math.gcd(*(int(length * denominator) for length in lengths)), denominator)


def space(budget: Budget, images: torch.Tensor) -> Lattice | Ball:
    """Where images uint8 (n, height, width, 3) may be changed: the exact space where there is one."""
    return Ball(budget, images) if budget.unit is None else Lattice(budget, images)


def apply(images: torch.Tensor, perturbations: torch.Tensor, unit: Fraction | None) -> torch.Tensor:
    """Perturbed images, float32 in [0, 1], of uint8 images and perturbations as stored.

    Args:
        images: uint8 (n, height, width, 3).
        perturbations: int8 in units of ``unit``, or, without a unit, float16; of the same shape.
    """
    if unit is None:
        return (images.float() / 255 + perturbations.float()).clamp_(0, 1)
    level = _per_grey_level(unit)
    return _divided(images.float().mul_(level).add_(perturbations), 255 * level)


def magnitude(perturbations: torch.Tensor, unit: Fraction | None) -> torch.Tensor:
    """The absolute change of each channel of each pixel, float32 in [0, 1], of perturbations as stored."""
    absolute = perturbations.float().abs_()
    return absolute if unit is None else absolute.mul_(float(unit))


def toward_zero(values: torch.Tensor) -> torch.Tensor:
    """Float32 to float16, never further from zero."""
    rounded = values.half()
    too_far = rounded.float().abs() > values.abs()
    return (rounded.view(torch.int16) - too_far.to(torch.int16)).view(torch.float16)


def _per_grey_level(unit: Fraction) -> int:
    return int(GREY_LEVEL / unit)


def _divided(numbers: torch.Tensor, by: int) -> torch.Tensor:
    """Whole numbers below 2^24 divided in place: exact but for one rounding, so the same on every device.

    By a tensor, since CUDA multiplies by the reciprocal of a plain number, which rounds twice.
    """
    return numbers.div_(numbers.new_tensor(by))


class Lattice:
    """Perturbations as whole numbers of units: float32 holding integers while an attack runs, int8 where stored."""

    def __init__(self, budget: Budget, images: torch.Tensor) -> None:
        most, self._step = int(budget.eps / budget.unit), int(budget.step_size / budget.unit)
        level = _per_grey_level(budget.unit)
        self._whole = 255 * level
        self._base = images.float().mul_(level)
        self._low = self._base.neg().clamp_(min=-most)
        self._high = (self._whole - self._base).clamp_(max=most)

    def start(self, keys: Keys) -> torch.Tensor:
        """No change: float32 of the images' shape."""
        return torch.zeros_like(self._base)

    def images(self, changes: torch.Tensor) -> torch.Tensor:
        """Perturbed images in [0, 1]."""
        return _divided(torch.add(self._base, changes), self._whole)

    def step(self, changes: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """One step uphill, in place of both."""
        return changes.add_(gradient.sign_(), alpha=self._step).clamp_(self._low, self._high)

    def stored(self, changes: torch.Tensor) -> torch.Tensor:
        """As stored: int8."""
        return changes.to(torch.int8)


class Ball:
    """Perturbations as real numbers: float32 while an attack runs, float16 where stored."""

    def __init__(self, budget: Budget, images: torch.Tensor) -> None:
        self._budget = budget
        self._eps, self._step = float(budget.eps), float(budget.step_size)
        self._pixels = images.float() / 255
        most = self._eps if budget.norm == "linf" else 1.0
        self._low, self._high = self._pixels.neg().clamp_(min=-most), (1 - self._pixels).clamp_(max=most)

    def start(self, keys: Keys) -> torch.Tensor:
        """No change, or a point drawn evenly from the budget, by each sample's keys: float32."""
        if not self._budget.random_start:
            return torch.zeros_like(self._pixels)
        shape = tuple(self._pixels.shape[1:])
        if self._budget.norm == "linf":
            drawn = random.uniform(keys(0), shape).mul_(2).sub_(1).mul_(self._eps)
        else:
            share = random.uniform(keys(1), (1, 1, 1)) ** (1 / math.prod(shape))
            drawn = _unit_length(random.normal(keys(0), shape)) * (share * self._eps)
        return drawn.clamp_(self._low, self._high)

    def images(self, changes: torch.Tensor) -> torch.Tensor:
        """Perturbed images in [0, 1]."""
        return torch.add(self._pixels, changes).clamp_(0, 1)

    def step(self, changes: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """One step uphill, back into the budget, then into the range of pixels; in place of both."""
        if self._budget.norm == "linf":
            changes.add_(gradient.sign_(), alpha=self._step)
        else:
            changes.add_(_unit_length(gradient), alpha=self._step)
            changes.mul_((self._eps / _length(changes).clamp_(min=1e-12)).clamp_(max=1))
        return changes.clamp_(self._low, self._high)

    def stored(self, changes: torch.Tensor) -> torch.Tensor:
        """As stored: float16, rounded towards zero."""
        return toward_zero(changes)


def _length(vectors: torch.Tensor) -> torch.Tensor:
    """Euclidean length of each sample's vector: (n, 1, 1, 1)."""
    return vectors.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)


def _unit_length(vectors: torch.Tensor) -> torch.Tensor:
    """Vectors of length one; zero where they are zero."""
    return vectors / _length(vectors).clamp_(min=1e-30)
