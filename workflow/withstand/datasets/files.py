"""Sources whose samples lie in files: what all of them have in common, and the index of what they hold.

A source is scanned once, into an index: a Parquet file with a row for each sample (or for each corrupted copy of it),
its label, and where its bytes lie. Everything later reads the index; nothing is unpacked or copied.

    sample_id string, label int32, texture_label int32, corruption string, severity int8,
    kind, file, member string, start, length int64 (see ``containers.Location``), encoding string

The metadata holds class names, label space, the classes that occur and, where a class stands for several outputs,
which. Corrupted copies have the clean sample's label; what their folders say of it, where they do, is compared with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from withstand.datasets.archives import Archive
from withstand.datasets.containers import Location, Member, Reader, describe, is_gzip, members
from withstand.datasets.decoding import ENCODED, UnreadableImageError, decode, pixels
from withstand.datasets.source import ReadableSource, Source
from withstand.errors import WithstandError
from withstand.files import atomic_output
from withstand.progress import progress

Decoded = TypeVar("Decoded")

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"))
"""What counts as an image in folders and archives; other files are passed over."""

DOWNLOADS = "results/downloads"
METADATA = b"withstand"
_BATCH = 10_000


class SourceError(WithstandError):
    """Files that are not what a source says: missing, doubled, or of unknown classes."""


@dataclass(frozen=True)
class Entry:
    """One sample of a source, or one corrupted copy of it, and where its bytes lie."""

    sample_id: str
    label: int | None
    location: Location
    encoding: str = ENCODED
    texture_label: int | None = None
    corruption: str | None = None
    severity: int | None = None


class FileSource(Source):
    """What sources in files have in common. Subclasses are dataclasses with a field ``path``, and say how to scan."""

    path: str | None

    def archives(self) -> tuple[Archive, ...]:
        """The archives of a published set, to be downloaded where no path is given."""
        return ()

    def folder(self) -> str:
        """Where archives of this kind are downloaded to."""
        return f"{DOWNLOADS}/{type(self).__module__.rpartition('.')[2]}"

    def downloads(self) -> dict[str, Archive]:
        archives = self.archives() if self.path is None else ()
        return {f"{self.folder()}/{archive.stored}": archive for archive in archives}

    def inputs(self) -> list[str]:
        if self.path is None:
            return [*self.downloads()]
        return [self.path] if Path(self.path).is_file() else []

    def roots(self) -> list[Path]:
        """The folders or archives to scan: downloaded, or given; a folder may hold the archives as downloaded.

        Raises:
            SourceError: if it holds an archive that is compressed as a whole.
        """
        if self.path is None:
            return [Path(path) for path in self.inputs()]
        folder = Path(self.path)
        kept = [path for archive in self.archives() if (path := _kept(folder, archive))]
        return kept or [folder]

    def images(self) -> Iterator[Member]:
        """All members of the roots that are images."""
        for root in self.roots():
            yield from (member for member in members(root) if is_image(member.name))

    def counts(self) -> tuple[int | None, ...]:
        """How many samples a scan may find."""
        return (self.available(),)

    # What takes the files

    def class_names(self) -> list[str]:
        """A name for each output of the label space, or for each class where it stands for several outputs."""
        raise NotImplementedError

    def scan(self) -> Iterable[Entry]:
        """The samples, in their order."""
        raise NotImplementedError


def _kept(folder: Path, archive: Archive) -> Path | None:
    """Where an archive lies in a folder: as it is kept here, or as it is published, unless that is compressed."""
    if (path := folder / archive.stored).is_file():
        return path
    if not (path := folder / archive.name).is_file():
        return None
    if is_gzip(path):
        raise SourceError(f"{path}: compressed as a whole, which cannot be read in place; run gunzip on it")
    return path


def is_image(name: str) -> bool:
    """Whether a file name ends like an image's."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def take_turns(entries: Iterable[Entry]) -> list[Entry]:
    """Entries so ordered that classes take turns, each in the order of its sample ids: any first n are balanced."""
    classes: dict[int, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.sample_id):
        classes.setdefault(entry.label, []).append(entry)
    turns = [(turn, label, entry) for label, group in classes.items() for turn, entry in enumerate(group)]
    return [entry for *_, entry in sorted(turns, key=lambda item: item[:2])]


