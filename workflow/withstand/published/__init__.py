"""Published results as data: the values of each source, where they are from, and which public weights they belong to.

``sources.json`` describes the sources, in the order in which they are preferred. ``{source}.csv`` has a value a row,
named as tables of a study name theirs. ``models.csv`` says which public weights are a source's model, or stand for it.
``pretraining.csv`` has the size of the sets that timm's tags name.
"""

from __future__ import annotations

import csv
import hashlib
import json
from functools import lru_cache
from pathlib import Path

FOLDER = Path(__file__).parent

FIGURES = ("attacks", "attention_limit", "overview", "scaling", "shape_bias", "spatial")
"""Figures that show published values beside measured ones (see :mod:`withstand.figures.published`)."""


@lru_cache
def sources() -> dict[str, dict]:
    """By name: title, authors, year, citation, where values were read, to what precision, by what protocol."""
    return json.loads((FOLDER / "sources.json").read_text(encoding="utf-8"))


@lru_cache
def values() -> tuple[dict[str, str], ...]:
    """Every published value with its ``source``, as text; what a source does not say is empty.

    Shares are from 0 to 1, mCE is in percent; ``reading_error`` is half the width of what a digitised value may be.
    """
    return tuple({"source": source, **row} for source in sources() for row in _rows(source))


@lru_cache
def models() -> tuple[dict[str, str], ...]:
    """Public weights (a timm name with its tag, or the address of a checkpoint) by source, source_model and
    pretraining_dataset: the ones the source had (``same_weights`` is ``true``), or others that stand for them."""
    return tuple(_rows("models"))


@lru_cache
def pretraining_sets() -> tuple[dict[str, str], ...]:
    """The sets that timm's tags name: ``tag`` (the part that names one), ``dataset``, ``images`` and ``source``."""
    return tuple(_rows("pretraining"))


def digest() -> str:
    """Sixteen hex digits of all of it, for params of jobs: a digest of code does not see data."""
    files = sorted(path for path in FOLDER.iterdir() if path.suffix in (".csv", ".json"))
    return hashlib.blake2b(b"".join(path.read_bytes() for path in files), digest_size=8).hexdigest()


def _rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
