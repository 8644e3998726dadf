"""From a folder of JPEG files to predictions, against timm's loader and a plain loop, as in its validation script.

Both read the same photographs, put them through the model's own transform and run the same ImageNet model, on all
cores.
timm's side is ``create_dataset``, ``create_loader`` and ``resolve_data_config`` with the script's defaults: batches of
256, four workers, the prefetcher. Ours is the step of the workflow, which also scores and writes Parquet.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pyarrow.parquet as pq
import torch
from timm.data import create_dataset, create_loader, resolve_data_config

from benchmarks.comparison import Comparison
from benchmarks.photographs import ENTRY, class_folders, efficientnet_weights
from withstand import models
from withstand.steps.index import index_source
from withstand.steps.models import write_card
from withstand.steps.predict import predict
from withstand.steps.stream import ResizedSet

COUNT = 500
ROUNDS = 3
WORKERS, BATCH = 4, 256
"""The defaults of timm's validation script."""


def run() -> Iterator[Comparison]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = efficientnet_weights(folder / "lite0.safetensors")
        photographs = class_folders(folder / "photographs", COUNT)
        write_card("lite0", ENTRY, weights, folder / "lite0.json")
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(_timed(lambda: _ours(folder, photographs, weights)))
            theirs.append(_timed(lambda: _timms(photographs, weights)))
        assert ours[0][1] == theirs[0][1], "the same images are right"
        seconds, right = (median(run[0] for run in ours), ours[0][1])
        ratio = median(peer[0] / own[0] for own, peer in zip(ours, theirs, strict=True))
        yield Comparison(
            f"folder_to_prediction_cpu: {COUNT} JPEG files, efficientnet-lite0, {right} right on both sides",
            COUNT / seconds,
            COUNT / median(run[0] for run in theirs),
            ratio,
            "images/s",
            f"timm's loader and a plain loop, {WORKERS} workers, batches of {BATCH}",
        )


def _timed(function) -> tuple[float, int]:
    start = time.perf_counter()
    right = function()
    return time.perf_counter() - start, right


def _ours(folder: Path, photographs: Path, weights: Path) -> int:
    source = {"kind": "folder", "path": str(photographs), "label_space_name": "imagenet-1k", "named_by": "index"}
    index, output = folder / "index.parquet", folder / "output.parquet"
    output.unlink(missing_ok=True)
    index_source(source, index)
    given = ResizedSet(
        *("photographs", "clean", source, (0, COUNT), [], 0, "raw", output, "model"),
        index=index,
        threads=os.cpu_count(),
    )
    predict(folder / "lite0.json", weights, [given], batch_size=128, device="cpu")
    return int(pq.read_table(output)["correct_all"].to_numpy().sum())


def _timms(photographs: Path, weights: Path) -> int:
    model = models.build(models.resolve(ENTRY, None))
    models.load_weights(model, weights)
    given = {"mean": ENTRY["preprocessing"]["mean"], "std": ENTRY["preprocessing"]["std"]}
    config = resolve_data_config(given, model=model, use_test_size=True)
    loader = create_loader(
        create_dataset("", root=str(photographs)),
        batch_size=BATCH,
        use_prefetcher=True,
        num_workers=WORKERS,
        device=torch.device("cpu"),
        **{key: config[key] for key in ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")},
    )
    labels = torch.tensor([int(Path(name).parent.name) for name in loader.dataset.filenames()])
    with torch.inference_mode():
        answers = torch.cat([model(images).argmax(1) for images, _ in loader])
    return int((answers == labels).sum())
