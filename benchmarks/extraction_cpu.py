"""What looking into a model costs: representations, Gram matrices, lesions and masks against the bare forward pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from statistics import median

import numpy as np
import timm
import torch

from benchmarks.comparison import Comparison
from withstand import models, zoo
from withstand.images import Samples
from withstand.inference import CPU_PIXELS, Forward
from withstand.internals import _GramReader
from withstand.interventions import Lesion, LocalAttention, RandomAttention, intervene
from withstand.models import Classifier, Preprocessing
from withstand.representations import representations

ROUNDS = 9
MINIBATCH = 50


def run() -> Iterator[Comparison]:
    torch.set_num_threads(1)
    for name, model in _models():
        size = model.preprocessing.input_size
        count = max(1, CPU_PIXELS // size**2)
        images = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            yield from _costs(name, model, images)
        yield _grams(name, model, size)


def _models() -> Iterator[tuple[str, Classifier]]:
    for name in ("vit_p8_base", "vit_p16_base", "resnet_gn_base"):
        yield name, models.load({"zoo": name}, zoo.weights(name))
    for name in ("vit_small_patch16_224", "resnet50"):
        network = timm.create_model(name).to(memory_format=torch.channels_last)
        yield name, Classifier(network, Preprocessing(224, (0.5,) * 3, (0.5,) * 3)).eval().requires_grad_(False)


def _costs(name: str, model: Classifier, images: torch.Tensor) -> Iterator[Comparison]:
    works: dict[str, tuple[Callable, object]] = {
        "plain": (lambda: model(images), nullcontext),
        "representations of all blocks": (lambda: representations(model, images), nullcontext),
        "a block removed": (lambda: model(images), lambda: intervene(model, Lesion("block", (1,)))),
    }
    if not name.startswith("resnet"):
        for part in ("mlp", "attention"):
            works[f"one {part} removed"] = (
                lambda: model(images),
                lambda part=part: intervene(model, Lesion(part, (1,))),
            )
        works["attention within 0.3"] = (lambda: model(images), lambda: intervene(model, LocalAttention(0.3)))
        works["attention at random"] = (lambda: model(images), lambda: intervene(model, RandomAttention(0.3, 0)))
    seconds = _rounds(works)
    for work in [work for work in works if work != "plain"]:
        ratio = median(plain / own for own, plain in zip(seconds[work], seconds["plain"], strict=True))
        speeds = (len(images) / median(seconds[which]) for which in (work, "plain"))
        yield Comparison(f"extraction_cpu: {name}, {work}", *speeds, ratio, "images/s", "the bare forward pass")


def _rounds(works: Mapping[str, tuple[Callable, Callable]]) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, (work, context) in works.items():
            with context():
                start = time.perf_counter()
                work()
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _grams(name: str, model: Classifier, size: int) -> Comparison:
    """A minibatch to Gram matrices and correlations, against the bare forward pass of its images."""
    images = np.random.default_rng(0).integers(0, 256, (MINIBATCH, size, size, 3), dtype=np.uint8)
    outputs = model.network.num_classes
    forward = Forward(model, outputs, min(MINIBATCH, max(1, CPU_PIXELS // size**2)))
    samples = Samples([str(i) for i in range(MINIBATCH)], np.zeros(MINIBATCH, int), ["a"], np.array([0]), "x")
    reader = _GramReader(model, forward, samples, 2 << 30)
    works = {
        "plain": (lambda: forward(images), nullcontext),
        "ours": (lambda: reader.minibatch(images, slice(0, MINIBATCH)), nullcontext),
    }
    seconds = _rounds(works)
    ratio = median(plain / own for own, plain in zip(seconds["ours"], seconds["plain"], strict=True))
    return Comparison(
        f"extraction_cpu: {name}, Gram matrices and correlations of {MINIBATCH}",
        MINIBATCH / median(seconds["ours"]),
        MINIBATCH / median(seconds["plain"]),
        ratio,
        "images/s",
        "the bare forward pass",
    )
