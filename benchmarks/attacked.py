"""A model of the zoo and images to attack, for benchmarks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import torch

from withstand import models, zoo
from withstand.datasets.registry import open_source
from withstand.models import Classifier

SOURCE = {"kind": "shapetex", "split": "test"}


def pictures(count: int) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """uint8 (n, 64, 64, 3), labels and ids."""
    source = open_source(SOURCE)
    ids = source.sample_ids(count)
    images = np.stack([source.read(sample_id) for sample_id in ids])
    return torch.from_numpy(images), torch.from_numpy(source.labels(ids)), ids


def model_of_zoo(name: str, device: str) -> Classifier:
    return models.load({"zoo": name}, zoo.weights(name), device)


def timed(work: Callable[[], object]) -> float:
    """Seconds of a work, to the end of what a GPU has to do for it."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def rounds(works: Sequence[Callable[[], object]], number: int) -> list[list[float]]:
    """Seconds of each work in so many rounds, in each of which all run once, after one that is not counted."""
    seconds: list[list[float]] = [[] for _ in works]
    for turn in range(number + 1):
        for work, found in zip(works, seconds, strict=True):
            taken = timed(work)
            if turn:
                found.append(taken)
    return seconds


def ratio(ours: Sequence[float], peers: Sequence[float]) -> float:
    """How many times as fast ours is: the median over rounds."""
    return median(peer / own for own, peer in zip(ours, peers, strict=True))
