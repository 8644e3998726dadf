"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import unquote, urlsplit

from withstand.errors import WithstandError

_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP})


@contextmanager
def atomic_output(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a unique temporary path beside ``path``; on success sync it to disk and rename it into place.

    On any error, Ctrl-C included, the temporary file is removed and ``path`` is left as it was. Two writers
    of one path do not disturb each other: the later rename wins, whole.

    Raises:
        WithstandError: if the disk is full or read-only.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(target)
        _sync(target.parent)
    except OSError as error:
        if error.errno in _DISK_ERRORS:
            raise WithstandError(f"{target}: cannot be written ({os.strerror(error.errno)})") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def try_lock(file: IO) -> bool:
    """Take the lock of an open file until it is closed, unless another process has it.

    Where the file system has no locks, which it is told, everyone has it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            return False
        print(f"{file.name}: no locks on this file system; see that nothing runs twice", file=sys.stderr, flush=True)
    return True


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a whole text file atomically."""
    with atomic_output(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


class Facts(dict):
    """What a file says of itself. What it does not say is an error with the file's name."""

    def __init__(self, path: Path, facts: Mapping) -> None:
        super().__init__(facts)
        self._path = path

    def __missing__(self, name: str):
        raise WithstandError(made_by_another_version(self._path, f"'{name}'"))


def made_by_another_version(place: Path | str, missing: str) -> str:
    """The message about a file that lacks something."""
    return f"{place}: has no {missing}, so another version of withstand made it; delete it and run again"


def file_name(place: str) -> PurePosixPath:
    """The name of a file, given its path or its http(s) address."""
    return PurePosixPath(PurePosixPath(unquote(urlsplit(place).path) if "://" in place else place).name)


def sha256(path: str | os.PathLike) -> str:
    """The hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
