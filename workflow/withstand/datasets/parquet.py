"""Encoded images in local Parquet files, as the Hugging Face hub keeps them.

A column of images is a struct of ``bytes`` and ``path``, or bytes alone; a column of labels is of whole numbers, which
index the names that the file's metadata gives, or of names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from withstand.datasets.containers import Location
from withstand.datasets.files import Entry, FileSource, SourceError
from withstand.datasets.folder import OwnLabels
from withstand.datasets.label_spaces import LabelError, NamedBy, output_of


@dataclass(frozen=True)
class Source(OwnLabels, FileSource):
    """One Parquet file, or all of a folder in the order of their names; samples are numbered in this order."""

    path: str
    label_space_name: str
    named_by: NamedBy
    image_column: str = "image"
    label_column: str = "label"
    classes: Sequence[str] | None = None

    @cached_property
    def _files(self) -> list[Path]:
        path = Path(self.path)
        files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not files:
            raise SourceError(f"{path}: no .parquet files in it")
        return files

    def scan(self) -> Iterable[Entry]:
        """The samples.

        Raises:
            SourceError: if a file is no Parquet, or lacks one of the columns.
            LabelError: if a label stands for no output, or for several.
        """
        number = 0
        for path in self._files:
            column = self._bytes_column(path)
            for row, (label, length) in enumerate(self._rows(path)):
                location = Location("parquet", str(path), column, row, length)
                yield Entry(f"{number:08d}", self._output(path, row, label), location)
                number += 1

    def _output(self, path: Path, row: int, label: str) -> int:
        try:
            return output_of(label, self.class_names(), self.named_by, self.label_space())
        except LabelError as error:
            raise LabelError(f"{path}, row {row}: {error}") from error

    def _open(self, path: Path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            file = pq.ParquetFile(path)
        except (OSError, pa.ArrowException) as error:
            raise SourceError(f"{path}: not a Parquet file ({error})") from error
        for column in (self.image_column, self.label_column):
            if column not in file.schema_arrow.names:
                raise SourceError(f"{path}: no column '{column}'; there are {', '.join(file.schema_arrow.names)}")
        return file

    def _bytes_column(self, path: Path) -> str:
        import pyarrow as pa

        kind = self._open(path).schema_arrow.field(self.image_column).type
        return f"{self.image_column}.bytes" if pa.types.is_struct(kind) else self.image_column

    def _rows(self, path: Path) -> Iterator[tuple[str, int]]:
        """The own label of each row, as text, and the number of bytes of its image; a row group at a time."""
        import pyarrow as pa
        import pyarrow.compute as pc

        file = self._open(path)
        names = _class_label(file.schema_arrow, self.label_column) if self.named_by != "index" else None
        column = self._bytes_column(path)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=[column, self.label_column])
            images = table[self.image_column].combine_chunks()
            lengths = pc.binary_length(images.field("bytes") if pa.types.is_struct(images.type) else images)
            for label, length in zip(table[self.label_column].to_pylist(), lengths.to_pylist(), strict=True):
                if names and isinstance(label, int) and not 0 <= label < len(names):
                    raise LabelError(f"{path}: label {label}; there are {len(names)} names, and -1 means no label")
                yield (names[label] if names and isinstance(label, int) else str(label)), length or 0


def _class_label(schema, column: str) -> list[str] | None:
    """The names of a column of labels, where the metadata of the Hugging Face hub gives them."""
    facts = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    return facts.get("info", {}).get("features", {}).get(column, {}).get("names")
