"""What a job asks of a cluster: memory and minutes, from the size of its model and the number of its images.

Estimates are made to suffice, not to be close: a job that asks for too little is killed and starts again, one that asks
for too much waits somewhat longer in the queue. A retry asks for more, whatever the reason was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MODEL_MB, IMAGES_MB = 4000, 2000
"""Megabytes of a job with a model, and of one with images alone, before any of them is loaded: two Snakemakes around
the step, Python with its libraries, and CUDA's part of the host's memory."""

START_MINUTES = 15
"""Minutes of a job besides its work: nodes whose file system is slow at importing torch."""

SCAN_MINUTES = 120
"""Minutes of a job that scans archives, which are read to their end where they have no directory."""

FLOPS = 1e13
"""Operations in a second of a card in float32: an A100 or an RTX 4090 does more."""

IMAGES = 300
"""Images in a second that a job reads, decodes or corrupts, at 224 px and with one thread."""

MARGIN = 2
"""How much longer than estimated work may take."""

WEIGHT_COPIES, WEIGHT_BYTES = 3, 4
BLOCK = 1000
"""Most images that a job keeps in memory (see ``steps.stream``)."""

BACKWARD = 3
"""A forward pass and the gradient at its input, in forward passes."""

AUTOATTACK = 11_000
"""Most forward passes of AutoAttack on an image: its standard ensemble, where nothing succeeds before the end."""


@dataclass(frozen=True)
class ModelSize:
    """What a model's card says of its cost; without a card a ViT-B/16 at some size of images."""

    parameters: int
    flops: int
    input_size: int
    depth: int

    @classmethod
    def of(cls, card: Mapping, image_size: int) -> ModelSize:
        """The size by a card; what it does not say, as that of a broken model, is taken from a ViT-B/16."""
        size = (card.get("preprocessing") or {}).get("input_size", image_size)
        typical = {"parameters": 86_000_000, "flops": int(35e9 * (size / 224) ** 2), "depth": 12}
        return cls(input_size=size, **{key: card.get(key) or value for key, value in typical.items()})


def model_memory(size: ModelSize, images: int, attempt: int) -> int:
    """Megabytes of a job that shows images to a model."""
    weights = WEIGHT_COPIES * WEIGHT_BYTES * size.parameters
    return attempt * (MODEL_MB + _megabytes(weights + min(images, BLOCK) * 3 * size.input_size**2))


def image_memory(image_size: int, threads: int, attempt: int) -> int:
    """Megabytes of a job that makes images: float64 copies of a batch, and a photograph a thread."""
    return attempt * (IMAGES_MB + _megabytes(64 * 3 * 8 * image_size**2) + 200 * threads)


def minutes(images: float, flops: float, attempt: int) -> int:
    """Minutes of a job that reads or makes images and spends FLOPs on them."""
    return attempt * (START_MINUTES + math.ceil(MARGIN * (images / IMAGES + flops / FLOPS) / 60))


def attack_passes(attacks: Iterable[Mapping]) -> int:
    """Forward passes on each image of attacks as steps take them."""
    return sum(
        BACKWARD * attack["steps"] * attack["restarts"] + 1 if attack["kind"] == "gradient" else AUTOATTACK
        for attack in attacks
    )


def spatial_passes(grid: Mapping) -> int:
    """Forward passes on each image of a grid of rotations and translations."""
    return grid["angles"] * grid["shifts"] ** 2 + grid["draws"]


def experiment_passes(kind: str, protocol: Mapping, depth: int) -> int:
    """Forward passes on each image of an experiment on the inside of a model of so many blocks."""
    if kind == "lesions":
        counts = range(2, depth - 1) if protocol["counts"] is None else protocol["counts"]
        return 1 + len(protocol["parts"]) * (depth * protocol["single"] + protocol["draws"] * len(counts))
    if kind == "attention_limit":
        return 1 + len(protocol["distances"]) * (1 + protocol["draws"]) + 2 * len(protocol["class_only"])
    return 1


def _megabytes(size: float) -> int:
    return math.ceil(size / 1e6)
