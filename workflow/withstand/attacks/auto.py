"""AutoAttack (Croce & Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
attacks", ICML 2020), by its authors' own code, packaged as pyautoattack.

Its random numbers belong to the batch, not to the sample: its results depend on the batch size. It leaves samples alone
that the model gets wrong anyway, or that it cannot make it get wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch
from torch import nn

from withstand.attacks.doubts import heard
from withstand.attacks.gradient import Attacked, answer, is_zero
from withstand.attacks.space import Norm, apply, toward_zero
from withstand.errors import ModelError, WithstandError
from withstand.inference import check_finite, model_errors
from withstand.predictions import NEVER

FEWEST_CLASSES = 4
"""That the targeted loss of differences of logits is made of."""

Version = Literal["standard", "plus", "rand"]

BLACK_BOX = "square"
"""The part that follows no gradients."""


@dataclass(frozen=True)
class AutoAttack:
    """An attack.

    Attributes:
        eps: the most that a perturbation may measure in ``norm``, in [0, 1] pixel space.
        version: ``standard`` (APGD-CE, targeted APGD-DLR and FAB, Square), ``plus`` (more of them), or ``rand`` (for
            models with random parts).
        attacks: which parts to run, in that order, instead of a version's.
        seed: of the study.
    """

    norm: Norm
    eps: Fraction
    version: Version = "standard"
    attacks: Sequence[str] = ()
    seed: int = 0

    @property
    def needs_gradients(self) -> bool:
        """Whether all of its parts follow gradients."""
        return BLACK_BOX not in self.attacks if self.attacks else self.version == "rand"


def attack(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    sample_ids: Sequence[str],
    given: AutoAttack,
    doubts: set[str],
) -> Attacked:
    """Attack a model on a batch.

    Args:
        model: from float32 (n, 3, height, width) in [0, 1] to logits (n, outputs).
        images: uint8 (n, height, width, 3), on the model's device.
        labels: int64 (n).
        doubts: takes what AutoAttack warns of (see :mod:`withstand.attacks.doubts`).

    Returns what :func:`withstand.attacks.gradient.attack` does; samples fall at step 0 or 1. Where it follows no
    gradients at all, none is counted as zero.

    Raises:
        ModelError: if the model fails, a logit is not finite, or it has no gradient to follow.
        WithstandError: if pyautoattack is not installed.
    """
    try:
        import pyautoattack
    except ImportError:
        raise WithstandError("AutoAttack needs pyautoattack: pip install 'withstand[autoattack]'") from None

    real = images.float() / 255
    pixels = real.permute(0, 3, 1, 2).contiguous()
    clean = answer(model, apply(images, torch.zeros_like(images, dtype=torch.float16), None))
    check_finite(clean, "logits", sample_ids)
    parts = {"version": "custom", "attacks": list(given.attacks)} if given.attacks else {"version": given.version}
    norm = {"linf": "Linf", "l2": "L2"}[given.norm]
    attacker = pyautoattack.AutoAttack(
        model, eps=float(given.eps), norm=norm, seed=given.seed, device=images.device, **parts
    )
    if clean.shape[1] < FEWEST_CLASSES and "apgd-t" in attacker.attacks_to_run:
        raise ModelError(f"the model has {clean.shape[1]} outputs, AutoAttack's targeted loss needs {FEWEST_CLASSES}")
    for part in (attacker.apgd_targeted, attacker.fab):  # which look for so many other classes, nine by default
        part.n_target_classes = min(part.n_target_classes, clean.shape[1] - 1)
    follows = set(attacker.attacks_to_run) != {BLACK_BOX}
    zero = is_zero(model, real, labels, sample_ids) if follows else torch.zeros_like(labels, dtype=torch.bool)
    with model_errors(), heard(doubts):
        found, _ = attacker.run_standard_evaluation(pixels, labels, batch_size=len(images))
    stored = toward_zero((found - pixels).permute(0, 2, 3, 1))
    logits = answer(model, apply(images, stored, None))
    wrong_before, wrong = clean.argmax(1) != labels, logits.argmax(1) != labels
    fell_at = torch.where(wrong_before, 0, torch.where(wrong, 1, NEVER))
    return Attacked(stored, logits, fell_at, zero, torch.full_like(labels, -1))
