"""What a study shows of each claim: an estimate on every set that the claim can be tested on.

Which models a claim compares is said in docs/claims.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from withstand.claims.evidence import RESNET, VIT, Estimate, Evidence, difference, kind_of, mean
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
    """A claim on one set: the estimate that decides it; None where the set has none."""

    estimate: Estimate | None
    dataset: str | None = None
    subject: str | None = None
    label_mode: str | None = None
    policy: str | None = None

    @classmethod
    def on(cls, keys: Mapping, estimate: Estimate | None) -> Finding:
        """Of a set: dataset, family, label mode and policy."""
        subject = "mean over corruptions" if pd.isna(keys["family"]) else None
        return cls(estimate, keys["dataset"], subject, keys["label_mode"], keys["policy"])


def _shifted(evidence: Evidence, settings: Settings) -> Iterator[dict]:
    """Corrupted sets, and others whose clean images are not those of the reference."""
    for keys in evidence.sets(settings.conflicts):
        if keys["family"] is None or keys["dataset"] not in settings.unshifted:
            yield keys


def clean_predicts_shifted(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    for _, row in evidence.rows("trends", metric="spearman").iterrows():
        yield Finding.on(row, Estimate.of(row, *row["models"].split(",")))


def vits_ahead(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    for keys in _shifted(evidence, settings):
        pairs = evidence.comparable(_answering(evidence, keys))
        found = (evidence.compared(vit, resnet, keys) for vit, resnet in evidence.with_most_data(pairs))
        yield Finding.on(keys, mean(each for each in found if each))


def data_helps_vits_more(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    for keys in _shifted(evidence, settings):
        gains = {}
        for kind in (VIT, RESNET):
            pairs = evidence.more_and_less_data(kind, _answering(evidence, keys))
            found = (evidence.compared(more, less, keys) for more, less in pairs)
            gains[kind] = mean(each for each in found if each)
        yield Finding.on(keys, difference(gains[VIT], gains[RESNET]))


def _answering(evidence: Evidence, keys: dict) -> list[str]:
    rows = evidence.rows("comparisons", **keys)
    return list(dict.fromkeys([*rows["model"], *rows["other_model"]]))


def vits_scale_better(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    rows = evidence.rows("trends", metric="slope")
    if rows.empty:
        return
    rows = rows.dropna(subset=["pretraining_dataset", "pretraining_images"], how="all")
    kinds = rows.assign(kind=[kind_of(group) for group in rows["group"]])
    keys = ["dataset", "family", "label_mode", "policy", "pretraining_dataset", "pretraining_images"]
    for values, found in kinds.groupby(keys, dropna=False, sort=True):
        slopes = {
            kind: mean(Estimate.of(row, *row["models"].split(",")) for _, row in chosen.iterrows())
            for kind, chosen in found.groupby("kind")
        }
        yield Finding.on(dict(zip(keys, values, strict=True)), difference(slopes.get(RESNET), slopes.get(VIT)))


def _attacks(evidence: Evidence, table: str, metric: str, *named: str, **wanted) -> Iterator[tuple]:
    """Dataset, attack and rows of each attack of a table that follows one of the named protocols."""
    rows = evidence.rows(table, metric=metric, **wanted)
    if rows.empty:
        return
    chosen = rows[protocols(rows).isin(named)]
    for (dataset, attack), found in chosen.groupby(["dataset", "attack"], sort=True):
        yield dataset, attack, found


def _resnets_over_vits(evidence: Evidence, found: pd.DataFrame) -> Estimate | None:
    return _ahead(found, ((resnet, vit) for vit, resnet in evidence.comparable(found.index)))


def _ahead(found: pd.DataFrame, pairs: Iterable[tuple[str, str]]) -> Estimate | None:
    """How far the first of each pair of models is ahead of the second, on the average."""
    return mean(Estimate.of(found.loc[one]) - Estimate.of(found.loc[other]) for one, other in pairs)


def fgsm_resists_in_resnets(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    yield from _under_attack(evidence, FGSM)


def advantage_gone_under_pgd(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    yield from _under_attack(evidence, PGD)


def _under_attack(evidence: Evidence, protocol: str) -> Iterator[Finding]:
    for dataset, attack, rows in _attacks(evidence, "attacks", "accuracy", protocol):
        found = rows.drop_duplicates("model").set_index("model", drop=False)
        yield Finding(_resnets_over_vits(evidence, found), dataset, attack)


def _worst(evidence: Evidence) -> Iterator[tuple[str, pd.DataFrame]]:
    rows = evidence.rows("spatial", metric="worst")
    if rows.empty:
        return
    for dataset, found in rows.groupby("dataset", sort=True):
        yield dataset, found.drop_duplicates("model").set_index("model", drop=False)


def spatial_small_patches(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    for dataset, found in _worst(evidence):
        small = evidence.small_patches(found.index)
        pairs = [pair for pair in evidence.comparable(found.index) if pair[0] in small]
        yield Finding(_ahead(found, pairs), dataset)


def spatial_large_patches(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    for dataset, found in _worst(evidence):
        pairs = evidence.larger_and_smaller_patches(found.index)
        yield Finding(_ahead(found, ((small, large) for large, small in pairs)), dataset)


def large_patches_see_shape(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    rows = evidence.rows("shape_bias", metric="shape_accuracy")
    if rows.empty:
        return
    for dataset, group in rows.groupby("dataset", sort=True):
        found = group.drop_duplicates("model").set_index("model", drop=False)
        pairs = evidence.larger_and_smaller_patches(found.index)
        yield Finding(_ahead(found, pairs), dataset)


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
                mean(Estimate.of(row, row["model"], row["source"]) for _, row in found[chosen].iterrows())
                for chosen in (within, ~within)
            )
            differences.append(difference(*sides))
        yield Finding(mean(each for each in differences if each), dataset, attack)


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


def _examined(evidence: Evidence, table: str) -> list[str]:
    return evidence.of_kind(VIT, evidence.rows(table)["model"])


def _averaged(rows: pd.DataFrame) -> Estimate | None:
    return mean(Estimate.of(row) for _, row in rows.iterrows())


def late_blocks_alike(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    found = []
    for model in _examined(evidence, "similarity"):
        rows = _correlations(evidence, model, tokens="all_tokens")
        middle = (rows["other_layer"].max() + 1) / 2 if len(rows) else 0
        late, early = rows[rows["layer"] >= middle], rows[rows["other_layer"] < middle]
        found.append(difference(_averaged(late), _averaged(early)))
    yield Finding(mean(each for each in found if each))


def class_token_changes(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    found = []
    for model in _examined(evidence, "similarity"):
        tokens = _correlations(evidence, model, tokens="all_tokens")
        summary = _correlations(evidence, model, tokens="summary")
        if len(summary):
            summary = summary[summary["summary"] == "class_token"]
        found.append(difference(_averaged(tokens), _averaged(summary)))
    yield Finding(mean(each for each in found if each))


def _single(evidence: Evidence, model: str, part: str = "block") -> pd.DataFrame:
    """Accuracies without one block each, from the images as they are."""
    rows = evidence.rows("lesions", model=model, design="single", part=part, family=CLEAN)
    return rows[rows["block"].notna()] if len(rows) else rows


def _loss_without_one(evidence: Evidence, model: str) -> Estimate | None:
    """What a model loses without one block, but the first, on the average."""
    intact = _averaged(evidence.rows("lesions", model=model, design="intact", family=CLEAN))
    rows = _single(evidence, model)
    return difference(intact, _averaged(rows[rows["block"] > rows["block"].min()])) if len(rows) else None


def later_block_is_dispensable(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    losses = (_loss_without_one(evidence, model) for model in _examined(evidence, "lesions"))
    yield Finding(mean(each for each in losses if each))


def first_block_matters(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    found = []
    for model in _examined(evidence, "lesions"):
        rows = _single(evidence, model).sort_values("block")
        later = rows.iloc[1:].sort_values("value").head(1)
        found.append(difference(_averaged(later), _averaged(rows.head(1))))
    yield Finding(mean(each for each in found if each))


def attention_matters_more(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    found = []
    for model in _examined(evidence, "lesions"):
        rows = evidence.rows("lesions", model=model, design="several", draw=None, family=CLEAN)
        sides = [rows[rows["part"] == part].set_index("removed", drop=False) for part in ("mlp", "attention")]
        shared = [count for count in sides[0].index if count in sides[1].index]
        without_mlp, without_attention = (_averaged(side.loc[shared]) for side in sides)
        found.append(difference(without_mlp, without_attention))
    yield Finding(mean(each for each in found if each))


def _of_pairs(evidence: Evidence, pairs: Iterable[tuple[str, str]]) -> Estimate | None:
    """How much more the first of each pair loses without a block than the second."""
    losses = (difference(*(_loss_without_one(evidence, model) for model in pair)) for pair in pairs)
    return mean(each for each in losses if each)


def large_models_lose_less(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    pairs = evidence.larger_and_smaller(VIT, evidence.rows("lesions")["model"])
    yield Finding(_of_pairs(evidence, ((small, large) for large, small in pairs)))


def more_data_loses_more(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    yield Finding(_of_pairs(evidence, evidence.more_and_less_data(VIT, evidence.rows("lesions")["model"])))


def near_beats_random(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    found = []
    for model in _examined(evidence, "attention_limit"):
        rows = evidence.rows("attention_limit", model=model, draw=None, family=CLEAN)
        # nearer than a patch is nobody, and random masks of that size mask the same
        near = rows["distance"] * evidence.grid(model) >= 1 - 1e-9
        rows = rows[near & (rows["masked"] > 0)].drop_duplicates(["arm", "masked"])
        found.append(difference(*(_averaged(rows[rows["arm"] == arm]) for arm in ("local", "random"))))
    yield Finding(mean(each for each in found if each))


def early_blocks_need_patches(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    found = []
    for model in _examined(evidence, "attention_limit"):
        rows = evidence.rows("attention_limit", model=model, draw=None, family=CLEAN)
        rows = rows[rows["blocks"].notna()]
        sides = [rows[rows["arm"] == arm].set_index("blocks", drop=False) for arm in ("last", "first")]
        most = max((side.index.max() for side in sides if len(side)), default=0)
        shared = [count for count in sides[0].index if count in sides[1].index and count < most]
        found.append(difference(*(_averaged(side.loc[shared]) for side in sides)))
    yield Finding(mean(each for each in found if each))
