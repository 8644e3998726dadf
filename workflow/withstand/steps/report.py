"""Tables and figures of a study to its report, one page that stands alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from withstand.files import write_text
from withstand.parquet import read_notes, read_results
from withstand.report.figures import pictures
from withstand.report.page import names_of, render
from withstand.run import seconds_by_rule


def write_report(
    spec: Mapping, tables: Sequence[Path], figures: Sequence[Path], output: Path, benchmarks: Path | None = None
) -> None:
    """Write the report of a study.

    Args:
        spec: ``study``, ``seed``, ``config`` (the whole config), ``models`` (by id: ``label``, ``color``),
            ``datasets`` (by id: ``label``, ``kind``, ``samples``, ``size``, ``policy``, ``families``), ``gates`` and
            ``without_gate`` (a text by model), ``reference`` (dataset), ``baseline`` (model) and ``margin`` (a share).
        tables: Parquet files, named as tables are; those that a study has not are left out of the page, and so are
            rows without a value.
        figures: a file of each figure, SVG, PNG or CSV; the other two lie beside it.
        benchmarks: the folder of benchmarks, for the seconds spent by rule.

    The same inputs give the same bytes.
    """
    found = {path.stem: read_results(path) for path in tables}
    notes = {path.stem: read_notes(path) for path in tables}
    drawn, empty = pictures(figures, names_of(spec, found.get("models")), output)
    seconds = seconds_by_rule(benchmarks) if benchmarks is not None else {}
    write_text(output, render(spec, found, notes, drawn, empty, seconds))