def write_index(source: FileSource, output: Path) -> None:
    """Scan a source and write its index.

    Raises:
        SourceError: if there are no samples, fewer than the source must have, or two have one id.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    seen: set[int] = set()  # of hashes: the copies of ImageNet-C are millions
    labels: set[int] = set()
    entries, wanted = iter(source.scan()), source.available()
    with atomic_output(output) as temporary, progress(wanted, output.parent.name, "samples found") as advance:
        with pq.ParquetWriter(temporary, schema := _schema(), compression="zstd") as writer:
            while batch := list(islice(entries, _BATCH)):
                for entry in batch:
                    key = hash((entry.corruption, entry.severity, entry.sample_id))
                    if key in seen:
                        raise SourceError(f"{describe(entry.location)}: a second sample '{entry.sample_id}'")
                    seen.add(key)
                    labels.update({entry.label, entry.texture_label} - {None})
                try:
                    writer.write_table(pa.Table.from_pylist([_row(entry) for entry in batch], schema=schema))
                except UnicodeEncodeError as error:
                    raise SourceError(f"{error.object!r}: a file name that is no UTF-8; rename it") from error
                advance(len(batch))
            writer.add_key_value_metadata({METADATA: json.dumps(_facts(source, labels))})
        if not seen or (wanted is not None and len(seen) not in source.counts()):
            roots = ", ".join(map(str, source.roots()))
            expected = f", {wanted:,} expected" if wanted and seen else "; is this the right place?"
            raise SourceError(f"{roots}: {len(seen):,} samples found{expected}")


def _facts(source: FileSource, labels: set[int]) -> dict:
    return {
        "class_names": source.class_names(),
        "label_space": source.label_space(),
        "outputs": source.outputs(),
        "subset": sorted(labels),
        "categories": source.categories(),
    }


def _row(entry: Entry) -> dict:
    return {**{key: value for key, value in vars(entry).items() if key != "location"}, **asdict(entry.location)}


def _schema():
    import pyarrow as pa

    text = ("sample_id", "corruption", "kind", "file", "member", "encoding")
    numbers = {"label": pa.int32(), "texture_label": pa.int32(), "severity": pa.int8()}
    names = ("sample_id", "label", "texture_label", "corruption", "severity", "kind", "file", "member")
    kinds = dict.fromkeys(text, pa.string()) | numbers | {"start": pa.int64(), "length": pa.int64()}
    return pa.schema([(name, kinds[name]) for name in (*names, "start", "length", "encoding")])


def read_facts(path: Path) -> dict:
    """What an index says of all its samples: class names, label space, its outputs, classes that occur, and the outputs
    of each."""
    import pyarrow.parquet as pq

    return json.loads(pq.read_metadata(path).metadata[METADATA])


class IndexedSource(ReadableSource):
    """The samples of an index. Threads may share one."""

    def __init__(self, path: Path) -> None:
        """Raises ``SourceError`` if the file is no index."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            self._table = pq.read_table(path)
            self._facts = read_facts(path)
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
            raise SourceError(f"{path}: no index of a source ({type(error).__name__}); delete it") from error
        self._images = IndexedImages(self._table)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {sample_id: row for row, sample_id in enumerate(self._table["sample_id"].to_pylist())}

    def available(self) -> int:
        return len(self._table)

    def sample_ids(self, count: int) -> list[str]:
        return self._table["sample_id"][:count].to_pylist()

    def class_names(self) -> list[str]:
        return self._facts["class_names"]

    def subset(self) -> list[int]:
        return self._facts["subset"]

    def label_space(self) -> str:
        return self._facts["label_space"]

    def outputs(self) -> int:
        return self._facts["outputs"]

    def categories(self) -> list[list[int]] | None:
        return self._facts["categories"]

    @property
    def is_cue_conflict(self) -> bool:
        return self._table["texture_label"].null_count < len(self._table)

    def labels(self, sample_ids: Sequence[str]) -> np.ndarray:
        return self._column("label", sample_ids)

    def texture_labels(self, sample_ids: Sequence[str]) -> np.ndarray | None:
        return self._column("texture_label", sample_ids) if self.is_cue_conflict else None

    def _column(self, name: str, sample_ids: Sequence[str]) -> np.ndarray:
        rows = np.array([self._rows[sample_id] for sample_id in sample_ids], dtype=np.int64)
        return self._table[name].to_numpy()[rows].astype(np.int64)

    def read(self, sample_id: str) -> np.ndarray:
        """The image of a sample: uint8 (height, width, 3), RGB.

        Raises:
            UnreadableImageError: if its bytes are no whole image; the message names the file.
            ContainerError: if its bytes cannot be read.
        """
        return self._images.read(self._rows[sample_id], pixels)[0]

    def picture(self, sample_id: str) -> Image.Image:
        """The image of a sample, in RGB; raises what :meth:`read` raises."""
        return self._images.read(self._rows[sample_id])[0]


