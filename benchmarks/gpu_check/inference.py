"""Predictions by the workflow's own code, against the same model on images that lie on the device.

The peer has all images in the GPU's memory, as uint8, turns each batch to float and runs the model; it reads, copies,
scores and writes nothing.
"""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from benchmarks.attacked import ratio, rounds
from benchmarks.comparison import Comparison
from benchmarks.gpu_check.networks import SIZE, photographs, random_network
from benchmarks.gpu_check.setting import Setting
from withstand import images
from withstand.computing import FLOAT32, Computing
from withstand.corruptions import corrupt
from withstand.datasets.label_spaces import wnids
from withstand.inference import predict_set
from withstand.steps.index import index_source
from withstand.steps.predict import ImageSet
from withstand.steps.stream import DownloadedSet

BATCH, SHARDS = 128, 2
BFLOAT16 = Computing("bfloat16", channels_last=True)
CHOICES = (
    (FLOAT32, 1024),
    (Computing(channels_last=True), 1024),
    (Computing("tf32", channels_last=True), 2048),
    (Computing("bfloat16"), 4096),
    (BFLOAT16, 4096),
)
"""How a model computes, and on how many images."""

COPIES = ("gaussian_noise", "defocus_blur")
"""Corruptions whose files are large and small."""

FACTS = {"model": "m", "dataset": "photographs", "family": "clean", "policy": "stored"}
CLASSES = 1000


def from_hdf5(setting: Setting) -> Iterator[Comparison]:
    """Images of the store."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = photographs(setting.size(max(count for _, count in CHOICES), 4))
        for network, entry in setting.networks.items():
            for computing, count in CHOICES:
                given = stored(folder, pictures[:count])
                yield compare(f"inference_gpu: {network}, {told(computing)}", entry, computing, given, setting)


def compiled(setting: Setting) -> Iterator[Comparison]:
    """The same with kernels of the network's own, which take a minute to make."""
    with tempfile.TemporaryDirectory() as name:
        given = stored(Path(name), photographs(setting.size(4096, 4)))
        computing = Computing("bfloat16", channels_last=True, compile=True)
        for network, entry in list(setting.networks.items())[: setting.size(2, 1)]:
            yield compare(f"inference_gpu: {network}, {told(computing)}", entry, computing, given, setting)


def from_jpeg(setting: Setting) -> Iterator[Comparison]:
    """Corrupted copies as ImageNet-C publishes them, JPEG files in tar archives, with more and more threads."""
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clean = stored(folder, photographs(setting.size(2048, 4)))
        index = published(folder, clean, setting.device)
        for computing in (BFLOAT16, FLOAT32):
            for threads in (cores,) if computing == FLOAT32 else sorted({cores, max(1, cores // 4)}):
                given = DownloadedSet(
                    *("photographs", "imagenet_c", clean.images, index, COPIES, (3,), folder / "out.parquet"), threads
                )
                for network, entry in setting.networks.items():
                    label = f"inference_gpu: {network}, {told(computing)}, JPEG in tar, {threads} threads"
                    yield compare(label, entry, computing, given, setting)


def told(computing: Computing) -> str:
    parts = [computing.precision, *(["channels last"] if computing.channels_last else [])]
    return ", ".join(parts + (["compiled"] if computing.compile else []))


def compare(
    label: str, entry: Mapping, computing: Computing, given: ImageSet | DownloadedSet, setting: Setting
) -> Comparison:
    """Images in a second of both sides."""
    device = setting.device
    model = random_network(entry, device, computing)
    resident = [
        torch.from_numpy(shard.read(corruption, index, slice(None))).to(device).split(BATCH)
        for shard in given.shards({}, device)
        for corruption, _, index in shard.conditions
    ]
    count = sum(len(batch) for batches in resident for batch in batches)
    counts = {"images": given.samples(), "outputs": CLASSES, "facts": FACTS, "batch_size": BATCH, "device": device}

    @torch.inference_mode()
    def bare() -> None:
        for batches in resident:
            for batch in batches:
                model(batch.permute(0, 3, 1, 2).float() / 255)

    ours, peer = rounds((lambda: predict_set(model, given.shards({}, device), given.output, **counts), bare), 2)
    speeds = (count / median(side) for side in (ours, peer))
    return Comparison(label, *speeds, ratio(ours, peer), "images/s", "the same model on images that lie on the device")


def stored(folder: Path, pictures: np.ndarray) -> ImageSet:
    """Pictures in the image store, as validation images of ImageNet, in shards."""
    parts = np.array_split(np.arange(len(pictures)), SHARDS)
    shards = [_store(folder / f"{number}.h5", part, pictures[part]) for number, part in enumerate(parts)]
    return ImageSet("photographs", "clean", shards, folder / "out.parquet")


def _store(path: Path, numbers: Sequence[int], pictures: np.ndarray) -> Path:
    path.unlink(missing_ok=True)
    samples = images.Samples(
        [f"ILSVRC2012_val_{number + 1:08d}" for number in numbers],
        np.array([number % CLASSES for number in numbers]),
        list(wnids()),
        np.arange(CLASSES),
        "imagenet-1k",
    )
    with images.create(path, samples, size=SIZE, codec="raw", origin={}) as writer:
        writer.add("clean", [0])
        writer.write("clean", 0, 0, pictures)
    return path


def published(folder: Path, clean: ImageSet, device: str) -> Path:
    """The index of corrupted copies of a set in the layout and the quality of ImageNet-C."""
    archive = folder / "copies.tar"
    with tarfile.open(archive, "w") as tar, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for shard in clean.shards({}, device):
            ids, labels = shard.samples.ids, shard.samples.labels
            pixels = torch.from_numpy(shard.read("clean", 0, slice(None)))
            for corruption in COPIES:
                copies = corrupt(pixels.to(device), corruption, 3, ids, 0).cpu().numpy()
                for sample_id, label, data in zip(ids, labels, pool.map(_jpeg, copies), strict=True):
                    member = tarfile.TarInfo(f"{corruption}/3/{wnids()[label]}/{sample_id}.JPEG")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    index = folder / "copies.parquet"
    source = {"kind": "imagenet_c", "path": str(archive), "corruptions": COPIES, "severities": (3,)}
    index_source(source, index)
    return index


def _jpeg(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=images.JPEG_QUALITY)
    return file.getvalue()
