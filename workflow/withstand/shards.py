"""Shards that are in no file: images that are made when they are read, as a file of the image store would give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import torch

from withstand.corruptions.plan import steps
from withstand.images import Codec, Samples, decode, encode_jpeg

CLEAN = "clean"


class Shard(Protocol):
    """What inference reads; :class:`withstand.images.ImageFile` is one."""

    size: int
    samples: Samples
    conditions: list[tuple[str, int, int]]
    """(corruption, severity, index of the severity) of every copy of the samples."""

    def __len__(self) -> int:
        """Number of samples."""

    def read(self, corruption: str, severity_index: int, samples: slice) -> np.ndarray:
        """Images of one condition: uint8 (n, size, size, 3)."""


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

    def read(self, corruption: str, severity_index: int, samples: slice) -> np.ndarray:
        images = self._clean.read(CLEAN, 0, samples)
        if corruption == CLEAN:
            return images
        step = self._steps[corruption, severity_index]
        batch = torch.from_numpy(images).to(self._device)
        corrupted = step.apply(batch, self.samples.ids[samples], self._seed).cpu().numpy()
        if self._codec == "raw":
            return corrupted
        return np.stack([decode(encode_jpeg(image)) for image in corrupted])


class ReadShard:
    """Clean samples as a function gives them, e.g. the images of a source after a model's own resize.

    Pixels are kept from the first reading on, since every condition reads them again; so shards should be small.

    Args:
        read_image: sample id to uint8 (size, size, 3).
    """

    conditions: Sequence[tuple[str, int, int]] = ((CLEAN, 0, 0),)

    def __init__(self, samples: Samples, size: int, read_image: Callable[[str], np.ndarray]) -> None:
        self.samples, self.size, self._read_image = samples, size, read_image

    def __len__(self) -> int:
        return len(self.samples.ids)

    @cached_property
    def _pixels(self) -> np.ndarray:
        return np.stack([self._read_image(sample_id) for sample_id in self.samples.ids])

    def read(self, corruption: str, severity_index: int, samples: slice) -> np.ndarray:
        return self._pixels[samples]
