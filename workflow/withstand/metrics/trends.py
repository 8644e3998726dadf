"""Trends over models: does clean accuracy predict accuracy elsewhere, and do errors fall with size?

Models are the sample here, as they are: an interval tells what other models of the same kind would show.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import special, stats

from withstand.metrics.conditions import CLEAN
from withstand.metrics.intervals import LEVEL
from withstand.predictions import MAIN_MODES

FEWEST_MODELS = 4
"""For a rank correlation or a fit to other models to have an interval."""

SAME_SIZE = 1.02
"""Models of one architecture have the same number of parameters, but for what their patches add."""

FEWEST_SIZES = 3
_EXACT = 7
"""Most models whose permutations are all looked at."""


def rank_correlation(first: np.ndarray, second: np.ndarray) -> dict | None:
    """Spearman's rank correlation with the interval of Bonett and Wright (Psychometrika 2000), and its p-value, over
    all permutations where there are few models: value, low, high, p, n. None where it is not defined: fewer than four
    models, or all the same."""
    n = len(first)
    if n < FEWEST_MODELS or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    value = float(stats.spearmanr(first, second).statistic)
    half = stats.norm.ppf(0.5 + LEVEL / 2) * math.sqrt((1 + value**2 / 2) / (n - 3))
    limit = 1 - 12 / (n * (n * n - 1))  # the largest that there is below 1, whose transform is infinite
    middle = math.atanh(max(-limit, min(limit, value)))
    low, high = min(math.tanh(middle - half), value), max(math.tanh(middle + half), value)
    return {"value": value, "low": low, "high": high, "p": _permuted_p(first, second), "n": n}


def _permuted_p(first: np.ndarray, second: np.ndarray) -> float:
    if len(first) > _EXACT:
        return float(stats.spearmanr(first, second).pvalue)
    ranks = stats.rankdata(second)

    def statistic(values: np.ndarray) -> float:
        return stats.pearsonr(stats.rankdata(values), ranks).statistic

    tested = stats.permutation_test((first,), statistic, permutation_type="pairings", n_resamples=np.inf)
    return float(tested.pvalue)


def power_law(parameters: np.ndarray, errors: np.ndarray) -> dict | None:
    """The straight line through log error against log parameters: slope, low, high (Student), intercept, p, n.

    Models without errors, or parameters, cannot be drawn on such axes, and do not count. None for fewer than three
    sizes.
    """
    shown = (errors > 0) & (parameters > 0)
    if len(np.unique(parameters[shown])) < FEWEST_SIZES:
        return None
    x, y = np.log(parameters[shown].astype(np.float64)), np.log(errors[shown].astype(np.float64))
    fit, n = stats.linregress(x, y), int(shown.sum())
    half = stats.t.ppf(0.5 + LEVEL / 2, n - 2) * fit.stderr
    return {
        **{"slope": float(fit.slope), "low": float(fit.slope - half), "high": float(fit.slope + half)},
        **{"intercept": float(fit.intercept), "p": float(fit.pvalue), "n": n},
    }


def of_smallest_patches(models: pd.DataFrame) -> pd.Series:
    """Which models a line through sizes takes: all but those that another of their size has smaller patches than, as in
    the paper's Figure 4, which leaves out ViTs with patches of 32 px (Bhojanapalli et al., ICCV 2021).

    Args:
        models: of one family and pre-training, with parameters and patch_size (none for models without patches).
    """
    sizes, patches = (models[name].to_numpy(dtype=float) for name in ("parameters", "patch_size"))
    same_size = np.maximum.outer(sizes, sizes) <= SAME_SIZE * np.minimum.outer(sizes, sizes)
    return pd.Series(~(same_size & np.less.outer(patches, patches)).any(axis=0), index=models.index)


def effective_robustness(clean: np.ndarray, shifted: np.ndarray, images: int) -> list[dict] | None:
    """How much more accurate each model is than its clean accuracy predicts (Taori et al., NeurIPS 2020, section 2).

    The prediction is a line through the other models on logit axes, and the interval that of a new observation by
    that line (Student). Accuracies of 0 or 1 are taken half an image inside.

    Returns value, low, high, predicted and n (the other models) for each model; None for fewer than four models, or
    clean accuracies that are all the same.
    """
    n = len(clean)
    inside = (np.clip(part, 0.5 / images, 1 - 0.5 / images) for part in (clean, shifted))
    x, y = (special.logit(part) for part in inside)
    found = []
    for place in range(n):
        others = np.arange(n) != place
        if n < FEWEST_MODELS or np.ptp(x[others]) < 1e-9:
            return None
        fit = sm.OLS(y[others], sm.add_constant(x[others])).fit()
        expected = fit.get_prediction([[1.0, x[place]]])
        low, high = special.expit(expected.conf_int(obs=True, alpha=1 - LEVEL)[0])
        predicted = float(special.expit(expected.predicted_mean[0]))
        value = float(shifted[place])
        found.append(
            {"value": value - predicted, "low": value - float(high), "high": value - float(low)}
            | {"predicted": predicted, "n": n - 1}
        )
    return found


CLEAN_POLICIES = ("stored", "model")
"""Policies of clean images, of which a dataset has one, whatever those are that it is corrupted under."""

SET = ["dataset", "family", "label_mode", "policy"]
GROUP = ["group", "pretraining_dataset", "pretraining_images"]


def shifts(
    accuracy: pd.DataFrame, reference: str, unshifted: Sequence[str] = ()
) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Each shift with the models on it: dataset, family, label mode and policy; and for each model, accuracy on clean
    images (``clean``) and under the shift (``shifted``), and ``images``.

    A shift is the mean over all corruptions of a dataset, or another dataset. Corrupted images are compared with the
    same images as they are, other datasets with the clean images of ``reference``; those of ``unshifted`` are the same
    images in another size, say, and no shift.
    """
    clean = accuracy[accuracy["corruption"] == CLEAN]
    for keys, rows in _sets(accuracy):
        if keys["family"] == CLEAN and keys["dataset"] in (reference, *unshifted):
            continue
        base = clean[clean["dataset"] == (reference if keys["family"] == CLEAN else keys["dataset"])]
        for key, fallbacks in (("label_mode", MAIN_MODES), ("policy", CLEAN_POLICIES)):
            base = base[
                base[key] == next((name for name in (keys[key], *fallbacks) if (base[key] == name).any()), None)
            ]
        clean_accuracy = base.set_index("model")["value"].rename("clean")
        joined = rows.set_index("model")[["value", "images"]].join(clean_accuracy, how="inner")
        yield keys, joined.rename(columns={"value": "shifted"}).reset_index()


