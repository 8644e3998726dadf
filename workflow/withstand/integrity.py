"""Files that are not whole: truncated, emptied or overwritten with zeros, found by a few bytes of each.

Steps never leave such files, but disks, copies and people do. A file says itself how long it is: HDF5 in its first
bytes, Parquet in its last, safetensors in a header. No content is read, so a study of ten thousand files takes a
fraction of a second.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

_HDF5 = b"\x89HDF\r\n\x1a\n"
_END_ADDRESS = {0: 40, 1: 44, 2: 28, 3: 28}
"""Where the address of the end of file stands, by the version of the superblock, with addresses of 8 bytes."""
_SIZE_OF_ADDRESSES = {0: 13, 1: 13, 2: 9, 3: 9}

_PARQUET = b"PAR1"
_LARGEST_HEADER = 100_000_000
"""Bytes that the header of a safetensors file has at most, by its format."""


def find_damaged(places: Iterable[str | Path]) -> dict[Path, str]:
    """What is wrong with files that are not whole, by path, in their order.

    Args:
        places: files, and folders, in which all files are looked at whose suffix says their format; temporary files,
            which begin with a dot, are not. What is not there is not damaged.
    """
    found = {path: damage(path) for place in places for path in map(Path, _files(place))}
    return {path: reason for path, reason in sorted(found.items()) if reason}


def damage(path: Path) -> str | None:
    """What is wrong with a file; None for one that is whole, not there, or of a format that is not known."""
    check = _CHECKS.get(path.suffix)
    if check is None:
        return None
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            return check(file, size) if size else "it is empty"
    except (FileNotFoundError, PermissionError):
        return None
    except OSError as error:
        return error.strerror or type(error).__name__


def _files(place: str | Path) -> Iterator[str | Path]:
    try:
        entries = list(os.scandir(place))
    except NotADirectoryError:
        yield place
        return
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path)
        elif entry.name.endswith(_SUFFIXES):
            yield entry.path


def _hdf5(file: BinaryIO, size: int) -> str | None:
    head = file.read(64)
    if not head.startswith(_HDF5):
        return "it does not begin like HDF5"
    version = head[8] if len(head) > 8 else None
    place = _END_ADDRESS.get(version, len(head))
    if len(head) < place + 8 or head[_SIZE_OF_ADDRESSES[version]] != 8:
        return "its header is not one of HDF5"
    return _too_short(size, struct.unpack_from("<Q", head, place)[0])


def _parquet(file: BinaryIO, size: int) -> str | None:
    if size < 12 or file.read(4) != _PARQUET:
        return "it does not begin like Parquet"
    file.seek(size - 8)
    length, end = struct.unpack("<I4s", file.read(8))
    if end != _PARQUET:
        return "it does not end like Parquet"
    return None if length + 12 <= size else "its footer is not one of Parquet"


def _safetensors(file: BinaryIO, size: int) -> str | None:
    if size < 8:
        return "it ends within its header"
    length = struct.unpack("<Q", file.read(8))[0]
    if not 2 <= length <= _LARGEST_HEADER:
        return "its header is not one of safetensors"
    if size < 8 + length:
        return _too_short(size, 8 + length)
    try:
        header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return "its header is not one of safetensors"
    return _too_short(size, 8 + length + max(ends, default=0))


def _json(file: BinaryIO, size: int) -> str | None:
    try:
        json.loads(file.read())
    except ValueError:
        return "it is not JSON"
    return None


def _too_short(size: int, expected: int) -> str | None:
    return f"it ends at {size:,} of {expected:,} bytes" if size < expected else None


_CHECKS: dict[str, Callable[[BinaryIO, int], str | None]] = {
    ".h5": _hdf5,
    ".parquet": _parquet,
    ".safetensors": _safetensors,
    ".json": _json,
}
_SUFFIXES = tuple(_CHECKS)
