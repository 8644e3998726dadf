"""The image store: uint8 RGB images of one size in HDF5, one file a shard of an image set.

    /                     attributes: format, height, width, codec, label_space, content (a digest of samples and
                          pixels), origin (JSON, all that is needed to make the file again)
    /sample_ids           strings (sample)
    /labels               int64 (sample), indices into the model outputs of the label space
    /texture_labels       int64 (sample), for cue conflict only: the same of the texture, while labels are of the shape
    /class_names          strings (output), one for each output of the label space
    /subset               int64, ascending: the outputs that this set's classes occupy
    /categories           int64 lists, only where a class stands for several outputs: the outputs of each; labels,
                          class_names and subset are then of classes, not of outputs
    /<corruption>/        attribute severities; codec raw: images, uint8 (severity, sample, height, width, 3), in one
                          piece, without a filter, which would save a tenth of photographs at most;
                          codec jpeg: bytes, uint8 (total), and offsets, int64 (severity, sample + 1)

The clean images are the group ``clean`` with the single severity 0. A file has one writer, appears under its
name only when it is whole, and is never changed afterwards; readers need no lock.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import xxhash
from PIL import Image

from withstand import hdf5
from withstand.datasets.decoding import pixels
from withstand.errors import WithstandError

FORMAT = "withstand-images-2"
JPEG_QUALITY = 85
"""Quality of encoded images, that of ImageNet-C's own files."""

Codec = Literal["raw", "jpeg"]

_APPEND_BYTES = 1 << 20


class ImageFileError(WithstandError):
    """Samples or images that do not fit a file of the image store."""


@dataclass(frozen=True)
class Samples:
    """What a shard holds besides pixels.

    Attributes:
        ids: the sample ids, in their order.
        labels: int64 (sample), indices into ``class_names``.
        class_names: one name for each output of the label space.
        subset: int64, ascending: the outputs that the set's classes occupy.
        label_space: the name of the label space, e.g. ``imagenet-1k``.
        texture_labels: int64 (sample), for cue conflict: the classes of the textures; ``labels`` are of the shapes.
        categories: where a class stands for several outputs of the label space, the outputs of each class;
            ``class_names``, ``labels`` and ``subset`` are then of these classes.

    Raises:
        ImageFileError: if a label lies outside the subset, or counts differ.
    """

    ids: Sequence[str]
    labels: np.ndarray
    class_names: Sequence[str]
    subset: np.ndarray
    label_space: str
    texture_labels: np.ndarray | None = None
    categories: Sequence[Sequence[int]] | None = None

    def __post_init__(self) -> None:
        if len(self.subset) and not 0 <= self.subset.min() <= self.subset.max() < len(self.class_names):
            raise ImageFileError(f"a class lies outside the {len(self.class_names)} outputs of {self.label_space}")
        self._check(self.labels)
        if self.texture_labels is not None:
            self._check(self.texture_labels)

    def take(self, positions: np.ndarray) -> Samples:
        """Those at some positions."""
        texture_labels = None if self.texture_labels is None else self.texture_labels[positions]
        ids = [self.ids[position] for position in positions]
        return replace(self, ids=ids, labels=self.labels[positions], texture_labels=texture_labels)

    def _check(self, labels: np.ndarray) -> None:
        if len(self.ids) != len(labels):
            raise ImageFileError(f"{len(self.ids)} sample ids but {len(labels)} labels")
        strangers = np.flatnonzero(~np.isin(labels, self.subset))
        if len(strangers):
            sample = strangers[0]
            raise ImageFileError(
                f"sample {self.ids[sample]} has label {labels[sample]}, "
                f"which is no class of this set in the label space {self.label_space}"
            )


