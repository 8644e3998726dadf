"""The sources of images by kind: their size, labels, sample ids and how to read one sample.

A source is light to look at: parsing a study asks it for its size. Some are generated, a sample from its id alone; the
others lie in files, which are scanned once, into an index (see ``datasets.files``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from PIL import Image


class Source(Protocol):
    """Where the images of one image set come from."""

    def available(self) -> int:
        """How many samples there are."""

    def outputs(self) -> int:
        """Number of outputs of the label space."""

    def sample_ids(self, count: int) -> list[str]:
        """The first ``count`` sample ids, in their order."""

    def class_names(self) -> list[str]:
        """A name for each output of the label space, or for each class where it stands for several outputs."""

    def subset(self) -> list[int]:
        """The classes that occur, in ascending order: indices into ``class_names``."""

    def label_space(self) -> str:
        """The name of the label space."""

    def categories(self) -> list[list[int]] | None:
        """The outputs of each class, where a class stands for several; None for all other sets."""

    def native_size(self) -> int | None:
        """Height and width of the images, if all have the same."""

    def labels(self, sample_ids: Sequence[str]) -> np.ndarray:
        """int64 (n): the label of each sample, an index into ``class_names``; for cue conflict that of its shape."""

    def texture_labels(self, sample_ids: Sequence[str]) -> np.ndarray | None:
        """int64 (n): for cue conflict, the label of each sample's texture; None for all other sets."""

    def read(self, sample_id: str) -> np.ndarray:
        """The image of a sample: uint8 (height, width, 3), RGB."""

    def foreground(self, sample_id: str) -> np.ndarray | None:
        """The share of each pixel that the object covers: float32 (height, width); None where nobody knows."""


GENERATED_KINDS = ("shapetex", "shapetex_renditions", "shapetex_cue_conflict")
"""Kinds whose samples are drawn."""

FILE_KINDS = (
    *("imagenet", "imagenet_a", "imagenet_r", "imagenet_v2", "imagenet_sketch", "imagenette", "cue_conflict"),
    *("cifar", "tiny_imagenet", "tiny_imagenet_c", "folder", "arrays", "parquet"),
)
"""Kinds whose samples lie in files."""

KINDS = (*GENERATED_KINDS, *FILE_KINDS)
"""The kinds of source. Each is a module of this package with a dataclass ``Source``, whose fields are its options."""

CORRUPTED_KINDS = ("imagenet_c", "cifar_c", "tiny_imagenet_c")
"""The kinds of downloaded corrupted sets, of which families are made. Each is a module as well."""

ONLY_CORRUPTED_KINDS = ("tiny_imagenet_c",)
"""Those of them that are also sources, of samples and labels without images: nobody published the clean ones."""


def open_source(spec: Mapping) -> Source:
    """The source that a config's ``source`` describes, e.g. ``{"kind": "shapetex", "split": "test"}``.

    One in files knows only what a config can know; to read it, see :func:`open_samples`.
    """
    options = dict(spec)
    return import_module(f"withstand.datasets.{options.pop('kind')}").Source(**options)


def picture(reader: Source, sample_id: str) -> Image.Image:
    """The image of a sample as Pillow's, without a way through an array where it was decoded by Pillow."""
    from PIL import Image

    return reader.picture(sample_id) if hasattr(reader, "picture") else Image.fromarray(reader.read(sample_id))


def open_samples(spec: Mapping, index: Path | None) -> Source:
    """The samples of a source: generated, or by the index of what a scan of its files found."""
    if index is None:
        return open_source(spec)
    return import_module("withstand.datasets.files").IndexedSource(index)
