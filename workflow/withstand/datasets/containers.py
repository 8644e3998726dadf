"""Where the bytes of samples lie: folders, tar and zip archives, Parquet files; read in place, nothing is unpacked.

``members`` lists what a folder or archive holds, ``Reader`` gives the bytes of one location. Since nothing is ever
written, an archive cannot place files anywhere; what would be dangerous to unpack is refused all the same, because
such an archive is not what it seems.
"""

from __future__ import annotations

import os
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

from withstand.errors import WithstandError

MOST_BYTES = 1 << 28
"""The largest member that is read: no encoded image comes near."""

GZIP = b"\x1f\x8b"
"""How a gzip file begins."""

Kind = Literal["file", "slice", "zip", "parquet"]


class ContainerError(WithstandError):
    """A folder, archive or file of samples that cannot be read, or is not what it seems."""


@dataclass(frozen=True)
class Location:
    """Where the bytes of one sample lie.

    Attributes:
        kind: a whole ``file``; a ``slice`` of one (a member of a tar archive, a row of an array); a member of a
            ``zip`` archive; a value of a ``parquet`` column.
        file: the file on disk.
        member: the member's name in an archive; for parquet ``<column>`` or ``<column>.<field>``.
        start: for a slice its first byte, for parquet the row.
        length: number of bytes.
    """

    kind: Kind
    file: str
    member: str = ""
    start: int = 0
    length: int = 0


@dataclass(frozen=True)
class Member:
    """A file of a folder or archive: its path inside, with forward slashes, and where its bytes lie."""

    name: str
    location: Location


def part(location: Location, start: int, length: int) -> Location:
    """So many bytes of a location, from a byte on.

    Raises:
        ContainerError: if it is compressed, or in a Parquet file.
    """
    if location.kind not in ("file", "slice"):
        raise ContainerError(f"{describe(location)}: cannot be read in part; unpack it, or make it a tar archive")
    return Location("slice", location.file, location.member, location.start + start, length)


def is_gzip(path: Path) -> bool:
    """Whether a file is compressed by gzip, whatever its name says."""
    with path.open("rb") as file:
        return file.read(len(GZIP)) == GZIP


def members(path: Path) -> Iterator[Member]:
    """The files in a folder or archive, in no particular order; hidden ones and links are left out.

    Links inside of folders are followed, since they are the user's own.

    Raises:
        ContainerError: if it is neither, is compressed as a whole, is damaged, or holds paths that lead out of it.
    """
    if path.is_dir():
        found = _folder_members(path)
    elif not path.is_file():
        raise ContainerError(f"{path}: no such file or folder")
    else:
        found = _archive_members(path)
    return (member for member in found if not any(part.startswith(".") for part in member.name.split("/")))


def _folder_members(path: Path) -> Iterator[Member]:
    seen = set()
    for folder, subfolders, files in os.walk(path, followlinks=True, onerror=_refuse):
        if (real := os.path.realpath(folder)) in seen:  # a link to a folder above
            subfolders.clear()
            continue
        seen.add(real)
        subfolders.sort()
        for name in files:
            file = Path(folder, name)
            if file.is_symlink() and not file.exists():
                raise ContainerError(f"{file}: a link that leads nowhere")
            if file.is_file():
                location = Location("file", str(file), length=file.stat().st_size)
                yield Member(file.relative_to(path).as_posix(), location)


def _refuse(error: OSError) -> None:
    raise ContainerError(f"{error.filename}: {error.strerror}") from error


def _archive_members(path: Path) -> Iterator[Member]:
    with path.open("rb") as file:
        begin = file.read(512)
    if begin.startswith((b"PK\x03\x04", b"PK\x05\x06")):  # the end alone may be that of a zip archive in a tar one
        return _zip_members(path)
    compressed = {GZIP: "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}
    for magic, tool in compressed.items():
        if begin.startswith(magic):
            raise ContainerError(f"{path}: compressed as a whole, which cannot be read in place; run {tool} on it")
    if begin.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise ContainerError(f"{path}: a web page instead of an archive")
    return _tar_members(path)


def _tar_members(path: Path) -> Iterator[Member]:
    try:
        with tarfile.open(path, "r:") as archive:
            for info in archive:
                archive.members.clear()  # which would grow to a gigabyte for the archives of ImageNet-C
                name = _inside(path, info.name)
                if info.islnk() or info.issym():
                    raise ContainerError(f"{path}: holds the link '{name}'; make it anew with tar --dereference")
                if info.isfile() and not info.issparse():
                    yield Member(name, Location("slice", str(path), info.name, info.offset_data, info.size))
            archive.fileobj.seek(archive.offset)
            if archive.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):  # tarfile takes a damaged header for the end
                raise ContainerError(f"{path}: damaged at byte {archive.offset:,}")
    except tarfile.TarError as error:
        raise ContainerError(f"{path}: not a whole tar or zip archive ({error})") from error


