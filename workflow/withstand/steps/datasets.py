"""Sources to clean images: one shard of an image set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from withstand import images
from withstand.datasets.registry import Source, open_source
from withstand.errors import WithstandError
from withstand.progress import progress
from withstand.provenance import versions

BATCH = 256


def prepare_images(
    source: dict,
    start: int,
    stop: int,
    *,
    size: int,
    codec: images.Codec,
    output: Path,
    selected: Sequence[str] | None = None,
    origin: dict | None = None,
) -> None:
    """Write the clean images of samples ``start`` to ``stop`` of a source.

    Args:
        source: a config's ``source``, e.g. ``{"kind": "shapetex", "split": "test"}``.
        selected: sample ids to take ``start`` to ``stop`` of, instead of all.
        size: height and width of the stored images, in pixels.
        codec: ``raw`` or ``jpeg``.
        origin: facts to keep in the file beside those that this step knows.

    Raises:
        WithstandError: if the source has images of another size.
    """
    reader = open_source(source)
    if reader.native_size() != size:
        raise WithstandError(f"source {source} has images of {reader.native_size()} px, the study wants {size} px")
    sample_ids = (reader.sample_ids(stop) if selected is None else selected)[start:stop]
    facts = {"source": source, "samples": [start, stop], "versions": versions(), **(origin or {})}
    with (
        images.create(output, sample_table(reader, sample_ids), size=size, codec=codec, origin=facts) as writer,
        progress(len(sample_ids), output.name, "images") as advance,
    ):
        writer.add("clean", [0])
        for first in range(0, len(sample_ids), BATCH):
            batch = read_images(reader, sample_ids[first : first + BATCH])
            writer.write("clean", 0, first, batch)
            advance(len(batch))


def sample_table(reader: Source, sample_ids: Sequence[str]) -> images.Samples:
    """What the store keeps of samples besides pixels."""
    return images.Samples(
        ids=sample_ids,
        labels=reader.labels(sample_ids),
        class_names=reader.class_names(),
        subset=np.array(reader.subset()),
        label_space=reader.label_space(),
        texture_labels=reader.texture_labels(sample_ids),
    )


def read_images(reader: Source, sample_ids: Sequence[str]) -> np.ndarray:
    """Images of a source, all of one size: uint8 (n, height, width, 3)."""
    return np.stack([reader.read(sample_id) for sample_id in sample_ids])
