"""Where the checks run and how large they are, and the rows that they yield."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.comparison import Comparison, Line


@dataclass(frozen=True)
class Setting:
    """Attributes:
    device: ``cuda``, or ``cpu`` for a rehearsal.
    small: a rehearsal: the same code with small networks and few images.
    """

    device: str
    small: bool

    @property
    def networks(self) -> dict[str, dict]:
        """A transformer and a convolutional network of timm for 224 px: entries of a config, by name."""
        if self.small:
            return {
                "vit_tiny, 2 blocks": {"timm": "vit_tiny_patch16_224", "kwargs": {"depth": 2}},
                "resnet18, 5 blocks": {"timm": "resnet18", "kwargs": {"layers": [2, 1, 1, 1]}},
            }
        return {name: {"timm": name} for name in ("vit_base_patch16_224", "resnet50")}

    @property
    def rounds(self) -> int:
        """Rounds that are timed, after one that is not."""
        return 1 if self.small else 3

    def size(self, full: int, small: int) -> int:
        return small if self.small else full


@dataclass(frozen=True)
class Verdict(Line):
    """Whether something is as it should be.

    Attributes:
        name: what was checked.
        passed: whether it holds.
        found: what was found, in words.
    """

    COLUMNS: ClassVar = ("check", "passed", "found")

    name: str
    passed: bool
    found: str

    def cells(self) -> list[str]:
        return [self.name, "yes" if self.passed else "NO", " ".join(self.found.split())]


Check = Callable[[Setting], Iterator[Comparison | Verdict]]
