"""The Parquet files of predictions: one row per sample, corruption and severity.

    sample_id string, label int32, corruption string, severity int8, loss float32, entropy float32
    texture_label int32, texture_correct_<mode> bool, for cue conflict only, where label is that of the shape
    top5_<mode> int32 list, top5_probability_<mode> float32 list, label_probability_<mode> float32,
    squared_probability_<mode> float32 (sum of squared probabilities), correct_<mode> bool
    logits float16 list, for label spaces up to 100 outputs
    fell_at int16, target int32, linf float32, l2 float32, without_gradient bool, for attacks (see ``ATTACK_COLUMNS``)

``<mode>`` is ``all`` (every output of the model) and ``subset`` (outputs masked to the set's classes); the columns
of ``subset`` are absent where the set has all classes. Classes are indices into the outputs, in both modes. Where a
class stands for several outputs there is the mode ``categories`` alone: a class has the mean probability of its
outputs, of the sum of which it is a share; label and classes are then indices into the set's classes.
loss (negative log-likelihood of the label) and entropy are in nats, over all outputs, or over the categories. The
metadata of the file holds device, dtype, versions, weights digest, transform policy, and the reason where the model
failed; such a file has no rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from withstand.files import atomic_output
from withstand.parquet import METADATA, ParquetFileError, read_notes, reading

LABEL_MODES = ("all", "subset", "categories")
MAIN_MODES = ("all", "categories")
"""Of a set, the one that figures and claims are in: over all that a model may answer."""

MAX_STORED_LOGITS = 100

DOUBTS = "withstand.doubts"
"""Key of the metadata that is written in the end."""


NEVER = -1
"""Of ``fell_at``: no step made the model answer as the attack wants."""

ATTACK_COLUMNS = (
    pa.field("fell_at", pa.int16()),
    pa.field("target", pa.int32()),
    pa.field("linf", pa.float32()),
    pa.field("l2", pa.float32()),
    pa.field("without_gradient", pa.bool_()),
)
"""What an attack adds: after how many steps the model first answered as the attack wants (-1: never), the class that it
looked for (-1: any but the label), the size of the perturbation in [0, 1] pixel space, and whether the gradient was
zero at the start."""


def schema(
    outputs: int,
    modes: tuple[str, ...],
    facts: Mapping,
    *,
    cue_conflict: bool = False,
    classes: int | None = None,
    more: Sequence[pa.Field] = (),
) -> pa.Schema:
    """The columns for a model with that many outputs, on a set with that many classes, and the file's metadata."""
    top = min(5, classes or outputs)
    fields = [
        pa.field("sample_id", pa.string()),
        pa.field("label", pa.int32()),
        pa.field("corruption", pa.string()),
        pa.field("severity", pa.int8()),
        pa.field("loss", pa.float32()),
        pa.field("entropy", pa.float32()),
    ]
    if cue_conflict:
        fields.append(pa.field("texture_label", pa.int32()))
        fields += [pa.field(f"texture_correct_{mode}", pa.bool_()) for mode in modes]
    for mode in modes:
        fields += [
            pa.field(f"top5_{mode}", pa.list_(pa.int32(), top)),
            pa.field(f"top5_probability_{mode}", pa.list_(pa.float32(), top)),
            pa.field(f"label_probability_{mode}", pa.float32()),
            pa.field(f"squared_probability_{mode}", pa.float32()),
            pa.field(f"correct_{mode}", pa.bool_()),
        ]
    if outputs <= MAX_STORED_LOGITS:
        fields.append(pa.field("logits", pa.list_(pa.float16(), outputs)))
    return pa.schema([*fields, *more], metadata={METADATA: json.dumps(dict(facts), sort_keys=True)})


class PredictionWriter:
    """Appends columns of equal length, each call one row group."""

    def __init__(self, writer: pq.ParquetWriter, layout: pa.Schema) -> None:
        self._writer, self._schema = writer, layout

    def write(self, columns: Mapping) -> None:
        """Columns by name: sequences, or arrays (n) and (n, k) for the list columns."""
        arrays = [_array(columns[field.name], field.type) for field in self._schema]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def doubt(self, doubts: Iterable[str]) -> None:
        """Note what makes the results doubtful, which is known in the end only; :func:`read_doubts` reads it."""
        self._writer.add_key_value_metadata({DOUBTS: json.dumps(sorted(doubts))})


@contextmanager
def create(path: Path, layout: pa.Schema) -> Iterator[PredictionWriter]:
    """Create a file of predictions; it appears under ``path`` when the block ends without an error."""
    with atomic_output(path) as temporary, pq.ParquetWriter(temporary, layout, compression="zstd") as writer:
        yield PredictionWriter(writer, layout)


def write_failure(path: Path, facts: Mapping, reason: str) -> None:
    """Record that a model failed on an image set: a file without rows, the reason in its metadata."""
    with create(path, schema(1, ("all",), {**facts, "failure": reason})):
        pass


def read_facts(path: Path) -> dict:
    """The metadata of a file of predictions.

    Raises:
        ParquetFileError: if it is missing, damaged, or none.
    """
    facts = read_notes(path)
    if not facts:
        raise ParquetFileError(f"{path}: not a file of predictions; delete it and run again")
    return facts


def read_doubts(path: Path) -> list[str]:
    """What makes results under an attack doubtful, in words.

    Raises:
        ParquetFileError: if the file is missing or damaged.
    """
    with reading(path):
        metadata = pq.read_metadata(path).metadata or {}
    return json.loads(metadata.get(DOUBTS.encode(), "[]"))


def _array(values, kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), type=kind.value_type), kind.list_size)
    return pa.array(values, type=kind)
