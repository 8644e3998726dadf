"""Rotations and translations against bare forward passes and foolbox's SpatialAttack on the same grid; one thread.

foolbox stops when every image of a batch is wrong; some of the images here stay right for good, so that both pass
through the whole grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from statistics import median

import torch

from benchmarks.attacked import model_of_zoo, pictures, ratio, rounds
from benchmarks.comparison import Comparison
from benchmarks.pgd_cpu import MODELS
from withstand.attacks.spatial import Search, SpatialGrid
from withstand.inference import Passes
from withstand.models import Classifier

BATCH, ROUNDS = 64, 3
GRID = SpatialGrid(rotation=30, translation=3, angles=5, shifts=3, draws=1)


def run() -> Iterator[Comparison]:
    torch.set_num_threads(1)
    for name in MODELS:
        label = f"spatial_cpu: {name}, {len(GRID.transformations)} transformations"
        yield from compare(label, model_of_zoo(name, "cpu"), pictures(BATCH), BATCH, ROUNDS)


def compare(
    label: str,
    model: Classifier,
    sample: tuple[torch.Tensor, torch.Tensor, list[str]],
    at_once: int,
    number: int,
    peers: Sequence[str] = ("foolbox",),
) -> Iterator[Comparison]:
    """The search on images that lie where the model does, in passes of ``at_once``, against bare passes and foolbox.

    Args:
        sample: images, their labels on the CPU, and ids.
    """
    images, labels, ids = sample
    device, outputs = images.device, model.network.num_classes
    floats = (images.float() / 255).permute(0, 3, 1, 2)
    transformations = len(GRID.transformations) + GRID.draws
    search = Search(model, outputs, GRID, {"all": torch.arange(outputs)}, Passes(at_once, device))
    # as many images in each pass as the search has
    filled = floats.repeat(max(1, at_once // len(floats)), 1, 1, 1)
    passes_needed = transformations * len(floats) / len(filled)

    @torch.inference_mode()
    def bare() -> None:
        for _ in range(math.ceil(passes_needed)):
            model(filled)

    # foolbox asks about the image as it is at the beginning and about what it found at the end, and has no draws
    against = {"bare passes": (bare, passes_needed / math.ceil(passes_needed))}
    for peer in peers:
        work = _foolbox(model, floats.contiguous(), labels.to(device))
        against[f"{peer} {metadata.version(peer)}"] = (work, transformations / (len(GRID.transformations) + 2))
    works = [lambda: search(images, labels, ids), *(work for work, _ in against.values())]
    ours, *others = rounds(works, number)
    speed = len(images) * transformations / median(ours)
    threads = f", {torch.get_num_threads()} thread" if device.type == "cpu" else ""
    for (name, (_, fair)), taken in zip(against.items(), others, strict=True):
        found = [seconds * fair for seconds in taken]
        other = len(images) * transformations / median(found)
        yield Comparison(label, speed, other, ratio(ours, found), "images/s", f"{name}{threads}")


def _foolbox(model: Classifier, pixels: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    import foolbox

    theirs = foolbox.attacks.SpatialAttack(GRID.translation, GRID.rotation, GRID.shifts, GRID.angles)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=pixels.device)

    def work() -> None:
        _, _, success = theirs(wrapped, pixels, foolbox.criteria.Misclassification(labels))
        assert not success.all(), "the peer has stopped early"

    return work
