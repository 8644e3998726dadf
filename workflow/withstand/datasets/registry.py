"""The sources of images by kind; what each can be asked is in ``datasets.source``.

A source is light to look at: parsing a study asks it for its size. Some are generated, a sample from its id alone; the
others lie in files, which are scanned once, into an index (see ``datasets.files``).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from withstand.datasets.source import ReadableSource, Source

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

    One in files knows only what a config can know; to read its samples, see :func:`open_samples`.
    """
    options = dict(spec)
    return import_module(f"withstand.datasets.{options.pop('kind')}").Source(**options)


def open_samples(spec: Mapping, index: Path | None) -> ReadableSource:
    """The samples of a source: generated, or by the index of what a scan of its files found."""
    if index is None:
        return open_source(spec)
    return import_module("withstand.datasets.files").IndexedSource(index)
