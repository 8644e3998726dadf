"""How often each image was answered right: what comparisons of models on the same images rest on.

``tables/images/{model}.parquet`` has a row group for each dataset, policy, label mode and corruption:

    dataset, policy, label_mode, family, corruption dictionary, sample_id string,
    right int16 (severities under which it was right), trials int16 (severities; one for clean images)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from withstand import rehearsed
from withstand.files import atomic_output
from withstand.metrics.conditions import CLEAN, Condition
from withstand.parquet import open_file, reading

KEYS = ("dataset", "policy", "label_mode")
_WORD = pa.dictionary(pa.int32(), pa.string())

SCHEMA = pa.schema(
    [
        *((name, _WORD) for name in (*KEYS, "family", "corruption")),
        ("sample_id", pa.string()),
        ("right", pa.int16()),
        ("trials", pa.int16()),
    ]
)


class AnswerWriter:
    """Appends one model's answers to one dataset."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer

    def write(self, keys: Mapping[str, str], ids: pa.Array, conditions: Sequence[Condition]) -> None:
        """Append the answers under each corruption.

        Args:
            keys: dataset, policy and label mode.
            ids: of the samples, strings (images), in the order of the conditions.
        """
        groups: dict[str, list[Condition]] = {}
        for condition in conditions:  # severities of one corruption may be of several families
            groups.setdefault(condition.corruption, []).append(condition)
        for corruption, group in groups.items():
            families = "+".join(dict.fromkeys(condition.family for condition in group))
            words = [*(keys[name] for name in KEYS), families, corruption]
            same = np.zeros(len(ids), dtype=np.int32)
            columns = [pa.DictionaryArray.from_arrays(same, [word]) for word in words]
            right = np.sum([condition.correct for condition in group], axis=0, dtype=np.int16)
            columns += [ids, pa.array(right), pa.array(np.full(len(ids), len(group), dtype=np.int16))]
            self._writer.write_table(pa.Table.from_arrays(columns, schema=SCHEMA), row_group_size=max(1, len(ids)))


@contextmanager
def create(path: Path) -> Iterator[AnswerWriter]:
    """Create a file of answers; it appears under ``path`` when the block ends without an error."""
    words = list(SCHEMA.names[: len(KEYS) + 2])
    schema = SCHEMA.with_metadata(rehearsed.mark() or None)
    coded = {"sample_id": "DELTA_BYTE_ARRAY", "right": "PLAIN", "trials": "PLAIN"}
    with (
        atomic_output(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", use_dictionary=words, column_encoding=coded) as writer,
    ):
        yield AnswerWriter(writer)


@dataclass(frozen=True)
class Answers:
    """Several models' answers to the same images of one dataset, clean or corrupted.

    Attributes:
        keys: dataset, policy and label mode.
        models: whose answers they are.
        ids: of the images, which all of the models were shown: strings (images).
        right: under how many severities each image was right, by corruption, or ``clean``: int16 (models, images).
        trials: the number of severities by corruption.
    """

    keys: Mapping[str, str]
    models: Sequence[str]
    ids: np.ndarray
    right: Mapping[str, np.ndarray]
    trials: Mapping[str, int]

    @property
    def is_clean(self) -> bool:
        return CLEAN in self.right

    def shares(self) -> np.ndarray:
        """The share of conditions under which each image was right: float64 (models, images)."""
        return sum(self.right.values()) / sum(self.trials.values())

    def only(self, corruptions: Iterable[str]) -> Answers:
        """The answers under some corruptions."""
        names = list(corruptions)
        return replace(
            self, right={name: self.right[name] for name in names}, trials={name: self.trials[name] for name in names}
        )

    def of(self, models: Sequence[str], ids: np.ndarray) -> Answers:
        """The answers of some models to some images, in that order."""
        rows, columns = [self.models.index(model) for model in models], _places(self.ids, ids)
        right = {name: values[rows][:, columns] for name, values in self.right.items()}
        return replace(self, models=list(models), ids=ids, right=right)


def read_answers(files: Mapping[str, Path]) -> Iterator[Answers]:
    """The answers of models, by name, to each dataset under each policy and label mode: to its clean images, and to all
    its corrupted ones.

    A model that failed on some of the corruptions counts for none, and images that one of the models was not shown are
    left out.
    """
    opened = {model: _Index(path) for model, path in files.items()}
    for keys in sorted({keys for index in opened.values() for keys in index.groups}):
        found = {model: index for model, index in opened.items() if keys in index.groups}
        clean = {model: index for model, index in found.items() if CLEAN in index.groups[keys]}
        if clean:
            yield _shared(keys, clean, [CLEAN])
        corruptions = {model: frozenset(index.groups[keys]) - {CLEAN} for model, index in found.items()}
        most = max(corruptions.values(), key=len)
        if most:
            whole = {model: index for model, index in found.items() if corruptions[model] == most}
            order = next(iter(whole.values())).groups[keys]
            yield _shared(keys, whole, [name for name in order if name != CLEAN])


class _Index:
    """The row groups of a file by (dataset, policy, label mode), then corruption."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, open_file(path, SCHEMA.names)
        self.groups: dict[tuple[str, ...], dict[str, int]] = {}
        names = [*KEYS, "corruption"]
        places = [SCHEMA.names.index(name) for name in names]
        for group in range(self._file.num_row_groups):
            statistics = (self._file.metadata.row_group(group).column(place).statistics for place in places)
            *keys, corruption = (part.min for part in statistics)
            self.groups.setdefault(tuple(keys), {})[corruption] = group

    def ids(self, keys: tuple[str, ...]) -> np.ndarray:
        group = next(iter(self.groups[keys].values()))
        with reading(self._path):
            return self._file.read_row_group(group, columns=["sample_id"])["sample_id"].to_numpy()

    def right(self, keys: tuple[str, ...], corruption: str) -> tuple[np.ndarray, int]:
        with reading(self._path):
            table = self._file.read_row_group(self.groups[keys][corruption], columns=["right", "trials"])
        return table["right"].to_numpy(), table["trials"][0].as_py()


def _shared(keys: tuple[str, ...], indices: Mapping[str, _Index], corruptions: Iterable[str]) -> Answers:
    ids = {model: index.ids(keys) for model, index in indices.items()}
    first, *others = ids.values()
    common = first
    if any(not np.array_equal(first, other) for other in others):
        kept = set(first).intersection(*others)
        common = np.array([sample for sample in first if sample in kept], dtype=object)
    places = {model: _places(own, common) for model, own in ids.items()}
    right, trials = {}, {}
    for corruption in corruptions:
        read = {model: index.right(keys, corruption) for model, index in indices.items()}
        right[corruption] = np.stack([values[places[model]] for model, (values, _) in read.items()])
        trials[corruption] = min(number for _, number in read.values())
    return Answers(dict(zip(KEYS, keys, strict=True)), list(indices), common, right, trials)


def _places(own: np.ndarray, wanted: np.ndarray) -> np.ndarray | slice:
    """Where the images wanted stand among one's own."""
    if own is wanted or np.array_equal(own, wanted):
        return slice(None)
    place = {sample: number for number, sample in enumerate(own)}
    return np.array([place[sample] for sample in wanted])
