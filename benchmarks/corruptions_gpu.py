"""Every corruption at every severity on photographs of 224 px that lie on a GPU, beside the rate asked for.

All images over all time, the fifteen types together; JPEG, which Pillow makes on the CPU's threads, stands apart.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import torch

from benchmarks.comparison import Comparison
from benchmarks.corruptions_cpu import EXTRA, photographs
from withstand.corruptions import corrupt
from withstand.corruptions.constants import CORRUPTIONS, SEVERITIES

ASKED = 10_000.0
"""Images per second."""

IMAGES = 512


def run() -> Iterator[Comparison]:
    if not torch.cuda.is_available():
        print("corruptions_gpu: no GPU at hand, not run", file=sys.stderr)
        return
    batch = torch.from_numpy(photographs()).repeat(IMAGES // 16, 1, 1, 1).cuda()
    seconds = {name: _seconds(name, batch) for name in CORRUPTIONS}
    for name, time_taken in seconds.items():
        yield _against_asked(name, 1, time_taken)
    together = [name for name in CORRUPTIONS if name not in (*EXTRA, "jpeg_compression")]
    yield _against_asked(f"the {len(together)} types without JPEG", len(together), sum(seconds[n] for n in together))


def _seconds(name: str, batch: torch.Tensor) -> float:
    """All severities, after one round to warm up."""
    ids = [str(number) for number in range(len(batch))]
    for _ in range(2):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for severity in SEVERITIES:
            corrupt(batch, name, severity, ids, 0)
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _against_asked(name: str, types: int, seconds: float) -> Comparison:
    rate = types * len(SEVERITIES) * IMAGES / seconds
    return Comparison.more_is_better(f"corruptions_gpu: {name}", rate, ASKED, "images/s", "the rate asked for")
