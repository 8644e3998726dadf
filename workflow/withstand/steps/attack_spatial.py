"""One model on rotated and translated images: its answer to every transformation of a grid, and to some at random.

The file has a row a sample, and lists along the transformations, which its metadata names in their order:

    sample_id string, label int32, loss float16 list, correct_<mode> bool list
    drawn_loss float32 list, drawn_correct_<mode> bool list, for the transformations drawn for this sample
    worst_<mode> int32, the transformation that does most harm

Loss is in nats, over all outputs. A model that fails has no rows, and the reason in the metadata.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from withstand.errors import ModelError
from withstand.files import atomic_output
from withstand.predictions import METADATA
from withstand.progress import progress
from withstand.steps.models import read_card
from withstand.steps.predict import ImageSet, LazyModel, is_current
from withstand.steps.stream import ResizedSet


def attack_spatial(
    card_path: Path,
    weights: Path | None,
    image_set: ImageSet | ResizedSet,
    grid: Mapping,
    *,
    batch_size: int,
    device: str = "auto",
    code: str | None = None,
) -> None:
    """Write a model's answers to every rotation and translation of the images of a set, unless they are there already,
    of the same images, weights, grid and code.

    Args:
        card_path: the model's card.
        image_set: the clean images; its output is the file to write.
        grid: the fields of ``withstand.attacks.spatial.SpatialGrid``, but ``translation`` as a share of the image's
            side.
    """
    model = LazyModel(read_card(card_path), weights, device)
    inputs = image_set.inputs() | model.inputs(code) | {"grid": dict(grid)}
    if is_current(image_set, inputs):
        print(f"{image_set.output} is up to date", file=sys.stderr)
        return
    facts = model.about(image_set, inputs) | {"grid": dict(grid)}
    try:
        _search(model, image_set, grid, facts, batch_size)
    except ModelError as error:
        print(f"{model.card['model']} failed and is left out: {error}", file=sys.stderr)
        with atomic_output(image_set.output) as temporary:
            pq.write_table(_table({"sample_id": []}, facts | {"failure": str(error)}), temporary)


def _search(model: LazyModel, image_set: ImageSet | ResizedSet, grid: Mapping, facts: Mapping, batch_size: int) -> None:
    classifier = model.classifier
    from withstand.attacks.spatial import search_set

    count = image_set.samples()
    with (
        atomic_output(image_set.output) as temporary,
        progress(count, f"rotations and translations of {model.card['model']}", "images") as advance,
    ):
        found = search_set(
            classifier,
            image_set.shards(model.card, model.device),
            grid,
            outputs=model.card["outputs"],
            batch_size=batch_size,
            device=model.device,
        )
        transformations, first = next(found)
        more = {"transformations": [list(transformation) for transformation in transformations]}
        whole = _table(first, facts | model.facts() | more)
        with pq.ParquetWriter(temporary, whole.schema, compression="zstd") as writer:
            writer.write_table(whole)
            advance(len(whole))
            for _, columns in found:
                part = _table(columns, {}).replace_schema_metadata(whole.schema.metadata)
                writer.write_table(part)
                advance(len(part))


def _table(columns: Mapping, facts: Mapping) -> pa.Table:
    arrays = {name: _array(values) for name, values in columns.items()}
    return pa.table(arrays, metadata={METADATA: json.dumps(dict(facts), sort_keys=True)})


def _array(values) -> pa.Array:
    if getattr(values, "ndim", 1) == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
