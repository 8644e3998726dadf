"""What a study shows of each claim: an estimate on every set that the claim can be tested on.

Which models a claim compares is said in docs/claims.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from withstand.claims.estimates import Estimate, difference, mean, smallest
from withstand.claims.evidence import RESNET, VIT, Evidence
from withstand.metrics.attacks import FGSM, PGD, protocols
from withstand.metrics.conditions import CLEAN


@dataclass(frozen=True)
class Settings:
    """What the config says of claims: the datasets whose clean images are no shift, the sets of cue conflict, and the
    margin within which accuracies are called equal."""

    unshifted: tuple[str, ...]
    conflicts: tuple[str, ...] = ()
    margin: float = 0.05


@dataclass(frozen=True)
class Finding:
    """A claim on one set, and of models pre-trained on one: the estimate that decides it, None where there is none; or
    the reason why it does not."""

    estimate: Estimate | None
    dataset: str | None = None
    subject: str | None = None
    label_mode: str | None = None
    policy: str | None = None
    pretraining: tuple[str | None, int | None] = (None, None)
    reason: str | None = None

    @classmethod
    def on(cls, keys: Mapping, estimate: Estimate | None, **more) -> Finding:
        """Of a set: dataset, family, label mode and policy."""
        subject = "mean over corruptions" if pd.isna(keys["family"]) else None
        return cls(estimate, keys["dataset"], subject, keys["label_mode"], keys["policy"], **more)


Pairs = Callable[[list[str]], Iterable[tuple[str, str]]]
"""Which two of some models are compared."""


def _shifted(evidence: Evidence, settings: Settings) -> Iterator[dict]:
    """Corrupted sets, and others whose clean images are not those of the reference."""
    for keys in evidence.sets(settings.conflicts):
        if keys["family"] is None or keys["dataset"] not in settings.unshifted:
            yield keys


def clean_predicts_shifted(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    rows = evidence.rows("trends", valued=False, metric="spearman")
    for _, row in rows.iterrows():
        estimate = None if pd.isna(row["value"]) else Estimate.of(row, *row["models"].split(","))
        yield Finding.on(row, estimate, reason=_reason(row))


def _reason(row: Mapping) -> str | None:
    """Why a row has no value, or no interval."""
    return row.get("reason") if isinstance(row.get("reason"), str) else None


def vits_ahead(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    for keys in _shifted(evidence, settings):
        by_data = evidence.by_pretraining(_answering(evidence, keys))
        pairs = {data: found for data, members in by_data if (found := evidence.comparable(members))}
        if pairs:
            data, largest = list(pairs.items())[-1]
            found = (evidence.compared(vit, resnet, keys) for vit, resnet in largest)
            yield Finding.on(keys, mean(each for each in found if each), pretraining=data)


def data_helps_vits_more(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    for keys in _shifted(evidence, settings):
        pairs = evidence.more_and_less_data(_answering(evidence, keys), VIT, RESNET)
        gains = (
            mean(each for each in (evidence.compared(*pair, keys) for pair in pairs[kind]) if each)
            for kind in (VIT, RESNET)
        )
        yield Finding.on(keys, difference(*gains))


def _answering(evidence: Evidence, keys: dict) -> list[str]:
    rows = evidence.rows("comparisons", **keys)
    return list(dict.fromkeys([*rows["model"], *rows["other_model"]]))


def vits_scale_better(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    rows = evidence.rows("trends", metric="slope")
    if rows.empty:
        return
    rows = rows.dropna(subset=["pretraining_dataset", "pretraining_images"], how="all")
    kinds = rows.assign(kind=[evidence.kind_of_all(models.split(",")) for models in rows["models"]])
    keys = ["dataset", "family", "label_mode", "policy", "pretraining_dataset", "pretraining_images"]
    for values, found in kinds.groupby(keys, dropna=False, sort=True):
        slopes = {
            kind: mean(Estimate.of(row, *row["models"].split(",")) for _, row in chosen.iterrows())
            for kind, chosen in found.groupby("kind")
        }
        named = dict(zip(keys, values, strict=True))
        estimate = difference(slopes.get(RESNET), slopes.get(VIT))
        reason = _reason(found.loc[found["n"].idxmin()])
        yield Finding.on(named, estimate, pretraining=values[-2:], reason=reason)


def _attacks(evidence: Evidence, table: str, metric: str, *named: str, **wanted) -> Iterator[tuple]:
    """Dataset, attack and rows of each attack of a table that follows one of the named protocols."""
    rows = evidence.rows(table, metric=metric, **wanted)
    if rows.empty:
        return
    chosen = rows[protocols(rows).isin(named)]
    for (dataset, attack), found in chosen.groupby(["dataset", "attack"], sort=True):
        yield dataset, attack, found


def _ahead(
    evidence: Evidence,
    table: str,
    rows: pd.DataFrame,
    pairs: Callable[[list[str]], Iterable[tuple[str, str]]],
    *named: str | None,
) -> Iterator[Finding]:
    """For the models of each pre-training set, how far the first of each pair is ahead of the second, on the average.

    Args:
        table: that the rows are of.
        rows: with a value for each model.
        pairs: of some models.
        named: dataset and subject of the findings.
    """
    found = rows.drop_duplicates("model").set_index("model", drop=False)
    for data, members in evidence.by_pretraining(found.index):
        accuracies = {model: evidence.estimate(table, found.loc[model]) for model in members}
        yield Finding(
            mean(accuracies[one] - accuracies[other] for one, other in pairs(members)), *named, pretraining=data
        )


def _reversed(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    return ((other, one) for one, other in pairs)


def fgsm_resists_in_resnets(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    yield from _under_attack(evidence, FGSM)


def advantage_gone_under_pgd(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    yield from _under_attack(evidence, PGD)


def _under_attack(evidence: Evidence, protocol: str) -> Iterator[Finding]:
    for dataset, attack, rows in _attacks(evidence, "attacks", "accuracy", protocol):
        yield from _ahead(
            evidence, "attacks", rows, lambda models: _reversed(evidence.comparable(models)), dataset, attack
        )


def _on_datasets(evidence: Evidence, table: str, metric: str, pairs: Pairs) -> Iterator[Finding]:
    rows = evidence.rows(table, metric=metric)
    for dataset, found in rows.groupby("dataset", sort=True) if len(rows) else ():
        yield from _ahead(evidence, table, found, pairs, dataset)


def spatial_small_patches(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    def pairs(models: list[str]) -> Iterable[tuple[str, str]]:
        small, _ = evidence.by_patches(models)
        return [pair for pair in evidence.comparable(models) if pair[0] in small]

    yield from _on_datasets(evidence, "spatial", "worst", pairs)


def spatial_large_patches(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    def pairs(models: list[str]) -> Iterable[tuple[str, str]]:
        _, large = evidence.by_patches(models)
        return [(resnet, vit) for vit, resnet in evidence.comparable(models) if vit in large]

    yield from _on_datasets(evidence, "spatial", "worst", pairs)


def large_patches_see_shape(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    yield from _on_datasets(evidence, "shape_bias", "shape_accuracy", evidence.larger_and_smaller_patches)


def transfer_within_families(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    kinds = evidence.models["kind"]
    for dataset, attack, rows in _attacks(evidence, "transfer", "fooled", FGSM, PGD):
        known = rows[rows["model"] != rows["source"]].assign(
            kind=rows["model"].map(kinds), source_kind=rows["source"].map(kinds)
        )
        known = known[known["kind"].notna() & known["source_kind"].notna()]
        differences = []
        for _, found in known.groupby("model", sort=True):
            within = found["kind"] == found["source_kind"]
            sides = (
                mean(
                    evidence.estimate("transfer", row, row["model"], row["source"])
                    for _, row in found[chosen].iterrows()
                )
                for chosen in (within, ~within)
            )
            differences.append(difference(*sides))
        yield Finding(mean(each for each in differences if each), dataset, attack)


def _fooled(evidence: Evidence, rows: pd.DataFrame) -> Estimate | None:
    return mean(evidence.estimate("transfer", row, row["model"], row["source"]) for _, row in rows.iterrows())


def vits_show_their_patches(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    yield from _edges(evidence, VIT, own=True)


def resnets_show_no_patches(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    yield from _edges(evidence, RESNET)


def _edges(evidence: Evidence, kind: str, **wanted) -> Iterator[Finding]:
    for dataset, attack, rows in _attacks(evidence, "patch_alignment", "edge_ratio", PGD, **wanted):
        found = rows[rows["model"].isin(evidence.of_kind(kind, rows["model"]))]
        logs = mean(Estimate.of(row).map(math.log) for _, row in found.iterrows())
        yield Finding(logs and logs.map(math.exp), dataset, attack)


def _correlations(evidence: Evidence, model: str, **wanted) -> pd.DataFrame:
    """Correlations of different layers within a model, from the images as they are."""
    rows = evidence.rows("similarity", model=model, other_model=model, metric="pearson_joint", family=CLEAN, **wanted)
    return rows[rows["layer"] < rows["other_layer"]] if len(rows) else rows


def _examined(evidence: Evidence, table: str, estimate: Callable[[str], Estimate | None]) -> Iterator[Finding]:
    """An estimate of each ViT of a table."""
    for model in evidence.of_kind(VIT, evidence.rows(table)["model"]):
        yield Finding(estimate(model), subject=model, pretraining=evidence.group(model))


def late_blocks_alike(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    def estimate(model: str) -> Estimate | None:
        rows = _correlations(evidence, model, tokens="all_tokens")
        middle = (rows["other_layer"].max() + 1) / 2 if len(rows) else 0
        late, early = rows[rows["layer"] >= middle], rows[rows["other_layer"] < middle]
        return difference(*(evidence.averaged("similarity", part) for part in (late, early)))

    yield from _examined(evidence, "similarity", estimate)


def class_token_changes(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    def estimate(model: str) -> Estimate | None:
        tokens, summary = (_correlations(evidence, model, tokens=kind) for kind in ("all_tokens", "summary"))
        if len(summary):
            summary = summary[summary["summary"] == "class_token"]
        return difference(*(evidence.averaged("similarity", part) for part in (tokens, summary)))

    yield from _examined(evidence, "similarity", estimate)


def _single(evidence: Evidence, model: str, part: str = "block") -> pd.DataFrame:
    """Accuracies without one block each, from the images as they are."""
    rows = evidence.rows("lesions", model=model, design="single", part=part, family=CLEAN)
    return rows[rows["block"].notna()] if len(rows) else rows


def _loss_without_one(evidence: Evidence, model: str) -> Estimate | None:
    """What a model loses without one block, but the first, on the average."""
    intact, rows = evidence.rows("lesions", model=model, design="intact", family=CLEAN), _single(evidence, model)
    later = rows[rows["block"] > rows["block"].min()] if len(rows) else rows
    return difference(*(evidence.averaged("lesions", part) for part in (intact, later)))


def later_block_is_dispensable(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    yield from _examined(evidence, "lesions", lambda model: _loss_without_one(evidence, model))


def first_block_matters(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    def estimate(model: str) -> Estimate | None:
        rows = [
            evidence.estimate("lesions", row) for _, row in _single(evidence, model).sort_values("block").iterrows()
        ]
        return smallest(other - rows[0] for other in rows[1:])

    yield from _examined(evidence, "lesions", estimate)


def attention_matters_more(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    def estimate(model: str) -> Estimate | None:
        rows = evidence.rows("lesions", model=model, design="several", draw=None, family=CLEAN)
        sides = (rows[rows["part"] == part] for part in ("mlp", "attention"))
        return _between(evidence, "lesions", *sides, "removed")

    yield from _examined(evidence, "lesions", estimate)


def _between(evidence: Evidence, table: str, one: pd.DataFrame, other: pd.DataFrame, by: str) -> Estimate | None:
    """The difference of two sides, on the average over what both have values for."""
    sides = [side.drop_duplicates(by).set_index(by, drop=False) for side in (one, other)]
    shared = sides[0].index.intersection(sides[1].index)
    return difference(*(evidence.averaged(table, side.loc[shared]) for side in sides))


def large_models_lose_less(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    for data, models in evidence.by_pretraining(evidence.of_kind(VIT, evidence.rows("lesions")["model"])):
        yield Finding(_loses_more(evidence, _reversed(evidence.larger_and_smaller(VIT, models))), pretraining=data)


def more_data_loses_more(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    pairs = evidence.more_and_less_data(evidence.rows("lesions")["model"], VIT)[VIT]
    yield Finding(_loses_more(evidence, pairs))


def _loses_more(evidence: Evidence, pairs: Iterable[tuple[str, str]]) -> Estimate | None:
    """How much more the first of each pair loses without a block than the second, on the average."""
    losses = (difference(*(_loss_without_one(evidence, model) for model in pair)) for pair in pairs)
    return mean(each for each in losses if each)


def near_beats_random(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    yield from _examined(evidence, "attention_limit", lambda model: _limited(evidence, model, "local", "random"))


def early_blocks_need_patches(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    yield from _examined(evidence, "attention_limit", lambda model: _limited(evidence, model, "last", "first"))


def _limited(evidence: Evidence, model: str, *arms: str) -> Estimate | None:
    """How much more accurate a model is under one arm of limited attention than under another of the same size, where
    their masks differ."""
    rows = evidence.rows("attention_limit", model=model, draw=None, family=CLEAN)
    by = "blocks" if "first" in arms else "masked"
    sides = (rows[(rows["arm"] == arm) & rows["same_as"].isna()] for arm in arms)
    return _between(evidence, "attention_limit", *sides, by)
