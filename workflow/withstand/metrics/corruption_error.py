"""Corruption errors: a model's errors under a corruption as a share of another's (Hendrycks and Dietterich, ICLR 2019).

The other is AlexNet on ImageNet-C, and a model of the study elsewhere. Everything is keyed by name: a public fork once
listed corruptions in another order than AlexNet's errors, and all its numbers were wrong. The mean corruption error is
no mean error: the reference's is 100 by definition.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from statistics import fmean

import numpy as np
import pandas as pd

from withstand.metrics.answers import Answers
from withstand.metrics.conditions import CLEAN
from withstand.metrics.intervals import NONE, jackknife_interval, mean_interval

ALEXNET = {
    "gaussian_noise": (0.69528, 0.82542, 0.93554, 0.98138, 0.99452),
    "shot_noise": (0.71224, 0.85108, 0.93574, 0.98182, 0.99146),
    "impulse_noise": (0.78374, 0.89808, 0.94870, 0.98720, 0.99548),
    "defocus_blur": (0.65624, 0.73202, 0.85036, 0.91364, 0.94714),
    "glass_blur": (0.64308, 0.75054, 0.88806, 0.91622, 0.93344),
    "motion_blur": (0.58430, 0.70048, 0.82108, 0.89750, 0.92638),
    "zoom_blur": (0.70008, 0.76992, 0.80784, 0.84198, 0.87198),
    "snow": (0.71726, 0.88392, 0.86468, 0.91870, 0.94952),
    "frost": (0.61390, 0.79734, 0.88790, 0.89942, 0.93430),
    "fog": (0.67474, 0.76050, 0.84378, 0.87260, 0.94500),
    "brightness": (0.45140, 0.48502, 0.54048, 0.62166, 0.72440),
    "contrast": (0.64548, 0.76150, 0.88874, 0.97760, 0.99270),
    "elastic_transform": (0.52596, 0.70116, 0.55686, 0.64076, 0.80554),
    "pixelate": (0.52218, 0.54620, 0.73728, 0.87092, 0.91262),
    "jpeg_compression": (0.51002, 0.54718, 0.57294, 0.65458, 0.74778),
}
"""Errors of torchvision's AlexNet on ImageNet-C as published, at severities 1 to 5 (hendrycks/robustness#10)."""


ALEXNET_CLEAN = 0.4348
"""Its error on clean images, as published with them."""

ALEXNET_NAME = "AlexNet"
SEVERITIES = 5
_ROUNDING = 1e-9
"""Sums of shares that are zero come out smaller than this."""


def corruption_errors(errors: Mapping[tuple[str, int], float]) -> dict[str, float]:
    """The corruption error of each of the fifteen corruptions of ImageNet-C, in percent; AlexNet's are 100.

    Args:
        errors: top-1 errors, from 0 to 1, by corruption and severity.

    Raises:
        KeyError: if one of the 75 is missing.
    """
    return {
        name: 100 * sum(errors[name, severity] for severity in range(1, 6)) / sum(yardstick)
        for name, yardstick in ALEXNET.items()
    }


def mean_corruption_error(errors: Mapping[tuple[str, int], float]) -> float:
    """mCE, in percent: the mean of :func:`corruption_errors`."""
    return fmean(corruption_errors(errors).values())


def has_imagenet_c(answers: Answers) -> bool:
    """Whether answers are to all of the fifteen corruptions of ImageNet-C, at all five severities."""
    return all(answers.trials.get(name) == SEVERITIES for name in ALEXNET)


def corruption_error_rows(
    corrupted: Answers, clean: Answers | None, *, baseline: str | None = None, alexnet: bool = False
) -> pd.DataFrame:
    """Corruption errors of each model, and their mean over corruptions, against one reference.

    Args:
        corrupted: answers to corrupted images; for AlexNet to images of ImageNet, of whose corruptions just the
            fifteen count.
        clean: answers to the same images as they are, which relative errors need; None if there are none.
        baseline: the model whose errors are the reference; no rows if it has no answers.
        alexnet: whether AlexNet's are.

    Returns columns model, corruption (None for the mean), reference, metric (``ce`` and ``relative_ce``, for the mean
    ``mce`` and ``relative_mce``), value (percent), low, high (95%, by the jackknife over images, of which the baseline
    is shown the same), n, images and reason. A relative error compares what is lost to corruption.

    ``reason`` says what cannot be estimated. There is no value where the reference makes no error, or loses nothing,
    and no interval where its errors, or losses, are not above zero beyond chance: a quotient by them may be anything.
    """
    if alexnet:
        corrupted = corrupted.only(ALEXNET)
    parts = [_rows(corrupted, None, baseline, alexnet)]
    if clean is not None:
        models = [model for model in corrupted.models if model in clean.models]
        known = set(clean.ids)
        ids = np.array([sample for sample in corrupted.ids if sample in known], dtype=object)
        if models and len(ids):
            parts.append(_rows(corrupted.of(models, ids), clean.of(models, ids), baseline, alexnet))
    return pd.DataFrame([row for part in parts for row in part])


