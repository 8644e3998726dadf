"""What was found inside of models, to the tables of the study."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import pandas as pd
import pyarrow as pa

from withstand.parquet import open_file
from withstand.predictions import METADATA, read_facts
from withstand.steps.tabulate import RESULT_LIBRARIES, write_table

_KEYS = [
    ("model", pa.string()),
    ("dataset", pa.string()),
    ("family", pa.string()),
    ("corruption", pa.string()),
    ("severity", pa.int8()),
]
_VALUES = [
    ("metric", pa.string()),
    ("value", pa.float64()),
    ("low", pa.float64()),
    ("high", pa.float64()),
    ("n", pa.int64()),
    ("images", pa.int64()),
]
_DRAWS = [
    ("draws", pa.int64()),
    ("standard_error", pa.float64()),
    ("lowest", pa.float64()),
    ("highest", pa.float64()),
]

SIMILARITY = pa.schema(
    [
        *_KEYS,
        ("policy", pa.string()),
        ("other_model", pa.string()),
        ("tokens", pa.string()),
        ("summary", pa.string()),
        ("other_summary", pa.string()),
        ("layer", pa.int16()),
        ("other_layer", pa.int16()),
        *_VALUES,
        ("minibatches", pa.int64()),
    ]
)
"""One pair of layers and one metric a row; see :func:`withstand.metrics.similarity.similarity_rows`."""

LESIONS = pa.schema(
    [
        *_KEYS,
        ("label_mode", pa.string()),
        ("policy", pa.string()),
        ("part", pa.string()),
        ("design", pa.string()),
        ("removed", pa.int16()),
        ("block", pa.int16()),
        ("draw", pa.int16()),
        *_VALUES,
        *_DRAWS,
        ("depth", pa.int16()),
        ("chance", pa.float64()),
    ]
)
"""See :func:`withstand.metrics.internals.lesion_rows`."""

ATTENTION_LIMIT = pa.schema(
    [
        *_KEYS,
        ("label_mode", pa.string()),
        ("policy", pa.string()),
        ("arm", pa.string()),
        ("distance", pa.float64()),
        ("masked", pa.float64()),
        ("blocks", pa.int16()),
        ("same_as", pa.string()),
        ("draw", pa.int16()),
        *_VALUES,
        *_DRAWS,
        ("chance", pa.float64()),
    ]
)
"""See :func:`withstand.metrics.internals.attention_limit_rows`."""

ATTENTION_DISTANCE = pa.schema(
    [
        *_KEYS,
        ("policy", pa.string()),
        ("block", pa.int16()),
        ("head", pa.int16()),
        *_VALUES,
        ("uniform", pa.float64()),
        ("depth", pa.int16()),
    ]
)
"""See :func:`withstand.metrics.internals.attention_distance_rows`."""


def tabulate_lesions(files: Sequence[Path], output: Path) -> None:
    """Write the table of lesions of all models; what a model has not, or why it failed, goes into the metadata."""
    from withstand.metrics.internals import lesion_rows

    _tabulate(files, lesion_rows, LESIONS, output)


def tabulate_attention_limit(files: Sequence[Path], output: Path) -> None:
    """Write the table of limits of attention of all models."""
    from withstand.metrics.internals import attention_limit_rows

    _tabulate(files, attention_limit_rows, ATTENTION_LIMIT, output)


def tabulate_attention_distance(files: Sequence[Path], output: Path) -> None:
    """Write the table of attention distances of all models."""
    from withstand.metrics.internals import attention_distance_rows

    _tabulate(files, attention_distance_rows, ATTENTION_DISTANCE, output)


def tabulate_similarity(
    files: Sequence[Path],
    output: Path,
    *,
    between_models: bool = True,
    flattenings: Sequence[str] = ("joint", "per_sample"),
) -> None:
    """Write the table of similarity of layers, within each model and, at choice, between every two on one image set.

    Args:
        flattenings: how activations become observations of Pearson's correlation (see
            :mod:`withstand.similarity`).
    """
    from withstand.grams import GramFile
    from withstand.metrics.similarity import similarity_rows

    facts, tables = {}, []
    for path in files:
        with GramFile(path) as file:
            facts[path] = file.facts
            tables.append(_with_facts(similarity_rows(file, flattenings=flattenings), file.facts))
    for first, second in combinations(files, 2) if between_models else ():
        if all(facts[first][name] == facts[second][name] for name in ("dataset", "family")):
            with GramFile(first) as one, GramFile(second) as other:
                tables.append(_with_facts(similarity_rows(one, other), facts[first]))
    _join(tables, facts.values(), SIMILARITY, output)


def _tabulate(files: Sequence[Path], rows: Callable[[Path], pd.DataFrame], schema: pa.Schema, output: Path) -> None:
    facts = [read_facts(path) for path in files]
    filled = [(path, about) for path, about in zip(files, facts, strict=True) if open_file(path).metadata.num_rows]
    tables = [_with_facts(rows(path), about) for path, about in filled]
    _join(tables, facts, schema, output)


def _with_facts(rows: pd.DataFrame, facts: Mapping) -> pd.DataFrame:
    if rows.empty:
        return rows
    if "label_mode" in rows:
        rows = rows.assign(chance=rows["label_mode"].map(facts["chance"]))
    return rows.assign(**{name: facts[name] for name in ("model", "dataset", "family", "policy")})


def _join(tables: Sequence[pd.DataFrame], facts, schema: pa.Schema, output: Path) -> None:
    facts = list(facts)
    versions = sorted({tuple(about["versions"].get(name, "") for name in RESULT_LIBRARIES) for about in facts})
    names = ("model", "dataset", "family")
    notes = {
        "versions": [dict(zip(RESULT_LIBRARIES, version, strict=True)) for version in versions],
        "failures": [
            {name: about[name] for name in names} | {"reason": about["failure"]}
            for about in facts
            if "failure" in about
        ],
        "not_applicable": [
            {name: about[name] for name in names} | entry for about in facts for entry in about["not_applicable"]
        ],
    }
    filled = [table for table in tables if len(table)]
    rows = pd.concat(filled) if filled else pd.DataFrame(columns=schema.names)
    write_table(rows, schema.with_metadata({METADATA: json.dumps(notes, sort_keys=True)}), output)
