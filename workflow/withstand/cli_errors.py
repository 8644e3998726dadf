"""What commands say where a file is of another version: a line, with its name."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from withstand import devices
from withstand.errors import WithstandError


class Step(click.Command):
    """A command that says which of its files lacks a column that pandas did not find, and how a GPU failed."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except KeyError as error:
            if not _is_of_pandas(error):
                raise
            told = _told(_column(error), list(_paths(ctx.params)))
            if told is None:
                raise
            raise WithstandError(told) from error
        except Exception as error:
            if (told := devices.told(error)) is None:
                raise
            raise devices.DeviceError(told) from error


def _told(column: str, given: list[Path]) -> str | None:
    from withstand.files import made_by_another_version
    from withstand.parquet import without_column

    files = without_column([path for path in given if path.suffix == ".parquet"], column)
    folders = [path for path in given if any(path.glob("tables/*.parquet"))]
    if not files and not folders:
        return None
    place = files[0] if files else f"a table in {' or '.join(map(str, folders))}"
    return made_by_another_version(place, f"column '{column}'")


def _is_of_pandas(error: BaseException) -> bool:
    frames = list(traceback.walk_tb(error.__traceback__))
    return frames[-1][0].f_globals.get("__name__", "").startswith("pandas.")


def _column(error: KeyError) -> str:
    """The column that was not found: pandas names it, or the first of several in a sentence."""
    several = re.search(r"\['([^']+)'", str(error.args[0]))
    return several[1] if several else str(error.args[0])


def _paths(given: object) -> Iterator[Path]:
    """The files and folders that are named in what a command was given."""
    if isinstance(given, (str, Path)):
        yield Path(given)
    elif isinstance(given, Mapping):
        yield from _paths(list(given.values()))
    elif isinstance(given, (list, tuple)):
        for value in given:
            yield from _paths(value)
