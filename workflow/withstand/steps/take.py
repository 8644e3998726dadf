"""Corrupted sets as published to the image store: one shard of a family."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from withstand import images
from withstand.datasets.decoding import ENCODED
from withstand.progress import progress
from withstand.provenance import versions
from withstand.shards import DownloadedShard

BATCH = 256
_JPEG = b"\xff\xd8\xff"


def take_images(
    clean: Path,
    index: Path,
    wanted: Mapping,
    *,
    codec: images.Codec,
    output: Path,
    origin: dict | None = None,
    threads: int = 1,
) -> None:
    """Write the corrupted copies of the samples of a clean shard. With codec ``jpeg``, the bytes of JPEG files are
    copied, never encoded again.

    Args:
        clean: a file of the image store with the group ``clean``.
        index: what a scan of the corrupted set found.
        wanted: ``corruptions`` and ``severities``, lists.
        origin: facts to keep in the file beside those that this step knows.

    Raises:
        SourceError: if a sample has no copy, or one of another size.
        UnreadableImageError: if a copy cannot be decoded.
    """
    with images.ImageFile(clean) as file:
        shard = DownloadedShard(file, index, wanted["corruptions"], wanted["severities"], threads)
        facts = {"clean": file.origin, **wanted, "versions": versions(), **(origin or {})}
        with (
            images.create(output, file.samples, size=file.size, codec=codec, origin=facts) as writer,
            progress(len(shard.conditions) * len(file), output.parent.name, "images") as advance,
        ):
            for corruption in wanted["corruptions"]:
                writer.add(corruption, wanted["severities"])
            for corruption, _, number in shard.conditions:
                for start in range(0, len(file), BATCH):
                    copies = shard.copies(corruption, number, slice(start, start + BATCH))
                    pixels = np.stack([image for image, *_ in copies])
                    if all(encoding == ENCODED and data.startswith(_JPEG) for _, data, encoding in copies):
                        writer.write_encoded(corruption, number, start, pixels, [data for _, data, _ in copies])
                    else:
                        writer.write(corruption, number, start, pixels)
                    advance(len(copies))
