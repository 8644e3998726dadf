"""Inference from the image store on a GPU, against the same model on images that lie there already.

The peer has all images in the card's memory, as uint8, turns each batch to float and runs the model; it reads, copies,
scores and writes nothing. Weights are random: they cost the same. Nothing where there is no GPU.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from tests.photographs import photographs

from benchmarks.attacked import ratio, rounds
from benchmarks.comparison import Comparison
from withstand import images, models
from withstand.computing import Computing
from withstand.inference import predict_set
from withstand.steps.predict import ImageSet

SAMPLES, SHARDS, SIZE, BATCH, ROUNDS = 10_000, 2, 224, 128, 3
MODELS = ("vit_base_patch16_224", "resnet50")
CHOICES = (
    Computing(),
    Computing(channels_last=True),
    Computing("tf32"),
    Computing("tf32", channels_last=True),
    Computing("bfloat16"),
    Computing("bfloat16", channels_last=True),
    Computing("bfloat16", channels_last=True, compile=True),
)
FACTS = {"model": "m", "dataset": "photographs", "family": "clean", "policy": "stored"}
CLASSES = 1000


def run() -> Iterator[Comparison]:
    if not torch.cuda.is_available():
        print("inference_gpu: no GPU is at hand", flush=True)
        return
    with tempfile.TemporaryDirectory() as name:
        shards = [_store(Path(name) / f"{number}.h5", number, SAMPLES // SHARDS) for number in range(SHARDS)]
        for model in MODELS:
            for computing in CHOICES:
                yield compare(model, computing, shards, Path(name) / "out.parquet", "cuda")


def compare(name: str, computing: Computing, shards: list[Path], output: Path, device: str) -> Comparison:
    """Images in a second of both sides, with a model of timm that computes in some way."""
    model = models.load({"timm": name}, None, device, computing)
    given = ImageSet("photographs", "clean", shards, output)
    counts = {"images": given.samples(), "outputs": CLASSES, "facts": FACTS, "batch_size": BATCH, "device": device}
    resident = [
        torch.from_numpy(shard.read("clean", 0, slice(None))).to(device).split(BATCH)
        for shard in given.shards({}, device)
    ]

    @torch.inference_mode()
    def bare() -> None:
        for batches in resident:
            for batch in batches:
                model(batch.permute(0, 3, 1, 2).float() / 255)

    ours, peer = rounds((lambda: predict_set(model, given.shards({}, device), output, **counts), bare), ROUNDS)
    choices = [name, computing.precision, *(["channels last"] if computing.channels_last else [])]
    return Comparison(
        f"inference_gpu: {', '.join(choices + (['compiled'] if computing.compile else []))}",
        counts["images"] / median(ours),
        counts["images"] / median(peer),
        ratio(ours, peer),
        "images/s",
        "the same model on images that lie on the device",
    )


def _store(path: Path, number: int, count: int) -> Path:
    """Cuts of photographs of the size of ImageNet's, in the image store."""
    random = np.random.default_rng(number)
    known = [np.asarray(Image.open(file).convert("RGB").resize((500, 375))) for file in photographs()]
    corners = random.integers(0, [375 - SIZE, 500 - SIZE], size=(count, 2))
    cuts = np.stack([known[k % len(known)][y : y + SIZE, x : x + SIZE] for k, (y, x) in enumerate(corners)])
    samples = images.Samples(
        [f"{number}-{position}" for position in range(count)],
        random.integers(0, CLASSES, size=count),
        [str(label) for label in range(CLASSES)],
        np.arange(CLASSES),
        "imagenet-1k",
    )
    with images.create(path, samples, size=SIZE, codec="raw", origin={}) as writer:
        writer.add("clean", [0])
        writer.write("clean", 0, 0, cuts)
    return path
