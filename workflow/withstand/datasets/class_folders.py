"""Images in a folder for each class: the layout of ImageNet and most of its relatives."""

from __future__ import annotations

from collections.abc import Iterable

from withstand.datasets import label_spaces
from withstand.datasets.containers import Member, describe
from withstand.datasets.files import Entry, FileSource, SourceError, take_turns
from withstand.datasets.label_spaces import IMAGENET, LabelError, NamedBy, output_of


class ClassFolders(FileSource):
    """A source whose images lie directly in a folder named by their class."""

    named_by: NamedBy = "wnid"

    def scan(self) -> Iterable[Entry]:
        """The samples; classes take turns. A sample's id is folder and file name, so it is unique.

        Raises:
            SourceError: if an image lies in no folder of a class, or a class that must be there is not.
            LabelError: if a folder stands for no output, or for several.
        """
        entries = take_turns(
            Entry(self.sample_id(member), self._label(member), member.location) for member in self.images()
        )
        there, expected = {entry.label: entry for entry in reversed(entries)}, set(self.expected())
        missing, strange = sorted(expected - there.keys()), sorted(there.keys() - expected)
        if expected and strange:
            raise SourceError(
                f"{describe(there[strange[0]].location)}: class {self._class(strange[0])} does not belong to this set"
            )
        if entries and missing:
            others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise SourceError(f"{self.roots()[0]}: there are no images of class {self._class(missing[0])}{others}")
        return entries

    def sample_id(self, member: Member) -> str:
        """The id of a sample."""
        return "/".join(member.name.split("/")[-2:])

    def expected(self) -> Iterable[int]:
        """The outputs whose classes must all be there, and no others; none for any."""
        return ()

    def _label(self, member: Member) -> int:
        parts = member.name.split("/")
        if len(parts) < 2:
            raise SourceError(f"{describe(member.location)}: lies in no folder of a class")
        try:
            return output_of(parts[-2], self.class_names(), self.named_by, self.label_space())
        except LabelError as error:
            raise LabelError(f"{describe(member.location)}: {error}") from error

    def _class(self, label: int) -> str:
        """A class as the data call it."""
        named = {"wnid": label_spaces.wnids(), "index": range(self.outputs()), "name": self.class_names()}
        return str(named[self.named_by][label])


class ImageNetFolders(ClassFolders):
    """Class folders of ImageNet-1k or of some of its classes."""

    def label_space(self) -> str:
        return IMAGENET

    def outputs(self) -> int:
        return label_spaces.KNOWN[IMAGENET]

    def class_names(self) -> list[str]:
        return list(label_spaces.class_names(IMAGENET))

    def expected(self) -> Iterable[int]:
        return range(self.outputs())


def outputs_of(wnids: Iterable[str]) -> list[int]:
    """The outputs of ImageNet-1k for some WordNet ids, in ascending order."""
    positions = {wnid: position for position, wnid in enumerate(label_spaces.wnids())}
    return sorted(positions[wnid] for wnid in wnids)
