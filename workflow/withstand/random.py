"""Random numbers that belong to a sample, not to a run.

Whatever is random is a function of (study seed, perturbation, severity, sample id, draw). A key is the
blake2b hash of that tuple, and the numbers come from a counter-based generator of the Philox family (Salmon et
al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) under that key: ``Stream`` for a few numbers of one
sample, ``uniform`` and ``normal`` for whole batches of pixels on any device. A sample therefore gets the same
numbers whatever the batch size, shard, order, device or number of workers.

The batched functions rest on torch's stateless generator, which is not yet public: golden values in the tests
pin its output.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_DOUBLE_STEP = 2.0**-53
_HALF_STEP = 2.0**-24
"""Half the distance of uniform float32 numbers, doubled: keeps those of (-1, 1) off -1, and symmetric."""


def key(*parts: str | int) -> int:
    """Hash a tuple of strings and integers to a 128-bit key, the same on every machine and Python."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


class Stream:
    """Numbers of one sample: Philox-4x64 under ``key(*parts)``, read in order.

    Only the raw 64-bit output of the generator is taken from numpy, whose stability numpy guarantees; the
    step to floats is made here, so that a new numpy release cannot change a pixel.
    """

    def __init__(self, *parts: str | int) -> None:
        self._generator = np.random.Philox(key=key(*parts))

    def uniform(self, low: float = 0.0, high: float = 1.0, size: int | tuple[int, ...] | None = None):
        """Numbers in [low, high): a float for ``size=None``, else a float64 array of that shape."""
        if size is None:
            return low + (high - low) * ((self._generator.random_raw() >> 11) * _DOUBLE_STEP)
        unit = (self._generator.random_raw(int(np.prod(size))) >> np.uint64(11)) * _DOUBLE_STEP
        return (low + (high - low) * unit).reshape(size)

    def integers(self, high: int, size: int | None = None):
        """Integers in [0, high), by multiplication of a uniform number (bias below ``high * 2**-53``)."""
        values = np.floor(self.uniform(0.0, high, size=size))
        return int(values) if size is None else values.astype(np.int64)


def tensor_keys(
    seed: int, perturbation: str, severity: int, sample_ids: Sequence[str], draw: int = 0, device: str = "cpu"
) -> torch.Tensor:
    """One key a sample for ``uniform`` and ``normal``: uint64 tensor (n, 2) on ``device``."""
    import torch

    seeds = [key(seed, perturbation, severity, sample_id, draw) & 0xFFFFFFFFFFFFFFFF for sample_id in sample_ids]
    return torch.tensor([[seed, 0] for seed in seeds], dtype=torch.uint64, device=device)


def uniform(keys: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Numbers in [0, 1): float32 (n, *shape) on the keys' device; row i depends on key i alone."""
    import torch.func._random as stateless

    return stateless.uniform(_batched(keys, shape), (len(keys), *shape))


def normal(keys: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal numbers: float32 (n, *shape) on the keys' device; row i depends on key i alone.

    By the inverse of the distribution function, so they end at 5.3; twice as fast as torch's own.
    """
    halves = uniform(keys, shape).mul_(2).sub_(1 - _HALF_STEP)
    return halves.erfinv_().mul_(math.sqrt(2))


def _batched(keys: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Keys (n, 2) with a dimension of one for each of the shape's."""
    return keys.reshape(len(keys), *(1,) * len(shape), 2)
