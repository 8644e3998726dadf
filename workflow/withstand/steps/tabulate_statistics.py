"""Statistics of a study: pairs of models, corruption errors, trends over models, and the paper's claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from withstand.claims.answers import read_errors
from withstand.claims.evidence import Evidence
from withstand.claims.findings import Settings
from withstand.claims.paper import claim_rows
from withstand.metrics.answers import KEYS, read_answers
from withstand.metrics.comparisons import comparison_rows
from withstand.metrics.conditions import CLEAN
from withstand.metrics.corruption_error import corruption_error_rows, has_imagenet_c
from withstand.metrics.trends import CLEAN_POLICIES, effective_robustness_rows, trend_rows
from withstand.parquet import read_frame
from withstand.steps.tabulate import ACCURACY, MODELS, write_table

_TEXT, _NUMBER, _COUNT = pa.string(), pa.float64(), pa.int64()


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


_ESTIMATE = {"metric": _TEXT, "value": _NUMBER, "low": _NUMBER, "high": _NUMBER, "n": _COUNT}
_SET = {"dataset": _TEXT, "family": _TEXT, "label_mode": _TEXT, "policy": _TEXT}

COMPARISONS = _schema(
    **{"model": _TEXT, "other_model": _TEXT, **_SET, **_ESTIMATE, "images": _COUNT},
    **{"only_model": _NUMBER, "only_other": _NUMBER, "test": _TEXT, "p": _NUMBER, "p_holm": _NUMBER},
)
"""One pair of models on one set a row; family is ``clean``, or none for the mean over all corruptions."""

CORRUPTION_ERROR = _schema(
    **{"model": _TEXT, "dataset": _TEXT, "corruption": _TEXT, "label_mode": _TEXT, "policy": _TEXT},
    **{"reference": _TEXT, **_ESTIMATE, "images": _COUNT, "reason": _TEXT},
)
"""One model's error under one corruption, or the mean over corruptions, in percent of a reference's, a row; ``reason``
says why there is no value, or no interval."""

EFFECTIVE_ROBUSTNESS = _schema(
    **{"model": _TEXT, **_SET, "reference": _TEXT, **_ESTIMATE, "predicted": _NUMBER, "images": _COUNT, "reason": _TEXT}
)
"""One model under one shift a row; ``n`` is the number of models whose accuracies predict its own, ``reason`` says why
there is no value."""

TRENDS = _schema(
    **{"group": _TEXT, "pretraining_dataset": _TEXT, "pretraining_images": _COUNT},
    **{**_SET, **_ESTIMATE, "p": _NUMBER, "models": _TEXT, "reason": _TEXT},
)
"""One trend over models a row; ``n`` is the number of models, ``reason`` says why there is no value, or no interval."""

CLAIMS = _schema(
    **{"claim": _TEXT, "section": _TEXT, "statement": _TEXT, "criterion": _TEXT},
    **{"dataset": _TEXT, "label_mode": _TEXT, "policy": _TEXT},
    **{"pretraining_dataset": _TEXT, "pretraining_images": _COUNT, "subject": _TEXT},
    **{"outcome": _TEXT, "effect": _NUMBER, "low": _NUMBER, "high": _NUMBER, "unit": _TEXT, "n": _COUNT},
    **{"sample": _TEXT, "models": _TEXT, "reason": _TEXT},
)
"""One claim of the paper on one set a row; see :mod:`withstand.claims.paper`."""


def tabulate_comparisons(images: Sequence[Path], output: Path) -> None:
    """Write the comparison of every pair of models on every set.

    Args:
        images: how often each image was right (``tables/images/{model}.parquet``), a file a model.
    """
    tables = []
    for answers in read_answers(_by_model(images)):
        rows = comparison_rows(answers)
        family = CLEAN if answers.is_clean else None
        tables.append(rows.assign(**answers.keys, family=family, metric="accuracy"))
    _write(tables, COMPARISONS, output)


def tabulate_corruption_error(
    images: Sequence[Path], output: Path, *, baseline: str | None = None, imagenet: Sequence[str] = ()
) -> None:
    """Write the corruption errors of every model, against AlexNet where it is defined and a model of the study.

    Args:
        images: how often each image was right, a file a model.
        baseline: the model of the study that is a reference.
        imagenet: the datasets whose images are ImageNet's.
    """
    found = list(read_answers(_by_model(images)))
    clean = {tuple(answers.keys.values()): answers for answers in found if answers.is_clean}
    tables = []
    for answers in (each for each in found if not each.is_clean):
        dataset, policy, mode = (answers.keys[key] for key in KEYS)
        known = ((dataset, name, mode) for name in (policy, *CLEAN_POLICIES))
        as_is = next((clean[key] for key in known if key in clean), None)
        if dataset in imagenet and mode == "all" and has_imagenet_c(answers):
            tables.append(corruption_error_rows(answers, as_is, alexnet=True).assign(**answers.keys))
        tables.append(corruption_error_rows(answers, as_is, baseline=baseline).assign(**answers.keys))
    _write(tables, CORRUPTION_ERROR, output)


def tabulate_trends(
    accuracy: Path,
    models: Path,
    reference: str,
    datasets: Sequence[str],
    trends: Path,
    effective_robustness: Path,
    *,
    unshifted: Sequence[str] = (),
) -> None:
    """Write what clean accuracy and size tell of accuracy elsewhere, over models.

    Args:
        reference: the dataset whose clean images other datasets are compared with.
        datasets: those whose images have one right answer.
        unshifted: those whose clean images are the reference's, in another size, say.
    """
    rows, facts = read_frame(accuracy, ACCURACY.names), read_frame(models, MODELS.names)
    rows = rows[rows["dataset"].isin(datasets)]
    _write([trend_rows(rows, facts, reference, unshifted)], TRENDS, trends)
    found = effective_robustness_rows(rows, reference, unshifted)
    _write([found], EFFECTIVE_ROBUSTNESS, effective_robustness)


def tabulate_claims(tables: Sequence[Path], settings: Settings, output: Path, *, answers: Sequence[Path] = ()) -> None:
    """Write what the study says of each of the paper's claims.

    Args:
        tables: of the study, each named as what it holds; claims about tables that are not there are undecided.
        answers: files of the answers behind the tables (see :func:`withstand.claims.answers.read_errors`), by which
            differences are paired by image.
    """
    evidence = Evidence({path.stem: read_frame(path) for path in tables}, read_errors(answers))
    _write([claim_rows(evidence, settings)], CLAIMS, output)


def _by_model(files: Sequence[Path]) -> Mapping[str, Path]:
    return {path.stem: path for path in files}


def _write(tables: Sequence[pd.DataFrame], schema: pa.Schema, output: Path) -> None:
    rows = [table for table in tables if len(table)]
    write_table(pd.concat(rows) if rows else pd.DataFrame(columns=schema.names), schema, output)
