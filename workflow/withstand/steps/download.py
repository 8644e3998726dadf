"""Archives of published sets, fetched once and kept so that they can be read in place.

A name that ends in .gz says little: the archives of ImageNet-V2 are plain tar files under such names. What a file is,
its first bytes say.
"""

from __future__ import annotations

import gzip
import shutil
import sys
import tarfile
import zlib
from pathlib import Path

from withstand.datasets.archives import Archive
from withstand.datasets.catalogue import LICENCES
from withstand.datasets.containers import is_gzip
from withstand.datasets.download import DownloadError, download, settings
from withstand.files import atomic_output

MOST_EXPANSION = 20
"""How many times larger a compressed archive may become: pictures hardly shrink."""


def fetch_archive(archive: Archive, output: Path) -> None:
    """Download an archive, or take it from a mirror, check it, and decompress it if it is compressed as a whole.

    Args:
        output: the file to write, whose folder is named by the kind of its source.

    Raises:
        DownloadError: if it cannot be had, is not what it must be, or is neither a gzip file nor a tar archive where
            its name promises one or the other.
    """
    licence = LICENCES.get(output.parent.name)
    if licence:
        print(f"{archive.name}: {licence}", file=sys.stderr)
    if archive.stored == archive.name:
        download(archive, output, **settings())
        return
    published = output.with_name(archive.name)
    download(archive, published, **settings())
    if is_gzip(published):
        decompress(published, output)
        published.unlink()
    elif tarfile.is_tarfile(published):
        published.replace(output)
    else:
        raise DownloadError(f"{published}: neither a gzip file nor a tar archive; delete it and run again")


def decompress(path: Path, output: Path) -> None:
    """Write what a gzip file holds.

    Raises:
        DownloadError: if it is no whole gzip file, or holds far more than its size lets expect.
    """
    most = MOST_EXPANSION * path.stat().st_size + (1 << 20)
    try:
        with gzip.open(path) as source, atomic_output(output) as temporary, temporary.open("wb") as target:
            shutil.copyfileobj(_Bounded(source, most, path), target, 1 << 20)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DownloadError(f"{path}: not a whole gzip file ({error}); delete it and run again") from error


class _Bounded:
    """A file that refuses to be read beyond a number of bytes."""

    def __init__(self, file, most: int, path: Path) -> None:
        self._file, self._left, self._path = file, most, path

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise DownloadError(f"{self._path}: holds more than {MOST_EXPANSION} times its size; not unpacked")
        return data
