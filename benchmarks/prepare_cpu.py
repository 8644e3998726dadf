"""Preparing JPEG folders, against decoding and resizing alone, both on all cores.

The floor decodes, resizes and crops the same files with Pillow in a pool of processes and throws the pixels away. Ours
is the step of the workflow, which reads by index, checks, and writes and syncs files: with a shard a core, as the
workflow prepares large sets, or with a thread a core, as it prepares a set of one shard.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import Pool
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from benchmarks.comparison import Comparison
from benchmarks.memory import peak_memory
from benchmarks.photographs import class_folders
from withstand.datasets.files import IndexedSource
from withstand.steps.datasets import Preparation, prepare_images
from withstand.steps.index import index_source

COUNT = 2000
ROUNDS = 5
CORES = os.cpu_count()
SIZE, RESIZED = 224, 256


def run() -> Iterator[Comparison]:
    with tempfile.TemporaryDirectory() as name, Pool(CORES) as pool:
        folder = Path(name)
        photographs = class_folders(folder / "photographs", COUNT)
        _index(photographs, folder)
        files = sorted(photographs.rglob("*.jpg"))
        for shards in (CORES, 1):
            for codec in ("raw", "jpeg"):
                jobs = [
                    (folder, COUNT // shards * number, COUNT // shards, codec, CORES // shards)
                    for number in range(shards)
                ]
                ours, floor = [], []
                for _ in range(ROUNDS):
                    ours.append(_seconds(lambda jobs=jobs: pool.starmap(prepare, jobs, chunksize=1)))
                    floor.append(_seconds(lambda: pool.map(decode_and_resize, files, chunksize=16)))
                yield Comparison(
                    f"prepare_cpu: {COUNT} JPEG files to {SIZE} px, codec {codec}, shards: {shards}",
                    COUNT / median(ours),
                    COUNT / median(floor),
                    median(peer / own for own, peer in zip(ours, floor, strict=True)),
                    "images/s",
                    f"decoding and resizing alone, {CORES} processes",
                )
    yield _memory()


def _index(photographs: Path, folder: Path) -> None:
    source = {"kind": "folder", "path": str(photographs), "label_space_name": "imagenet-1k", "named_by": "index"}
    index_source(source, folder / "index.parquet")


def prepare(folder: Path, start: int, count: int, codec: str, threads: int) -> None:
    """One shard."""
    reader = IndexedSource(folder / "index.parquet")
    output, preparation = folder / f"{start}.h5", Preparation(crop_pct=0.875, interpolation="bilinear")
    given = {"size": SIZE, "codec": codec, "preparation": preparation, "threads": threads}
    prepare_images(reader, start, start + count, output=output, **given)


def decode_and_resize(path: Path) -> int:
    """The height of the image that was made; its pixels are thrown away."""
    with Image.open(path) as image:
        rgb = image.convert("RGB")
    short = min(rgb.size)
    resized = rgb.resize([side * RESIZED // short for side in rgb.size], Image.Resampling.BILINEAR)
    left, top = ((side - SIZE) // 2 for side in resized.size)
    return np.asarray(resized.crop((left, top, left + SIZE, top + SIZE))).shape[0]


_MEMORY_SCRIPT = """
import sys
from pathlib import Path
from withstand.datasets.files import IndexedSource
from withstand.steps.datasets import Preparation, prepare_images
index, output = map(Path, sys.argv[1:3])
count, size, threads = map(int, sys.argv[3:])
given = {"size": size, "codec": "raw", "preparation": Preparation(crop_pct=0.875), "threads": threads}
prepare_images(IndexedSource(index), 0, count, output=output, **given)
"""


def _memory() -> Comparison:
    """Peak memory of preparing 3,000 files of a folder against that of 300, in one process with a thread a core."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _index(class_folders(folder / "photographs", 3000), folder)
        files = folder / "index.parquet", folder / "images.h5"
        few, many = (peak_memory(_MEMORY_SCRIPT, *files, count, SIZE, CORES) for count in (300, 3000))
    return Comparison.less_is_better(
        "prepare_cpu: memory, 3,000 JPEG files", many, few, "MB", "the same with 300 files"
    )


def _seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
