"""Images in a NumPy array: uint8 (samples, size, size, 3), with their labels in another."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from withstand.datasets.containers import Location
from withstand.datasets.decoding import raw
from withstand.datasets.files import Entry, FileSource, SourceError
from withstand.datasets.folder import OwnLabels

_HEADER_BYTES = 1 << 12


@dataclass(frozen=True)
class Source(OwnLabels, FileSource):
    """Two ``.npy`` files; samples are numbered, in the order of the arrays."""

    images_path: str
    labels_path: str
    size: int
    label_space_name: str
    classes: Sequence[str] | None = None

    path = None

    def inputs(self) -> list[str]:
        return [self.images_path, self.labels_path]

    def native_size(self) -> int:
        return self.size

    def scan(self) -> Iterable[Entry]:
        """The samples.

        Raises:
            SourceError: if the arrays are of other shapes or types, or a label is no output.
        """
        labels = _load_labels(self.labels_path)
        with open(self.images_path, "rb") as file:
            shape, start = read_header(file.read(_HEADER_BYTES), self.images_path)
        if shape != (len(labels), self.size, self.size, 3):
            wanted = (len(labels), self.size, self.size, 3)
            raise SourceError(f"{self.images_path}: images of shape {shape}, expected {wanted}")
        outside = np.flatnonzero((labels < 0) | (labels >= self.outputs()))
        if len(outside):
            raise SourceError(
                f"{self.labels_path}: label {labels[outside[0]]} at {outside[0]}, {self.label_space()} has"
                f" {self.outputs()} outputs"
            )
        length = self.size * self.size * 3
        for number, label in enumerate(labels.tolist()):
            location = Location("slice", self.images_path, str(number), start + number * length, length)
            yield Entry(f"{number:08d}", label, location, raw(self.size, planes=False))


def read_header(begin: bytes, name: str) -> tuple[tuple[int, ...], int]:
    """Shape of a uint8 array in the ``.npy`` format, and where its first byte lies.

    Raises:
        SourceError: if the bytes do not begin such an array, in C order.
    """
    try:
        file = io.BytesIO(begin)
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except ValueError as error:
        raise SourceError(f"{name}: not an array in the .npy format ({error})") from error
    if dtype != np.uint8 or fortran:
        raise SourceError(f"{name}: an array of {dtype}{' in Fortran order' * fortran}, expected uint8 in C order")
    return shape, file.tell()


def _load_labels(path: str) -> np.ndarray:
    try:
        labels = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise SourceError(f"{path}: not an array in the .npy format ({error})") from error
    if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise SourceError(f"{path}: expected one array of whole numbers, one for each image")
    return labels
