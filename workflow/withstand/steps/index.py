"""Sources in files to their index: what there is, of which class, and where its bytes lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from withstand.datasets.files import write_index
from withstand.datasets.registry import open_source


def index_source(source: Mapping, output: Path) -> None:
    """Scan the files of a source, clean or corrupted, and write what there is.

    Args:
        source: a config's ``source``, e.g. ``{"kind": "imagenet_a", "path": None}``.

    Raises:
        SourceError, LabelError, ContainerError: if the files are not what the source says.
    """
    write_index(open_source(source), output)
