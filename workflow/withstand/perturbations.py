"""Files of adversarial perturbations: one attack on one model, HDF5.

    /                 attributes: format, facts (JSON: the attack, the model, its images, versions), unit (a fraction,
                      e.g. "1/2040", or "" for none), failure (the reason why there are no samples, or ""),
                      content (a digest of ids and perturbations)
    /sample_ids       strings (sample)
    /images           strings (sample): a digest of the pixels that each perturbation belongs to
    /perturbations    (sample, height, width, 3): int8 in units of ``unit``, or, without a unit, float16, in [0, 1]
                      pixel space (see :mod:`withstand.attacks.space`); chunked by sample
    /examples         uint8 (example, height, width, 3): the images of the first few samples, for figures
    /magnitude        float64 (height, width): mean absolute perturbation of each pixel, over samples and channels

A file has one writer, appears when it is whole, and is never changed afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
import xxhash

from withstand import hdf5

FORMAT = "withstand-perturbations-1"
EXAMPLES = 4


def image_digests(images: np.ndarray) -> list[str]:
    """A digest of each of uint8 images (n, height, width, 3)."""
    return [xxhash.xxh3_64_hexdigest(np.ascontiguousarray(image)) for image in images]


class PerturbationWriter:
    """Appends samples to a file; made by :func:`create`."""

    def __init__(self, file: h5py.File, path: Path, count: int, unit: Fraction | None) -> None:
        self._file, self._path, self._unit = file, path, unit
        text = h5py.string_dtype()
        self._ids = file.create_dataset("sample_ids", (count,), dtype=text, maxshape=(count,), chunks=(count,))
        self._images = file.create_dataset("images", (count,), dtype=text, maxshape=(count,), chunks=(count,))
        self._start, self._sum, self._content = 0, 0.0, xxhash.xxh3_128()

    def write(self, sample_ids: Sequence[str], images: np.ndarray, perturbations: np.ndarray) -> None:
        """The next samples: their images, uint8 (n, height, width, 3), and int8 or float16 of the same shape."""
        hdf5.check_space(self._path, perturbations.nbytes)
        end = self._start + len(sample_ids)
        with hdf5.writing(self._path):
            if self._start == 0:
                self._begin(perturbations)
                self._file.create_dataset("examples", data=images[:EXAMPLES])
            self._ids[self._start : end] = np.asarray(sample_ids, dtype=object)
            self._images[self._start : end] = np.asarray(image_digests(images), dtype=object)
            self._file["perturbations"][self._start : end] = perturbations
        self._content.update("\n".join(sample_ids).encode())
        self._content.update(np.ascontiguousarray(perturbations))
        absolute = np.abs(perturbations, dtype=np.float64).mean(axis=3)
        self._sum = self._sum + absolute.sum(axis=0) * float(self._unit or 1)
        self._start = end

    def _begin(self, perturbations: np.ndarray) -> None:
        shape = perturbations.shape[1:]
        self._file.create_dataset(
            "perturbations",
            (self._ids.shape[0], *shape),
            maxshape=(self._ids.shape[0], *shape),
            dtype=perturbations.dtype,
            chunks=(1, *shape),
            compression=hdf5.fast_filter(bits=True),
        )

    def finish(self) -> None:
        """Write what is known in the end: images that could not be read leave no gap."""
        with hdf5.writing(self._path):
            for name in ("sample_ids", "images", "perturbations"):
                self._file[name].resize(self._start, axis=0)
            self._file.create_dataset("magnitude", data=self._sum / self._start)
            self._file.attrs["content"] = self._content.hexdigest()


@contextmanager
def create(path: Path, count: int, unit: Fraction | None, facts: Mapping) -> Iterator[PerturbationWriter]:
    """Create a file for so many samples; it appears under ``path`` when the block ends without an error.

    Raises:
        Hdf5Error: if the disk is full or the file cannot be written.
    """
    with hdf5.create(path) as file:
        with hdf5.writing(path):
            _write_attributes(file, facts, unit, "")
            writer = PerturbationWriter(file, path, count, unit)
        yield writer
        writer.finish()


def write_failure(path: Path, facts: Mapping, reason: str) -> None:
    """Record that there are no perturbations, and why."""
    with hdf5.create(path) as file, hdf5.writing(path):
        _write_attributes(file, facts, None, reason)


def _write_attributes(file: h5py.File, facts: Mapping, unit: Fraction | None, failure: str) -> None:
    given = {"format": FORMAT, "unit": str(unit or ""), "failure": failure}
    file.attrs.update(given | {"facts": json.dumps(dict(facts), sort_keys=True)})


class PerturbationFile(hdf5.OpenFile):
    """A file of perturbations, open for reading."""

    format = FORMAT

    @property
    def facts(self) -> dict:
        """The attack, the model, its images, versions."""
        return self._facts("facts")

    @property
    def failure(self) -> str:
        """Why there are no perturbations; empty where there are."""
        return str(self._attribute("failure"))

    @property
    def content(self) -> str:
        """A digest of ids and perturbations: equal for files that hold the same."""
        return str(self._attribute("content"))

    @property
    def unit(self) -> Fraction | None:
        """What whole numbers count, in [0, 1] pixel space; None where perturbations are real."""
        text = self._attribute("unit")
        return Fraction(text) if text else None

    @cached_property
    def sample_ids(self) -> list[str]:
        with hdf5.reading(f"{self.path}: sample_ids"):
            return list(self._part("sample_ids").asstr()[()])

    @cached_property
    def rows(self) -> dict[str, int]:
        """Where each sample stands."""
        return {sample_id: row for row, sample_id in enumerate(self.sample_ids)}

    @cached_property
    def images(self) -> list[str]:
        """A digest of the pixels of each sample."""
        with hdf5.reading(f"{self.path}: images"):
            return list(self._part("images").asstr()[()])

    def examples(self) -> np.ndarray:
        """The images of the first few samples: uint8 (n, height, width, 3)."""
        with hdf5.reading(f"{self.path}: examples"):
            return self._part("examples")[()]

    def magnitude(self) -> np.ndarray:
        """Mean absolute perturbation of each pixel: float64 (height, width), in [0, 1] pixel space."""
        with hdf5.reading(f"{self.path}: magnitude"):
            return self._part("magnitude")[()]

    def read(self, rows: slice | np.ndarray) -> np.ndarray:
        """Perturbations as stored, of a slice or of some rows: int8 or float16 (n, height, width, 3)."""
        stored = self._part("perturbations")
        with hdf5.reading(f"{self.path}: perturbations"):
            if isinstance(rows, slice):
                return stored[rows]
            if np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
                return stored[rows[0] : rows[0] + len(rows)]
            return np.stack([stored[row] for row in rows])
