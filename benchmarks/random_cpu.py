"""Random numbers for an image of 224 px, one thread, beside what they cannot do without: the raw words, and for normal
numbers ``erfinv``.

A round draws all of them for each of 16 samples; numbers are medians of the rounds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from statistics import median

import numpy as np
import torch

from benchmarks.comparison import Comparison
from withstand import random

SHAPE = (224, 224, 3)
SAMPLES = 16
ROUNDS = 30


def run() -> Iterator[Comparison]:
    torch.set_num_threads(1)
    keys = [random.tensor_keys(0, "gaussian_noise", 1, [str(number)]) for number in range(SAMPLES)]
    centred = random.uniform(keys[0], SHAPE).mul_(2).sub_(1 - 2**-24)
    work = {
        "uniform": lambda one: random.uniform(one, SHAPE),
        "normal": lambda one: random.normal(one, SHAPE),
        "words": _words,
        "erfinv": lambda one: centred.erfinv(),
    }
    rounds = [{name: _milliseconds(draw, keys) for name, draw in work.items()} for _ in range(ROUNDS)]
    uniform, normal, words, erfinv = (median(times[name] for times in rounds) for name in work)
    yield Comparison.less_is_better("random_cpu: uniform", uniform, words, "ms", "numpy's raw words alone")
    floor = "numpy's raw words and torch's erfinv alone"
    yield Comparison.less_is_better("random_cpu: normal", normal, words + erfinv, "ms", floor)


def _words(keys: torch.Tensor) -> None:
    np.random.Philox(key=keys[0].numpy().view(np.uint64)).random_raw(math.prod(SHAPE) // 2)


def _milliseconds(draw: Callable[[torch.Tensor], object], keys: list[torch.Tensor]) -> float:
    """For one sample, on average."""
    start = time.perf_counter()
    for one in keys:
        draw(one)
    return 1000 * (time.perf_counter() - start) / len(keys)
