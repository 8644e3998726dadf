"""Sources to clean images: one shard of an image set."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from withstand import images
from withstand.datasets.decoding import UnreadableImageError
from withstand.datasets.source import ReadableSource
from withstand.errors import WithstandError
from withstand.prefetch import in_order, prefetch
from withstand.progress import progress
from withstand.provenance import versions

BATCH = 32
"""Images that are written together: few, so that the last ones keep nobody waiting."""


@dataclass(frozen=True)
class Preparation:
    """How images of a source become images of the store.

    Attributes:
        crop_pct, interpolation: images of another size than the store's have their short side resized to
            ``size / crop_pct``, and are cropped to their centre; without them, another size is an error.
        unreadable: whether an image that cannot be decoded stops the step, or is left out.
        with_images: whether images are stored; of a set that was published only corrupted there are none, and samples
            and labels are stored alone.
    """

    crop_pct: float | None = None
    interpolation: str = "bilinear"
    unreadable: Literal["stop", "skip"] = "stop"
    with_images: bool = True


def prepare_images(
    reader: ReadableSource,
    start: int,
    stop: int,
    *,
    size: int,
    codec: images.Codec,
    output: Path,
    preparation: Preparation | None = None,
    choice_seed: int | None = None,
    selected: Sequence[str] | None = None,
    origin: dict | None = None,
    threads: int = 1,
) -> None:
    """Write the clean images of samples ``start`` to ``stop`` of a source.

    Args:
        choice_seed: samples are in random order by this seed; None for the source's own order.
        selected: sample ids to take ``start`` to ``stop`` of, instead of all.
        size: height and width of the stored images, in pixels.
        codec: ``raw`` or ``jpeg``.
        origin: facts to keep in the file beside those that this step knows.
        threads: how many read and decode.

    Raises:
        UnreadableImageError: if an image cannot be decoded and the preparation says to stop.
        WithstandError: if there are too few samples, or an image has another size and may not be resized.
    """
    preparation = preparation or Preparation()
    sample_ids = (reader.chosen(stop, choice_seed) if selected is None else selected)[start:stop]
    if len(sample_ids) < stop - start:
        raise WithstandError(f"{output.parent.parent.name}: {start + len(sample_ids):,} samples found, {stop:,} wanted")
    facts = {
        "samples": [start, stop],
        "choice_seed": choice_seed,
        "preparation": vars(preparation),
        "versions": versions(),
        **(origin or {}),
    }

    skipped: list[str] = []
    while True:
        kept = [sample_id for sample_id in sample_ids if sample_id not in set(skipped)]
        try:
            with images.create(
                output, sample_table(reader, kept), size=size, codec=codec, origin=facts | {"skipped": skipped}
            ) as writer:
                if preparation.with_images:
                    _write(writer, reader, kept, size, preparation, output.name, threads)
            return
        except _UnreadableError as found:  # rare, so all is made anew without them
            for line in found.lines.values():
                print(f"left out: {line}", file=sys.stderr)
            skipped += found.lines
            if len(skipped) == len(sample_ids):
                raise WithstandError(f"{output}: no image can be read") from None


class _UnreadableError(Exception):
    """Samples that cannot be decoded, by id, and why."""

    def __init__(self, lines: dict[str, str]) -> None:
        super().__init__()
        self.lines = lines


def _write(
    writer: images.ImageWriter,
    reader: ReadableSource,
    sample_ids: Sequence[str],
    size: int,
    preparation: Preparation,
    name: str,
    threads: int,
) -> None:
    def read(sample_id: str) -> np.ndarray | UnreadableImageError:
        try:
            return fit(reader.picture(sample_id), size, preparation, sample_id)
        except UnreadableImageError as error:
            if preparation.unreadable == "stop":
                raise
            return error

    writer.add("clean", [0])
    written, lines = 0, {}
    with progress(len(sample_ids), name, "images") as advance:
        batches = batched(in_order(read, sample_ids, threads), BATCH)
        for ids, batch in zip(batched(sample_ids, BATCH), prefetch(batches), strict=True):
            failed = {sample_id: str(found) for sample_id, found in zip(ids, batch, strict=True) if _failed(found)}
            lines |= failed
            if not lines:
                writer.write("clean", 0, written, np.stack(batch))
            written += len(batch)
            advance(len(batch))
    if lines:
        raise _UnreadableError(lines)


def _failed(found: np.ndarray | UnreadableImageError) -> bool:
    return isinstance(found, UnreadableImageError)


def batched(items: Iterable, size: int) -> Iterator[list]:
    """Lists of so many items, the last of the rest."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


def fit(image: Image.Image, size: int, preparation: Preparation, name: str) -> np.ndarray:
    """An image at the store's size: uint8 (size, size, 3).

    One that has it is left as it is. Others are resized and cropped like ImageNet's validation images: the short side
    to ``size / crop_pct``, rounded down, the long one in proportion, then the centre.

    Raises:
        WithstandError: if the image has another size and the preparation does not say how to resize.
    """
    width, height = image.size
    if (width, height) == (size, size):
        return np.asarray(image)
    if preparation.crop_pct is None:
        raise WithstandError(f"{name}: an image of {width} x {height} px, expected {size} x {size}")
    short = int(size / preparation.crop_pct)
    resized = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    left, top = (round((side - size) / 2) for side in resized)
    # rows first, then columns, as Pillow does; between the two, what the crop takes away need not be computed on
    chosen = filters[preparation.interpolation]
    columns = image.resize((resized[0], height), chosen).crop((left, 0, left + size, height))
    return np.asarray(columns.resize((size, resized[1]), chosen).crop((0, top, size, top + size)))


def sample_table(reader: ReadableSource, sample_ids: Sequence[str]) -> images.Samples:
    """What the store keeps of samples besides pixels."""
    return images.Samples(
        ids=sample_ids,
        labels=reader.labels(sample_ids),
        class_names=reader.class_names(),
        subset=np.array(reader.subset()),
        label_space=reader.label_space(),
        texture_labels=reader.texture_labels(sample_ids),
        categories=reader.categories(),
    )


def read_images(reader: ReadableSource, sample_ids: Sequence[str], threads: int = 1) -> np.ndarray:
    """Images of a source, all of one size: uint8 (n, height, width, 3)."""
    return np.stack(list(in_order(reader.read, sample_ids, threads)))
