"""What claims are tested with: estimates with intervals, how they are combined, and which models are comparable.

Intervals of means and differences are cautious. A mean of estimates from the same images is as uncertain as if they
erred all at once; the interval of a difference is recovered from those of its two sides as if they were independent
(MOVER: Zou and Donner, Statistics in Medicine 2008), though the same images make them move together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import pandas as pd

from withstand.metrics.conditions import CLEAN
from withstand.metrics.intervals import mover
from withstand.predictions import MAIN_MODES

COMPARABLE = 2.0
"""Models of comparable size have at most so many times the other's parameters."""

SAME_SIZE = 1.02
"""Models of one architecture have the same number of parameters, but for what their patches add."""

VIT, RESNET = "ViT", "ResNet"

_WORDS = {
    VIT: {"vit", "vits", "deit", "beit", "eva", "clip", "dinov2"},
    RESNET: {"resnet", "resnets", "resnetv2", "bit"},
}
"""What names of families have in them as words."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval, the number of images behind it, and the models that it rests on."""

    value: float
    low: float
    high: float
    n: int
    models: tuple[str, ...] = ()

    @classmethod
    def of(cls, row: Mapping, *models: str) -> Estimate:
        """From a row of a table."""
        n = row["images"] if "images" in row else row["n"]
        return cls(float(row["value"]), float(row["low"]), float(row["high"]), int(n), models or (row["model"],))

    def __neg__(self) -> Estimate:
        return replace(self, value=-self.value, low=-self.high, high=-self.low)

    def __sub__(self, other: Estimate) -> Estimate:
        low, high = mover(self.value, self.low, self.high, other.value, other.low, other.high)
        models = tuple(dict.fromkeys([*self.models, *other.models]))
        return Estimate(self.value - other.value, float(low), float(high), min(self.n, other.n), models)

    def map(self, function) -> Estimate:
        """Under a function that grows."""
        return replace(self, **{key: function(getattr(self, key)) for key in ("value", "low", "high")})


def mean(estimates: Iterable[Estimate]) -> Estimate | None:
    """Of estimates from the same images; None for none."""
    found = list(estimates)
    if not found:
        return None
    value, low, high = (sum(getattr(each, key) for each in found) / len(found) for key in ("value", "low", "high"))
    models = tuple(dict.fromkeys(model for each in found for model in each.models))
    return Estimate(value, low, high, min(each.n for each in found), models)


def difference(first: Estimate | None, second: Estimate | None) -> Estimate | None:
    """None where one side is missing."""
    return None if first is None or second is None else first - second


