"""The corruptions of a family as a plan, JSON that names all that shapes the result, and how it is followed.

A plan is a list of ``{"name", "category", "severities", "constants"}``; ``constants`` maps sizes in pixels to the
arguments at each of the severities. Images take those of the nearest size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from withstand.corruptions.constants import nearest_size
from withstand.corruptions.registry import apply_corruption


@dataclass(frozen=True)
class Step:
    """One corruption at one severity, with its arguments for images of a size."""

    name: str
    category: str
    severity: int
    index: int
    arguments: Sequence[Any]

    def apply(self, images: torch.Tensor, sample_ids: Sequence[str], seed: int) -> torch.Tensor:
        """uint8 (n, height, width, 3) to the same (see :func:`withstand.corruptions.registry.apply_corruption`)."""
        return apply_corruption(images, self.category, self.name, self.severity, self.arguments, sample_ids, seed)


def steps(plan: Sequence[Mapping], size: int) -> Iterator[Step]:
    """All corruptions of a plan at all their severities, for images of ``size`` px."""
    for corruption in plan:
        constants = {int(known): rows for known, rows in corruption["constants"].items()}
        rows = constants[nearest_size(constants, size)]
        for index, (severity, arguments) in enumerate(zip(corruption["severities"], rows, strict=True)):
            yield Step(corruption["name"], corruption["category"], severity, index, arguments)
