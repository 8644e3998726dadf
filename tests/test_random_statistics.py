"""Statistics of ten million random numbers, of ten thousand keys: every p is above 1e-6, and below it for numbers that
are spoilt a little. Everything is seeded, so what passes once passes always.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import special, stats

from withstand import random

LEAST = 1e-6
KEYS, EACH = 10_000, 1_000


def two_sided(z):
    """Probability of standard normal numbers at least so far from zero."""
    return 2 * stats.norm.sf(np.abs(z))


@pytest.fixture(scope="module")
def keys() -> torch.Tensor:
    """Keys of neighbouring samples."""
    return random.tensor_keys(0, "gaussian_noise", 3, [f"test-{number:06d}" for number in range(KEYS)])


@pytest.fixture(scope="module")
def uniform(keys) -> np.ndarray:
    return random.uniform(keys, (EACH,)).numpy()


@pytest.fixture(scope="module")
def normal(keys) -> np.ndarray:
    return random.normal(keys, (EACH,)).numpy()


OF_UNIFORM = [1 / (power + 1) for power in range(1, 9)]
OF_NORMAL = [0, 1, 0, 3, 0, 15, 0, 105]
"""Means of the first eight powers."""


def moments(numbers: np.ndarray, expected: list[float]) -> np.ndarray:
    """p of the means of the first four powers."""
    found, power = [], np.ones(numbers.size)
    for _ in range(4):
        power *= numbers.ravel()
        found.append(power.mean())
    means, squares = np.array(expected[:4]), np.array(expected[1::2])
    return two_sided((np.array(found) - means) / np.sqrt((squares - means**2) / numbers.size))


def kolmogorov_smirnov(numbers: np.ndarray, distribution: Callable) -> float:
    """p of the greatest distance to a distribution function, as scipy's kstest gives it asymptotically."""
    values, size = distribution(np.sort(numbers, axis=None)), numbers.size
    below = values - np.arange(size) / size
    return stats.kstwobign.sf(max(below.max(), 1 / size - below.min()) * np.sqrt(size))


def bits(uniform: np.ndarray) -> np.ndarray:
    """p of each of the 24 bits being set in half of the numbers."""
    whole = (uniform.ravel() * 2.0**24).astype(np.int32)
    counts = np.array([np.count_nonzero(whole & (1 << bit)) for bit in range(24)])
    return two_sided((counts - whole.size / 2) / np.sqrt(whole.size / 4))


def pairs(uniform: np.ndarray) -> float:
    """p of neighbouring numbers, cut to 8 bits each, filling the 65,536 cells of a square evenly."""
    cells = (uniform * 256).astype(np.int64)
    counts = np.bincount((cells[:, ::2] * 256 + cells[:, 1::2]).ravel(), minlength=65_536)
    return stats.chisquare(counts).pvalue


LAGS = (1, 2, 3, 4, 7, 8, 16, 32, 64, 500)
"""Numbers between neighbours of half a word, a word, a block, and more."""


def serial_correlation(uniform: np.ndarray) -> np.ndarray:
    """p of the correlations within keys at ``LAGS``."""
    centred = (uniform - 0.5) * np.float32(np.sqrt(12))
    sums = [np.vdot(centred[:, :-lag], centred[:, lag:]) / np.sqrt(KEYS * (EACH - lag)) for lag in LAGS]
    return two_sided(np.array(sums, dtype=float))


def correlation_of_keys(uniform: np.ndarray) -> tuple[float, float, float]:
    """p of the correlations of all pairs of a thousand keys: their sum of squares, and the strongest; and of the
    distribution of those of neighbours."""
    centred = uniform - np.float32(0.5)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    scores = (centred[:1000] @ centred[:1000].T)[np.triu_indices(1000, 1)].astype(float) * np.sqrt(EACH)
    # scores are nearly normal, and their squares do not correlate: rows have length 1, and no sign is preferred
    spread = two_sided((np.square(scores).sum() - scores.size) / np.sqrt(2 * scores.size))
    strongest = min(1.0, scores.size * two_sided(np.abs(scores).max()))
    neighbours = np.einsum("ij,ij->i", centred[:-1], centred[1:]) * np.sqrt(EACH)
    return spread, strongest, stats.kstest(neighbours, "norm").pvalue


