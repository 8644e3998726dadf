"""Shards that are in no file of the store: images that are made, or read from a source, when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from withstand.corruptions.plan import steps
from withstand.datasets.files import CorruptedCopies, SourceError
from withstand.images import Codec, Samples, decode, encode_jpeg
from withstand.prefetch import in_order

CLEAN = "clean"


class Shard(Protocol):
    """What inference reads; :class:`withstand.images.ImageFile` is one."""

    size: int
    samples: Samples
    conditions: list[tuple[str, int, int]]
    """(corruption, severity, index of the severity) of every copy of the samples."""

    def __len__(self) -> int:
        """Number of samples."""

    def read(self, corruption: str, severity_index: int, samples: slice | np.ndarray) -> np.ndarray:
        """Images of one condition, of a slice or of some positions: uint8 (n, size, size, 3)."""


def _at(ids: Sequence[str], samples: slice | np.ndarray) -> list[str]:
    """The ids of a slice, or of some positions."""
    return list(ids[samples]) if isinstance(samples, slice) else [ids[position] for position in samples]


class CorruptedShard:
    """The samples of a clean shard under the corruptions of a plan, pixel by pixel what ``corrupt-images`` stores.

    Args:
        clean: where the clean images are read.
        plan: the corruptions (see :mod:`withstand.corruptions.plan`).
        codec: of the study; images are encoded and decoded where it loses something.
        with_clean: whether the clean images are a condition too.
    """

    def __init__(
        self,
        clean: Shard,
        plan: Sequence[Mapping],
        *,
        seed: int,
        codec: Codec,
        device: torch.device | str = "cpu",
        with_clean: bool = False,
    ) -> None:
        self._clean, self._seed, self._codec, self._device = clean, seed, codec, device
        self._steps = {(step.name, step.index): step for step in steps(plan, clean.size)}
        self.conditions = [(CLEAN, 0, 0)] if with_clean else []
        self.conditions += [(step.name, step.severity, step.index) for step in self._steps.values()]

    def __len__(self) -> int:
        return len(self._clean)

    @property
    def size(self) -> int:
        return self._clean.size

    @property
    def samples(self) -> Samples:
        return self._clean.samples

    def read(self, corruption: str, severity_index: int, samples: slice | np.ndarray) -> np.ndarray:
        images = self._clean.read(CLEAN, 0, samples)
        if corruption == CLEAN:
            return images
        step = self._steps[corruption, severity_index]
        batch = torch.from_numpy(images).to(self._device)
        corrupted = step.apply(batch, _at(self.samples.ids, samples), self._seed).cpu().numpy()
        if self._codec == "raw":
            return corrupted
        return np.stack([decode(encode_jpeg(image)) for image in corrupted])


class ReadShard:
    """Clean samples whose images are in memory, e.g. as a model's own resize gives them; so it should be small.

    Args:
        pixels: uint8 (n, size, size, 3), the images of the samples.
    """

    conditions: Sequence[tuple[str, int, int]] = ((CLEAN, 0, 0),)

    def __init__(self, samples: Samples, pixels: np.ndarray) -> None:
        self.samples, self._pixels = samples, pixels

    def __len__(self) -> int:
        return len(self.samples.ids)

    @property
    def size(self) -> int:
        return self._pixels.shape[1]

    def read(self, corruption: str, severity_index: int, samples: slice | np.ndarray) -> np.ndarray:
        return self._pixels[samples]


class PartialShard:
    """Some of the samples of a shard.

    Args:
        positions: which, ascending.
    """

    def __init__(self, whole: Shard, positions: np.ndarray) -> None:
        self._whole, self._positions = whole, positions
        self.samples = whole.samples.take(positions)
        self.size, self.conditions = whole.size, whole.conditions

    def __len__(self) -> int:
        return len(self._positions)

    def read(self, corruption: str, severity_index: int, samples: slice | np.ndarray) -> np.ndarray:
        return self._whole.read(corruption, severity_index, self._positions[samples])


TOGETHER = 8
"""Images that a thread decodes before it hands them over: one by one, threads wait for Python's lock."""


class DownloadedShard:
    """The samples of a clean shard, and their corrupted copies in a set as published.

    Args:
        clean: where samples and labels are read.
        index: the file that says where the copies lie.
        threads: how many decode images.

    Raises:
        SourceError: if a sample has no copy, or one of another class.
    """

    def __init__(
        self, clean: Shard, index: Path, corruptions: Sequence[str], severities: Sequence[int], threads: int = 1
    ) -> None:
        self._clean, self._threads = clean, threads
        self._copies = CorruptedCopies(index, clean.samples.ids, clean.samples.labels, corruptions, severities)
        self.conditions = [
            (corruption, severity, number) for corruption in corruptions for number, severity in enumerate(severities)
        ]
        self._severities = severities

    def __len__(self) -> int:
        return len(self._clean)

    @property
    def size(self) -> int:
        return self._clean.size

    @property
    def samples(self) -> Samples:
        return self._clean.samples

    def read(self, corruption: str, severity_index: int, samples: slice | np.ndarray) -> np.ndarray:
        ids = _at(self.samples.ids, samples)
        images = np.empty((len(ids), self.size, self.size, 3), np.uint8)

        def fill(start: int) -> None:
            for row, sample_id in enumerate(ids[start : start + TOGETHER], start):
                images[row] = self._copy(corruption, severity_index, sample_id)[0]

        for _ in in_order(fill, range(0, len(ids), TOGETHER), self._threads):
            pass
        return images

    def copies(
        self, corruption: str, severity_index: int, samples: slice | np.ndarray
    ) -> list[tuple[np.ndarray, bytes, str]]:
        """The images of one condition, each with its bytes and their encoding.

        Raises:
            UnreadableImageError: if one cannot be decoded.
            SourceError: if one is of another size than the clean images.
        """
        ids = _at(self.samples.ids, samples)
        return list(in_order(lambda sample_id: self._copy(corruption, severity_index, sample_id), ids, self._threads))

    def _copy(self, corruption: str, severity_index: int, sample_id: str) -> tuple[np.ndarray, bytes, str]:
        severity = self._severities[severity_index]
        image, data, encoding = self._copies.read(corruption, severity, sample_id)
        height, width = image.shape[:2]
        if (height, width) != (self.size, self.size):
            raise SourceError(
                f"{corruption} at severity {severity}, {sample_id}: {width} x {height} px, the clean images have"
                f" {self.size} x {self.size}"
            )
        return image, data, encoding
