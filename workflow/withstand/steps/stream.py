"""Image sets whose corrupted images are made inside the inference job, and never stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from withstand.images import Codec, ImageFile
from withstand.steps.predict import content, count


@dataclass(frozen=True)
class StreamedSet:
    """One family of corruptions of clean images in the store: pixel by pixel as if it had been stored.

    Attributes:
        images: the clean shards, in order.
        corruptions: a plan (see :mod:`withstand.corruptions.plan`).
    """

    dataset: str
    family: str
    images: Sequence[Path]
    corruptions: Sequence[Mapping]
    seed: int
    codec: Codec
    output: Path

    policy = "stored"

    def inputs(self) -> dict:
        """What the images are: equal for sets with the same ones."""
        made = {"corruptions": list(self.corruptions), "seed": self.seed, "codec": self.codec}
        return {"images": [content(path) for path in self.images], **made}

    def samples(self) -> int:
        """Number of samples of all shards."""
        return sum(count(path) for path in self.images)

    def shards(self, card: Mapping, device: str) -> Iterator:
        """The shards, one after the other."""
        from withstand.shards import CorruptedShard

        for path in self.images:
            with ImageFile(path) as clean:
                yield CorruptedShard(clean, self.corruptions, seed=self.seed, codec=self.codec, device=device)


BLOCK = 1000
"""Samples whose resized images are held in memory at once."""


@dataclass(frozen=True)
class ResizedSet:
    """One family of corruptions, of images at the model's size: read from the source, put through the model's own
    resize and crop, and then corrupted. The clean images at that size come first, to compare with.

    Attributes:
        source: a config's ``source``.
        range: the first sample and the one past the last, by position.
        corruptions: a plan with the constants of all sizes.
        selection: a file of sample ids to take ``range`` of, or none.
    """

    dataset: str
    family: str
    source: Mapping
    range: tuple[int, int]
    corruptions: Sequence[Mapping]
    seed: int
    codec: Codec
    output: Path
    selection: Sequence[Path] = field(default=())

    policy = "corrupt_after_resize"
    """The transform policy: corruptions at the model's size, after its own resize and crop of the source image."""

    def inputs(self) -> dict:
        """What the images are: equal for sets with the same ones."""
        made = {"corruptions": list(self.corruptions), "seed": self.seed, "codec": self.codec}
        samples = xxhash.xxh3_128_hexdigest("\n".join(self._ids()).encode())
        return {"source": dict(self.source), "samples": samples, **made}

    def samples(self) -> int:
        """Number of samples."""
        return self.range[1] - self.range[0]

    def _ids(self) -> list[str]:
        from withstand.datasets.registry import open_source
        from withstand.steps.missed import read_missed

        start, stop = self.range
        chosen = [sample_id for path in self.selection for sample_id in read_missed(path)]
        return (chosen or open_source(self.source).sample_ids(stop))[start:stop]

    def shards(self, card: Mapping, device: str) -> Iterator:
        """Blocks of samples, one after the other."""
        from withstand.datasets.registry import open_source
        from withstand.models import Preprocessing, own_transform
        from withstand.shards import CorruptedShard, ReadShard
        from withstand.steps.datasets import sample_table

        reader, ids = open_source(self.source), self._ids()
        preprocessing = Preprocessing(**card["preprocessing"])
        transform = own_transform(preprocessing)
        for start in range(0, len(ids), BLOCK):
            samples = sample_table(reader, ids[start : start + BLOCK])
            clean = ReadShard(samples, preprocessing.input_size, lambda name: transform(reader.read(name)))
            made = {"seed": self.seed, "codec": self.codec, "device": device}
            yield CorruptedShard(clean, self.corruptions, with_clean=True, **made)
