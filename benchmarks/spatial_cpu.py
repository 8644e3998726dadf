"""Rotations and translations against bare forward passes and foolbox's SpatialAttack on the same grid; one thread.

foolbox stops when every image of a batch is wrong; some of the images here stay right for good, so that both pass
through the whole grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import foolbox
import torch

from benchmarks.attacked import model_of_zoo, pictures, ratio, rounds
from benchmarks.comparison import Comparison
from benchmarks.pgd_cpu import MODELS
from withstand.attacks.spatial import Search, SpatialGrid
from withstand.inference import Passes

DEVICE = "cpu"
BATCH, ROUNDS = 64, 3
GRID = SpatialGrid(rotation=30, translation=3, angles=5, shifts=3, draws=1)


def run() -> Iterator[Comparison]:
    torch.set_num_threads(1)
    for name in MODELS:
        yield from compare(name, DEVICE, BATCH)


def compare(name: str, device: str, batch: int) -> Iterator[Comparison]:
    """The search of one model of the zoo, against each peer."""
    model = model_of_zoo(name, device)
    images, labels, ids = pictures(batch)
    on_device = images.to(device)
    floats = (on_device.float() / 255).permute(0, 3, 1, 2)
    contiguous, at_peer = floats.contiguous(), labels.to(device)
    number = len(GRID.transformations) + GRID.draws
    search = Search(model, 10, GRID, {"all": torch.arange(10)}, Passes(batch, device))
    theirs = foolbox.attacks.SpatialAttack(GRID.translation, GRID.rotation, GRID.shifts, GRID.angles)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=device)

    @torch.inference_mode()
    def bare() -> None:
        for _ in range(number):
            model(floats)

    def peer() -> None:
        _, _, success = theirs(wrapped, contiguous, foolbox.criteria.Misclassification(at_peer))
        assert not success.all(), "the peer has stopped early"

    ours, passes, others = rounds((lambda: search(on_device, labels, ids), bare, peer), ROUNDS)
    # the peer asks about the image as it is at the beginning and about what it found at the end, and has no draws
    per_image = {"ours": number, "bare": number, "peer": len(GRID.transformations) + 2}
    speed = {
        key: batch * per_image[key] / median(seconds)
        for key, seconds in (("ours", ours), ("bare", passes), ("peer", others))
    }
    label = f"spatial_{device}: {name}, {len(GRID.transformations)} transformations"
    yield Comparison(label, speed["ours"], speed["bare"], ratio(ours, passes), "images/s", "bare passes, 1 thread")
    fair = [seconds * number / per_image["peer"] for seconds in others]
    yield Comparison(label, speed["ours"], speed["peer"], ratio(ours, fair), "images/s", "foolbox 3.3.4, 1 thread")
