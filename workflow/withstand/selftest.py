"""Self-tests of the protocol: others' numbers, beside those that the studies of the self-test give here.

When numbers differ from published ones, it is nearly always the transform, the label space or the weights. Each anchor
would show one of them: AlexNet's mean corruption error is 102.3 if images of ImageNet-C are resized and cropped again,
and accuracy on ImageNet-A over all 1,000 outputs is half of that over the set's 200 classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from withstand.metrics.corruption_error import mean_corruption_error

STUDIES = ("selftest", "selftest-vit")

_TIMM = "timm's results of 2025-10"
_NOTEBOOKS = "robustness-vit, whose resize is another"


@dataclass(frozen=True)
class Anchor:
    """A number that a model must reach on a set: accuracy, or mean corruption error, in percent.

    Attributes:
        study, model, dataset: ids in the studies of the self-test.
        label_mode: ``all`` outputs or the ``subset`` of the set's classes.
        tolerance: how far off a right protocol may be, for other versions of decoders and libraries.
    """

    study: str
    model: str
    dataset: str
    label_mode: str
    metric: str
    expected: float
    tolerance: float
    source: str


def _vits(dataset: str, mode: str, values: Sequence[float], tolerance: float, source: str) -> Iterator[Anchor]:
    for model, value in zip(("vit_b16", "vit_b32", "vit_l16", "vit_l32"), values, strict=True):
        yield Anchor("selftest-vit", model, dataset, mode, "accuracy", value, tolerance, source)


ANCHORS = (
    Anchor("selftest", "alexnet", "val_224", "all", "mCE", 100.0, 0.2, "the definition of mCE"),
    Anchor("selftest", "alexnet", "val", "all", "accuracy", 56.52, 0.1, "torchvision"),
    Anchor("selftest", "resnet50", "val_224", "all", "mCE", 76.7, 0.3, "hendrycks/robustness"),
    Anchor("selftest", "resnet50", "val", "all", "accuracy", 76.156, 0.1, _TIMM),
    Anchor("selftest", "resnet50", "a", "subset", "accuracy", 0.0, 0.1, "the construction of ImageNet-A"),
    Anchor("selftest", "resnet50", "r", "subset", "accuracy", 36.157, 0.1, _TIMM),
    Anchor("selftest", "resnet50", "conflict", "categories", "shape_bias", 22.1, 1.0, "texture-vs-shape's raw data"),
    Anchor("selftest", "alexnet", "conflict", "categories", "shape_bias", 25.3, 1.0, "texture-vs-shape's raw data"),
    Anchor("selftest-vit", "vit_b16", "val", "all", "accuracy", 84.212, 0.1, _TIMM),
    Anchor("selftest-vit", "vit_b16", "a", "subset", "accuracy", 50.053, 0.2, _TIMM),
    Anchor("selftest-vit", "vit_b16", "r", "subset", "accuracy", 51.050, 0.2, _TIMM),
    Anchor("selftest-vit", "vit_l32", "val", "all", "accuracy", 81.508, 0.1, _TIMM),
    Anchor("selftest-vit", "vit_l32", "a", "subset", "accuracy", 38.840, 0.2, _TIMM),
    Anchor("selftest-vit", "vit_l32", "r", "subset", "accuracy", 48.357, 0.2, _TIMM),
    *_vits("a", "subset", (50.64, 33.67, 53.85, 38.93), 1.0, "imagenet-testbed, of other libraries"),
    *_vits("r", "subset", (50.89, 44.70, 54.75, 48.24), 1.0, "imagenet-testbed, of other libraries"),
    *_vits("a", "all", (26.67, 16.26, 28.10, 19.05), 1.5, _NOTEBOOKS),
    *_vits("r", "all", (38.01, 31.80, 40.61, 34.36), 1.5, _NOTEBOOKS),
)


def measured(anchor: Anchor, accuracy: pd.DataFrame, shape_bias: pd.DataFrame | None) -> float | None:
    """What a study's tables say of an anchor, in percent; None where they say nothing."""
    table = shape_bias if anchor.metric == "shape_bias" else accuracy
    if table is None:
        return None
    rows = table[
        (table["model"] == anchor.model)
        & (table["dataset"] == anchor.dataset)
        & (table["label_mode"] == anchor.label_mode)
    ]
    if anchor.metric == "shape_bias":
        values = rows[rows["metric"] == "shape_bias"]["value"].dropna()
        return 100 * values.iloc[0] if len(values) else None
    if anchor.metric == "accuracy":
        values = rows[rows["family"] == "clean"]["value"]
        return 100 * values.iloc[0] if len(values) else None
    single = rows[(rows["policy"] == "published") & rows["severity"].notna() & rows["family"].notna()]
    single = single[single["corruption"].notna()]
    errors = {(row.corruption, int(row.severity)): 1 - row.value for row in single.itertuples()}
    try:
        return mean_corruption_error(errors)
    except KeyError:
        return None


def verdict(anchor: Anchor, value: float | None) -> str:
    """``ok``, ``off``, or ``not run``."""
    if value is None:
        return "not run"
    return "ok" if abs(value - anchor.expected) <= anchor.tolerance else "off"
