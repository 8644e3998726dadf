"""As ``spatial_cpu``, on a GPU; nothing where there is none."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks import spatial_cpu
from benchmarks.comparison import Comparison


def run() -> Iterator[Comparison]:
    if not torch.cuda.is_available():
        print("spatial_gpu: no GPU is at hand", flush=True)
        return
    for name in spatial_cpu.MODELS:
        yield from spatial_cpu.compare(name, "cuda", 1024)
