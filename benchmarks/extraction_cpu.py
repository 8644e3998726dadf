"""What looking into a model costs: representations, Gram matrices, lesions and masks against the bare forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from statistics import median

import numpy as np
import timm
import torch

from benchmarks.attacked import timed
from benchmarks.comparison import Comparison
from withstand import blocks, models, zoo
from withstand.compat import has_bool_masks
from withstand.errors import NotApplicableError
from withstand.images import Samples
from withstand.inference import CPU_PIXELS, Forward
from withstand.internals import GramProtocol, _GramReader, _room
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
            yield from compare(f"extraction_cpu: {name}", model, images, ROUNDS)
        pixels = np.random.default_rng(0).integers(0, 256, (MINIBATCH, size, size, 3), dtype=np.uint8)
        yield compare_grams(f"extraction_cpu: {name}", model, pixels, count, "cpu", ROUNDS)


def _models() -> Iterator[tuple[str, Classifier]]:
    for name in ("vit_p8_base", "vit_p16_base", "resnet_gn_base"):
        yield name, models.load({"zoo": name}, zoo.weights(name))
    for name in ("vit_small_patch16_224", "resnet50"):
        network = timm.create_model(name).to(memory_format=torch.channels_last)
        yield name, Classifier(network, Preprocessing(224, (0.5,) * 3, (0.5,) * 3)).eval().requires_grad_(False)


def compare(label: str, model: Classifier, images: torch.Tensor, rounds: int) -> Iterator[Comparison]:
    """Representations, lesions and attention limits of a model, on float images that lie where it does."""
    works: dict[str, tuple[Callable, object]] = {
        "plain": (lambda: model(images), nullcontext),
        "representations of all blocks": (lambda: representations(model, images), nullcontext),
        "a block removed": (lambda: model(images), lambda: intervene(model, Lesion("block", (1,)))),
    }
    if _has_patches(model):
        for part in ("mlp", "attention"):
            works[f"one {part} removed"] = (
                lambda: model(images),
                lambda part=part: intervene(model, Lesion(part, (1,))),
            )
    if _has_patches(model) and has_bool_masks():
        works["attention within 0.3"] = (lambda: model(images), lambda: intervene(model, LocalAttention(0.3)))
        works["attention at random"] = (lambda: model(images), lambda: intervene(model, RandomAttention(0.3, 0)))
    seconds = _rounds(works, rounds)
    for work in [work for work in works if work != "plain"]:
        ratio = median(plain / own for own, plain in zip(seconds[work], seconds["plain"], strict=True))
        speeds = (len(images) / median(seconds[which]) for which in (work, "plain"))
        yield Comparison(f"{label}, {work}", *speeds, ratio, "images/s", "the bare forward pass")


def _has_patches(model: Classifier) -> bool:
    try:
        blocks.patches_of(model.network, model.preprocessing.input_size)
    except NotApplicableError:
        return False
    return True


def _rounds(works: Mapping[str, tuple[Callable, Callable]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each work in so many rounds, after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, (work, context) in works.items():
            with context():
                taken = timed(work)
            if turn:
                seconds[name].append(taken)
    return seconds


def compare_grams(
    label: str, model: Classifier, images: np.ndarray, batch_size: int, device: str, rounds: int
) -> Comparison:
    """A minibatch, uint8 (n, height, width, 3), to Gram matrices and correlations, against its bare forward pass."""
    count = len(images)
    forward = Forward(model, model.network.num_classes, batch_size, device)
    samples = Samples([str(i) for i in range(count)], np.zeros(count, int), ["a"], np.array([0]), "x")
    reader = _GramReader(model, forward, samples, _room(GramProtocol.memory, torch.device(device)))
    works = {
        "plain": (lambda: forward(images), nullcontext),
        "ours": (lambda: reader.minibatch(images, slice(0, count)), nullcontext),
    }
    seconds = _rounds(works, rounds)
    ratio = median(plain / own for own, plain in zip(seconds["ours"], seconds["plain"], strict=True))
    return Comparison(
        f"{label}, Gram matrices and correlations of {count}",
        count / median(seconds["ours"]),
        count / median(seconds["plain"]),
        ratio,
        "images/s",
        "the bare forward pass",
    )
