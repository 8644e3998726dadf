"""A model and images to attack, for tests."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch

from withstand import models, zoo
from withstand.attacks.gradient import Attacked, GradientAttack, attack
from withstand.attacks.space import Budget
from withstand.datasets.registry import open_source

GREY = Fraction(1, 255)
SOURCE = {"kind": "shapetex", "split": "test"}


def zoo_model(name: str) -> models.Classifier:
    return models.load({"zoo": name}, zoo.weights(name))


def pictures(count: int) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """uint8 (n, 64, 64, 3), labels and ids."""
    source = open_source(SOURCE)
    ids = source.sample_ids(count)
    images = np.stack([source.read(sample_id) for sample_id in ids])
    return torch.from_numpy(images), torch.from_numpy(source.labels(ids)), ids


def budget(eps: Fraction = GREY, step_size: Fraction | None = None, **options) -> Budget:
    return Budget(options.pop("norm", "linf"), eps, eps / 8 if step_size is None else step_size, **options)


def pgd(model, sample, *, eps=GREY, steps=8, targets=None, restarts=1, name="pgd", **options) -> Attacked:
    images, labels, ids = sample
    given = GradientAttack(name, budget(eps, **options), steps, restarts, targets is not None)
    return attack(model, images, labels, ids, given, targets)


def accuracy(attacked: Attacked, sample) -> float:
    return (attacked.logits.argmax(1) == sample[1]).float().mean().item()
