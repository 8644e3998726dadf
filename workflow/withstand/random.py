"""Random numbers that belong to a sample, not to a run.

Whatever is random is a function of (study seed, perturbation, severity, sample id, draw). A 128-bit key is the blake2b
hash of that tuple, and the numbers come from Philox-4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2,
3", SC 2011) under that key: ``Stream`` for a few numbers of one sample, ``uniform`` and ``normal`` for whole batches of
pixels on any device. A sample therefore gets the same numbers whatever the batch, order, device or number of threads.

The stream of a key is that of numpy's ``Philox(key=key).random_raw``: block ``i`` of four 64-bit words is the cipher of
the counter ``i + 1``. ``uniform`` reads each word as two of 32 bits, low half first, and makes
``(half >> 8) * 2**-24`` of them; an array takes its numbers in C order. ``normal`` sends each of these, ``u``, through
the inverse of the distribution function at ``u + 2**-25``. Every call begins at the start of the stream.

On CPUs numpy makes the words. Elsewhere public torch operations on int64 tensors make the same bits.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_DOUBLE_STEP = 2.0**-53
_STEP = 2.0**-24
"""Distance of uniform float32 numbers."""

GENERATOR = "philox-4x64-10/1"
"""What files say of the generator; the number after the slash counts the ways in which its words became floats."""


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
    """One key a sample for ``uniform`` and ``normal``: int64 (n, 2) on ``device``, bits of its low and high half."""
    import torch

    keys = [key(seed, perturbation, severity, sample_id, draw) for sample_id in sample_ids]
    halves = np.array([[one & _WORD, one >> 64] for one in keys], dtype=np.uint64).reshape(-1, 2)
    return torch.from_numpy(halves.view(np.int64)).to(device)


def uniform(keys: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Numbers in [0, 1): float32 (n, *shape) on the keys' device; row i depends on key i alone.

    Multiples of 2**-24, the same to the bit on every device.
    """
    return _whole(keys, shape).mul_(_STEP)


