"""Downloaded corrupted sets: copies of the samples of a clean set, which gives them their labels.

A set whose clean images were never published gives its samples itself (see ``registry.ONLY_CORRUPTED_KINDS``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from withstand.datasets import catalogue
from withstand.datasets.containers import Member, members
from withstand.datasets.files import Entry, FileSource, SourceError, is_image


class CorruptedSource(FileSource):
    """What corrupted sets have in common. Subclasses are dataclasses with the fields below."""

    path: str | None
    corruptions: Sequence[str]
    """Which of the set's corruptions are wanted."""
    severities: Sequence[int]
    """And which severities."""

    def clean(self) -> dict:
        """The options of the clean set's source that must be so, its kind among them."""
        raise NotImplementedError

    is_encoded = True
    """Whether its images are JPEG files, which can be stored as they are."""

    def known(self) -> Sequence[str]:
        """The corruptions that the set has: the nineteen of ImageNet-C, whatever others there are here."""
        return [corruption for group in catalogue.IMAGENET_C for corruption in group]

    def class_names(self) -> list[str]:
        return []

    def label_space(self) -> str:
        """None of its own: labels are the clean set's."""
        return ""

    def outputs(self) -> int:
        return 0

    def scan(self) -> Iterator[Entry]:
        """The corrupted copies, in no particular order, without labels."""
        raise NotImplementedError


class CorruptedFolders(CorruptedSource):
    """Images at ``<corruption>/<severity>/<class>/<sample>``, the layout of ImageNet-C."""

    def sample_id(self, folder: str, name: str) -> str:
        """The id of a copy: the file name without its suffix, as in the clean set."""
        return name

    def label(self, folder: str) -> int | None:
        """What the folder of a class says that the clean sample's label is; None where it is not asked."""
        return None

    def scan(self) -> Iterator[Entry]:
        """The copies.

        Raises:
            SourceError: if a corruption or severity is not there.
        """
        found = set()
        for copy in self.copies():
            found.add((copy.corruption, copy.severity))
            yield copy
        wanted = ((corruption, severity) for corruption in self.corruptions for severity in self.severities)
        for corruption, severity in wanted:
            if (corruption, severity) not in found:
                raise SourceError(f"{self.roots()[0]}: no {corruption} at severity {severity}")

    def copies(self) -> Iterator[Entry]:
        """Those of the wanted copies that are there."""
        for member in self._members():
            parts = PurePosixPath(member.name).parts
            if len(parts) < 4 or parts[-4] not in self.corruptions or parts[-3] not in map(str, self.severities):
                continue
            corruption, severity, folder = parts[-4], int(parts[-3]), parts[-2]
            sample_id = self.sample_id(folder, PurePosixPath(parts[-1]).stem)
            yield Entry(sample_id, self.label(folder), member.location, corruption=corruption, severity=severity)

    def _members(self) -> Iterator[Member]:
        for root in self.roots():
            for folder in self._folders(root):
                for member in members(folder):
                    if is_image(member.name):
                        inside = folder.relative_to(root).as_posix()
                        yield Member(f"{inside}/{member.name}", member.location)

    def _folders(self, root: Path) -> list[Path]:
        """Of an unpacked set only what is wanted: a walk through all of ImageNet-C takes long."""
        wanted = [root / corruption / str(severity) for corruption in self.corruptions for severity in self.severities]
        return [folder for folder in wanted if folder.is_dir()] or [root]
