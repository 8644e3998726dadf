"""Corruption errors: a model's errors under a corruption as a share of another's (Hendrycks and Dietterich, ICLR 2019).

The other is AlexNet on ImageNet-C, and a model of the study elsewhere. Everything is keyed by name: a public fork once
listed corruptions in another order than AlexNet's errors, and all its numbers were wrong. The mean corruption error is
no mean error: the reference's is 100 by definition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

import numpy as np
import pandas as pd

from withstand.metrics.answers import Answers
from withstand.metrics.bootstrap import percentile_interval, resampled_means
from withstand.metrics.conditions import CLEAN

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
    corrupted: Answers, clean: Answers | None, *, baseline: str | None = None, alexnet: bool = False, seed: int
) -> pd.DataFrame:
    """Corruption errors of each model, and their mean over corruptions, against one reference.

    Args:
        corrupted: answers to corrupted images; for AlexNet to images of ImageNet, of whose corruptions just the
            fifteen count.
        clean: answers to the same images as they are, which relative errors need; None if there are none.
        baseline: the model whose errors are the reference; no rows if it has no answers.
        alexnet: whether AlexNet's are.

    Returns columns model, corruption (None for the mean), reference, metric (``ce`` and ``relative_ce``, for the mean
    ``mce`` and ``relative_mce``), value (percent), low, high (95%, by a bootstrap over images, in which the baseline is
    shown the same images), n and images. A relative error compares what is lost to corruption; where the reference
    loses nothing it has no value.
    """
    if alexnet:
        corrupted = corrupted.only(ALEXNET)
    parts = [_rows(corrupted, None, baseline, alexnet, seed)]
    if clean is not None:
        models = [model for model in corrupted.models if model in clean.models]
        known = set(clean.ids)
        ids = np.array([sample for sample in corrupted.ids if sample in known], dtype=object)
        if models and len(ids):
            parts.append(_rows(corrupted.of(models, ids), clean.of(models, ids), baseline, alexnet, seed))
    return pd.DataFrame([row for part in parts for row in part])


def _rows(corrupted: Answers, clean: Answers | None, baseline: str | None, alexnet: bool, seed: int) -> list[dict]:
    """Rows of errors, or with clean answers to the same images of relative ones."""
    names, images, models = list(corrupted.right), len(corrupted.ids), corrupted.models
    if not alexnet and baseline not in models:
        return []
    wrong = [1 - corrupted.right[name] / corrupted.trials[name] for name in names]
    wrong += [] if clean is None else [1 - clean.right[CLEAN]]
    errors = np.stack(wrong)  # (corruptions and at last clean, models, images)
    means = resampled_means(errors.reshape(-1, images).T, (seed, "corruption error"))
    found, drawn = errors.mean(-1)[None], means.reshape(-1, *errors.shape[:2])
    yardsticks = (
        _alexnet(names, clean is not None)
        if alexnet
        else [part[..., [models.index(baseline)]] for part in (found, drawn)]
    )
    relative = clean is not None
    values, draws = (
        _percentages(part, other, relative) for part, other in zip((found, drawn), yardsticks, strict=True)
    )
    reference, metric = ALEXNET_NAME if alexnet else baseline, "relative_ce" if relative else "ce"
    rows = []
    for place, model in enumerate(models):
        for name, value, estimates in _with_mean(names, values[0, :, place], draws[..., place]):
            trials = corrupted.trials[name] if name else sum(corrupted.trials.values())
            rows.append(
                {"model": model, "corruption": name, "reference": reference, "n": images * trials, "images": images}
                | {"metric": metric if name else metric.replace("ce", "mce")}
                | _estimate(value, estimates)
            )
    return rows


def _alexnet(names: Sequence[str], with_clean: bool) -> list[np.ndarray]:
    """AlexNet's errors, once as they are and once for all resamples: (1, corruptions and perhaps clean, 1) each."""
    errors = [*(fmean(ALEXNET[name]) for name in names), *([ALEXNET_CLEAN] if with_clean else [])]
    return [np.array(errors)[None, :, None]] * 2


def _percentages(errors: np.ndarray, reference: np.ndarray, relative: bool) -> np.ndarray:
    """Percentages of a reference's errors, or of what it loses; NaN where it has or loses nothing.

    Args:
        errors, reference: from 0 to 1, (resamples, corruptions, models); if relative, the last of the corruptions are
            the clean images.
    """
    own, other = (part[:, :-1] - part[:, -1:] if relative else part for part in (errors, reference))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(other > 0, 100 * own / other, np.nan)


def _with_mean(names: Sequence[str], values: np.ndarray, draws: np.ndarray) -> Iterator[tuple]:
    """Each corruption's value and resampled values, and at last their mean, without a name."""
    yield from ((name, values[place], draws[:, place]) for place, name in enumerate(names))
    yield None, values.mean(), draws.mean(1)


def _estimate(value: float, draws: np.ndarray) -> dict:
    drawn = draws[np.isfinite(draws)]
    if not np.isfinite(value) or not len(drawn):
        return {"value": None, "low": None, "high": None}
    low, high = percentile_interval(drawn, float(value))
    return {"value": float(value), "low": low, "high": high}
