"""Similarity of layers from their features, against the bare Gram products and pytorch-cka; its memory.

The bare products are what no computation of CKA from features can do without: one matrix product a layer. pytorch-cka
computes products and HSIC in float32, ours HSIC in float64.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import torch
from cka.cka import cka_from_features

from benchmarks.comparison import Comparison
from benchmarks.memory import peak_memory
from withstand.datasets.registry import open_source
from withstand.similarity import cka_of_features
from withstand.steps.datasets import prepare_images

ROUNDS = 7
SHAPES = {
    "50 samples, all tokens of ViT-B/16 at 224 px, 4 layers": (50, 197 * 768, 4),
    "250 samples, all tokens of ViT-B/16 at 224 px, 2 layers": (250, 197 * 768, 2),
    "250 samples, class token, 12 layers": (250, 768, 12),
    "50 samples, all tokens of the demo's ViT patch 8, 6 layers": (50, 65 * 96, 6),
}


def run() -> Iterator[Comparison]:
    torch.set_num_threads(1)
    for name, (samples, features, layers) in SHAPES.items():
        generator = torch.Generator().manual_seed(0)
        first, second = ([torch.randn(samples, features, generator=generator) for _ in range(layers)] for _ in range(2))
        yield from _speed(name, first, second)
    yield _memory()


def _speed(name: str, first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> Iterator[Comparison]:
    """Medians of the ratios of rounds, in each of which all three run once."""
    works = {
        "ours": lambda: cka_of_features(first, second),
        "bare": lambda: [layer @ layer.T for side in (first, second) for layer in side],
        "peer": lambda: cka_from_features(first, second),
    }
    seconds: dict[str, list[float]] = {which: [] for which in works}
    for _ in range(ROUNDS):
        for which, work in works.items():
            seconds[which].append(_seconds(work))
    for which, against in (("bare", "the bare Gram products"), ("peer", "pytorch-cka 1.1.3")):
        ratio = median(other / own for own, other in zip(seconds["ours"], seconds[which], strict=True))
        yield Comparison(
            f"similarity_cpu: {name}",
            1000 * median(seconds["ours"]),
            1000 * median(seconds[which]),
            ratio,
            "ms",
            against,
        )


def _seconds(work: Callable) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


_MEMORY_SCRIPT = """
import sys
from pathlib import Path
from withstand import models, zoo
from withstand.images import ImageFile
from withstand.internals import Shuffled, measure_grams
from withstand.shards import PartialShard
from withstand.subsets import Subset
model = models.load({"zoo": "vit_p16_base"}, zoo.weights("vit_p16_base"))
facts = {"model": "m", "dataset": "test"}
with ImageFile(Path(sys.argv[1])) as file:
    chosen = PartialShard(file, Subset(int(sys.argv[3]), 0).positions(file.samples.ids))
    measure_grams(model, Shuffled([chosen], 0), Path(sys.argv[2]), outputs=10, facts=facts, batch_size=128)
"""


def _memory() -> Comparison:
    """Peak memory of Gram matrices of many samples against that of few, which fill the allocators' pools."""
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.h5"
        prepare_images(open_source({"kind": "shapetex", "split": "test"}), 0, 8000, size=64, codec="raw", output=images)
        few, many = (peak_memory(_MEMORY_SCRIPT, images, Path(folder) / "grams.h5", count) for count in (800, 8000))
    return Comparison.less_is_better(
        "similarity_cpu: memory, 8,000 samples", many, few, "MB", "the same with 800 samples"
    )
