"""The sources of images by kind: their size, labels, sample ids and how to read one sample.

A source is light to look at: parsing a study asks it for its size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Protocol

import numpy as np


class Source(Protocol):
    """Where the images of one image set come from."""

    def available(self) -> int:
        """How many samples there are."""

    def sample_ids(self, count: int) -> list[str]:
        """The first ``count`` sample ids, in ascending order."""

    def class_names(self) -> list[str]:
        """A name for each output of the label space."""

    def subset(self) -> list[int]:
        """The classes that occur, in ascending order: indices into ``class_names``."""

    def label_space(self) -> str:
        """The name of the label space."""

    def native_size(self) -> int | None:
        """Height and width of the images, if all have the same."""

    def labels(self, sample_ids: Sequence[str]) -> np.ndarray:
        """int64 (n): the label of each sample, an index into ``class_names``; for cue conflict that of its shape."""

    def texture_labels(self, sample_ids: Sequence[str]) -> np.ndarray | None:
        """int64 (n): for cue conflict, the label of each sample's texture; None for all other sets."""

    def read(self, sample_id: str) -> np.ndarray:
        """The image of a sample: uint8 (height, width, 3), RGB."""


KINDS = ("shapetex", "shapetex_renditions", "shapetex_cue_conflict")
"""The kinds of source. Each is a module of this package with a dataclass ``Source``, whose fields are its options."""


def open_source(spec: Mapping) -> Source:
    """The source that a config's ``source`` describes, e.g. ``{"kind": "shapetex", "split": "test"}``."""
    options = dict(spec)
    return import_module(f"withstand.datasets.{options.pop('kind')}").Source(**options)
