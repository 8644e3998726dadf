"""Preparing JPEG folders, against decoding and resizing alone, both on all cores.

The floor decodes, resizes and crops the same files with Pillow in a pool of processes and throws the pixels away. Ours
is the step of the workflow, with a thread a core: it reads by index, checks, and writes and syncs the file.
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
        source = {"kind": "folder", "path": str(photographs), "label_space_name": "imagenet-1k", "named_by": "index"}
        index_source(source, folder / "index.parquet")
        reader = IndexedSource(folder / "index.parquet")
        files = [photographs / name for name in reader.sample_ids(COUNT)]
        for codec in ("raw", "jpeg"):
            ours, floor = [], []
            for _ in range(ROUNDS):
                ours.append(_seconds(lambda codec=codec: _prepare(reader, folder / "output.h5", codec)))
                floor.append(_seconds(lambda: pool.map(decode_and_resize, files, chunksize=16)))
            yield Comparison(
                f"prepare_cpu: {COUNT} JPEG files to {SIZE} px, codec {codec}",
                COUNT / median(ours),
                COUNT / median(floor),
                median(peer / own for own, peer in zip(ours, floor, strict=True)),
                "images/s",
                f"decoding and resizing alone, {CORES} processes",
            )


def decode_and_resize(path: Path) -> int:
    """The height of the image that was made; its pixels are thrown away."""
    with Image.open(path) as image:
        rgb = image.convert("RGB")
    short = min(rgb.size)
    resized = rgb.resize([side * RESIZED // short for side in rgb.size], Image.Resampling.BILINEAR)
    left, top = ((side - SIZE) // 2 for side in resized.size)
    return np.asarray(resized.crop((left, top, left + SIZE, top + SIZE))).shape[0]


def _prepare(reader: IndexedSource, output: Path, codec: str) -> None:
    preparation = Preparation(crop_pct=0.875, interpolation="bilinear")
    prepare_images(reader, 0, COUNT, size=SIZE, codec=codec, output=output, preparation=preparation, threads=CORES)


def _seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
