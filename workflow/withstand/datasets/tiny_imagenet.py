"""Tiny ImageNet: 200 classes of ImageNet-1k at 64 px (Stanford CS231n)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from withstand.datasets import catalogue
from withstand.datasets.archives import Archive
from withstand.datasets.containers import Member, Reader, members
from withstand.datasets.files import Entry, FileSource, SourceError, is_image, take_turns
from withstand.datasets.label_spaces import IMAGENET, KNOWN, LabelError, class_names, wnids

SIZE, CLASSES = 64, 200


@dataclass(frozen=True)
class Source(FileSource):
    """The 10,000 validation images.

    Labels are of the space ``tiny-imagenet-200``, in the ascending order of the WordNet ids, which is that of models
    trained on its folders (the list that comes with it, wnids.txt, has another), or of ``imagenet-1k``.
    """

    labels: str = "tiny-imagenet-200"
    path: str | None = None

    def archives(self) -> tuple[Archive, ...]:
        return (catalogue.TINY_IMAGENET,)

    def available(self) -> int:
        return catalogue.SAMPLES["tiny_imagenet"]

    def outputs(self) -> int:
        return KNOWN[IMAGENET] if self.labels == IMAGENET else CLASSES

    def label_space(self) -> str:
        return self.labels

    def class_names(self) -> list[str]:
        return list(class_names(IMAGENET)) if self.labels == IMAGENET else list(self._wnids)

    def native_size(self) -> int:
        return SIZE

    @cached_property
    def _members(self) -> dict[str, Member]:
        """What is needed by its path from ``tiny-imagenet-200/``, wherever that lies."""
        found = {}
        for member in members(self.roots()[0]):
            parts = PurePosixPath(member.name).parts
            if parts[-3:-1] == ("val", "images") or parts[-1] in ("wnids.txt", "val_annotations.txt"):
                found[parts[-1]] = member
        return found

    def _text(self, name: str) -> list[str]:
        if name not in self._members:
            raise SourceError(f"{self.roots()[0]}: no {name}; is it tiny-imagenet-200?")
        return Reader().read(self._members[name].location).decode().splitlines()

    @cached_property
    def _wnids(self) -> tuple[str, ...]:
        return tuple(sorted(line for line in self._text("wnids.txt") if line))

    def scan(self) -> Iterable[Entry]:
        """The samples; an id is the file name without its suffix.

        Raises:
            SourceError: if a list, or the label of an image, is missing.
            LabelError: if a class is none of the label space.
        """
        order = wnids() if self.labels == IMAGENET else self._wnids
        outputs = {wnid: output for output, wnid in enumerate(order)}
        labels = dict(line.split("\t")[:2] for line in self._text("val_annotations.txt"))
        entries = []
        for name, member in self._members.items():
            if not is_image(name):
                continue
            if name not in labels:
                raise SourceError(f"{member.location.file}: {name} has no line in val_annotations.txt")
            if labels[name] not in outputs:
                raise LabelError(f"{member.location.file}: class '{labels[name]}' is no class of {self.labels}")
            entries.append(Entry(PurePosixPath(name).stem, outputs[labels[name]], member.location))
        return take_turns(entries)