class IndexedImages:
    """The images of an index, by row. Threads may share one."""

    def __init__(self, table) -> None:
        self._reader = Reader()
        names = (*Location.__dataclass_fields__, "encoding")
        self._columns = {name: table[name].combine_chunks() for name in names}

    def location(self, row: int) -> Location:
        """Where the bytes in a row lie."""
        return Location(**{name: self._columns[name][row].as_py() for name in Location.__dataclass_fields__})

    def read(self, row: int, to: Callable[[bytes, str], Decoded] = decode) -> tuple[Decoded, bytes, str]:
        """The image in a row, in RGB, its bytes, and their encoding.

        Args:
            to: ``decode`` for a Pillow image, ``pixels`` for an array.

        Raises:
            UnreadableImageError: if the bytes are no whole image; the message names the file.
            ContainerError: if the bytes cannot be read.
        """
        encoding, location = self._columns["encoding"][row].as_py(), self.location(row)
        data = self._reader.read(location)
        try:
            return to(data, encoding), data, encoding
        except UnreadableImageError as error:
            raise UnreadableImageError(f"{describe(location)}: not a readable image ({error})") from error


class CorruptedCopies:
    """The corrupted copies of some samples, in the index of a downloaded set. Threads may share one."""

    def __init__(
        self,
        path: Path,
        sample_ids: Sequence[str],
        labels: Sequence[int],
        corruptions: Sequence[str],
        severities: Sequence[int],
    ) -> None:
        """Raises ``SourceError`` if a sample has no copy under one of the conditions, or one of another class."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.dataset as ds

        wanted = pc.field("sample_id").isin(pa.array(sample_ids, pa.string()))
        table = ds.dataset(path, format="parquet").to_table(filter=wanted)
        keys = zip(*(table[name].to_pylist() for name in ("corruption", "severity", "sample_id")), strict=True)
        self._rows = {key: row for row, key in enumerate(keys)}
        self._images = IndexedImages(table)
        for corruption in corruptions:
            for severity in severities:
                missing = [name for name in sample_ids if (corruption, severity, name) not in self._rows]
                if missing:
                    told = f"{len(missing)} samples have no copy, e.g. '{missing[0]}'"
                    raise SourceError(f"{path.parent.name}, {corruption} at severity {severity}: {told}")
        self._check_classes(table, dict(zip(sample_ids, labels, strict=True)), path)

    def _check_classes(self, table, labels: Mapping[str, int], path: Path) -> None:
        found = zip(table["sample_id"].to_pylist(), table["label"].to_pylist(), strict=True)
        for row, (sample_id, label) in enumerate(found):
            if label is not None and label != labels[sample_id]:
                names = read_facts(path)["class_names"]
                told = f"lies in the folder of {names[label]}, but the clean image is of {names[labels[sample_id]]}"
                raise SourceError(f"{describe(self._images.location(row))}: {told}")

    def read(self, corruption: str, severity: int, sample_id: str) -> tuple[np.ndarray, bytes, str]:
        """The corrupted copy of a sample, uint8 (height, width, 3), its bytes and their encoding (see
        :meth:`IndexedImages.read`)."""
        return self._images.read(self._rows[corruption, severity, sample_id], pixels)
