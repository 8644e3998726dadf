"""ImageNet: the validation images of ILSVRC-2012 (Russakovsky et al., IJCV 2015), which cannot be fetched."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from withstand.datasets import catalogue
from withstand.datasets.class_folders import ImageNetFolders
from withstand.datasets.containers import Member, Reader, describe, members
from withstand.datasets.files import Entry, SourceError, take_turns
from withstand.datasets.label_spaces import wnids

_WNID = re.compile(r"n\d{8}")
_NAME = re.compile(r"ILSVRC2012_val_(\d{8})(_n\d{8})?")


@dataclass(frozen=True)
class Source(ImageNetFolders):
    """The 50,000 images in folders named by WordNet id, or flat with a file of labels."""

    path: str
    labels: str | None = None

    def available(self) -> int:
        return catalogue.SAMPLES["imagenet"]

    def inputs(self) -> list[str]:
        return [path for path in (self.path, self.labels) if path is not None and Path(path).is_file()]

    def sample_id(self, member: Member) -> str:
        """``ILSVRC2012_val_<number>``, which the corrupted copies of ImageNet-C share."""
        return f"ILSVRC2012_val_{self._number(member):08d}"

    def scan(self) -> Iterable[Entry]:
        size = Path(self.path).stat().st_size if Path(self.path).is_file() else catalogue.IMAGENET_BYTES
        if size != catalogue.IMAGENET_BYTES:
            told = f"{size:,} bytes, and {catalogue.IMAGENET_BYTES:,} as published"
            print(f"{self.path}: {told}; if it was not packed anew, it is cut off or another", file=sys.stderr)
        if self.labels is None:
            return super().scan()
        labels = read_labels(Path(self.labels))
        return take_turns(
            Entry(self.sample_id(member), labels[self._number(member)], member.location) for member in self.images()
        )

    @staticmethod
    def _number(member: Member) -> int:
        match = _NAME.fullmatch(Path(member.name).stem)
        if match is None or not 1 <= int(match[1]) <= catalogue.SAMPLES["imagenet"]:
            raise SourceError(
                f"{describe(member.location)}: not named like a validation image, ILSVRC2012_val_<number>"
            )
        return int(match[1])


def read_labels(path: Path) -> dict[int, int]:
    """The label of each validation image by its number, from 1: indices into the sorted WordNet ids.

    Args:
        path: ``LOC_val_solution.csv``; a text file with the WordNet id of each image, a line an image; or the
            development kit (a folder, or the archive, not compressed), whose ids are in another order than the
            WordNet ids.

    Raises:
        SourceError: if it is none of these, or does not have a label for every image.
    """
    found = _read_devkit(path) if path.is_dir() or not _is_text(path) else _read_text(path)
    if sorted(found) != list(range(1, catalogue.SAMPLES["imagenet"] + 1)):
        raise SourceError(f"{path}: labels of {len(found):,} images, expected {catalogue.SAMPLES['imagenet']:,}")
    outputs = {wnid: output for output, wnid in enumerate(wnids())}
    strangers = set(found.values()) - outputs.keys()
    if strangers:
        raise SourceError(f"{path}: '{min(strangers)}' is no WordNet id of ImageNet-1k")
    return {number: outputs[wnid] for number, wnid in found.items()}


def _is_text(path: Path) -> bool:
    with path.open("rb") as file:
        return b"\0" not in file.read(1024)


def _read_text(path: Path) -> dict[int, str]:
    text = path.read_text(encoding="utf-8-sig")
    if text.startswith("ImageId,"):
        rows = csv.DictReader(io.StringIO(text))
        return {int(row["ImageId"][-8:]): row["PredictionString"].split()[0] for row in rows}
    lines = text.split("\n")
    found = {number: line.strip() for number, line in enumerate(lines, 1) if line.strip()}
    if not all(_WNID.fullmatch(line) for line in found.values()):
        raise SourceError(
            f"{path}: expected a WordNet id a line; numbers could be of either order, give the development kit instead"
        )
    return found


def _read_devkit(path: Path) -> dict[int, str]:
    from scipy.io import loadmat

    names = ("ILSVRC2012_validation_ground_truth.txt", "meta.mat")
    found = {Path(member.name).name: member for member in members(path) if Path(member.name).name in names}
    if len(found) < len(names):
        raise SourceError(f"{path}: not the development kit of ILSVRC-2012: no {min(set(names) - found.keys())}")
    truth, meta = (Reader().read(found[name].location) for name in names)
    synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
    by_id = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
    return {number: by_id[int(line)] for number, line in enumerate(truth.decode().split(), 1)}
