"""What claims are tested on: the tables of a study, and which of its models are comparable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

import pandas as pd

from withstand.claims.answers import KEYS, key
from withstand.claims.estimates import Errors, Estimate, mean
from withstand.lineage import RESNET, VIT
from withstand.metrics.conditions import CLEAN
from withstand.metrics.trends import SAME_SIZE
from withstand.predictions import MAIN_MODES

COMPARABLE = 2.0
"""Models of comparable size have at most so many times the other's parameters."""


@dataclass(frozen=True)
class Evidence:
    """What claims are tested on.

    Attributes:
        tables: of the study, by name; tables that it has not are empty.
        errors: of estimates, where the answers behind them are known (see :mod:`withstand.claims.answers`).
    """

    tables: Mapping[str, pd.DataFrame]
    errors: Mapping[tuple, Errors] = field(default_factory=dict)

    def estimate(self, table: str, row: Mapping, *models: str) -> Estimate:
        """The value of a row of a table."""
        return Estimate.of(row, *models, errors=self.errors.get(key(table, row)) if table in KEYS else None)

    def averaged(self, table: str, rows: pd.DataFrame) -> Estimate | None:
        """The mean of the values of some rows; None for none."""
        return mean(self.estimate(table, row) for _, row in rows.iterrows())

    def rows(self, table: str, *, valued: bool = True, **wanted) -> pd.DataFrame:
        """Rows with such values, None for those without one; of the label mode that figures show, where it matters.

        Args:
            valued: whether rows that say only why they have no value are left out.
        """
        found = self.tables.get(table)
        if found is None or found.empty:
            return pd.DataFrame(columns=["model", *wanted])
        for column, value in wanted.items():
            found = found[found[column].isna() if value is None else found[column] == value]
        if "label_mode" in found and "label_mode" not in wanted:
            found = found[found["label_mode"].isin(MAIN_MODES)]
        return found[found["value"].notna()] if valued and "value" in found else found

    @property
    def models(self) -> pd.DataFrame:
        """The table of models, with their ``kind`` (ViT, ResNet, or none); indexed by model."""
        return self.tables["models"].set_index("model", drop=False)

    def kind_of_all(self, models: Iterable[str]) -> str | None:
        """The kind of several models; None where they are of several."""
        kinds = set(self.models["kind"].reindex(list(models)).fillna(""))
        return (kinds.pop() or None) if len(kinds) == 1 else None

    def group(self, model: str) -> tuple:
        """What a model was pre-trained on: name of the set and number of images, None where they are not known."""
        row = self.models.loc[model]
        return tuple(None if pd.isna(row[key]) else row[key] for key in ("pretraining_dataset", "pretraining_images"))

    def of_kind(self, kind: str, among: Iterable[str]) -> list[str]:
        models = self.models
        return [model for model in dict.fromkeys(among) if model in models.index and models.loc[model, "kind"] == kind]

    def same_group(self, one: str, other: str) -> bool:
        """Whether two models were pre-trained on the same; what nobody knows is not the same."""
        return self.group(one) == self.group(other) != (None, None)

    def by_pretraining(self, among: Iterable[str]) -> Iterator[tuple[tuple, list[str]]]:
        """Models by what they were pre-trained on (see :meth:`group`): the smallest set first, the unknown one last."""
        groups: dict[tuple, list[str]] = {}
        for model in dict.fromkeys(among):
            groups.setdefault(self.group(model), []).append(model)
        for group in sorted(groups, key=lambda group: (group[1] is None, group[1] or 0, str(group[0]))):
            yield group, groups[group]

    def comparable(self, among: Iterable[str]) -> list[tuple[str, str]]:
        """(ViT, ResNet) of comparable size and the same pre-training."""
        among = list(among)
        return [
            pair
            for pair in product(self.of_kind(VIT, among), self.of_kind(RESNET, among))
            if self.same_group(*pair) and self.size_ratio(*pair) <= COMPARABLE
        ]

    def more_and_less_data(self, among: Iterable[str], *kinds: str) -> dict[str, list[tuple[str, str]]]:
        """Pairs of one architecture by kind, pre-trained on more images and on fewer: for all pairs of all kinds the
        same two sets, of those that each kind has the two that differ most. Empty where there are no such sets."""
        among = list(among)
        pairs = {kind: self._one_architecture_by_data(self.of_kind(kind, among)) for kind in kinds}
        spans = set.intersection(*({self._span(pair) for pair in found} for found in pairs.values()))
        if not spans:
            return {kind: [] for kind in kinds}
        widest = max(spans, key=lambda span: (span[0][1] / span[1][1], str(span)))
        return {kind: [pair for pair in found if self._span(pair) == widest] for kind, found in pairs.items()}

    def _one_architecture_by_data(self, members: list[str]) -> list[tuple[str, str]]:
        known = [model for model in members if self.group(model)[1] is not None]
        return [
            (more, less)
            for more, less in product(known, known)
            if self.group(more)[1] > self.group(less)[1] and self._one_architecture(more, less)
        ]

    def _span(self, pair: tuple[str, str]) -> tuple[tuple, tuple]:
        return self.group(pair[0]), self.group(pair[1])

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
                estimate = Estimate.of(rows.iloc[0], one, other, errors=self._paired(first, second, keys))
                return estimate if sign > 0 else -estimate
        return None

    def _paired(self, first: str, second: str, keys: Mapping) -> Errors | None:
        """The errors of the difference of two models' accuracies on a set."""
        sides = [self.errors.get(key("accuracy", {**keys, "model": model})) for model in (first, second)]
        if None in sides:
            return None
        return {sample: each - sides[1][sample] for sample, each in sides[0].items()}

    def by_patches(self, among: Iterable[str]) -> tuple[list[str], list[str]]:
        """ViTs with smaller patches than any counterpart of theirs, and ViTs that have a counterpart with smaller ones;
        those without a counterpart are neither."""
        pairs = self.larger_and_smaller_patches(among)
        large = list(dict.fromkeys(one for one, _ in pairs))
        return [small for small in dict.fromkeys(other for _, other in pairs) if small not in large], large

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
