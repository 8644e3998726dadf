"""Image sets that are made, or read from their source, inside the inference job, and never stored."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import xxhash

from withstand.datasets.decoding import UnreadableImageError
from withstand.errors import WithstandError
from withstand.files import sha256
from withstand.images import Codec
from withstand.prefetch import in_order
from withstand.steps.predict import chosen, content, number, one_by_one, parts
from withstand.subsets import Subset

if TYPE_CHECKING:
    from withstand.datasets.source import ReadableSource
    from withstand.shards import Shard


@dataclass(frozen=True)
class StreamedSet:
    """One family of corruptions of clean images in the store: pixel by pixel as if it had been stored.

    Attributes:
        images: the clean shards, in order.
        corruptions: a plan (see :mod:`withstand.corruptions.plan`).
        subset: which samples; None for all.
    """

    dataset: str
    family: str
    images: Sequence[Path]
    corruptions: Sequence[Mapping]
    seed: int
    codec: Codec
    output: Path
    subset: Subset | None = None

    policy = "stored"

    def inputs(self) -> dict:
        """What the images are: equal for sets with the same ones."""
        made = {"corruptions": list(self.corruptions), "seed": self.seed, "codec": self.codec}
        return {"images": [content(path) for path in self.images], **made, **chosen(self.subset)}

    def samples(self) -> int:
        """Number of samples of all shards."""
        return number(self.images, self.subset)

    def shards(self, card: Mapping, device: str) -> Iterator[Shard]:
        """The shards, one after the other."""
        return one_by_one(self, card, device)

    def opened(self, card: Mapping, device: str) -> Iterator[AbstractContextManager[Shard]]:
        """The shards, each to be opened and closed by whoever reads it."""
        for part in parts(self.images, self.subset):
            yield self._corrupted(part, device)

    @contextmanager
    def _corrupted(self, part: AbstractContextManager[Shard], device: str) -> Iterator[Shard]:
        from withstand.shards import CorruptedShard

        with part as clean:
            yield CorruptedShard(clean, self.corruptions, seed=self.seed, codec=self.codec, device=device)


BLOCK = 1000
"""Samples whose resized images are held in memory while all corruptions pass over them."""

READ_AT_ONCE = 256
"""Samples that are read together where each is wanted once."""


@dataclass(frozen=True)
class ResizedSet:
    """Images as models see them: read from the source, put through the model's own resize and crop. They may be
    corrupted then, at that size; the clean images come first, to compare with.

    Attributes:
        source: a config's ``source``.
        range: the first sample and the one past the last, by position.
        corruptions: a plan with the constants of all sizes; empty for the clean images alone.
        policy: ``model`` or ``corrupt_after_resize``.
        selection: a file of sample ids to take ``range`` of, or none.
        index: what a scan of the source's files found; None for images that are drawn.
        unreadable: whether an image that cannot be decoded stops the step, or is left out.
        choice_seed: samples are in random order by this seed; None for the source's own order.
        subset: which samples of the range; None for all.
    """

    dataset: str
    family: str
    source: Mapping
    range: tuple[int, int]
    corruptions: Sequence[Mapping]
    seed: int
    codec: Codec
    output: Path
    policy: Literal["model", "corrupt_after_resize"]
    selection: Sequence[Path] = field(default=())
    index: Path | None = None
    unreadable: Literal["stop", "skip"] = "stop"
    choice_seed: int | None = None
    threads: int = 1
    subset: Subset | None = None

    def inputs(self) -> dict:
        """What the images are: equal for sets with the same ones."""
        made = {"corruptions": list(self.corruptions), "seed": self.seed, "codec": self.codec}
        samples = xxhash.xxh3_128_hexdigest("\n".join(self._ids(self._reader())).encode())
        files = {} if self.index is None else {"index": sha256(self.index), "unreadable": self.unreadable}
        return {"source": dict(self.source), "samples": samples, "policy": self.policy, **made, **files}

    def samples(self) -> int:
        """Number of samples."""
        found = self.range[1] - self.range[0]
        return found if self.subset is None else min(found, self.subset.count)

    def _reader(self) -> ReadableSource:
        from withstand.datasets.registry import open_samples

        return open_samples(self.source, self.index)

    def _ids(self, reader: ReadableSource) -> list[str]:
        from withstand.steps.missed import read_missed

        start, stop = self.range
        chosen = [sample_id for path in self.selection for sample_id in read_missed(path)]
        ids = (chosen or reader.chosen(stop, self.choice_seed))[start:stop]
        if len(ids) < stop - start:
            raise WithstandError(f"{self.dataset}: {start + len(ids):,} samples found, {stop:,} wanted")
        return ids if self.subset is None else [ids[position] for position in self.subset.positions(ids)]

    def opened(self, card: Mapping, device: str) -> Iterator[AbstractContextManager[Shard]]:
        """Blocks of samples, whose images are in memory."""
        return (nullcontext(shard) for shard in self.shards(card, device))

    def shards(self, card: Mapping, device: str) -> Iterator[Shard]:
        """Blocks of samples, one after the other."""
        from withstand.models import Preprocessing, own_transform
        from withstand.shards import CorruptedShard, ReadShard
        from withstand.steps.datasets import batched, sample_table

        reader = self._reader()
        transform = own_transform(Preprocessing(**card["preprocessing"]))
        some = False
        for ids in batched(self._ids(reader), BLOCK if self.corruptions else READ_AT_ONCE):
            kept, pixels = self._read(reader, transform, ids)
            if not kept:
                continue
            some = True
            clean = ReadShard(sample_table(reader, kept), np.stack(pixels))
            made = {"seed": self.seed, "codec": self.codec, "device": device}
            yield CorruptedShard(clean, self.corruptions, with_clean=True, **made) if self.corruptions else clean
        if not some:
            raise WithstandError(f"{self.dataset}: no image can be read")

    def _read(
        self, reader: ReadableSource, transform: Callable, ids: Sequence[str]
    ) -> tuple[list[str], list[np.ndarray]]:
        """The ids of the samples that can be read, and their images."""

        def read(sample_id: str) -> np.ndarray | None:
            try:
                return transform(reader.picture(sample_id))
            except UnreadableImageError as error:
                if self.unreadable == "stop":
                    raise
                print(f"left out: {error}", file=sys.stderr)
                return None

        found = zip(ids, in_order(read, ids, self.threads), strict=True)
        readable = [(sample_id, image) for sample_id, image in found if image is not None]
        return [sample_id for sample_id, _ in readable], [image for _, image in readable]


@dataclass(frozen=True)
class DownloadedSet:
    """One family of corrupted copies as published, read from its archives; the clean shards give samples and labels.

    Attributes:
        images: the clean shards, in order.
        index: what a scan of the corrupted set found.
        corruptions, severities: which of them.
        subset: which samples; None for all.
    """

    dataset: str
    family: str
    images: Sequence[Path]
    index: Path
    corruptions: Sequence[str]
    severities: Sequence[int]
    output: Path
    threads: int = 1
    subset: Subset | None = None

    policy = "published"

    def inputs(self) -> dict:
        """What the images are: equal for sets with the same ones."""
        wanted = {"corruptions": list(self.corruptions), "severities": list(self.severities)}
        images = {"images": [content(path) for path in self.images], "index": sha256(self.index)}
        return images | wanted | chosen(self.subset)

    def samples(self) -> int:
        """Number of samples of all shards."""
        return number(self.images, self.subset)

    def shards(self, card: Mapping, device: str) -> Iterator[Shard]:
        """The shards, one after the other."""
        return one_by_one(self, card, device)

    def opened(self, card: Mapping, device: str) -> Iterator[AbstractContextManager[Shard]]:
        """The shards, each to be opened and closed by whoever reads it."""
        for part in parts(self.images, self.subset):
            yield self._copies(part)

    @contextmanager
    def _copies(self, part: AbstractContextManager[Shard]) -> Iterator[Shard]:
        from withstand.shards import DownloadedShard

        with part as clean:
            yield DownloadedShard(clean, self.index, self.corruptions, self.severities, self.threads)