def normal(keys: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal numbers: float32 (n, *shape) on the keys' device; row i depends on key i alone.

    They end at 5.42. Devices differ by at most 2e-6.
    """
    return _as_normal(_whole(keys, shape))


def _as_normal(whole: torch.Tensor) -> torch.Tensor:
    """Whole numbers, which are overwritten, by the inverse of the distribution function."""
    import torch

    end = whole.new_full((), _STEP - 1)
    centred = torch.add(end, whole, alpha=2 * _STEP, out=whole)  # exact, and symmetric about 0
    if centred.device.type == "cpu" and not torch.backends.mkl.is_available():
        centred = centred.double()  # torch's own float32 is off by 4e-5 in the tails
    return centred.erfinv_().mul_(math.sqrt(2)).float()


def _whole(keys: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Whole numbers from 0 to 2**24 - 1: float32 (n, *shape)."""
    import torch

    if keys.device.type != "cpu" and math.prod(shape) <= _FEW:
        return _whole(keys.cpu(), shape).to(keys.device)
    numbers = torch.empty(len(keys), math.prod(shape), dtype=torch.float32, device=keys.device)
    fill = _fill_by_numpy if keys.device.type == "cpu" else _fill_by_torch
    fill(numbers, keys)
    return numbers.reshape(len(keys), *shape)


def _fill_by_numpy(numbers: torch.Tensor, keys: torch.Tensor) -> None:
    """Whole numbers into float32 (n, count), by numpy's generator."""
    count = numbers.shape[1]
    for halves, row in zip(keys.numpy().view(np.uint64), numbers.numpy(), strict=True):
        words = _OF_THREAD.words(halves, -(-count // 2))
        bits = words.astype("<u8", copy=False).view("<u4")[:count]
        bits >>= 8
        np.copyto(row, bits.view("<i4"))


class _Generator(threading.local):
    """numpy's generator, one a thread: a new key takes a tenth of the time of a new generator."""

    def __init__(self) -> None:
        self._philox = np.random.Philox(0)

    def words(self, halves: np.ndarray, count: int) -> np.ndarray:
        """The first words of a key, which comes in uint64 halves."""
        nothing = np.zeros(4, np.uint64)
        self._philox.state = {
            "bit_generator": "Philox",
            "state": {"counter": nothing, "key": halves},
            "buffer": nothing,
            "buffer_pos": 4,  # its end
            "has_uint32": 0,
            "uinteger": 0,
        }
        return self._philox.random_raw(count)


_OF_THREAD = _Generator()


def _fill_by_torch(numbers: torch.Tensor, keys: torch.Tensor) -> None:
    """The same on any device, so many blocks at a time that memory stays bounded."""
    import torch

    blocks = max(1, -(-numbers.shape[1] // 8))
    rows, columns = max(1, _BLOCKS_AT_ONCE // blocks), min(blocks, _BLOCKS_AT_ONCE)
    for top in range(0, len(keys), rows):
        for first in range(0, blocks, columns):
            part = numbers[top : top + rows, 8 * first : 8 * (first + columns)]
            words = _philox(keys[top : top + rows], first, min(columns, blocks - first))
            bits = words.view(torch.int32).flatten(1)[:, : part.shape[1]]
            part.copy_(bits.bitwise_right_shift_(8).bitwise_and_(0xFFFFFF))


_FEW = 64
"""Numbers of a sample for which a device would take longer to start than a CPU to make them."""

_BLOCKS_AT_ONCE = 1 << 21
"""Blocks, of 8 numbers, that a device makes at once: 200 MB, enough for 64 images of 224 px."""

_WORD, _HALF = (1 << 64) - 1, (1 << 32) - 1
_MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_KEY_STEPS = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_ROUNDS = 10


def _philox(keys: torch.Tensor, first: int, count: int) -> torch.Tensor:
    """Blocks ``first`` to ``first + count`` of the keys' streams: int64 (n, count, 4), the bits of unsigned words."""
    import torch

    a = torch.arange(first + 1, first + count + 1, device=keys.device).repeat(len(keys), 1)
    b, c, d, high, other_high, *scratch = torch.zeros(7, *a.shape, dtype=torch.int64, device=keys.device)
    for number in range(_ROUNDS):
        key_a, key_c = (keys[:, half, None] + _signed(number * step) for half, step in enumerate(_KEY_STEPS))
        _high_half(a, _MULTIPLIERS[0], high, *scratch)
        _high_half(c, _MULTIPLIERS[1], other_high, *scratch)
        other_high.bitwise_xor_(b).bitwise_xor_(key_a)
        high.bitwise_xor_(d).bitwise_xor_(key_c)
        torch.mul(c, _signed(_MULTIPLIERS[1]), out=b)
        torch.mul(a, _signed(_MULTIPLIERS[0]), out=d)
        a, c, high, other_high = other_high, high, a, c
    return torch.stack([a, b, c, d], -1)


def _high_half(words: torch.Tensor, by: int, out: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> None:
    """The upper 64 bits of 128-bit products of unsigned words, here the bits of int64, by one of the multipliers.

    ``by`` is ``2**64 + 2**32 * by_high + by_low`` with signed halves small enough for all sums below to fit int64.
    ``low`` and ``high`` are scratch.
    """
    import torch

    by_low = (by + (1 << 31) & _HALF) - (1 << 31)
    by_high = (_signed(by) - by_low) >> 32
    torch.bitwise_and(words, _HALF, out=low)
    torch.bitwise_right_shift(words, 32, out=high)  # signed
    torch.mul(low, by_low, out=out).bitwise_right_shift_(32)
    out.add_(high, alpha=by_low).add_(low, alpha=by_high).bitwise_right_shift_(32)
    out.add_(high, alpha=by_high).add_(words)  # the product by ``by - 2**64``, then 2**64 * words
    torch.bitwise_right_shift(words, 63, out=high)  # -1 where int64 is 2**64 less than the word
    out.add_(high, alpha=-_signed(by))


def _signed(word: int) -> int:
    """The int64 with the lowest 64 bits of a whole number."""
    return (word + (1 << 63) & _WORD) - (1 << 63)
