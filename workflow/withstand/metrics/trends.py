"""Trends over models: does clean accuracy predict accuracy elsewhere, and do errors fall with size?

Models are the sample here, as they are: an interval tells what other models of the same kind would show. Fewer than ten
tell too little of others, whatever their points look like: then there is no statistic, and ``reason`` says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import special, stats

from withstand.metrics.conditions import CLEAN
from withstand.metrics.intervals import LEVEL, Z, student
from withstand.predictions import MAIN_MODES

FEWEST_MODELS = 10
"""For a statistic over models."""

SAME_SIZE = 1.02
"""Models of one architecture have the same number of parameters, but for what their patches add."""

FEWEST_SIZES = 3
"""For a line that describes models of a family."""

OTHER_CLASSES = "no accuracy on clean images over the same classes"


def too_few(models: int) -> str | None:
    """Why there is no statistic over so many models; None where there is one."""
    return f"too few models: {models} of {FEWEST_MODELS}" if models < FEWEST_MODELS else None


def rank_correlation(first: np.ndarray, second: np.ndarray) -> dict:
    """Spearman's rank correlation with the interval of Bonett and Wright (Psychometrika 2000): value, low, high, p and
    n; or n and the reason why there is none: fewer than ten models, or all the same."""
    n = len(first)
    reason = too_few(n) or ("all models are equally accurate" if min(np.ptp(first), np.ptp(second)) == 0 else None)
    if reason:
        return {"n": n, "reason": reason}
    value, p = (float(part) for part in stats.spearmanr(first, second))
    half = Z * math.sqrt((1 + value**2 / 2) / (n - 3))
    limit = 1 - 12 / (n * (n * n - 1))  # the largest that there is below 1, whose transform is infinite
    middle = math.atanh(max(-limit, min(limit, value)))
    low, high = min(math.tanh(middle - half), value), max(math.tanh(middle + half), value)
    return {"value": value, "low": low, "high": high, "p": p, "n": n}


def power_law(parameters: np.ndarray, errors: np.ndarray, sampling: np.ndarray) -> dict | None:
    """The straight line through log error against log parameters: slope, intercept, n; and low, high and p for ten
    models or more, else the reason why there are none.

    A slope is uncertain since models scatter about the line, and since each error was measured on so many images. The
    first is Student's standard error of least squares, the second, with x for log parameters and s for the standard
    errors of log errors, ``sqrt(sum((x - mean x)^2 s^2)) / sum((x - mean x)^2)``. The interval is the wider of both, so
    that points that happen to lie on a line pretend no more than their images allow, and p is the larger. The same
    images are shown to all models, which makes their errors move together and slopes surer: the second is cautious.

    Models without errors, or parameters, cannot be drawn on such axes, and do not count. None for fewer than three
    sizes.

    Args:
        parameters, errors: of the models (n).
        sampling: standard errors of the logarithms of errors, by image (n).
    """
    shown = (errors > 0) & (parameters > 0)
    if len(np.unique(parameters[shown])) < FEWEST_SIZES:
        return None
    x, y = np.log(parameters[shown].astype(np.float64)), np.log(errors[shown].astype(np.float64))
    fit, n = stats.linregress(x, y), int(shown.sum())
    line = {"slope": float(fit.slope), "intercept": float(fit.intercept), "n": n, "reason": too_few(n)}
    if line["reason"]:
        return line
    apart = x - x.mean()
    by_image = float(np.sqrt(np.sum((apart * sampling[shown]) ** 2)) / np.sum(apart**2))
    half = max(student(n - 2) * float(fit.stderr), Z * by_image)
    p = max(float(fit.pvalue), 2 * float(stats.norm.sf(abs(fit.slope) / by_image)) if by_image else 0.0)
    return line | {"low": line["slope"] - half, "high": line["slope"] + half, "p": p}


def of_smallest_patches(models: pd.DataFrame) -> pd.Series:
    """Which models a line through sizes takes: all but those that another of their size has smaller patches than, as in
    the paper's Figure 4, which leaves out ViTs with patches of 32 px (Bhojanapalli et al., ICCV 2021).

    Args:
        models: of one family and pre-training, with parameters and patch_size (none for models without patches).
    """
    sizes, patches = (models[name].to_numpy(dtype=float) for name in ("parameters", "patch_size"))
    same_size = np.maximum.outer(sizes, sizes) <= SAME_SIZE * np.minimum.outer(sizes, sizes)
    return pd.Series(~(same_size & np.less.outer(patches, patches)).any(axis=0), index=models.index)


def of_log_error(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Standard errors of the logarithm of one minus accuracies, from the accuracies' 95% intervals (n)."""
    with np.errstate(divide="ignore"):  # where all were right or wrong, which no line uses, or images are few
        return (np.log(1 - low) - np.log(np.maximum(1 - high, 0))) / (2 * Z)


