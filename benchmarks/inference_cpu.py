"""Inference from the image store against a bare loop over the same tensors in memory.

The bare loop holds the decoded uint8 images in memory, turns each batch to float and runs the model; it reads, scores
and writes nothing.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch

from benchmarks.comparison import Comparison
from benchmarks.memory import peak_memory
from withstand import models, zoo
from withstand.datasets.registry import open_source
from withstand.images import ImageFile
from withstand.inference import predict_set
from withstand.steps.datasets import prepare_images
from withstand.steps.predict import ImageSet

SOURCE = {"kind": "shapetex", "split": "test"}
SAMPLES = 4000
BATCH = 128
ROUNDS = 5
THREADS = (1, 2)
"""One thread is what the workflow gives a job."""
FACTS = {"model": "m", "dataset": "test", "family": "clean", "policy": "stored"}


def run() -> Iterator[Comparison]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards = [folder / f"{number}.h5" for number in range(4)]
        for number, path in enumerate(shards):
            start = number * SAMPLES // 4
            prepare_images(open_source(SOURCE), start, start + SAMPLES // 4, size=64, codec="raw", output=path)
        for model in zoo.names():
            for threads in THREADS:
                torch.set_num_threads(threads)
                yield _throughput(model, threads, shards, folder / "out.parquet")
        yield _memory(folder)


def _throughput(name: str, threads: int, shards: list[Path], output: Path) -> Comparison:
    """The median of the ratios of rounds, in each of which both run once."""
    model = models.load({"zoo": name}, zoo.weights(name))
    images = []
    for path in shards:
        with ImageFile(path) as file:
            images.append(torch.from_numpy(file.read("clean", 0, slice(None))))
    batches = [batch for shard in images for batch in shard.split(BATCH)]
    ours, bare = [], []
    for _ in range(ROUNDS):
        ours.append(_seconds(lambda: predict_files(model, shards, output)))
        bare.append(_seconds(lambda: _bare_loop(model, batches)))
    ratio = median(peer / own for own, peer in zip(ours, bare, strict=True))
    return Comparison(
        f"inference_cpu: {name}, {threads} thread{'s' * (threads > 1)}",
        SAMPLES / median(ours),
        SAMPLES / median(bare),
        ratio,
        "images/s",
        "the model in a loop over uint8 tensors in memory",
    )


def predict_files(model: torch.nn.Module, paths: list[Path], output: Path) -> None:
    """Predictions of a model on files of the store."""
    given = ImageSet("test", "clean", paths, output)
    counts = {"images": given.samples(), "outputs": 10}
    predict_set(model, given.shards({}, "cpu"), output, **counts, facts=FACTS, batch_size=BATCH)


@torch.inference_mode()
def _bare_loop(model: torch.nn.Module, batches: list[torch.Tensor]) -> None:
    for batch in batches:
        model(batch.permute(0, 3, 1, 2).float() / 255)


def _seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


_MEMORY_SCRIPT = """
import sys
from pathlib import Path
from benchmarks.inference_cpu import predict_files
from withstand import models, zoo
model = models.load({"zoo": "resnet_gn_base"}, zoo.weights("resnet_gn_base"))
predict_files(model, [Path(path) for path in sys.argv[2:]], Path(sys.argv[1]))
"""


def _memory(folder: Path) -> Comparison:
    """Peak memory on thirty shards against that on three; the first few fill the allocators' pools."""
    shards = [folder / f"memory-{number}.h5" for number in range(10)]
    for number, path in enumerate(shards):
        prepare_images(open_source(SOURCE), number * 1000, (number + 1) * 1000, size=64, codec="raw", output=path)
    few, many = (peak_memory(_MEMORY_SCRIPT, folder / "out.parquet", *paths) for paths in (shards[:3], shards * 3))
    return Comparison.less_is_better(
        "inference_cpu: memory, 30,000 images", many, few, "MB", "the same with 3,000 images"
    )
