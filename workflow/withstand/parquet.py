"""Reading Parquet files, so that errors name the file: what is damaged, and what another version made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from withstand.errors import WithstandError
from withstand.files import Facts, made_by_another_version
from withstand.integrity import damage

if TYPE_CHECKING:
    import pandas as pd

METADATA = b"withstand"
"""The key of our own metadata, JSON, among those of a file."""


class ParquetFileError(WithstandError):
    """A Parquet file that cannot be read, or lacks a column."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Tell what pyarrow says of a damaged file, with its name."""
    try:
        yield
    except FileNotFoundError:
        raise ParquetFileError(f"{path}: no such file") from None
    except (OSError, pa.ArrowException) as error:
        reason = damage(path) or (str(error) or type(error).__name__).splitlines()[0]
        raise ParquetFileError(f"{path}: not a readable Parquet file ({reason}); delete it and run again") from error


def open_file(path: Path, columns: Iterable[str] = ()) -> pq.ParquetFile:
    """A file to read in parts. Reading a part should be in a :func:`reading` of its own.

    Args:
        columns: those that are read.

    Raises:
        ParquetFileError: if it is missing or damaged, or has not all of the columns.
    """
    with reading(path):
        file = pq.ParquetFile(path)
    for name in columns:
        if name not in file.schema_arrow.names:
            raise ParquetFileError(made_by_another_version(path, f"column '{name}'"))
    return file


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A file, or some of its columns.

    Raises:
        ParquetFileError: if it is missing or damaged, or has not all of the columns.
    """
    with open_file(path, columns or ()) as file, reading(path):
        return file.read(columns=columns)


def read_frame(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A file, or some of its columns, as a DataFrame.

    Raises:
        ParquetFileError: if it is missing or damaged, or has not all of the columns.
    """
    return read_table(path, columns).to_pandas()


def read_results(path: Path) -> pd.DataFrame:
    """A table of results as a DataFrame, without the rows that have no value: what figures and reports tell of.

    Raises:
        ParquetFileError: if it is missing or damaged.
    """
    rows = read_frame(path)
    return rows[rows["value"].notna()] if "value" in rows else rows


def read_schema(path: Path) -> pa.Schema:
    """The columns of a file and its metadata.

    Raises:
        ParquetFileError: if it is missing or damaged.
    """
    with reading(path):
        return pq.read_schema(path)


def read_notes(path: Path) -> Facts:
    """Our own metadata of a file; nothing where it has none.

    Raises:
        ParquetFileError: if it is missing or damaged.
    """
    return Facts(path, json.loads((read_schema(path).metadata or {}).get(METADATA, "{}")))


def without_column(paths: Iterable[Path], name: str) -> list[Path]:
    """Which of some files have no column of a name."""
    return [path for path in paths if path.is_file() and name not in read_schema(path).names]