def _rows(corrupted: Answers, clean: Answers | None, baseline: str | None, alexnet: bool) -> Iterator[dict]:
    """Rows of errors, or with clean answers to the same images of relative ones."""
    names, images, models = list(corrupted.right), len(corrupted.ids), corrupted.models
    if not alexnet and baseline not in models:
        return
    errors = np.stack([1 - corrupted.right[name] / corrupted.trials[name] for name in names])
    errors -= 0 if clean is None else 1 - clean.right[CLEAN]  # (corruptions, models, images)
    of_reference = _alexnet(clean is not None, images) if alexnet else errors[:, models.index(baseline)]
    reference, metric = ALEXNET_NAME if alexnet else baseline, "ce" if clean is None else "relative_ce"
    doubts = {name: _doubt(row, relative=clean is not None) for name, row in zip(names, of_reference, strict=True)}
    for place, model in enumerate(models):
        values, without = _percentages(errors[:, place], of_reference)
        found = [([name], name, *pair) for name, *pair in zip(names, values, without, strict=True)]
        for behind, name, value, others in [*found, (names, None, values.mean(), without.mean(0))]:
            yield {
                **{"model": model, "corruption": name, "reference": reference},
                **{"metric": metric if name else metric.replace("ce", "mce")},
                **{"n": images * sum(corrupted.trials[each] for each in behind), "images": images},
                **_estimate(float(value), others, model, reference, {each: doubts[each] for each in behind}),
            }


def _estimate(value: float, without: np.ndarray, model: str, reference: str, doubts: Mapping[str, str | None]) -> dict:
    """Value, interval, and the reason for what there is not."""
    told = {name: doubt for name, doubt in doubts.items() if doubt}
    if model == reference and math.isfinite(value):  # 100% by definition
        return {"value": value, "low": value, "high": value, "reason": None}
    low, high = NONE if told else jackknife_interval(value, without)
    few = None if math.isfinite(low) else "a single image"
    return {"value": value, "low": low, "high": high, "reason": _reason(told) if told else few}


def _alexnet(relative: bool, images: int) -> np.ndarray:
    """AlexNet's errors, or what it loses, by corruption: the same for every image, (corruptions, images)."""
    errors = np.array([fmean(each) for each in ALEXNET.values()]) - (ALEXNET_CLEAN if relative else 0)
    return np.broadcast_to(errors[:, None], (len(errors), images))


def _percentages(errors: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Percentages of a reference's errors, or losses: of all images, (corruptions), and of all but each one,
    (corruptions, images); NaN where it has none.

    Args:
        errors, reference: by corruption and image, (corruptions, images).
    """
    own, other = (np.column_stack([part.sum(1), part.sum(1, keepdims=True) - part]) for part in (errors, reference))
    found = np.divide(100 * own, other, out=np.full_like(own, np.nan), where=other > _ROUNDING)
    return found[:, 0], found[:, 1:]


def _doubt(errors: np.ndarray, *, relative: bool) -> str | None:
    """Why nothing, or no interval, can be had of a quotient by the mean of errors, or losses, by image."""
    if not errors.sum() > _ROUNDING:
        return "loses nothing" if relative else "makes no error"
    if not (np.ptp(errors) == 0 or mean_interval(errors)[0] > 0):
        return "loses too little" if relative else "makes too few errors"
    return None


def _reason(doubts: Mapping[str, str]) -> str:
    """'the reference makes too few errors under fog, snow'."""
    named = {doubt: [name for name, other in doubts.items() if other == doubt] for doubt in doubts.values()}
    return "; ".join(f"the reference {doubt} under {', '.join(names)}" for doubt, names in named.items())
