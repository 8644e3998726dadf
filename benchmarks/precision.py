"""What lower precision changes: models of the zoo in float32 and in other numbers, on the same images.

Clean images, the fifteen corruptions of ImageNet-C at severity 3, and PGD made and answered in each. On a CPU that is
bfloat16; on a GPU, TF32 too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import torch

from benchmarks.attacked import pictures
from benchmarks.comparison import Line
from withstand import models, zoo
from withstand.attacks.gradient import GradientAttack, attack
from withstand.attacks.space import Budget
from withstand.computing import Computing, Precision
from withstand.corruptions.registry import corrupt
from withstand.inference import Forward
from withstand.metrics.corruption_error import ALEXNET

MODELS = ("vit_p8_base", "vit_p16_base", "resnet_gn_base")
SAMPLES, ATTACKED, BATCH, SEVERITY, STEPS, SEED = 1000, 200, 128, 3, 8, 0
EPSILONS = (Fraction(1, 255), Fraction(4, 255))


@dataclass(frozen=True)
class Difference(Line):
    """Attributes:
    name: model and images.
    precision: what is compared with float32.
    images: how many.
    exact, rounded: accuracy in float32, and in the other numbers, in percent.
    differing: share of images with another answer, in percent.
    largest: the largest difference of the label's probability.
    """

    COLUMNS: ClassVar = (
        *("precision", "numbers", "images", "accuracy in float32, %", "accuracy, %"),
        *("other answers, %", "largest difference of the label's probability"),
    )

    name: str
    precision: Precision
    images: int
    exact: float
    rounded: float
    differing: float
    largest: float

    def cells(self) -> list[str]:
        numbers = [f"{self.exact:.2f}", f"{self.rounded:.2f}", f"{self.differing:.2f}", f"{self.largest:.2g}"]
        return [self.name, self.precision, f"{self.images:,}", *numbers]


def run() -> Iterator[Difference]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    clean, labels, ids = pictures(SAMPLES)
    corrupted = torch.cat([corrupt(clean, name, SEVERITY, ids, SEED) for name in ALEXNET])
    for model in MODELS:
        load = {
            precision: models.load({"zoo": model}, zoo.weights(model), device, Computing(precision))
            for precision in (("float32", "tf32", "bfloat16") if device == "cuda" else ("float32", "bfloat16"))
        }
        for what, images in (("clean", clean), (f"{len(ALEXNET)} corruptions", corrupted)):
            known = labels.repeat(len(images) // len(labels))
            answers = {precision: _answers(network, images, precision, device) for precision, network in load.items()}
            yield from _differences(f"{model}, {what}", answers, known)
        for eps in EPSILONS:
            some, known = clean[:ATTACKED], labels[:ATTACKED]
            answers = {
                precision: _attacked(network, some, known, ids[:ATTACKED], eps, precision, device)
                for precision, network in load.items()
            }
            yield from _differences(f"{model}, PGD {eps}", answers, known)


def _answers(model: models.Classifier, images: torch.Tensor, precision: Precision, device: str) -> torch.Tensor:
    Computing(precision).prepare(model.network, device)  # products of float32 are a setting of the process
    return Forward(model, 10, BATCH, device)(images.numpy())


def _attacked(model, images, labels, ids, eps: Fraction, precision: Precision, device: str) -> torch.Tensor:
    """What a model answers to perturbations that were made with its own numbers."""
    Computing(precision).prepare(model.network, device)
    given = GradientAttack("pgd", Budget("linf", eps, eps / STEPS), STEPS)
    found = attack(model, images.to(device), labels.to(device), ids, given)
    return found.logits.float().cpu()


def _differences(name: str, answers: dict, labels: torch.Tensor) -> Iterator[Difference]:
    exact = answers["float32"]
    for precision, rounded in answers.items():
        if precision == "float32":
            continue
        chances = [logits.softmax(1)[torch.arange(len(labels)), labels] for logits in (exact, rounded)]
        right = [100 * (logits.argmax(1) == labels).float().mean().item() for logits in (exact, rounded)]
        differing = 100 * (exact.argmax(1) != rounded.argmax(1)).float().mean().item()
        largest = (chances[0] - chances[1]).abs().max().item()
        yield Difference(name, precision, len(labels), *right, differing, largest)
