"""Any labelled images in files: a folder for each class, or a flat folder with a table of labels."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from withstand.datasets.class_folders import ClassFolders
from withstand.datasets.files import Entry, SourceError, take_turns
from withstand.datasets.label_spaces import KNOWN, LabelError, NamedBy, output_of
from withstand.datasets.label_spaces import class_names as known_names

COLUMNS = ("file", "label")
"""Columns of a table of labels; others are passed over."""


class OwnLabels:
    """The label space of a user's own files: a known one, or the classes that the config lists."""

    label_space_name: str
    classes: Sequence[str] | None

    def label_space(self) -> str:
        return self.label_space_name

    def outputs(self) -> int:
        return KNOWN[self.label_space_name] if self.classes is None else len(self.classes)

    def own_classes(self) -> Sequence[str] | None:
        return self.classes

    def class_names(self) -> list[str]:
        return list(known_names(self.label_space_name) if self.classes is None else self.classes)


@dataclass(frozen=True)
class Source(OwnLabels, ClassFolders):
    """A folder, or a tar or zip archive, of images."""

    path: str
    label_space_name: str
    named_by: NamedBy
    classes: Sequence[str] | None = None
    labels: str | None = None

    def inputs(self) -> list[str]:
        return [path for path in (self.path, self.labels) if path is not None and Path(path).is_file()]

    def scan(self) -> Iterable[Entry]:
        if self.labels is None:
            return super().scan()
        found = {member.name: member for member in self.images()}
        entries = []
        for line, file, label in read_table(Path(self.labels)):
            if file not in found:
                raise SourceError(f"{self.labels}, line {line}: no image '{file}' in {self.path}")
            try:
                output = output_of(label, self.class_names(), self.named_by, self.label_space())
            except LabelError as error:
                raise LabelError(f"{self.labels}, line {line}: {error}") from error
            entries.append(Entry(file, output, found[file].location))
        return take_turns(entries)


def read_table(path: Path) -> list[tuple[int, str, str]]:
    """Line, file and label of each row of a CSV with the columns ``file`` and ``label``.

    Raises:
        SourceError: if it has no such columns, or a row lacks one.
    """
    try:
        rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")), strict=True)
        missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
        if missing:
            raise SourceError(f"{path}: no column '{missing[0]}'; there are {', '.join(rows.fieldnames or ['none'])}")
        table = [(rows.line_num, row["file"], row["label"]) for row in rows]
    except (csv.Error, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: no table in CSV ({error})") from error
    for line, file, label in table:
        if not file or not label:
            raise SourceError(f"{path}, line {line}: no {'file' if not file else 'label'}")
    return table