def avalanche(one: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """p of every bit of the output changing in half of the trials when a bit of the input does: of the sum of squares
    over all pairs of an input and an output bit, and of the sum.

    Args:
        one: int64 (trials, words).
        others: int64 (bits of the input, trials, words).
    """
    changed = np.unpackbits((one ^ others).view(np.uint8), axis=2)
    counts, trials = changed.sum(1, dtype=np.int64), changed.shape[1]
    scores = (counts - trials / 2) / np.sqrt(trials / 4)
    # the square of a binomial score has mean 1 and variance 2 - 2 / trials
    spread = two_sided((np.square(scores).sum() - scores.size) / np.sqrt(scores.size * (2 - 2 / trials)))
    return spread, two_sided(scores.sum() / np.sqrt(scores.size))


TRIALS = 80
"""Keys of which each bit is turned: as there are 128, ten thousand keys."""


def avalanche_of_keys(keys: torch.Tensor) -> tuple[float, float]:
    turned = keys[:TRIALS].repeat(128, 1, 1)
    for bit in range(128):
        turned[bit, :, bit // 64] ^= int(np.uint64(1 << bit % 64).view(np.int64))
    made = random._philox(turned.flatten(0, 1), 0, 1).view(128, TRIALS, 4)
    return avalanche(random._philox(keys[:TRIALS], 0, 1)[:, 0].numpy(), made.numpy())


def avalanche_of_counters(keys: torch.Tensor) -> tuple[float, float]:
    """Of the blocks one bit away from that of the counter 2**40."""
    counters = [1 << 40, *(1 << 40 | 1 << bit for bit in range(40))]
    one, *others = (random._philox(keys[:TRIALS], counter - 1, 1)[:, 0].numpy() for counter in counters)
    return avalanche(one, np.stack(others))


def unchanged(numbers: np.ndarray) -> np.ndarray:
    return numbers


TESTS = {
    "moments of uniform numbers": ("uniform", lambda numbers: moments(numbers, OF_UNIFORM)),
    "moments of normal numbers": ("normal", lambda numbers: moments(numbers, OF_NORMAL)),
    "distribution of uniform numbers": ("uniform", lambda numbers: kolmogorov_smirnov(numbers, unchanged)),
    "distribution of normal numbers": ("normal", lambda numbers: kolmogorov_smirnov(numbers, special.ndtr)),
    "bits": ("uniform", bits),
    "pairs": ("uniform", pairs),
    "serial correlation": ("uniform", serial_correlation),
    "correlation of keys": ("uniform", correlation_of_keys),
    "avalanche of keys": ("keys", avalanche_of_keys),
    "avalanche of counters": ("keys", avalanche_of_counters),
}
"""What each test looks at, and its p."""


@pytest.mark.parametrize("name", TESTS)
def test_numbers_are_random(request, name):
    drawn, test = TESTS[name]
    assert np.min(test(request.getfixturevalue(drawn))) > LEAST


def scaled(numbers: np.ndarray) -> np.ndarray:
    """Shrunk by 0.4%."""
    return numbers * np.float32(0.996)


def even(numbers: np.ndarray) -> np.ndarray:
    """The last bit is never set."""
    return np.floor(numbers * 2**23) / 2**23


def repeated(numbers: np.ndarray) -> np.ndarray:
    """Every hundredth number is that before it."""
    spoilt = numbers.copy()
    spoilt[:, 1::100] = numbers[:, ::100]
    return spoilt


def shared(numbers: np.ndarray) -> np.ndarray:
    """Neighbouring keys have 50 of 1,000 numbers in common."""
    spoilt = numbers.copy()
    spoilt[1::2, :50] = numbers[::2, :50]
    return spoilt


SPOILT = {
    "moments of uniform numbers": scaled,
    "moments of normal numbers": scaled,
    "distribution of uniform numbers": scaled,
    "distribution of normal numbers": scaled,
    "bits": even,
    "pairs": repeated,
    "serial correlation": repeated,
    "correlation of keys": shared,
}


@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_numbers_are_found(request, name):
    drawn, test = TESTS[name]
    assert np.min(test(SPOILT[name](request.getfixturevalue(drawn)))) < LEAST


@pytest.mark.parametrize("name", sorted(TESTS.keys() - SPOILT.keys()))
def test_too_few_rounds_are_found(monkeypatch, keys, name):
    monkeypatch.setattr(random, "_ROUNDS", 3)
    assert np.min(TESTS[name][1](keys)) < LEAST
