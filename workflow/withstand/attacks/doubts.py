"""What makes an attack's number doubtful, after the checks of AutoAttack (Croce & Hein, ICML 2020).

An attack that finds nothing to follow leaves a model its accuracy, and says nothing of its robustness. Zero gradients
are counted sample by sample (:class:`withstand.attacks.gradient.Attacked`); what concerns the whole model is here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

PROBABILITIES = "the model returns probabilities instead of logits, whose gradients vanish where it is sure"
RANDOM = "the model's answers differ from pass to pass, so an attack follows another gradient than the one that counts"
DYNAMIC = "the model computes gradients itself while it answers"
MASKED = "Square, which follows no gradients, succeeds where the attacks that do have failed"
VANISHING = "gradients of AutoAttack's own losses are zero for some images"

_SAID = {
    "probability distribution": PROBABILITIES,
    "randomized defense": RANDOM,
    "dynamic defense": DYNAMIC,
    "Square Attack has decreased": MASKED,
    "points with zero gradient": VANISHING,
}
"""What AutoAttack's warnings have in them."""

LIKE = 1e-4
"""The largest distance of two answers, as a share of their length, that is no other answer (AutoAttack's)."""

SUM = 1e-5
"""How far from 0, from 1 and in their sum outputs may be that are probabilities (AutoAttack's)."""

ASKED = 16
"""Images that a model is asked about."""


def doubts_about(model: nn.Module, images: torch.Tensor) -> set[str]:
    """What is doubtful of a model under attacks by gradients.

    Args:
        images: uint8 (n, height, width, 3), on the model's device.
    """
    pixels = (images.float() / 255).permute(0, 3, 1, 2)
    with torch.no_grad():
        one, other = (model(pixels).float() for _ in range(2))
    inside = one.min() > -SUM and one.max() < 1 + SUM
    is_share = bool(inside and ((one.sum(1) - 1).abs() < SUM).all())
    apart = (nn.functional.normalize(one) - nn.functional.normalize(other)).norm(dim=1).max()
    return ({PROBABILITIES} if is_share else set()) | ({RANDOM} if apart > LIKE else set())


@contextmanager
def heard(doubts: set[str]) -> Iterator[None]:
    """Collect what AutoAttack warns of for the time of the block, instead of leaving it to the log."""
    logger, handler = logging.getLogger("auto-attack"), logging.Handler(logging.WARNING)

    def emit(record: logging.LogRecord) -> None:
        message = record.getMessage()
        doubts.add(next((doubt for part, doubt in _SAID.items() if part in message), message))

    handler.emit = emit
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
