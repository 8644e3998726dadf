"""What each model must show on a few clean images before anything else is computed with it.

A wrong file of weights, a wrong mean or a wrong order of labels costs most of a model's accuracy. A thousand images
show that; a study would show it a week later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from withstand import published
from withstand.published.match import clean_accuracies

if TYPE_CHECKING:
    from withstand.config import ModelEntry, Study

STANDARD_ERRORS = 3
"""How far an accuracy may lie below the expected one: chance alone stops one right model in 740."""


@dataclass(frozen=True)
class Expected:
    """A top-1 accuracy that a model should have, as a share.

    Attributes:
        input_size: the size in pixels at which it holds; None for any.
        source: who says so.
    """

    accuracy: float
    input_size: int | None
    source: str

    def __str__(self) -> str:
        size = f" at {self.input_size} px" if self.input_size else ""
        return f"{100 * self.accuracy:.4g}%{size} ({self.source})"


@dataclass(frozen=True)
class Gate:
    """What is expected of a model on the clean images of a dataset: one accuracy for each input size."""

    dataset: str
    expected: tuple[Expected, ...]

    @classmethod
    def of(cls, given: Mapping) -> Gate:
        """A gate from JSON."""
        return cls(given["dataset"], tuple(Expected(**each) for each in given["expected"]))

    def at(self, input_size: int) -> Expected | None:
        """What is expected of a model of that size; None where nothing is."""
        return next((each for each in self.expected if each.input_size in (None, input_size)), None)

    def stops(self, correct: int, images: int, input_size: int) -> bool:
        """Whether a model with so many correct answers does not pass."""
        expected = self.at(input_size)
        return expected is not None and is_below(correct, images, expected.accuracy)

    def __str__(self) -> str:
        return f"{' or '.join(map(str, self.expected))} on {self.dataset}"


def gates(study: Study) -> dict[str, Gate]:
    """The gates of a study's models; models that nothing is expected of have none."""
    if study.gates is None:
        return {}
    reference = study.reference()
    known = clean_accuracies(study, reference) if reference else {}
    found = {}
    for name, entry in study.models.items():
        if entry.expect is not None:
            dataset = study.gate_dataset(name)
            accuracy = entry.expect[dataset] if isinstance(entry.expect, dict) else entry.expect
            found[name] = Gate(dataset, (Expected(accuracy, None, "`expect` in the config"),))
        elif expected := _first_of_each_size(known.get(name, ())):
            found[name] = Gate(reference, expected)
    return found


def _first_of_each_size(rows: Iterable[Mapping[str, str]]) -> tuple[Expected, ...]:
    found: dict[int, Expected] = {}
    for row in rows:
        size, citation = int(row["input_size"]), published.sources()[row["source"]]["citation"]
        found.setdefault(size, Expected(float(row["value"]), size, citation))
    return tuple(found.values())


def without_gate(study: Study) -> dict[str, str]:
    """Why models have no gate, in a study that has gates."""
    if study.gates is None:
        return {}
    where, having = study.reference(), gates(study)
    return {
        name: f"no published value for {_identity(entry)}{_on(study, where)}, and no `expect`"
        for name, entry in study.models.items()
        if name not in having
    }


def _on(study: Study, dataset: str | None) -> str:
    if dataset is None:
        return ""
    is_stored = study.datasets[dataset].policy == "stored"
    return f" on {dataset}{f' stored at {study.image_size(dataset)} px' if is_stored else ''}"


def _identity(entry: ModelEntry) -> str:
    """What a model is, in a few words."""
    changed = [key for key in ("kwargs", "preprocessing", "interventions") if getattr(entry, key)]
    name = entry.checkpoint or entry.timm or entry.zoo or entry.recipe or entry.function
    return f"{name} with {' and '.join(changed)} of its own" if changed else name


def is_below(correct: int, images: int, accuracy: float) -> bool:
    """Whether so many correct answers are more than three standard errors fewer than an accuracy lets expect: those of
    a binomial distribution. Exact, for an accuracy that is the decimal number that it is written as."""
    expected = Fraction(str(accuracy))
    missing = images * expected - correct
    return missing > 0 and missing**2 > STANDARD_ERRORS**2 * images * expected * (1 - expected)