class ImageWriter:
    """Writes one file of the store; made by :func:`create`."""

    def __init__(self, file: h5py.File, path: Path, samples: Samples, size: int, codec: Codec) -> None:
        self._file, self._path, self._samples, self._size, self._codec = file, path, samples, size, codec
        self._content = _digest_of(samples)

    @property
    def content(self) -> str:
        """A digest of the samples and of all pixels written so far."""
        return self._content.hexdigest()

    def add(self, corruption: str, severities: Sequence[int]) -> None:
        """Make room for a corruption at the given severities."""
        group = self._file.create_group(corruption)
        group.attrs["severities"] = np.asarray(severities, dtype=np.int64)
        shape = (len(severities), len(self._samples.ids))
        if self._codec == "raw":
            group.create_dataset("images", shape=(*shape, self._size, self._size, 3), dtype=np.uint8)
        else:
            group.create_dataset("bytes", shape=(0,), maxshape=(None,), dtype=np.uint8, chunks=(_APPEND_BYTES,))
            group.create_dataset("offsets", shape=(shape[0], shape[1] + 1), dtype=np.int64)

    def write(self, corruption: str, severity_index: int, start: int, images: np.ndarray) -> None:
        """Write uint8 (n, size, size, 3) at samples ``start`` to ``start + n`` of one severity.

        Batches come in order, severity by severity.
        """
        self._announce(corruption, severity_index, start, images)
        with hdf5.writing(self._path):
            if self._codec == "raw":
                self._file[corruption]["images"][severity_index, start : start + len(images)] = images
            else:
                encoded = [encode_jpeg(image) for image in images]
                _append_jpegs(self._file[corruption], severity_index, start, encoded)

    def write_encoded(
        self, corruption: str, severity_index: int, start: int, images: np.ndarray, encoded: Sequence[bytes]
    ) -> None:
        """As :meth:`write`, for images that are JPEG files already, whose bytes codec ``jpeg`` keeps as they are.

        Args:
            images: what the files show.
        """
        if self._codec == "raw":
            self.write(corruption, severity_index, start, images)
            return
        self._announce(corruption, severity_index, start, images)
        with hdf5.writing(self._path):
            _append_jpegs(self._file[corruption], severity_index, start, encoded)

    def _announce(self, corruption: str, severity_index: int, start: int, images: np.ndarray) -> None:
        """Check images that are about to be written, and the space for them, and let the digest know."""
        if images.dtype != np.uint8 or images.shape[1:] != (self._size, self._size, 3):
            raise ImageFileError(
                f"images of {corruption} are {images.dtype} {images.shape[1:]}, "
                f"expected uint8 {(self._size, self._size, 3)}"
            )
        hdf5.check_space(self._path, images.nbytes)
        _add(self._content, corruption, severity_index, start, images)


def _digest_of(samples: Samples) -> xxhash.xxh3_128:
    known = {key: value for key, value in asdict(samples).items() if key != "categories" or value is not None}
    return xxhash.xxh3_128(json.dumps(known, default=np.ndarray.tolist, sort_keys=True).encode())


def _add(content: xxhash.xxh3_128, corruption: str, severity_index: int, start: int, images: np.ndarray) -> None:
    if start == 0:
        content.update(f"{corruption} {severity_index}".encode())
    content.update(np.ascontiguousarray(images))


def _append_jpegs(group: h5py.Group, severity_index: int, start: int, encoded: Sequence[bytes]) -> None:
    data, offsets = group["bytes"], group["offsets"]
    end = data.shape[0]
    bounds = end + np.cumsum([0] + [len(image) for image in encoded])
    data.resize((int(bounds[-1]),))
    data[end:] = np.frombuffer(b"".join(encoded), dtype=np.uint8)
    offsets[severity_index, start : start + len(encoded) + 1] = bounds


@contextmanager
def create(path: str | Path, samples: Samples, *, size: int, codec: Codec, origin: dict) -> Iterator[ImageWriter]:
    """Create a file of the store; it appears under ``path`` when the block ends without an error.

    Args:
        samples: what the shard holds besides pixels.
        size: height and width of every image, in pixels.
        codec: ``raw`` or ``jpeg``.
        origin: what is needed to make the file again (source, parameters, seed, code digest, versions).

    Raises:
        Hdf5Error: if the disk is full or the file cannot be written.
    """
    with hdf5.create(path) as file:
        with hdf5.writing(path):
            _write_samples(file, samples)
            file.attrs.update({"format": FORMAT, "height": size, "width": size, "codec": codec})
            file.attrs["origin"] = json.dumps(origin, sort_keys=True)
        writer = ImageWriter(file, Path(path), samples, size, codec)
        yield writer
        with hdf5.writing(path):
            file.attrs["content"] = writer.content


def _write_samples(file: h5py.File, samples: Samples) -> None:
    text = h5py.string_dtype()
    file.create_dataset("sample_ids", data=np.asarray(samples.ids, dtype=object), dtype=text)
    file.create_dataset("labels", data=np.asarray(samples.labels, dtype=np.int64))
    file.create_dataset("class_names", data=np.asarray(samples.class_names, dtype=object), dtype=text)
    file.create_dataset("subset", data=np.asarray(samples.subset, dtype=np.int64))
    if samples.texture_labels is not None:
        file.create_dataset("texture_labels", data=np.asarray(samples.texture_labels, dtype=np.int64))
    if samples.categories is not None:
        lists = np.empty(len(samples.categories), dtype=object)
        lists[:] = [np.asarray(outputs, dtype=np.int64) for outputs in samples.categories]
        file.create_dataset("categories", data=lists, dtype=h5py.vlen_dtype(np.int64))
    file.attrs["label_space"] = samples.label_space


