"""Cue conflict: the shape of one category with the texture of another (Geirhos et al., ICLR 2019).

A category stands for several outputs of ImageNet-1k. A model's answer is the category with the highest mean
probability of its outputs, as in the original work; the sum or the maximum gives other results.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from withstand.datasets import catalogue
from withstand.datasets.archives import Archive
from withstand.datasets.containers import describe
from withstand.datasets.files import Entry, FileSource, SourceError, take_turns
from withstand.datasets.label_spaces import IMAGENET, KNOWN
from withstand.datasets.shape_categories import CATEGORIES

SIZE = 224
A_SHAPE = 80
"""Images of each shape, of which 75 have the texture of another."""
_NAME = re.compile(r"([a-z]+)\d+-([a-z]+)\d+")


@dataclass(frozen=True)
class Source(FileSource):
    """The 1,200 stimuli whose shape and texture disagree, of 1,280."""

    path: str | None = None

    is_cue_conflict = True

    def archives(self) -> tuple[Archive, ...]:
        return catalogue.CUE_CONFLICT

    def available(self) -> int:
        return catalogue.SAMPLES["cue_conflict"]

    def outputs(self) -> int:
        return KNOWN[IMAGENET]

    def label_space(self) -> str:
        return IMAGENET

    def class_names(self) -> list[str]:
        return list(CATEGORIES)

    def categories(self) -> list[list[int]]:
        return [list(outputs) for outputs in CATEGORIES.values()]

    def native_size(self) -> int:
        return SIZE

    def scan(self) -> Iterable[Entry]:
        """The samples, named ``<shape><number>-<texture><number>``.

        Raises:
            SourceError: if an image has another name, or there are not as many of each shape as were published.
        """
        order = {name: label for label, name in enumerate(CATEGORIES)}
        entries, counts = [], Counter()
        for member in self.images():
            name = PurePosixPath(member.name).stem
            match = _NAME.fullmatch(name)
            if match is None or not {match[1], match[2]} <= order.keys():
                raise SourceError(f"{describe(member.location)}: no name of the form <shape><n>-<texture><n>")
            counts[match[1]] += 1
            shape, texture = order[match[1]], order[match[2]]
            if shape != texture:
                entries.append(Entry(name, shape, member.location, texture_label=texture))
        for name in CATEGORIES:
            if counts and counts[name] != A_SHAPE:
                raise SourceError(
                    f"{self.roots()[0]}: {counts[name]} images of the shape {name}, {A_SHAPE} were published"
                )
        return take_turns(entries)
