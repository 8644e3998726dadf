"""Similarity of layers, within and between models, from their Gram matrices: tidy rows with 95% intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import pandas as pd

from withstand.errors import WithstandError
from withstand.grams import TOKENS, GramFile
from withstand.similarity import Estimate, cka

FLATTENINGS = ("joint", "per_sample")


def similarity_rows(
    first: GramFile, second: GramFile | None = None, *, flattenings: Sequence[str] = FLATTENINGS
) -> pd.DataFrame:
    """Similarity of every layer of a model with every layer of the same, or of another.

    Returns columns model, other_model, corruption, severity, tokens (``all_tokens``, or ``summary``: the class token or
    the mean over positions, as ``summary`` and ``other_summary`` say), layer, other_layer (numbers of blocks), metric,
    value, low, high, n (samples), images (the same) and minibatches. Metrics are ``cka`` (unbiased), ``cka_biased``,
    and within a model ``pearson_joint`` and ``pearson_per_sample`` (see :mod:`withstand.similarity`); layers of
    different sizes have no correlation, and no row.

    Raises:
        WithstandError: if the two files are not of the same samples.
    """
    rows = []
    for condition in first.conditions if second is None else _shared(first, second):
        ids = first.sample_ids(condition)
        keys = {
            **{"summary": first.facts["summary"], "other_summary": (second or first).facts["summary"]},
            **{"model": first.facts["model"], "other_model": (second or first).facts["model"]},
            **{"corruption": condition[0], "severity": condition[1]},
            **{"n": ids.size, "images": ids.size, "minibatches": len(ids)},
        }
        for tokens in TOKENS:
            grams = first.grams(condition, tokens)
            others = None if second is None else second.grams(condition, tokens)
            for metric in ("cka", "cka_biased"):
                estimate = cka(grams, others, unbiased=metric == "cka")
                rows += [keys | {"tokens": tokens, "metric": metric} | cell for cell in _cells(estimate)]
            for flattening in flattenings if second is None else ():
                estimate = first.moments(condition, tokens).pearson(flattening)
                rows += [
                    keys | {"tokens": tokens, "metric": f"pearson_{flattening}"} | cell for cell in _cells(estimate)
                ]
    return pd.DataFrame(rows)


def _shared(first: GramFile, second: GramFile) -> list[tuple[str, int]]:
    shared = [condition for condition in first.conditions if condition in second.conditions]
    for condition in shared:
        if not np.array_equal(first.sample_ids(condition), second.sample_ids(condition)):
            raise WithstandError(f"{first.path} and {second.path} are not of the same samples in the same minibatches")
    return shared


def _cells(estimate: Estimate) -> Iterator[dict]:
    for layer, other in product(*(range(size) for size in estimate.value.shape)):
        values = (float(part[layer, other]) for part in (estimate.value, estimate.low, estimate.high))
        cell = dict(zip(("value", "low", "high"), values, strict=True))
        if not np.isnan(cell["value"]):
            yield {"layer": layer, "other_layer": other} | cell
