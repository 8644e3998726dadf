"""How far a model's probabilities can be trusted, on one dataset: tidy rows with 95% intervals.

``nll`` is the negative log-likelihood of the label in nats, ``brier`` the squared distance between probabilities and
label (Brier 1950), from 0 to 2: means over images, whose long tail the interval knows; of a pooled row they are
clustered by image. Both rest on the images that are answered wrong: with fewer than three there is no interval.
``ece`` is the expected calibration error without the part that chance makes of it
(:mod:`withstand.metrics.calibration_error`), ``ece_plug_in`` as it is measured (Guo et al., "On calibration of modern
neural networks", ICML 2017, eq. 3), which is what others report, larger where images are few, and has no interval.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from withstand.metrics.calibration_error import Binned, calibration_error, plug_in
from withstand.metrics.conditions import Condition, pooled
from withstand.metrics.intervals import NONE, skewed_mean_interval

FEWEST_WRONG = 3
"""Images with a wrong answer, from which on the tail of losses is known well enough."""


def calibration_rows(conditions: Sequence[Condition], *, complete: bool = True) -> pd.DataFrame:
    """The metrics under every condition, and pooled (see :func:`withstand.metrics.conditions.pooled`).

    Returns columns family, corruption, severity, metric, value, low, high, n (predictions) and images. A pooled value
    is the mean over conditions.
    """
    binned = {id(condition): Binned.of(condition.confidence, condition.correct) for condition in conditions}
    rows = []
    for keys, group in pooled(conditions, complete):
        images = len(group[0].correct)
        about = keys | {"n": images * len(group), "images": images}
        cells = [binned[id(condition)] for condition in group]
        value, low, high = calibration_error(cells)
        rows.append(about | {"metric": "ece", "value": value, "low": low, "high": high})
        rows.append(about | {"metric": "ece_plug_in", "value": plug_in(cells)})
        rows += [about | row for row in _losses(group)]
    return pd.DataFrame(rows)


def _losses(group: Sequence[Condition]) -> Iterator[dict]:
    wrong = len(group[0].correct) - np.all([condition.correct for condition in group], axis=0).sum()
    brier = [each.squared_probability - 2 * each.label_probability + 1 for each in group]
    for metric, by_condition in (("brier", brier), ("nll", [each.loss for each in group])):
        values = np.mean(by_condition, axis=0, dtype=np.float64)
        low, high = skewed_mean_interval(values) if wrong >= FEWEST_WRONG else NONE
        yield {"metric": metric, "value": values.mean(), "low": np.maximum(low, 0.0), "high": high}