def _sets(accuracy: pd.DataFrame) -> Iterator[tuple[dict, pd.DataFrame]]:
    """The rows of all clean images, and of means over corruptions: by dataset, family (None for the mean), label mode
    and policy."""
    pooled = accuracy[["family", "corruption", "severity"]].isna().all(axis=1)
    for keys, rows in accuracy[pooled | (accuracy["family"] == CLEAN)].groupby(SET, dropna=False, sort=False):
        named = dict(zip(SET, keys, strict=True))
        yield named | {"family": CLEAN if named["family"] == CLEAN else None}, rows


def trend_rows(
    accuracy: pd.DataFrame, models: pd.DataFrame, reference: str, unshifted: Sequence[str] = ()
) -> pd.DataFrame:
    """Rank correlations of clean and shifted accuracy, and log-log slopes of error against parameters.

    Returns columns metric (``spearman``, ``slope``), group, pretraining_dataset and pretraining_images (of a slope),
    dataset, family, label_mode, policy, value, low, high, n (models), p and models (ids with commas).
    """
    rows = []
    for keys, joined in shifts(accuracy, reference, unshifted):
        found = rank_correlation(joined["clean"].to_numpy(), joined["shifted"].to_numpy())
        named = keys | {"metric": "spearman", "models": ",".join(joined["model"])}
        rows += [named | found] if found else []
    facts = models.rename(columns={"family": "group"})[["model", "parameters", "patch_size", *GROUP]]
    for keys, found in _sets(accuracy):
        for group, family in found.merge(facts, on="model").groupby(GROUP, dropna=False, sort=False):
            members = family[of_smallest_patches(family)]
            line = power_law(members["parameters"].to_numpy(dtype=float), 1 - members["value"].to_numpy())
            if line:
                shown = members.loc[members["value"] < 1, "model"]
                named = keys | dict(zip(GROUP, group, strict=True)) | {"models": ",".join(shown)}
                estimate = {key: line[key] for key in ("low", "high", "p", "n")}
                rows.append(named | {"metric": "slope", "value": line["slope"]} | estimate)
    return pd.DataFrame(rows)


def effective_robustness_rows(accuracy: pd.DataFrame, reference: str, unshifted: Sequence[str] = ()) -> pd.DataFrame:
    """Effective robustness of every model under every shift: columns model, dataset, family, label_mode, policy,
    reference (whose clean images predict), metric, value, low, high, predicted, n (models fitted) and images."""
    rows = []
    for keys, joined in shifts(accuracy, reference, unshifted):
        images = int(joined["images"].max()) if len(joined) else 0
        found = effective_robustness(joined["clean"].to_numpy(), joined["shifted"].to_numpy(), images)
        against = keys["dataset"] if keys["family"] is None else reference
        rows += [
            keys | {"model": model, "reference": against, "metric": "effective_robustness", "images": images} | estimate
            for model, estimate in zip(joined["model"], found or [], strict=False)
        ]
    return pd.DataFrame(rows)
