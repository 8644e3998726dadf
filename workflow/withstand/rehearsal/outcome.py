"""What came of a rehearsal."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from withstand.rehearsal import weights


@dataclass
class Outcome:
    """What came of the rehearsal of a study.

    Attributes:
        models, datasets: what was rehearsed, by name, and what its weights and images were.
        real: names among them that were real.
        left_out: models, datasets and experiments that others stand for.
        failed: jobs and models that failed, with the log or the reason.
        unreached: number of jobs that wait for failed ones.
        missing: what the real run still needs.
        seconds: that the run took; 0 where other studies cover all that this one has.
    """

    study: str
    folder: Path
    models: dict[str, str] = field(default_factory=dict)
    datasets: dict[str, str] = field(default_factory=dict)
    real: set[str] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    unreached: int = 0
    missing: list[str] = field(default_factory=list)
    seconds: float = 0.0


def summary(outcome: Outcome) -> str:
    """What is made up in a rehearsal, in a sentence."""
    trained = [name for name, what in outcome.models.items() if what == weights.TRAINED]
    made_up = [name for name in (*outcome.models, *outcome.datasets) if name not in {*outcome.real, *trained}]
    parts = {"made up": made_up, "trained in small": trained}
    what = "; ".join(f"{how}: {', '.join(names)}" for how, names in parts.items() if names)
    what = what or "models and images are real"
    return f"A rehearsal with a few samples; its numbers mean nothing ({what})."
