"""Files that grow until they are what is wanted: a partial file, held by one process, and the check of its bytes."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from withstand.datasets.archives import Archive
from withstand.errors import WithstandError
from withstand.files import try_lock

PAGE = "answered with a web page (does it want a login, or has the file moved?)"


class DownloadError(WithstandError):
    """A file that cannot be had."""


class RefusedError(Exception):
    """A source that does not have the file; another one may."""


class Contents:
    """The bytes of an open file, and what is wrong with them."""

    def __init__(self, file: BinaryIO, archive: Archive) -> None:
        self.file, self.archive = file, archive
        self.size = os.fstat(file.fileno()).st_size
        self._hashes = {algorithm: self._hash(algorithm) for algorithm in archive.digests}

    def _hash(self, algorithm: str) -> hashlib._Hash:
        self.file.seek(0)
        return hashlib.file_digest(self.file, algorithm)

    def problem(self) -> str | None:
        """Why they are not the archive's; None where they are."""
        wanted = self.archive.bytes
        self.file.seek(0)
        head = self.file.read(1024).lstrip().lower()
        if head.startswith((b"<!doctype html", b"<html")) and not self.archive.is_page:
            return PAGE
        if wanted is not None and self.size > wanted:
            return f"is longer than the expected {wanted:,} bytes"
        if wanted is not None and self.size < wanted:
            return f"has {self.size:,} of {wanted:,} bytes"
        for algorithm, expected in self.archive.digests.items():
            found = self._hashes[algorithm].hexdigest()
            if not found.startswith(expected):
                return f"has the {algorithm} {found}, expected {expected}"
        return None


class Part(Contents):
    """A partial file beside the one to be made.

    Attributes:
        path: where it lies.
        resumed: whether its bytes come from more than one response.
        etag: the server's strong name for the version that its bytes are of, while it is known.
    """

    def __init__(self, file: BinaryIO, archive: Archive, path: Path) -> None:
        super().__init__(file, archive)
        self.path, self.resumed = path, self.size > 0
        self.etag: str | None = None

    def write(self, chunk: bytes) -> None:
        """Append bytes."""
        self.file.write(chunk)
        self.size += len(chunk)
        for digest in self._hashes.values():
            digest.update(chunk)

    def restart(self, etag: str | None = None) -> None:
        """Empty it, for bytes of the version that an ETag names."""
        self.file.truncate(0)
        super().__init__(self.file, self.archive)
        self.resumed = False
        self.etag = etag if etag and etag.startswith('"') else None

    def check_space(self, count: int) -> None:
        """Raise a DownloadError if the disk has no room for ``count`` bytes more."""
        free = shutil.disk_usage(self.path.parent).free
        if count > free:
            needed = f"{self.archive.name} needs {count / 1e6:,.1f} MB more"
            raise DownloadError(f"{self.path.parent}: {needed}, but only {free / 1e6:,.1f} MB are free")

    def finish(self, output: Path) -> None:
        """Sync it to disk and give it its name.

        The folder is not synced: after a power cut the whole file has one of the two names.
        """
        self.file.flush()
        os.fsync(self.file.fileno())
        self.path.replace(output)


@contextmanager
def held(path: Path, archive: Archive) -> Iterator[Part]:
    """Yield the partial file once no other process holds it; remove it if it is empty in the end."""
    while True:
        with open(path, "a+b") as file:
            if not try_lock(file):
                print(f"{archive.name}: another process fetches it; waiting for that", file=sys.stderr, flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _lies_at(path, file):  # the other process has named or removed it
                continue
            part = Part(file, archive, path)
            try:
                yield part
            finally:
                if part.size == 0 and _lies_at(path, file):
                    path.unlink()
            return


def problem_of(path: Path, archive: Archive) -> str | None:
    """Why a file is not the archive's; None where it is."""
    with open(path, "rb") as file:
        return Contents(file, archive).problem()


def _lies_at(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
