"""The results of a study in Python: its tables and predictions as DataFrames, read when they are asked for.

import withstand

demo = withstand.load("results/demo")
demo.accuracy                                            # a table
demo.predictions(model="resnet", dataset="test")         # every answer
demo.query("select model, value from shape_bias")        # SQL over all of it
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from withstand.errors import WithstandError, nearest
from withstand.integrity import damage

if TYPE_CHECKING:
    import pandas as pd

PREDICTION_KEYS = ("model", "dataset", "family")
"""What the path of a file of predictions says of its rows."""


class ResultsError(WithstandError):
    """A folder without results, or results that lack what is asked for."""


class Tables(Mapping):
    """The tables of a study by name, each read once, when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self._files = {path.stem: path for path in sorted(folder.glob("tables/*.parquet"))}
        self._read: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        from withstand.parquet import read_frame

        if name not in self._read:
            self._read[name] = read_frame(self._files[name])
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __repr__(self) -> str:
        return f"<tables {', '.join(self)}>"


class Results:
    """The results of one study. Each table is an attribute: ``results.accuracy`` is ``results.tables["accuracy"]``.

    Attributes:
        folder: where they lie.
        tables: DataFrames by name.
    """

    def __init__(self, folder: str | Path) -> None:
        """Raises ``ResultsError`` if there are no results in the folder."""
        self.folder = Path(folder)
        if not is_results(self.folder):
            raise ResultsError(_no_results(self.folder))
        self.tables = Tables(self.folder)

    def __getattr__(self, name: str) -> pd.DataFrame:
        tables = self.__dict__.get("tables", {})
        if name in tables:
            return tables[name]
        if name.startswith("_") or "tables" not in self.__dict__:
            raise AttributeError(name)
        raise AttributeError(
            f"{self.folder} has no table '{name}'{nearest(name, tables)}; there are {', '.join(tables) or 'none'}"
        )

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.tables]

    def __repr__(self) -> str:
        status = f", {self.run['status']} {self.run['finished']}" if self.run else ""
        rows = [
            ("tables", self.tables),
            ("models", models_of(self)),
            ("datasets", sorted({names["dataset"] for names in self.prediction_files().values()})),
            ("figures", self.figures),
        ]
        lines = [f"  {name:9} {', '.join(found)}" for name, found in rows if found]
        return "\n".join([f"<Results {self.folder}{status}>", *lines])

    @cached_property
    def run(self) -> dict:
        """What ran, with which config and versions, for how long (``run.json``); empty before the first run's end."""
        path = self.folder / "run.json"
        if why := damage(path):
            raise ResultsError(f"{path}: {why}; delete it, and the next run writes it")
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    @property
    def figures(self) -> dict[str, Path]:
        """The figures by name, as SVG; beside each lie a PNG and the data drawn as CSV."""
        return {path.stem: path for path in sorted(self.folder.glob("figures/*.svg"))}

    def prediction_files(self) -> dict[Path, dict[str, str]]:
        """The files of predictions, with their model, dataset and family; attacks are families."""
        files = sorted(self.folder.glob("predictions/*/*/*.parquet"))
        names = (path.relative_to(self.folder / "predictions").with_suffix("").parts for path in files)
        return {path: dict(zip(PREDICTION_KEYS, parts, strict=True)) for path, parts in zip(files, names, strict=True)}

    def predictions(
        self,
        model: str | Sequence[str] | None = None,
        dataset: str | Sequence[str] | None = None,
        family: str | Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Predictions, a row for each image, corruption and severity (see :mod:`withstand.predictions`).

        Args:
            model, dataset, family: one name, or several; all by default. Clean images are the family ``clean``, and
                each attack is one.
            columns: which columns to read, besides model, dataset and family; all by default. A column that a file
                has not is empty there.

        Raises:
            ResultsError: if there is no such name, column, or combination.
        """
        import pyarrow as pa

        from withstand.parquet import read_schema, read_table

        files = self.prediction_files()
        for key, wanted in zip(PREDICTION_KEYS, (model, dataset, family), strict=True):
            files = self._chosen(files, key, wanted)
        if not files:
            raise ResultsError(f"{self.folder} has no predictions of this model, dataset and family together")
        schemas = {path: read_schema(path) for path in files}
        known = list(dict.fromkeys(name for schema in schemas.values() for name in schema.names))
        for name in columns or ():
            if name not in known:
                raise ResultsError(f"no predictions have a column '{name}'{nearest(name, known)}")
        parts = []
        for path, names in files.items():
            kept = schemas[path].names if columns is None else [name for name in columns if name in schemas[path].names]
            table = read_table(path, kept).replace_schema_metadata()
            for place, (key, value) in enumerate(names.items()):
                same = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), len(table)), [value])
                table = table.add_column(place, key, same)
            parts.append(table)
        return pa.concat_tables(parts, promote_options="permissive").to_pandas()

    def _chosen(self, files: Mapping[Path, dict], key: str, wanted: str | Sequence[str] | None) -> dict[Path, dict]:
        if wanted is None:
            return dict(files)
        names = {wanted} if isinstance(wanted, str) else set(wanted)
        known = sorted({found[key] for found in self.prediction_files().values()})
        for name in sorted(names.difference(known)):
            there = f"; there are {', '.join(known)}" if known else ""
            raise ResultsError(f"{self.folder} has no predictions of the {key} '{name}'{nearest(name, known)}{there}")
        return {path: found for path, found in files.items() if found[key] in names}

    def query(self, sql: str) -> pd.DataFrame:
        """The answer to a question in SQL over all tables and predictions (see :mod:`withstand.explore.query`)."""
        from withstand.explore.query import Database

        with Database([self]) as database:
            return database.select(sql).df()


def load(folder: str | Path) -> Results:
    """The results of a study: ``withstand.load("results/demo")``.

    Raises:
        ResultsError: if there are none.
    """
    return Results(folder)


def models_of(study: Results) -> list[str]:
    """The models of a study: those of its table of models, or else those that there are predictions of."""
    if "models" in study.tables:
        return list(study.tables["models"]["model"])
    return sorted({names["model"] for names in study.prediction_files().values()})


def is_results(folder: Path) -> bool:
    """Whether a folder holds a study's results."""
    return any(next(folder.glob(pattern), None) for pattern in ("tables/*.parquet", "predictions/*/*/*.parquet"))


def _no_results(folder: Path) -> str:
    inside = [path for path in sorted(folder.glob("*")) if is_results(path)]
    if inside:
        return f"{folder}: holds the results of several studies; give one of them: {', '.join(map(str, inside))}"
    if folder.is_dir():
        return f"{folder}: no results of a study (neither tables nor predictions)"
    known = [str(path) for path in sorted(folder.parent.glob("*")) if is_results(path)]
    return f"{folder}: no such folder{nearest(folder, known)}"
