"""Rows of tables, and the usual one: ours beside a peer's, a floor's or a budget's number."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from withstand.provenance import versions

RECORD = Path("results/benchmarks.jsonl")


class Line:
    """What a benchmark found: a row of a table, and a line of ``results/benchmarks.jsonl``; a frozen dataclass."""

    COLUMNS: ClassVar[tuple[str, ...]]

    def append(self, device: str) -> None:
        """Add a line to ``results/benchmarks.jsonl``."""
        RECORD.parent.mkdir(exist_ok=True)
        line = {**asdict(self), "device": device, "versions": versions(), "python": platform.python_version()}
        with RECORD.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, sort_keys=True) + "\n")

    def cells(self) -> list[str]:
        """The texts of the row."""
        raise NotImplementedError

    def row(self) -> str:
        """A row of a table in docs/benchmarks.md."""
        return _row(self.cells())

    @classmethod
    def header(cls) -> str:
        """What stands above such rows."""
        return f"{_row(cls.COLUMNS)}\n|{'---|' * len(cls.COLUMNS)}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


@dataclass(frozen=True)
class Comparison(Line):
    """Attributes:
    name: benchmark and what was measured.
    ours, peer: numbers in the same unit.
    ratio: how many times better ours is.
    unit: e.g. ``images/s`` or ``s``.
    against: what the peer is.
    """

    COLUMNS: ClassVar = ("benchmark", "ours", "peer", "ratio", "unit", "peer is")

    name: str
    ours: float
    peer: float
    ratio: float
    unit: str
    against: str

    @classmethod
    def more_is_better(cls, name: str, ours: float, peer: float, unit: str, against: str) -> Comparison:
        return cls(name, ours, peer, ours / peer, unit, against)

    @classmethod
    def less_is_better(cls, name: str, ours: float, peer: float, unit: str, against: str) -> Comparison:
        return cls(name, ours, peer, peer / ours, unit, against)

    def cells(self) -> list[str]:
        return [self.name, f"{self.ours:,.4g}", f"{self.peer:,.4g}", f"{self.ratio:.2f}", self.unit, self.against]
