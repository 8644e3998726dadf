"""SQL over the results of studies, by DuckDB, straight from their Parquet files: nothing is copied.

Each table is a view of its name. Besides there are, as far as a study has them,

    predictions       every answer, with its model, dataset and family; an attack is a family
    images            how often each image was right, by model, dataset, family and corruption
    answers_<what>    answers to others' perturbations (transfer), to rotations and translations (spatial), under
                      lesions and limited attention (attention_limit); distances of attention for each image

With several studies, every view has a column ``study``.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import duckdb
from duckdb import ColumnExpression, ConstantExpression, Expression, FunctionExpression, StarExpression, StatementType

from withstand.errors import WithstandError
from withstand.files import atomic_output
from withstand.results import PREDICTION_KEYS, Results

FORMATS = {
    "csv": "format csv, header",
    "json": "format json, array true",
    "parquet": "format parquet, compression zstd",
}
"""Formats of files, with the options by which DuckDB writes them."""

_SETTINGS = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
}
_PATH = "filename"
_MOST_ROWS = 200
_SUFFIX = ".parquet"


class QueryError(WithstandError):
    """SQL that cannot be answered, told in one line."""


@dataclass(frozen=True)
class Source:
    """Parquet files of one kind.

    Attributes:
        files: where they lie.
        names: columns that their paths stand for: a text that holds for all of them, or which part of the path, counted
            from its end.
    """

    files: Sequence[Path]
    names: Mapping[str, int | str]


class Database:
    """The results of studies as views, made when a question first needs them.

    Questions can only select, and read nothing but the studies' folders. Files are first written beside ``output``, if
    one is to be written.
    """

    def __init__(self, studies: Sequence[Results], output: Path | None = None) -> None:
        self._sources = {name: sources(study) for name, study in zip(_names(studies), studies, strict=True)}
        self._scratch = tempfile.TemporaryDirectory(prefix=".withstand-", dir=output and output.parent)
        self._grammar = duckdb.connect(":memory:", config=_SETTINGS)
        self._connection = duckdb.connect(":memory:", config=_SETTINGS | {"temp_directory": self._scratch.name})
        allowed = [*(str(study.folder.resolve()) for study in studies), str(Path(self._scratch.name).resolve())]
        self._connection.execute(f"set allowed_directories = [{', '.join(map(_literal, allowed))}]")
        self._connection.execute("set enable_external_access = false")
        self._connection.execute("set lock_configuration = true")
        self._made: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()
        self._grammar.close()
        self._scratch.cleanup()

    def views(self) -> list[str]:
        """Names of all views."""
        return sorted({name for found in self._sources.values() for name in found})

    def columns(self, view: str) -> list[str]:
        """The columns of a view."""
        return self.select(f"from {_identifier(view)}").columns

    def select(self, sql: str) -> duckdb.DuckDBPyRelation:
        """The answer to a question, which is computed when it is looked at: ``.df()``, ``.fetchall()``, ``.show()``.

        Raises:
            QueryError: if it does not select, or names what there is not.
        """
        with _told():
            self._make(self._needed(sql))
            return self._connection.sql(sql)

    def text(self, sql: str, kind: str) -> str:
        """The answer to a question as text: csv, json (a list of rows), or a table that fits the terminal."""
        if kind != "table":
            return self._copied(sql, kind).read_text(encoding="utf-8")
        shown = io.StringIO()
        with _told(), redirect_stdout(shown):
            self.select(sql).show(max_rows=_MOST_ROWS, max_width=_width())
        return shown.getvalue().rstrip()

    def write(self, sql: str, kind: str, output: Path) -> None:
        """Write the answer to a question into a file: csv, json (a list of rows) or parquet."""
        answer = self._copied(sql, kind)
        with atomic_output(output) as temporary:
            answer.rename(temporary)

    def _copied(self, sql: str, kind: str) -> Path:
        """The answer to a question in a file beside the one to be written."""
        answer = Path(self._scratch.name).resolve() / "answer"
        with _told():
            self._connection.register("answer", self.select(sql))
            self._connection.execute(f"copy answer to {_literal(str(answer))} ({FORMATS[kind]})")
            self._connection.unregister("answer")
        return answer

    def _needed(self, sql: str) -> set[str]:
        """The views that a question needs; all of them where it names something else, or they cannot be told."""
        statements = self._grammar.extract_statements(sql)
        if [statement.type for statement in statements] != [StatementType.SELECT] and not _is_pivot(statements):
            raise QueryError("give one question, which only reads: select, from, with, describe, summarize or pivot")
        known = set(self.views())
        try:
            named = self._grammar.get_table_names(sql)
        except duckdb.Error:  # which a pivot is, and columns that are shared by name
            return known
        return named if named and named <= known else known

    def _make(self, views: Iterable[str]) -> None:
        for view in sorted(set(views) - self._made):
            parts = [
                self._select(source, {"study": study} if len(self._sources) > 1 else {})
                for study, found in self._sources.items()
                for source in found.get(view, ())
            ]
            self._connection.execute(f"create view {_identifier(view)} as {' union all by name '.join(parts)}")
            self._made.add(view)

    def _select(self, source: Source, more: Mapping[str, str]) -> str:
        files = [str(path.resolve()) for path in source.files]
        relation = self._connection.read_parquet(files, union_by_name=True, filename=True, hive_partitioning=False)
        names = [_name(value).alias(name) for name, value in (more | source.names).items()]
        kept = StarExpression(exclude=[_PATH, *(name for name in source.names if name in relation.columns)])
        return relation.select(*names, kept).sql_query()


def _is_pivot(statements: Sequence[duckdb.Statement]) -> bool:
    """Whether they are one pivot, which some versions of DuckDB give in parts, without the text that is a user's."""
    kinds = [statement.type for statement in statements]
    in_parts = kinds == [StatementType.CREATE, StatementType.SELECT] and not any(part.query for part in statements)
    return in_parts or kinds == [StatementType.MULTI]


