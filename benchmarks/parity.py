"""How near the nineteen corruptions of 224 px are to their references, on the photographs of the tests.

Two tables. The first compares pixels: of deterministic corruptions, and of random ones whose reference takes our random
numbers. The second compares the statistics of random corruptions when each side draws its own numbers, beside how much
the reference varies from run to run. What is compared is in tests/corruption_references.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

import corruption_references as references
from benchmarks.comparison import Line
from withstand.corruptions.constants import SEVERITIES

ASKED = 0.995
"""Share of the values of deterministic corruptions that must be within one grey level."""

NO_MAGICK = "no ImageMagick at hand"
GROUPS = ("mean", "deviation", "skewness", "share changed", "correlation", "log power", "histogram")
"""How the names of the statistics begin."""


@dataclass(frozen=True)
class Pixels(Line):
    """Attributes:
    within_one, equal: shares of values within one grey level and of equal ones; the lowest of severities, photographs.
    largest: difference in grey levels of any value.
    asked: the share within one level that is asked for, of deterministic corruptions only.
    against: the reference.
    """

    COLUMNS: ClassVar = (
        "parity: pixels",
        "% within one grey level",
        "% asked for",
        "% equal",
        "largest difference",
        "reference",
    )

    name: str
    within_one: float | None
    equal: float | None
    largest: int | None
    asked: float | None
    against: str

    def cells(self) -> list[str]:
        asked = "" if self.asked is None else f"{100 * self.asked:.1f}"
        if self.within_one is None:
            return [self.name, NO_MAGICK, asked, "", "", self.against]
        return [self.name, _percent(self.within_one), asked, _percent(self.equal), str(self.largest), self.against]


@dataclass(frozen=True)
class Statistics(Line):
    """Attributes:
    differences: for each group of statistics, ours less the reference's, means of a dozen runs each, and the standard
        deviation of the reference's runs: where, over severities and statistics, most of the tolerance is taken.
    of_tolerance: the largest share of the tests' tolerance that is taken.
    """

    COLUMNS: ClassVar = ("parity: statistics, ours less the reference's (its deviation)", *GROUPS, "of tolerance")

    name: str
    differences: dict[str, tuple[float, float]]
    of_tolerance: float | None

    def cells(self) -> list[str]:
        if self.of_tolerance is None:
            return [self.name, *[NO_MAGICK] * len(GROUPS), ""]
        found = [f"{difference:+.2g} ({deviation:.2g})" for difference, deviation in self.differences.values()]
        return [self.name, *found, f"{self.of_tolerance:.2f}"]


def run() -> Iterator[Line]:
    torch.set_num_threads(1)
    for name in (*references.DETERMINISTIC, *references.WITH_OUR_NUMBERS):
        yield _pixels(name)
    for name in references.RANDOM:
        yield _statistics(name)


def _pixels(name: str) -> Pixels:
    asked = ASKED if name in references.DETERMINISTIC else None
    found = (None, None, None)
    if _at_hand(name):
        pairs = [
            (references.ours(image, name, severity), references.expected(image, name, severity))
            for severity in SEVERITIES
            for image in references.photographs().values()
        ]
        found = (
            min(references.within_one_level(*pair) for pair in pairs),
            min(float(np.mean(own == theirs)) for own, theirs in pairs),
            max(int(np.abs(own.astype(int) - theirs).max()) for own, theirs in pairs),
        )
    return Pixels(name, *found, asked, _reference(name))


def _statistics(name: str) -> Statistics:
    if not _at_hand(name):
        return Statistics(name, {}, None)
    found = [
        (statistic, own.mean() - theirs.mean(), theirs.std(ddof=1), references.tolerance(theirs, own))
        for severity in SEVERITIES
        for statistic, (theirs, own) in references.statistics_of_runs(name, severity).items()
    ]
    differences, shares = {}, []
    for group in GROUPS:
        members = [line for line in found if line[0].startswith(group)]
        _, difference, deviation, tolerance = max(members, key=lambda line: abs(line[1]) / line[3])
        differences[group] = (float(difference), float(deviation))
        shares.append(float(abs(difference) / tolerance))
    return Statistics(name, differences, max(shares))


def _at_hand(name: str) -> bool:
    return name not in references.BY_IMAGEMAGICK or references.WAND is not None


def _reference(name: str) -> str:
    if name in references.BY_IMAGEMAGICK:
        return "ImageNet-C's definition, ImageMagick 6"
    return "ImageNet-C's definition" if name in references.BY_SCRIPTS else "imagecorruptions-imaug 1.1.5"


def _percent(share: float) -> str:
    """Two decimals, cut off: 100 is all."""
    return f"{int(share * 10_000) / 100:.2f}"