def effective_robustness(clean: np.ndarray, shifted: np.ndarray, images: int) -> list[dict]:
    """How much more accurate each model is than its clean accuracy predicts (Taori et al., NeurIPS 2020, section 2).

    The prediction is a line through the other models on logit axes, and the interval that of a new observation by
    that line (Student). Accuracies of 0 or 1 are taken half an image inside.

    Returns value, low, high, predicted and n (the other models) for each model; n and the reason where there are fewer
    than ten models, or clean accuracies that are all the same.
    """
    n = len(clean)
    inside = (np.clip(part, 0.5 / images, 1 - 0.5 / images) for part in (clean, shifted))
    x, y = (special.logit(part) for part in inside)
    reason = too_few(n)
    if not reason and min(np.ptp(np.delete(x, place)) for place in range(n)) < 1e-9:
        reason = "all models are equally accurate on clean images"
    if reason:
        return [{"n": n - 1, "reason": reason} for _ in range(n)]
    found = []
    for place in range(n):
        others = np.arange(n) != place
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
    images in another size, say, and no shift. Accuracies over the classes of a dataset alone have no counterpart on
    clean images of another one, which are answered over other classes: ``clean`` is empty for them.
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
        if keys["family"] == CLEAN and keys["label_mode"] not in MAIN_MODES:
            base = base.assign(value=np.nan)
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
    dataset, family, label_mode, policy, value, low, high, n (models), p, models (ids with commas) and reason (why there
    is no value, or no interval). Of fewer than ten models a slope describes the line through them, and has no interval.
    """
    rows = []
    for keys, joined in shifts(accuracy, reference, unshifted):
        if len(joined):
            named = keys | {"metric": "spearman", "models": ",".join(joined["model"])}
            found = _uncompared(joined) or rank_correlation(*joined[["clean", "shifted"]].to_numpy().T)
            rows.append(named | found)
    facts = models.rename(columns={"family": "group"})[["model", "parameters", "patch_size", *GROUP]]
    for keys, found in _sets(accuracy):
        for group, family in found.merge(facts, on="model").groupby(GROUP, dropna=False, sort=False):
            members = family[of_smallest_patches(family)]
            line = line_of(members)
            if line:
                shown = members.loc[members["value"] < 1, "model"]
                named = keys | dict(zip(GROUP, group, strict=True)) | {"models": ",".join(shown)}
                rows.append(named | line | {"metric": "slope", "value": line["slope"]})
    return pd.DataFrame(rows)


def line_of(members: pd.DataFrame) -> dict | None:
    """The line through models, with columns parameters, and value, low and high of their accuracies."""
    values, low, high = (members[column].to_numpy(dtype=float) for column in ("value", "low", "high"))
    return power_law(members["parameters"].to_numpy(dtype=float), 1 - values, of_log_error(low, high))


def _uncompared(joined: pd.DataFrame) -> dict | None:
    """Why accuracies under a shift cannot be compared with those on clean images; None if they can."""
    return {"n": len(joined), "reason": OTHER_CLASSES} if joined["clean"].isna().any() else None


def effective_robustness_rows(accuracy: pd.DataFrame, reference: str, unshifted: Sequence[str] = ()) -> pd.DataFrame:
    """Effective robustness of every model under every shift: columns model, dataset, family, label_mode, policy,
    reference (whose clean images predict), metric, value, low, high, predicted, n (models fitted), images and reason
    (why there is no value)."""
    rows = []
    for keys, joined in shifts(accuracy, reference, unshifted):
        images = int(joined["images"].max()) if len(joined) else 0
        none = _uncompared(joined)
        found = (
            [none] * len(joined)
            if none
            else effective_robustness(joined["clean"].to_numpy(), joined["shifted"].to_numpy(), images)
        )
        against = keys["dataset"] if keys["family"] is None else reference
        rows += [
            keys | {"model": model, "reference": against, "metric": "effective_robustness", "images": images} | estimate
            for model, estimate in zip(joined["model"], found, strict=True)
        ]
    return pd.DataFrame(rows)