def sources(study: Results) -> dict[str, list[Source]]:
    """The Parquet files of a study by view."""
    folder = study.folder
    found = {name: [Source([folder / "tables" / f"{name}{_SUFFIX}"], {})] for name in study.tables}
    more = {
        "predictions": [Source(list(study.prediction_files()), dict(zip(PREDICTION_KEYS, (-3, -2, -1), strict=True)))],
        "images": [_source(folder, "tables/images/*", model=-1)],
        "answers_transfer": [_source(folder, "transfer/*", model=-1)],
        "answers_spatial": [_source(folder, "spatial/*", model=-1)],
    }
    for kind in ("lesions", "attention_limit", "attention_distance"):
        of_clean = _source(folder, f"internals/*/{kind}", model=-2, family="clean")
        more[f"answers_{kind}"] = [of_clean, _source(folder, f"internals/*/*/{kind}", model=-3, family=-2)]
    kept = {name: [source for source in group if source.files] for name, group in more.items()}
    return found | {name: group for name, group in kept.items() if group}


def _source(folder: Path, pattern: str, **names: int | str) -> Source:
    return Source(sorted(folder.glob(pattern + _SUFFIX)), names)


def _name(value: int | str) -> Expression:
    """A text, or a part of a file's path without the suffix."""
    if isinstance(value, str):
        return ConstantExpression(value)
    parts = FunctionExpression("string_split", ColumnExpression(_PATH), ConstantExpression("/"))
    part = FunctionExpression("list_extract", parts, ConstantExpression(value))
    return FunctionExpression("replace", part, ConstantExpression(_SUFFIX), ConstantExpression(""))


def _names(studies: Sequence[Results]) -> list[str]:
    """What studies are told apart by: their folders' names, or paths where names are the same."""
    names = [study.folder.resolve().name for study in studies]
    return names if len(set(names)) == len(names) else [str(study.folder) for study in studies]


@contextmanager
def _told() -> Iterator[None]:
    """Tells DuckDB's errors in one line."""
    try:
        yield
    except duckdb.Error as error:
        text = " ".join(str(error).partition("\n\nLINE ")[0].partition("Candidate functions:")[0].split())
        advice = "; true and false are averaged as avg(column::int)" if "avg(BOOLEAN)" in text else ""
        raise QueryError(text + advice) from None


def _width() -> int:
    """Columns of the terminal; where there is none, nothing is left out."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 100_000


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
