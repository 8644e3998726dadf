"""Pairs of models on the same images: what differs beyond chance."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from withstand.metrics.answers import Answers
from withstand.metrics.intervals import Z, paired_interval

_FEW = 12
"""Most differing images whose signs are all tried."""


def comparison_rows(answers: Answers) -> pd.DataFrame:
    """The difference of accuracies of every pair of models.

    Returns columns model, other_model, value (accuracy of the one minus that of the other), low, high, only_model and
    only_other (images that only one of them got right; for corrupted images by how many the one was ahead where it
    was), test, p, p_holm, n and images. Clean images have the exact test of McNemar (1947) and the interval of Agresti
    and Min (2005) for matched pairs; means over corruptions have that of
    :func:`withstand.metrics.intervals.paired_interval`, and :func:`paired_test`. ``p_holm`` is adjusted for the number
    of pairs (Holm 1979).
    """
    pairs = list(combinations(range(len(answers.models)), 2))
    if not pairs:
        return pd.DataFrame()
    rows = _exact(answers, pairs) if answers.is_clean else _paired(answers, pairs)
    named = [
        {"model": answers.models[one], "other_model": answers.models[other]} | row
        for (one, other), row in zip(pairs, rows, strict=True)
    ]
    adjusted = multipletests([row["p"] for row in rows], method="holm")[1]
    images = len(answers.ids)
    return pd.DataFrame(named).assign(p_holm=adjusted, n=images, images=images)


def _exact(answers: Answers, pairs: list[tuple[int, int]]) -> list[dict]:
    (right,) = answers.right.values()
    counts = right.astype(np.float32) @ (1 - right.astype(np.float32)).T  # right by the one, wrong by the other
    rows = []
    for one, other in pairs:
        mine, theirs = float(counts[one, other]), float(counts[other, one])
        low, high = matched_interval(mine, theirs, right.shape[1])
        p = float(mcnemar([[0, mine], [theirs, 0]], exact=True).pvalue)
        rows.append(
            {"value": (mine - theirs) / right.shape[1], "low": low, "high": high}
            | {"only_model": mine, "only_other": theirs, "test": "mcnemar", "p": p}
        )
    return rows


def matched_interval(mine: float, theirs: float, n: int) -> tuple[float, float]:
    """The 95% interval of the difference of two matched proportions: Wald's after half an observation is added to each
    cell (Agresti and Min 2005).

    Args:
        mine, theirs: how many of ``n`` pairs only the one, and only the other, has.
    """
    one, other, size = mine + 0.5, theirs + 0.5, n + 2
    middle = (one - other) / size
    half = Z * math.sqrt(one + other - (one - other) ** 2 / size) / size
    value = (mine - theirs) / n
    return max(-1.0, min(middle - half, value)), min(1.0, max(middle + half, value))


def _paired(answers: Answers, pairs: list[tuple[int, int]]) -> list[dict]:
    shares, only = answers.shares(), _mean_discordant(answers)
    rows = []
    for one, other in pairs:
        differences = shares[one] - shares[other]
        low, high = paired_interval(differences)
        test, p = paired_test(differences)
        rows.append(
            {"value": float(differences.mean()), "low": low, "high": high, "test": test, "p": p}
            | {"only_model": only[one, other], "only_other": only[other, one]}
        )
    return rows


def paired_test(differences: np.ndarray) -> tuple[str, float]:
    """A test of no difference in the mean: its name, and the two-sided p-value.

    Student's paired test; where no more than twelve images differ, the test over all signs of their differences.

    Args:
        differences: float (images), with at least two images.
    """
    kept = differences[differences != 0]
    if len(kept) < 2:  # one sign is as likely as the other
        return "signs", 1.0
    if len(kept) <= _FEW:
        result = stats.permutation_test((kept,), np.sum, permutation_type="samples", n_resamples=np.inf)
        return "signs", float(result.pvalue)
    return "paired t", float(stats.ttest_1samp(differences, 0.0).pvalue)


def _mean_discordant(answers: Answers) -> np.ndarray:
    """By how many images a model is ahead where it is, per condition: float64 (models, models).

    The answers under single severities are not at hand: what counts is how much oftener an image was right.
    """
    shares = answers.shares()
    return np.stack([np.maximum(one - shares, 0).sum(1) for one in shares])
