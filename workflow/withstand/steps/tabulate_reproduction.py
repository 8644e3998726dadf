"""What a study measured beside what was published of the same models: one table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from withstand.metrics.reproduction import reproduction_rows
from withstand.parquet import read_frame
from withstand.steps.tabulate import write_table

REPRODUCTION = pa.schema(
    [
        *((name, pa.string()) for name in ("model", "dataset", "experiment", "metric", "label_mode", "policy")),
        ("setting", pa.string()),
        ("attack", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
        ("published", pa.float64()),
        ("reading_error", pa.float64()),
        ("source", pa.string()),
        ("source_model", pa.string()),
        ("protocol", pa.string()),
        ("same_protocol", pa.bool_()),
        ("difference", pa.float64()),
        ("agrees", pa.bool_()),
    ]
)
"""A measured and a published value a row; see :func:`withstand.metrics.reproduction.reproduction_rows`. Shares are from
0 to 1, mCE is in percent; ``attack`` is the study's name of an attack."""


def tabulate_reproduction(
    models: Path,
    identities: Mapping,
    output: Path,
    *,
    accuracy: Path | None = None,
    corruption_error: Path | None = None,
    attacks: Path | None = None,
    spatial: Path | None = None,
    shape_bias: Path | None = None,
    lesions: Path | None = None,
    attention_limit: Path | None = None,
) -> None:
    """Write every published value that the study's tables have a measured one for; none leave a table without rows.

    Args:
        models: the table of models.
        identities: which public weights and image sets the study has (see
            :func:`withstand.published.match.identities`).
        accuracy, corruption_error, attacks, spatial, shape_bias, lesions, attention_limit: tables of the study; None
            for those that it has not.
    """
    given = {
        **{"accuracy": accuracy, "corruption_error": corruption_error, "attacks": attacks, "spatial": spatial},
        **{"shape_bias": shape_bias, "lesions": lesions, "attention_limit": attention_limit},
    }
    tables = {name: read_frame(path) for name, path in given.items() if path is not None}
    write_table(reproduction_rows(tables, read_frame(models), identities), REPRODUCTION, output)
