"""Attacks by gradients of the loss: FGSM, and PGD.

FGSM (Goodfellow et al., "Explaining and harnessing adversarial examples", ICLR 2015) is one step of the size of the
budget; PGD (Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018) is several
smaller ones. Every sample is attacked, whether the model was right about it before or not; what counts is the answer
to the last image. Normalisation happens inside the model, so gradients are those of pixels in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import nn

from withstand import random
from withstand.attacks.space import Budget, space
from withstand.errors import ModelError, WithstandError
from withstand.inference import check_finite, check_logits, model_errors
from withstand.predictions import NEVER


@dataclass(frozen=True)
class GradientAttack:
    """An attack.

    Attributes:
        name: of which random numbers depend.
        budget: how far, and in which steps.
        steps: number of gradient steps.
        restarts: how often it is tried, each time from another random point; the strongest try is kept.
        targeted: whether it looks for a given class, instead of any other than the label.
        seed: of the study.
    """

    name: str
    budget: Budget
    steps: int
    restarts: int = 1
    targeted: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ``WithstandError`` where there is nothing to do."""
        for name in ("steps", "restarts"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise WithstandError(f"{name}: {getattr(self, name)!r} is no positive whole number")


@dataclass(frozen=True)
class Attacked:
    """What an attack did to n samples.

    Attributes:
        perturbations: as stored (see :mod:`withstand.attacks.space`), (n, height, width, 3).
        logits: float32 (n, outputs), of the images with these perturbations.
        fell_at: int64 (n): after how many steps the model first answered as the attack wants (0: before any, at the
            start), or ``NEVER``. It may have answered otherwise again later.
        without_gradient: bool (n): where the gradient at the start was zero everywhere.
        targets: int64 (n): the classes that it looked for, or -1 for any but the label.
    """

    perturbations: torch.Tensor
    logits: torch.Tensor
    fell_at: torch.Tensor
    without_gradient: torch.Tensor
    targets: torch.Tensor


def attack(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    sample_ids: Sequence[str],
    given: GradientAttack,
    targets: torch.Tensor | None = None,
) -> Attacked:
    """Attack a model on a batch.

    Args:
        model: from float32 (n, 3, height, width) in [0, 1] to logits (n, outputs).
        images: uint8 (n, height, width, 3), on the model's device.
        labels: int64 (n).
        targets: int64 (n), the classes that a targeted attack looks for.

    Raises:
        ModelError: if the model has no gradient, or a logit or gradient is not finite.
    """
    wanted = targets if given.targeted else labels
    tries = (_attempt(model, images, wanted, sample_ids, given, restart) for restart in range(given.restarts))
    return reduce(lambda one, other: _stronger(one, other, wanted, given.targeted), tries)


def _attempt(
    model: nn.Module,
    images: torch.Tensor,
    wanted: torch.Tensor,
    sample_ids: Sequence[str],
    given: GradientAttack,
    restart: int,
) -> Attacked:
    def keys(draw: int) -> torch.Tensor:
        number = 2 * restart + draw
        return random.tensor_keys(given.seed, f"start of {given.name}", 0, sample_ids, number, str(images.device))

    where = space(given.budget, images)
    changes = where.start(keys)
    fell_at = torch.full_like(wanted, NEVER)
    without_gradient = torch.zeros_like(wanted, dtype=torch.bool)
    for number in range(given.steps):
        gradient, logits = _uphill(model, where.images(changes), wanted, given.targeted, sample_ids)
        fell_at = _first(fell_at, number, _succeeds(logits, wanted, given.targeted))
        if number == 0:
            without_gradient = ~gradient.flatten(1).any(1)
        changes = where.step(changes, gradient)
    stored = where.stored(changes)
    logits = answer(model, where.images(stored.float()))
    check_finite(logits, "logits", sample_ids)
    fell_at = _first(fell_at, given.steps, _succeeds(logits, wanted, given.targeted))
    return Attacked(
        stored, logits, fell_at, without_gradient, wanted if given.targeted else torch.full_like(wanted, -1)
    )


def is_zero(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, sample_ids: Sequence[str]) -> torch.Tensor:
    """Where the gradient is zero everywhere: bool (n), for float images (n, height, width, 3) in [0, 1].

    Raises:
        ModelError: if the model has no gradient, or a logit or gradient is not finite.
    """
    gradient, _ = _uphill(model, images, labels, False, sample_ids)
    return ~gradient.flatten(1).any(1)


def _uphill(
    model: nn.Module, images: torch.Tensor, wanted: torch.Tensor, targeted: bool, sample_ids: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The direction in which the loss of the label rises, or, targeted, that of the wanted class falls.

    Returns a positive multiple of the gradient, another for each sample, (n, height, width, 3), and the logits. Steps
    use its direction alone, and a loss of nearly zero would have a gradient that float32 cannot hold.
    """
    images = images.permute(0, 3, 1, 2).requires_grad_(True)
    with torch.enable_grad(), model_errors():
        logits = model(images)
    check_logits(logits, len(images))
    check_finite(logits, "logits", sample_ids)
    if not logits.requires_grad:
        raise ModelError("the model has no gradient: torch cannot follow how its logits depend on its input")
    with model_errors():
        (gradient,) = torch.autograd.grad(
            logits, images, _loss_gradient(logits.detach(), wanted, targeted), materialize_grads=True
        )
    check_finite(gradient, "gradients", sample_ids)
    return gradient.permute(0, 2, 3, 1), logits.detach()


def _loss_gradient(logits: torch.Tensor, wanted: torch.Tensor, targeted: bool) -> torch.Tensor:
    """The gradient of the cross-entropy at the logits, downhill if targeted, each row divided by 1 - p of that class.

    It is p of the others, and p - 1 of the wanted class. Divided so, it is a softmax over the others, and -1: nothing
    that can vanish, however sure the model is.
    """
    others = logits.double().scatter(1, wanted[:, None], -torch.inf).softmax(1)
    gradient = others.scatter(1, wanted[:, None], -1.0)
    return (-gradient if targeted else gradient).to(logits.dtype)


@torch.no_grad()
def answer(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Float32 logits of images (n, height, width, 3) in [0, 1]."""
    with model_errors():
        logits = model(images.permute(0, 3, 1, 2))
    check_logits(logits, len(images))
    return logits.float()


def _succeeds(logits: torch.Tensor, wanted: torch.Tensor, targeted: bool) -> torch.Tensor:
    return (logits.argmax(1) == wanted) if targeted else (logits.argmax(1) != wanted)


def _first(fell_at: torch.Tensor, number: int, succeeded: torch.Tensor) -> torch.Tensor:
    return torch.where(succeeded & (fell_at == NEVER), number, fell_at)


def _stronger(one: Attacked, other: Attacked, wanted: torch.Tensor, targeted: bool) -> Attacked:
    """For each sample the try that succeeds, and among equals the one that is further from failing."""
    better = _strength(other.logits, wanted, targeted) > _strength(one.logits, wanted, targeted)

    def choose(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return torch.where(better.reshape(-1, *(1,) * (first.ndim - 1)), second, first)

    return Attacked(
        choose(one.perturbations, other.perturbations),
        choose(one.logits, other.logits),
        choose(one.fell_at, other.fell_at),
        one.without_gradient,
        one.targets,
    )


def _strength(logits: torch.Tensor, wanted: torch.Tensor, targeted: bool) -> torch.Tensor:
    """The margin by which the attack succeeds, negative where it fails: of the best other class over the label, or of
    the target over the best other class."""
    of_wanted = logits.gather(1, wanted[:, None])[:, 0]
    of_others = logits.scatter(1, wanted[:, None], -torch.inf).amax(1)
    return of_wanted - of_others if targeted else of_others - of_wanted