def _zip_members(path: Path) -> Iterator[Member]:
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name = _inside(path, info.filename)
                if not info.is_dir():
                    yield Member(name, Location("zip", str(path), info.filename, length=info.file_size))
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise ContainerError(f"{path}: not a whole zip archive ({error})") from error


def _inside(path: Path, name: str) -> str:
    parts = PurePosixPath(name.replace("\\", "/")).parts  # as some programs on Windows write them
    if ".." in parts or (parts and (parts[0] == "/" or parts[0].endswith(":"))):
        raise ContainerError(f"{path}: holds '{name}', a path that leads out of the archive")
    return "/".join(parts)


class Reader:
    """Reads locations; archives stay open. Threads may share one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, object] = {}

    def read(self, location: Location) -> bytes:
        """The bytes of a location.

        Raises:
            ContainerError: if they cannot be read, are too many, or fewer or more than the location says.
        """
        if location.length > MOST_BYTES:
            raise ContainerError(f"{describe(location)}: {location.length:,} bytes are no image")
        try:
            data = getattr(self, f"_read_{location.kind}")(location)
        except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
            raise ContainerError(f"{describe(location)}: cannot be read ({error})") from error
        if len(data) != location.length:
            raise ContainerError(
                f"{describe(location)}: {len(data):,} bytes instead of {location.length:,}; it changed or is cut off"
            )
        return data

    @staticmethod
    def _read_file(location: Location) -> bytes:
        with open(location.file, "rb") as file:
            return file.read(location.length + 1)

    def _read_slice(self, location: Location) -> bytes:
        file = self._handle(location.file, lambda: open(location.file, "rb"))  # noqa: SIM115 - kept open
        return os.pread(file.fileno(), location.length, location.start)

    def _read_zip(self, location: Location) -> bytes:
        archive = self._handle(location.file, lambda: zipfile.ZipFile(location.file))
        with archive.open(location.member) as member:
            return member.read(location.length + 1)

    def _read_parquet(self, location: Location) -> bytes:
        column = self._handle(location.file, lambda: ParquetColumn(location.file))
        return column.read(location.member, location.start)

    def _handle(self, name: str, opened):
        with self._lock:
            if name not in self._open:
                self._open[name] = opened()
            return self._open[name]


class ParquetColumn:
    """Encoded images in a column of a Parquet file, read a row group at a time."""

    def __init__(self, path: str) -> None:
        import pyarrow.parquet as pq

        self._file = pq.ParquetFile(path)
        self._lock = threading.Lock()
        self._last: tuple[tuple[int, str], object] | None = None

    @cached_property
    def _starts(self) -> list[int]:
        """The first row of each row group, and the number of all rows."""
        starts = [0]
        for group in range(self._file.num_row_groups):
            starts.append(starts[-1] + self._file.metadata.row_group(group).num_rows)
        return starts

    def _group(self, group: int, column: str):
        """A row group's values; those of the last one are kept."""
        if self._last is None or self._last[0] != (group, column):
            name, _, field = column.partition(".")
            values = self._file.read_row_group(group, columns=[column])[name].combine_chunks()
            self._last = (group, column), values.field(field) if field else values
        return self._last[1]

    def read(self, column: str, row: int) -> bytes:
        """The bytes of one row."""
        from bisect import bisect_right

        group = bisect_right(self._starts, row) - 1
        with self._lock:
            return self._group(group, column)[row - self._starts[group]].as_py() or b""


def describe(location: Location) -> str:
    """A location in words, for messages."""
    if location.kind == "parquet":
        return f"{location.file}, row {location.start}"
    return ", ".join(filter(None, (location.file, location.member)))
