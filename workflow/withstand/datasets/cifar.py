"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), from the binary archives, since the better known ones are pickles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from withstand.datasets import catalogue
from withstand.datasets.archives import Archive
from withstand.datasets.containers import Member, Reader, members, part
from withstand.datasets.decoding import raw
from withstand.datasets.files import Entry, FileSource, SourceError, take_turns
from withstand.datasets.label_spaces import class_names

SIZE = 32
_FILES = {
    (10, "test"): ("test_batch.bin",),
    (10, "train"): tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    (100, "test"): ("test.bin",),
    (100, "train"): ("train.bin",),
}
_NAMES = {10: "batches.meta.txt", 100: "fine_label_names.txt"}
_LABEL_BYTES = {10: 1, 100: 2}
"""Bytes before the pixels of an image; the last is the label, before it stands the coarse one."""


@dataclass(frozen=True)
class Source(FileSource):
    """One split; a sample's id is its position, which the corrupted copies of CIFAR-C share. Classes take turns."""

    classes: int
    split: str
    path: str | None = None

    def archives(self) -> tuple[Archive, ...]:
        return (catalogue.CIFAR[self.classes],)

    def available(self) -> int:
        return catalogue.SAMPLES[f"cifar_{self.split}"]

    def outputs(self) -> int:
        return self.classes

    def label_space(self) -> str:
        return f"cifar-{self.classes}"

    def class_names(self) -> list[str]:
        return list(class_names(self.label_space()))

    def native_size(self) -> int:
        return SIZE

    def scan(self) -> Iterable[Entry]:
        """The samples.

        Raises:
            SourceError: if a file is missing or cut off, or the archive names other classes.
        """
        root = self.roots()[0]
        found = {PurePosixPath(member.name).name: member for member in members(root)}
        wanted = (_NAMES[self.classes], *_FILES[self.classes, self.split])
        missing = [name for name in wanted if name not in found]
        if missing:
            raise SourceError(f"{root}: no {missing[0]}; is it the binary version of CIFAR-{self.classes}?")
        reader = Reader()
        names = reader.read(found[wanted[0]].location).decode().split()
        if names != self.class_names():
            raise SourceError(f"{root}: {wanted[0]} names other classes than CIFAR-{self.classes} has")
        entries: list[Entry] = []
        for name in wanted[1:]:
            entries += self._entries(found[name], reader.read(found[name].location), len(entries))
        return take_turns(entries)

    def _entries(self, member: Member, data: bytes, first: int) -> list[Entry]:
        before, pixels = _LABEL_BYTES[self.classes], SIZE * SIZE * 3
        if len(data) % (before + pixels):
            raise SourceError(f"{member.location.file}: {member.name} is cut off")
        entries = []
        for number, start in enumerate(range(0, len(data), before + pixels)):
            location = part(member.location, start + before, pixels)
            entries.append(Entry(f"{first + number:05d}", data[start + before - 1], location, raw(SIZE, planes=True)))
        return entries
