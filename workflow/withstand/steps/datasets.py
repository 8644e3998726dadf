"""Sources to clean images: one shard of an image set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from withstand import images
from withstand.datasets.registry import open_source
from withstand.errors import WithstandError
from withstand.progress import progress
from withstand.provenance import versions

BATCH = 256


def prepare_images(
    source: dict, start: int, stop: int, *, size: int, codec: images.Codec, output: Path, origin: dict | None = None
) -> None:
    """Write the clean images of samples ``start`` to ``stop`` of a source.

    Args:
        source: a config's ``source``, e.g. ``{"kind": "shapetex", "split": "test"}``.
        size: height and width of the stored images, in pixels.
        codec: ``raw`` or ``jpeg``.
        origin: facts to keep in the file beside those that this step knows.

    Raises:
        WithstandError: if the source has images of another size.
    """
    reader = open_source(source)
    if reader.native_size() != size:
        raise WithstandError(f"source {source} has images of {reader.native_size()} px, the study wants {size} px")
    sample_ids = reader.sample_ids(stop)[start:]
    labels = reader.labels(sample_ids)
    samples = images.Samples(
        ids=sample_ids,
        labels=labels,
        class_names=reader.class_names(),
        subset=np.arange(len(reader.class_names())),
        label_space=reader.label_space(),
    )
    facts = {"source": source, "samples": [start, stop], "versions": versions(), **(origin or {})}
    with images.create(output, samples, size=size, codec=codec, origin=facts) as writer:
        writer.add("clean", [0])
        with progress(len(sample_ids), output.name, "images") as advance:
            _write_batches(writer, reader.read, sample_ids, advance)


def _write_batches(
    writer: images.ImageWriter, read: Callable, sample_ids: list[str], advance: Callable[[int], None]
) -> None:
    for first in range(0, len(sample_ids), BATCH):
        batch = np.stack([read(sample_id) for sample_id in sample_ids[first : first + BATCH]])
        writer.write("clean", 0, first, batch)
        advance(len(batch))
