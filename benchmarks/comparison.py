"""One comparison: ours beside a peer's, a floor's or a budget's number."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

from withstand.provenance import versions

RECORD = Path("results/benchmarks.jsonl")


@dataclass(frozen=True)
class Comparison:
    """Attributes:
    name: benchmark and what was measured.
    ours, peer: numbers in the same unit.
    ratio: how many times better ours is.
    unit: e.g. ``images/s`` or ``s``.
    against: what the peer is.
    """

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

    def append(self, device: str) -> None:
        """Add a line to ``results/benchmarks.jsonl``."""
        RECORD.parent.mkdir(exist_ok=True)
        line = {**asdict(self), "device": device, "versions": versions(), "python": platform.python_version()}
        with RECORD.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, sort_keys=True) + "\n")

    def row(self) -> str:
        """A row of the table in docs/benchmarks.md."""
        return (
            f"| {self.name} | {self.ours:,.4g} | {self.peer:,.4g} | {self.ratio:.2f} | {self.unit} | {self.against} |"
        )
