"""Label spaces: what the outputs of models mean, and which of them a dataset's own class stands for.

A dataset's classes are mapped to outputs explicitly, by WordNet id, by index or by name. Whatever can be read in two
ways is an error, never a guess.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from withstand.datasets.cifar_names import CIFAR10, CIFAR100
from withstand.errors import WithstandError, nearest

IMAGENET = "imagenet-1k"

NamedBy = Literal["wnid", "index", "name"]
"""What a dataset's own class labels are: WordNet ids, indices of outputs, or names of outputs."""

KNOWN = {IMAGENET: 1000, "cifar-10": 10, "cifar-100": 100}
"""Number of outputs of the label spaces that need no list of classes."""


class LabelError(WithstandError):
    """A class of a dataset that stands for no output, or for several."""


@lru_cache
def class_names(label_space: str) -> tuple[str, ...]:
    """The names of a known label space's outputs, in their order; names need not be unique (ImageNet has two cranes).

    Raises:
        KeyError: if the label space is not one of ``KNOWN``.
    """
    lists = {"cifar-10": CIFAR10, "cifar-100": CIFAR100}
    if label_space in lists:
        return lists[label_space]
    if label_space != IMAGENET:
        raise KeyError(label_space)
    names = dict(line.split("\t", 1) for line in _timm_lines("imagenet_synset_to_lemma.txt"))
    return tuple(names[wnid].partition(",")[0] for wnid in wnids())


@lru_cache
def wnids() -> tuple[str, ...]:
    """The WordNet ids of ImageNet-1k in ascending order, which is that of the outputs."""
    return tuple(_timm_lines("imagenet_synsets.txt"))


@lru_cache
def imagenet_subset(name: str) -> tuple[str, ...]:
    """The WordNet ids of the 200 classes of ImageNet-A (``imagenet_a``) or ImageNet-R (``imagenet_r``)."""
    return tuple(_timm_lines(f"{name}_synsets.txt"))


def output_of(own: str, classes: Sequence[str], named_by: NamedBy, label_space: str) -> int:
    """The output that one of a dataset's own classes stands for.

    Args:
        own: as the dataset has it, e.g. the name of a folder.
        classes: the names of the outputs, in their order.

    Raises:
        LabelError: if no output, or more than one, has this id, index or name.
    """
    if named_by == "index":
        if not own.isdecimal() or int(own) >= len(classes):
            raise LabelError(f"class '{own}' is no index from 0 to {len(classes) - 1} of {label_space}")
        return int(own)
    known = _positions(wnids() if named_by == "wnid" else tuple(classes))
    if own not in known:
        kind = "WordNet id" if named_by == "wnid" else "class"
        raise LabelError(f"class '{own}' is no {kind} of {label_space}{nearest(own, known)}")
    if len(known[own]) > 1:
        outputs = " and ".join(map(str, known[own]))
        raise LabelError(f"class '{own}' is ambiguous: outputs {outputs} of {label_space} have this name")
    return known[own][0]


@lru_cache
def _positions(names: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    positions: dict[str, tuple[int, ...]] = {}
    for position, name in enumerate(names):
        positions[name] = (*positions.get(name, ()), position)
    return positions


def check_classes(classes: Sequence[str]) -> None:
    """Raise ``LabelError`` where the names of a label space's outputs are not unique."""
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise LabelError(f"class '{twice[0]}' stands there twice")


def _timm_lines(name: str) -> list[str]:
    """A list that comes with timm, read without importing it."""
    folder = Path(find_spec("timm").origin).parent / "data" / "_info"
    return (folder / name).read_text(encoding="utf-8").splitlines()
