"""HDF5 files: one writer each, whole or not there, readers without locks; errors with the file's name."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import h5py

from withstand.errors import WithstandError
from withstand.files import Facts, atomic_output, made_by_another_version
from withstand.integrity import damage

try:
    import hdf5plugin
except ModuleNotFoundError:  # files are then written without a filter
    hdf5plugin = None

_SPARE_BYTES = 1 << 21


class Hdf5Error(WithstandError):
    """An HDF5 file that cannot be read or written."""


@contextmanager
def create(path: str | Path) -> Iterator[h5py.File]:
    """A new file, which appears under ``path`` when the block ends without an error.

    Raises:
        Hdf5Error: if the disk is full or the file cannot be made. What the block itself writes should be in a
            :func:`writing` of its own.
    """
    with atomic_output(path) as temporary:
        check_space(Path(path), 0)
        with writing(path):
            file = h5py.File(temporary, "w", locking=False, track_order=True)
        try:
            yield file
        finally:
            with writing(path):
                file.close()


class OpenFile:
    """A file that is open for reading, of the ``format`` of its class. Use it as a context manager.

    Raises:
        Hdf5Error: if the file is missing, truncated, or of another format.
    """

    format: ClassVar[str]

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = _open(self.path, self.format)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def _attribute(self, name: str) -> Any:
        return self._found(self._file.attrs, name)

    def _part(self, name: str) -> h5py.Group | h5py.Dataset:
        return self._found(self._file, name)

    def _found(self, things: Mapping, name: str) -> Any:
        try:
            return things[name]
        except KeyError:
            raise Hdf5Error(made_by_another_version(self.path, f"'{name}'")) from None

    def _facts(self, name: str) -> Facts:
        """An attribute that is JSON."""
        return Facts(self.path, json.loads(self._attribute(name)))


def _open(path: Path, kind: str) -> h5py.File:
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        told = damage(path) or reason(error)
        raise Hdf5Error(f"{path}: not a readable HDF5 file ({told}); delete it and run again") from error
    found = file.attrs.get("format")
    if found != kind:
        file.close()
        own = f"{found}, " if str(found).startswith("withstand-") else ""
        raise Hdf5Error(f"{path}: an HDF5 file, but {own}not of the format {kind}; delete it and run again")
    return file


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Tell what HDF5 says of a full disk or a failed write, with the name of the file."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise Hdf5Error(f"{path}: cannot be written ({reason(error)})") from error


@contextmanager
def reading(what: str | Path) -> Iterator[None]:
    """Tell what HDF5 says of damaged data: file, and part of it."""
    try:
        yield
    except (OSError, KeyError) as error:
        if hdf5plugin is None:
            raise Hdf5Error(f"{what} cannot be read without hdf5plugin: pip install hdf5plugin") from error
        raise Hdf5Error(f"{what} cannot be read ({reason(error)}); delete the file and run again") from error


def check_space(path: Path, count: int) -> None:
    """Stop before so many bytes are written, while HDF5 can still close the file: it may crash when a write fails for
    want of space."""
    if shutil.disk_usage(path.parent).free < count + _SPARE_BYTES:
        raise Hdf5Error(f"{path}: cannot be written ({os.strerror(errno.ENOSPC)})")


def fast_filter(*, bits: bool = False) -> hdf5plugin.Blosc | None:
    """Compression that costs little more than none; with ``bits`` for small numbers, whose bits are sorted first.

    None where hdf5plugin is not installed.
    """
    if hdf5plugin is None:
        return None
    shuffle = hdf5plugin.Blosc.BITSHUFFLE if bits else hdf5plugin.Blosc.NOSHUFFLE
    return hdf5plugin.Blosc(cname="lz4", clevel=1, shuffle=shuffle)


def reason(error: BaseException) -> str:
    """What went wrong, in a few words: the system's own where HDF5 passes an error number on."""
    number = re.search(r"errno = (\d+)", str(error))
    if number:
        return os.strerror(int(number[1]))
    return (str(error) or type(error).__name__).splitlines()[0]
