"""Tiny-ImageNet-C as published: corrupted photographs of the 200 classes of Tiny ImageNet, 64 px.

Its images are called like the test images of Tiny ImageNet, but are others, drawn anew from ImageNet, and nobody
published them clean (hendrycks/robustness#39). So it is a set of its own: the folders of WordNet ids label its images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from withstand.datasets import catalogue
from withstand.datasets.archives import Archive
from withstand.datasets.containers import describe
from withstand.datasets.corrupted import CorruptedFolders
from withstand.datasets.files import Entry, SourceError, take_turns
from withstand.datasets.label_spaces import IMAGENET, KNOWN, LabelError, class_names, wnids
from withstand.datasets.tiny_imagenet import CLASSES, SIZE


@dataclass(frozen=True)
class Source(CorruptedFolders):
    """The wanted corruptions of the nineteen; or, with ``labels``, the samples that each of them shows.

    Samples are those of the first condition that is found, whichever it is. Labels are of the space
    ``tiny-imagenet-200``, in the ascending order of the WordNet ids, or of ``imagenet-1k``.
    """

    corruptions: Sequence[str] = ()
    severities: Sequence[int] = ()
    labels: str | None = None
    path: str | None = None

    def clean(self) -> dict:
        return {"kind": "tiny_imagenet_c"}

    def archives(self) -> tuple[Archive, ...]:
        groups = catalogue.TINY_IMAGENET_C.items()
        wanted = {*self.corruptions} if self.labels is None else {next(iter(catalogue.TINY_IMAGENET_C))[0]}
        return tuple(archive for group, archive in groups if {*group} & wanted)

    def available(self) -> int | None:
        return None if self.labels is None else catalogue.SAMPLES["tiny_imagenet_c"]

    def outputs(self) -> int:
        return KNOWN[IMAGENET] if self.labels == IMAGENET else CLASSES

    def label_space(self) -> str:
        return self.labels or ""

    def class_names(self) -> list[str]:
        if self.labels is None:
            return []
        return list(class_names(IMAGENET)) if self.labels == IMAGENET else self._wnids

    def native_size(self) -> int:
        return SIZE

    def sample_id(self, folder: str, name: str) -> str:
        """The id of a copy has the folder, so that it finds no sample if it lies in that of another class."""
        return f"{folder}/{name}"

    def scan(self) -> Iterator[Entry]:
        """The copies, or the samples, of which classes take turns.

        Raises:
            SourceError: if a condition, or a class, is not there.
            LabelError: if a class is none of the label space.
        """
        return super().scan() if self.labels is None else iter(self._samples())

    def _samples(self) -> list[Entry]:
        order = {wnid: output for output, wnid in enumerate(wnids() if self.labels == IMAGENET else self._wnids)}
        entries = []
        for copy in self._first_condition:
            wnid = copy.sample_id.split("/")[0]
            if wnid not in order:
                raise LabelError(f"{describe(copy.location)}: class '{wnid}' is no class of {self.labels}")
            entries.append(Entry(copy.sample_id, order[wnid], copy.location))
        return take_turns(entries)

    @cached_property
    def _first_condition(self) -> list[Entry]:
        copies: list[Entry] = []
        for copy in replace(self, labels=None, corruptions=self.known(), severities=(1, 2, 3, 4, 5)).copies():
            if not copies or (copy.corruption, copy.severity) == (copies[0].corruption, copies[0].severity):
                copies.append(copy)
        return copies

    @cached_property
    def _wnids(self) -> list[str]:
        found = sorted({copy.sample_id.split("/")[0] for copy in self._first_condition})
        if found and len(found) != CLASSES:
            raise SourceError(f"{self.roots()[0]}: images of {len(found)} classes, expected {CLASSES}")
        return found
