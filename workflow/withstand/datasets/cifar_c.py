"""CIFAR-10-C and CIFAR-100-C as published: corrupted copies of the test images, 32 px.

An array a corruption, (50,000, 32, 32, 3): severity s is the rows from 10,000 (s - 1), in the order of the test images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from withstand.datasets import catalogue
from withstand.datasets.archives import Archive
from withstand.datasets.arrays import read_header
from withstand.datasets.cifar import SIZE
from withstand.datasets.containers import Reader, members, part
from withstand.datasets.corrupted import CorruptedSource
from withstand.datasets.decoding import raw
from withstand.datasets.files import Entry, SourceError

_HEADER_BYTES = 1 << 10


@dataclass(frozen=True)
class Source(CorruptedSource):
    """The wanted corruptions of the nineteen."""

    classes: int
    corruptions: Sequence[str]
    severities: Sequence[int]
    path: str | None = None

    is_encoded = False

    def clean(self) -> dict:
        return {"kind": "cifar", "classes": self.classes, "split": "test"}

    def archives(self) -> tuple[Archive, ...]:
        return (catalogue.CIFAR_C[self.classes],)

    def native_size(self) -> int:
        return SIZE

    def scan(self) -> Iterator[Entry]:
        """The copies.

        Raises:
            SourceError: if the array of a corruption is missing or of another shape.
        """
        root, reader = self.roots()[0], Reader()
        found = {PurePosixPath(member.name).stem: member.location for member in members(root)}
        samples, length = catalogue.SAMPLES["cifar_test"], SIZE * SIZE * 3
        for corruption in self.corruptions:
            if corruption not in found:
                raise SourceError(f"{root}: no {corruption}.npy")
            array = found[corruption]
            header = reader.read(part(array, 0, min(array.length, _HEADER_BYTES)))
            shape, start = read_header(header, f"{root}, {corruption}.npy")
            if shape != (5 * samples, SIZE, SIZE, 3):
                raise SourceError(
                    f"{root}: {corruption}.npy has the shape {shape}, expected {(5 * samples, SIZE, SIZE, 3)}"
                )
            for severity in self.severities:
                for number in range(samples):
                    row = samples * (severity - 1) + number
                    location = part(array, start + row * length, length)
                    encoding = raw(SIZE, planes=False)
                    yield Entry(f"{number:05d}", None, location, encoding, corruption=corruption, severity=severity)