@dataclass(frozen=True)
class Evidence:
    """The tables of a study, by name; tables that it has not are empty."""

    tables: Mapping[str, pd.DataFrame]

    def rows(self, table: str, **wanted) -> pd.DataFrame:
        """Rows with such values, None for those without one; of the label mode that figures show, where it matters.
        What has no interval decides nothing, and is left out."""
        found = self.tables.get(table)
        if found is None or found.empty:
            return pd.DataFrame(columns=["model", *wanted])
        for column, value in wanted.items():
            found = found[found[column].isna() if value is None else found[column] == value]
        if "label_mode" in found and "label_mode" not in wanted:
            found = found[found["label_mode"].isin(MAIN_MODES)]
        return found[found[["value", "low"]].notna().all(axis=1)] if "value" in found else found

    @property
    def models(self) -> pd.DataFrame:
        """The table of models with ``kind``: ViT, ResNet, or none; indexed by model."""
        models = self.tables["models"].set_index("model", drop=False)
        return models.assign(kind=[kind_of(family) for family in models["family"]])

    def group(self, model: str) -> tuple:
        """What a model was pre-trained on."""
        row = self.models.loc[model]
        return tuple(None if pd.isna(row[key]) else row[key] for key in ("pretraining_dataset", "pretraining_images"))

    def of_kind(self, kind: str, among: Iterable[str]) -> list[str]:
        models = self.models
        return [model for model in dict.fromkeys(among) if model in models.index and models.loc[model, "kind"] == kind]

    def same_group(self, one: str, other: str) -> bool:
        """Whether two models were pre-trained on the same, as the config says; what it does not say is not the same."""
        return self.group(one) == self.group(other) != (None, None)

    def comparable(self, among: Iterable[str]) -> list[tuple[str, str]]:
        """(ViT, ResNet) of comparable size and the same pre-training."""
        among = list(among)
        return [
            pair
            for pair in product(self.of_kind(VIT, among), self.of_kind(RESNET, among))
            if self.same_group(*pair) and self.size_ratio(*pair) <= COMPARABLE
        ]

    def with_most_data(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those of pairs that were pre-trained on most images."""
        images = [self.group(first)[1] or 0 for first, _ in pairs]
        return [pair for pair, count in zip(pairs, images, strict=True) if count == max(images)]

    def more_and_less_data(self, kind: str, among: Iterable[str]) -> list[tuple[str, str]]:
        """Pairs of one architecture: pre-trained on most images, and on fewest."""
        models, found = self.models, []
        members = self.of_kind(kind, among)
        known = [model for model in members if not pd.isna(models.loc[model, "pretraining_images"])]
        for model in known:
            same = [other for other in known if self._one_architecture(model, other)]
            images = models.loc[same, "pretraining_images"]
            if images[model] == images.max() > images.min():
                found.append((model, str(images.idxmin())))
        return found

    def larger_and_smaller(self, kind: str, among: Iterable[str]) -> list[tuple[str, str]]:
        """Pairs of the same pre-training and patches: the larger, and one of at most two thirds its parameters."""
        models, members = self.models, self.of_kind(kind, among)
        return [
            (one, other)
            for one, other in product(members, members)
            if self.same_group(one, other)
            and same(models.loc[one, "patch_size"], models.loc[other, "patch_size"])
            and models.loc[one, "parameters"] >= 1.5 * models.loc[other, "parameters"]
        ]

    def larger_and_smaller_patches(self, among: Iterable[str]) -> list[tuple[str, str]]:
        """Pairs of ViTs of comparable size and the same pre-training: with larger, and with smaller patches."""
        models, members = self.models, self.of_kind(VIT, among)
        return [
            (one, other)
            for one, other in product(members, members)
            if self.same_group(one, other)
            and self.size_ratio(one, other) <= COMPARABLE
            and models.loc[one, "patch_size"] > models.loc[other, "patch_size"]
        ]

    def size_ratio(self, one: str, other: str) -> float:
        sizes = self.models.loc[[one, other], "parameters"]
        return float(sizes.max() / sizes.min())

    def _one_architecture(self, one: str, other: str) -> bool:
        models = self.models
        patches = models.loc[[one, other], "patch_size"]
        return same(*patches) and self.size_ratio(one, other) <= SAME_SIZE

    def compared(self, one: str, other: str, keys: Mapping) -> Estimate | None:
        """The difference of two models' accuracies on a set, paired by image."""
        for first, second, sign in ((one, other, 1), (other, one, -1)):
            rows = self.rows("comparisons", model=first, other_model=second, **keys)
            if len(rows):
                estimate = Estimate.of(rows.iloc[0], one, other)
                return estimate if sign > 0 else -estimate
        return None

    def small_patches(self, among: Iterable[str]) -> list[str]:
        """ViTs that have a counterpart with larger patches, and none with smaller ones."""
        pairs = self.larger_and_smaller_patches(among)
        larger = {one for one, _ in pairs}
        return [small for small in dict.fromkeys(other for _, other in pairs) if small not in larger]

    def grid(self, model: str) -> float:
        """Patches along a side of a model's input; NaN where it has none."""
        row = self.models.loc[model]
        return row["input_size"] / row["patch_size"]

    def sets(self, conflicts: Iterable[str] = ()) -> Iterator[dict]:
        """Each set that models are compared on: dataset, family (None: mean over corruptions), label mode, policy."""
        rows = self.rows("comparisons")
        if rows.empty:
            return
        keys = ["dataset", "family", "label_mode", "policy"]
        for values, _ in rows[~rows["dataset"].isin(set(conflicts))].groupby(keys, dropna=False, sort=True):
            named = dict(zip(keys, values, strict=True))
            yield named | {"family": CLEAN if named["family"] == CLEAN else None}


def same(one: float, other: float) -> bool:
    """Whether two numbers are equal, or both missing."""
    return one == other or (pd.isna(one) and pd.isna(other))


def kind_of(family: str) -> str | None:
    """ViT or ResNet, where a word of a family's name says so: a MaxViT is something else."""
    words = set(re.split(r"[\s/_-]+", family.lower()))
    return next((kind for kind, known in _WORDS.items() if words & known), None)