class ImageFile(hdf5.OpenFile):
    """A file of the store, open for reading."""

    format = FORMAT

    def __len__(self) -> int:
        return self._part("labels").shape[0]

    @cached_property
    def size(self) -> int:
        """Height and width of the images, in pixels."""
        return int(self._attribute("height"))

    @property
    def origin(self) -> dict:
        """How the file was made."""
        return self._facts("origin")

    @property
    def content(self) -> str:
        """A digest of samples and pixels: equal for files that hold the same."""
        return str(self._attribute("content"))

    @cached_property
    def samples(self) -> Samples:
        """Sample ids, labels and the label space."""
        with hdf5.reading(f"{self.path}: samples"):
            return Samples(
                ids=list(self._part("sample_ids").asstr()[()]),
                labels=self._part("labels")[()],
                class_names=list(self._part("class_names").asstr()[()]),
                subset=self._part("subset")[()],
                label_space=str(self._attribute("label_space")),
                texture_labels=self._part("texture_labels")[()] if "texture_labels" in self._file else None,
                categories=self._categories(),
            )

    def _categories(self) -> list[list[int]] | None:
        if "categories" not in self._file:
            return None
        return [outputs.tolist() for outputs in self._part("categories")[()]]

    @property
    def conditions(self) -> list[tuple[str, int, int]]:
        """(corruption, severity, index of the severity) of every copy of the samples."""
        return [
            (name, int(severity), index)
            for name, group in self._file.items()
            if isinstance(group, h5py.Group)
            for index, severity in enumerate(group.attrs["severities"])
        ]

    def read(self, corruption: str, severity_index: int, samples: slice | np.ndarray) -> np.ndarray:
        """Images of one corruption and severity: uint8 (n, height, width, 3).

        ``samples`` is a slice, or indices in any order.
        """
        group = self._part(corruption)
        rows = np.arange(len(self))[samples]
        with hdf5.reading(f"{self.path}: {corruption}"):
            if "images" in group:
                found = self._raw(group["images"], severity_index, rows)
                self._follow(corruption, severity_index, rows, found)
                return found
            offsets = group["offsets"][severity_index]
            return np.stack([decode(group["bytes"][offsets[row] : offsets[row + 1]].tobytes()) for row in rows])

    def _raw(self, images: h5py.Dataset, severity_index: int, rows: np.ndarray) -> np.ndarray:
        """Pixels without HDF5, which would hold Python's lock for as long as it reads."""
        start = images.id.get_offset()
        if start is None:  # filtered, as files once were; HDF5 is slow at scattered points
            return np.stack([images[severity_index, row] for row in rows])
        found = np.empty((len(rows), *images.shape[2:]), np.uint8)
        image_bytes = math.prod(found.shape[1:])
        for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):
            if len(run):
                first = severity_index * images.shape[1] + int(rows[run[0]])
                self._fill(found[run[0] : run[-1] + 1], start + first * image_bytes)
        return found

    def _follow(self, corruption: str, severity_index: int, rows: np.ndarray, found: np.ndarray) -> None:
        """Compare pixels with the digest of the file, once all of them were read in the order of writing.

        Raises:
            OSError: if they are others than were written.
        """
        if self._unread is None or not len(rows):
            return
        if (corruption, severity_index, int(rows[0])) != self._unread[0] or (np.diff(rows) != 1).any():
            self._unread = None  # read in another order, in which no digest is known
            return
        _add(self._digest, corruption, severity_index, int(rows[0]), found)
        if rows[-1] + 1 < len(self):
            self._unread[0] = (corruption, severity_index, int(rows[-1]) + 1)
            return
        del self._unread[0]
        if not self._unread:
            self._unread = None
            if self._digest.hexdigest() != self.content:
                raise OSError("its pixels are not those that were written")

    @cached_property
    def _digest(self) -> xxhash.xxh3_128:
        return _digest_of(self.samples)

    @cached_property
    def _unread(self) -> list[tuple[str, int, int]] | None:
        """The first row of each condition that is not read yet, while they are read in order."""
        return [(corruption, index, 0) for corruption, _, index in self.conditions]

    def _fill(self, pixels: np.ndarray, start: int) -> None:
        room = memoryview(pixels).cast("B")
        while len(room):
            read = os.preadv(self._descriptor, [room], start)
            if not read:
                raise OSError("the file is cut off")
            room, start = room[read:], start + read

    @cached_property
    def _descriptor(self) -> int:
        return self._file.id.get_vfd_handle()


def encode_jpeg(image: np.ndarray) -> bytes:
    """uint8 (height, width, 3) to JPEG bytes."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def decode(data: bytes) -> np.ndarray:
    """Encoded image bytes to uint8 (height, width, 3), RGB."""
    return pixels(data)
