"""Natural adversarial examples: the samples of a pool that a reference model gets wrong.

ImageNet-A was collected in this way (Hendrycks et al., "Natural adversarial examples", CVPR 2021), with a ResNet-50 as
the reference. The reference is none of the models under study, so none of them is judged by its own errors.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from withstand.datasets.decoding import UnreadableImageError
from withstand.datasets.source import ReadableSource
from withstand.errors import WithstandError
from withstand.files import atomic_output
from withstand.images import Samples
from withstand.parquet import read_table
from withstand.predictions import METADATA
from withstand.prefetch import in_order, prefetch
from withstand.progress import progress
from withstand.provenance import versions
from withstand.steps.datasets import sample_table

if TYPE_CHECKING:
    from withstand.models import Classifier

BATCH = 256

SCHEMA = pa.schema(
    [("sample_id", pa.string()), ("label", pa.int32()), ("answer", pa.int32()), ("probability", pa.float32())]
)
"""A missed sample a row: what it shows, and what the reference took it for, with which probability."""


def find_missed(
    reader: ReadableSource,
    pool: tuple[int, int],
    count: int,
    *,
    spec: Mapping,
    weights: Path | None,
    output: Path,
    choice_seed: int | None = None,
    device: str = "cpu",
    unreadable: Literal["stop", "skip"] = "stop",
    threads: int = 1,
    origin: Mapping | None = None,
) -> None:
    """Write the first ``count`` samples of a pool that a reference model gets wrong.

    Args:
        reader: the source of the pool.
        pool: the samples to ask about, by position: the first and the one past the last.
        choice_seed: positions are in random order by this seed; None for the source's own order.
        spec, weights: the reference (see ``models.load``); images go through its own resize and crop where they are
            of another size than it takes.
        unreadable: whether an image that cannot be decoded stops the step, or is passed over.
        threads: how many read images.
        origin: facts to keep in the file beside those that this step knows.

    Raises:
        WithstandError: if the reference cannot be used, answers in another label space, or misses too few samples.
    """
    from withstand import models
    from withstand.inference import Forward, label_modes

    ids = reader.chosen(pool[1], choice_seed)[pool[0] :]
    samples = sample_table(reader, ids)
    model = models.load(spec, weights, device)
    label_modes(samples, len(samples.class_names), model.label_space)
    forward = Forward(model, len(samples.class_names), BATCH, device)
    missed, searched = [], 0
    with progress(count, output.parent.name, "missed samples") as advance:
        for read, positions, images in prefetch(_batches(reader, ids, model, unreadable, threads), depth=2):
            rows = _missed(samples, positions, forward(images).softmax(1).numpy()) if positions else []
            advance(min(len(rows), count - len(missed)))
            missed += rows
            searched += read
            if len(missed) >= count:
                break
    if len(missed) < count:
        raise WithstandError(
            f"the reference gets {len(missed)} of {searched} samples wrong, {count} were asked for:"
            " lower samples or enlarge the pool"
        )
    share = len(missed) / searched
    print(f"the reference gets {len(missed)} of {searched} samples wrong ({share:.1%})", file=sys.stderr)
    facts = {
        "reference": dict(spec),
        "searched": searched,
        "choice_seed": choice_seed,
        "versions": versions(),
        **(origin or {}),
    }
    table = pa.Table.from_pylist(missed[:count], schema=SCHEMA.with_metadata({METADATA: json.dumps(facts)}))
    with atomic_output(output) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_missed(path: Path) -> list[str]:
    """The sample ids of a selection, in its order."""
    return read_table(path, columns=["sample_id"])["sample_id"].to_pylist()


def _batches(
    reader: ReadableSource, ids: Sequence[str], model: Classifier, unreadable: str, threads: int
) -> Iterator[tuple[int, list[int], np.ndarray]]:
    """How many samples were read, the positions of those that could be, and their images as the model sees them: drawn
    ones as they are, those in files through its own resize and crop."""
    from withstand.models import own_transform

    transform = None if reader.is_generated else own_transform(model.preprocessing)

    def read(sample_id: str) -> np.ndarray | None:
        try:
            return reader.read(sample_id) if transform is None else transform(reader.picture(sample_id))
        except UnreadableImageError as error:
            if unreadable == "stop":
                raise
            print(f"passed over: {error}", file=sys.stderr)
            return None

    for start in range(0, len(ids), BATCH):
        part = range(start, min(start + BATCH, len(ids)))
        found = list(zip(part, in_order(read, ids[part.start : part.stop], threads), strict=True))
        positions = [position for position, image in found if image is not None]
        yield len(part), positions, np.stack([image for _, image in found if image is not None] or [np.zeros(0)])


def _missed(samples: Samples, positions: Sequence[int], probabilities: np.ndarray) -> list[dict]:
    """Rows of ``SCHEMA`` for the samples whose most probable class is not their label."""
    answers = probabilities.argmax(1)
    ids = [samples.ids[position] for position in positions]
    columns = (ids, samples.labels[positions].tolist(), answers.tolist(), probabilities.max(1).tolist())
    rows = (dict(zip(SCHEMA.names, row, strict=True)) for row in zip(*columns, strict=True))
    return [row for row in rows if row["answer"] != row["label"]]
