"""The claims, in the paper's order, and how each is decided.

An estimate is put on the side of the claim: supported where its whole 95% interval is above zero, refuted where it is
below, else undecided. Where a claim says that something makes no difference, the interval must lie within a margin, or
outside it. Intervals are over images (of rank correlations and slopes: over models), so they say what these models
would do on more images, and nothing of other models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from withstand.claims.evidence import RESNET, VIT, Estimate, Evidence, difference, kind_of, mean
from withstand.metrics.conditions import CLEAN
from withstand.metrics.trends import FEWEST_MODELS

SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided"


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


@dataclass(frozen=True)
class Claim:
    """Attributes:
    id: its name.
    section: where the paper makes it.
    statement: what it says, in the paper's terms.
    criterion: what is estimated here, in words.
    unit: ``points`` (shares, from 0 to 1), ``ratio``, ``correlation`` or ``slope``.
    test: gives its findings.
    needs: what a study must have for it, said where there is no finding.
    verdict: of an estimate.
    sample: what its n and its interval are over, ``images`` or ``models``.
    """

    id: str
    section: str
    statement: str
    criterion: str
    unit: str
    test: Callable[[Evidence, Settings], Iterable[Finding]]
    needs: str
    verdict: Callable[[Estimate, float], str]
    sample: str = "images"


def above_zero(estimate: Estimate, margin: float) -> str:
    """The claim is that something is positive."""
    return SUPPORTED if estimate.low > 0 else REFUTED if estimate.high < 0 else UNDECIDED


def within_margin(estimate: Estimate, margin: float) -> str:
    """The claim is that something is zero."""
    if -margin < estimate.low and estimate.high < margin:
        return SUPPORTED
    return REFUTED if estimate.low > margin or estimate.high < -margin else UNDECIDED


def below_margin(estimate: Estimate, margin: float) -> str:
    """The claim is that something is not positive."""
    return SUPPORTED if estimate.high < margin else REFUTED if estimate.low > margin else UNDECIDED


def above_one(estimate: Estimate, margin: float) -> str:
    """The claim is that a ratio is larger than one."""
    return SUPPORTED if estimate.low > 1 else REFUTED if estimate.high < 1 else UNDECIDED


def about_one(estimate: Estimate, margin: float) -> str:
    """The claim is that a ratio is one."""
    return within_margin(estimate.map(math.log), margin)


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


def _attacks(evidence: Evidence, *, several_steps: bool) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Dataset, attack and accuracies of each attack of one step, or of several."""
    rows = evidence.rows("attacks", metric="accuracy")
    if rows.empty:
        return
    rows = rows[(rows["steps"] > 1) == several_steps]
    for (dataset, attack), found in rows.groupby(["dataset", "attack"], sort=True):
        yield dataset, attack, found.drop_duplicates("model").set_index("model", drop=False)


def _resnets_over_vits(evidence: Evidence, found: pd.DataFrame) -> Estimate | None:
    return _ahead(found, ((resnet, vit) for vit, resnet in evidence.comparable(found.index)))


def _ahead(found: pd.DataFrame, pairs: Iterable[tuple[str, str]]) -> Estimate | None:
    """How far the first of each pair of models is ahead of the second, on the average."""
    return mean(Estimate.of(found.loc[one]) - Estimate.of(found.loc[other]) for one, other in pairs)


def fgsm_resists_in_resnets(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    for dataset, attack, found in _attacks(evidence, several_steps=False):
        yield Finding(_resnets_over_vits(evidence, found), dataset, attack)


def advantage_gone_under_pgd(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    for dataset, attack, found in _attacks(evidence, several_steps=True):
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
    rows = evidence.rows("transfer", metric="fooled")
    if rows.empty:
        return
    kinds = evidence.models["kind"]
    known = rows[(rows["model"] != rows["source"])].assign(
        kind=rows["model"].map(kinds), source_kind=rows["source"].map(kinds)
    )
    known = known[known["kind"].notna() & known["source_kind"].notna()]
    for (dataset, attack), shown in known.groupby(["dataset", "attack"], sort=True):
        differences = []
        for _, found in shown.groupby("model", sort=True):
            within = found["kind"] == found["source_kind"]
            sides = (
                mean(Estimate.of(row, row["model"], row["source"]) for _, row in found[chosen].iterrows())
                for chosen in (within, ~within)
            )
            differences.append(difference(*sides))
        yield Finding(mean(each for each in differences if each), dataset, attack)


def _edges(evidence: Evidence, kind: str, **wanted) -> Iterator[Finding]:
    rows = evidence.rows("patch_alignment", metric="edge_ratio", **wanted)
    if rows.empty:
        return
    members = evidence.of_kind(kind, rows["model"])
    for (dataset, attack), found in rows[rows["model"].isin(members)].groupby(["dataset", "attack"], sort=True):
        logs = (Estimate.of(row).map(math.log) for _, row in found.iterrows())
        yield Finding(mean(logs).map(math.exp), dataset, attack)


def vits_show_their_patches(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    yield from _edges(evidence, VIT, own=True)


def resnets_show_no_patches(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    yield from _edges(evidence, RESNET)


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


CLAIMS = (
    Claim(
        "clean_predicts_shifted",
        "Figure 2",
        "Accuracy on clean images predicts which models are more accurate on shifted ones.",
        "rank correlation of the models' accuracies on clean and on shifted images; its interval must be above zero",
        "correlation",
        clean_predicts_shifted,
        f"{FEWEST_MODELS} models or more with different accuracies on clean images, and a shifted set",
        above_zero,
        "models",
    ),
    Claim(
        "vits_ahead",
        "Figure 2",
        "With enough pre-training data, ViTs are more accurate on shifted images than ResNets.",
        "accuracy of ViTs minus that of ResNets of comparable size, both of the largest pre-training set, by image",
        "points",
        vits_ahead,
        "a ViT and a ResNet of comparable size and the same pre-training",
        above_zero,
    ),
    Claim(
        "data_helps_vits_more",
        "Figure 2",
        "More pre-training data gains ViTs more on shifted images than it gains ResNets.",
        "accuracy that ViTs gain from the smallest to the largest pre-training set, minus what ResNets gain",
        "points",
        data_helps_vits_more,
        "a ViT and a ResNet that were each pre-trained on two numbers of images",
        above_zero,
    ),
    Claim(
        "vits_scale_better",
        "Figure 4",
        "Errors of ViTs fall faster with the number of parameters than those of ResNets.",
        "log-log slope of error against parameters of ResNets minus that of ViTs of all patch sizes",
        "slope",
        vits_scale_better,
        f"{FEWEST_MODELS} ViTs and {FEWEST_MODELS} ResNets of the same pre-training, each of three sizes or more",
        above_zero,
        "models",
    ),
    Claim(
        "fgsm_resists_in_resnets",
        "Figure 3",
        "ResNets withstand FGSM better than ViTs of comparable size.",
        "accuracy of ResNets under attacks of one step minus that of ViTs",
        "points",
        fgsm_resists_in_resnets,
        "an attack of one step on a ViT and a ResNet of comparable size and the same pre-training",
        above_zero,
    ),
    Claim(
        "advantage_gone_under_pgd",
        "Figure 3",
        "Under PGD, ResNets are no more accurate than ViTs of comparable size.",
        "accuracy of ResNets under attacks of several steps minus that of ViTs; its interval must end below the margin",
        "points",
        advantage_gone_under_pgd,
        "an attack of several steps on a ViT and a ResNet of comparable size and the same pre-training",
        below_margin,
    ),
    Claim(
        "transfer_within_families",
        "appendix",
        "Adversarial perturbations transfer more within a family of models than from one family to the other.",
        "share of a model's images fooled by perturbations made for another model of its family, minus that by others'",
        "points",
        transfer_within_families,
        "attacks on two models of one family and one of the other",
        above_zero,
    ),
    Claim(
        "vits_show_their_patches",
        "Figure 5",
        "Adversarial perturbations of ViTs follow the borders of their patches.",
        "steps of perturbations across borders of a ViT's patches over steps inside them; one means no difference",
        "ratio",
        vits_show_their_patches,
        "attacks on ViTs",
        above_one,
    ),
    Claim(
        "resnets_show_no_patches",
        "Figure 5",
        "Adversarial perturbations of ResNets follow no grid.",
        "steps of perturbations of ResNets across borders of squares that they do not have over steps inside them; it"
        " must be one within the margin",
        "ratio",
        resnets_show_no_patches,
        "attacks on ResNets",
        about_one,
    ),
    Claim(
        "spatial_small_patches",
        "Figure 3",
        "ViTs with small patches withstand rotation and translation as ResNets of comparable size do.",
        "accuracy under the worst transformation of ViTs with the smallest patches minus that of ResNets; within the"
        " margin",
        "points",
        spatial_small_patches,
        "rotations and translations of images for two ViTs of different patches and a ResNet, of comparable size and"
        " the same pre-training",
        within_margin,
    ),
    Claim(
        "spatial_large_patches",
        "Figure 3",
        "ViTs with large patches withstand rotation and translation less than those with small ones.",
        "accuracy under the worst transformation of ViTs with smaller patches minus that of ViTs with larger ones",
        "points",
        spatial_large_patches,
        "rotations and translations of images for two ViTs of different patches, of comparable size and the same"
        " pre-training",
        above_zero,
    ),
    Claim(
        "large_patches_see_shape",
        "Figure 6",
        "ViTs with larger patches tell the shape more often where shape and texture disagree.",
        "shape accuracy of ViTs with larger patches minus that of ViTs with smaller ones",
        "points",
        large_patches_see_shape,
        "a set of cue conflict, and two ViTs of different patches, of comparable size and the same pre-training",
        above_zero,
    ),
    Claim(
        "late_blocks_alike",
        "Figure 7",
        "Representations of a ViT's later blocks are more alike than those of its earlier ones.",
        "correlation of all tokens between blocks of the second half minus that between blocks of the first",
        "correlation",
        late_blocks_alike,
        "similarity of layers within a ViT of four blocks or more",
        above_zero,
    ),
    Claim(
        "class_token_changes",
        "Figure 7",
        "A ViT's class token changes more from block to block than its tokens together.",
        "correlation between blocks of all tokens minus that of the class token",
        "correlation",
        class_token_changes,
        "similarity of layers within a ViT with a class token",
        above_zero,
    ),
    Claim(
        "later_block_is_dispensable",
        "Figure 8",
        "Without one of its blocks, but the first, a ViT keeps nearly all of its accuracy.",
        "accuracy lost without one later block, on the average over blocks; its interval must end below the margin",
        "points",
        later_block_is_dispensable,
        "lesions of a ViT",
        below_margin,
    ),
    Claim(
        "first_block_matters",
        "Figure 8",
        "Without its first block a ViT loses more than without any other.",
        "accuracy without that later block which is missed most, minus that without the first",
        "points",
        first_block_matters,
        "lesions of a ViT",
        above_zero,
    ),
    Claim(
        "attention_matters_more",
        "Figure 8",
        "Removing MLPs hurts a ViT less than removing as many attention layers.",
        "accuracy without MLPs minus that without as many attention layers, on the average over their number",
        "points",
        attention_matters_more,
        "lesions of several MLPs and attention layers of a ViT",
        above_zero,
    ),
    Claim(
        "large_models_lose_less",
        "Figure 8",
        "Larger ViTs lose less without a block.",
        "accuracy lost without one block by smaller ViTs minus that by larger ones",
        "points",
        large_models_lose_less,
        "lesions of two ViTs of different size, of the same patches and pre-training",
        above_zero,
    ),
    Claim(
        "more_data_loses_more",
        "Figure 8",
        "ViTs that were pre-trained on more data lose more without a block.",
        "accuracy lost without one block by ViTs of the largest pre-training set minus that by those of the smallest",
        "points",
        more_data_loses_more,
        "lesions of one ViT that was pre-trained on two numbers of images",
        above_zero,
    ),
    Claim(
        "near_beats_random",
        "Figure 9",
        "Limiting attention to near patches hurts a ViT less than masking as much of it at random.",
        "accuracy with attention to near patches minus that with as many random pairs, on the average over distances of"
        " one patch or more",
        "points",
        near_beats_random,
        "limits of attention of a ViT",
        above_zero,
    ),
    Claim(
        "early_blocks_need_patches",
        "Figure 9",
        "A ViT needs attention between patches in its first blocks more than in its last ones.",
        "accuracy with the last blocks limited to the class token minus that with as many first ones",
        "points",
        early_blocks_need_patches,
        "limits of attention to the class token of a ViT",
        above_zero,
    ),
)


def claim_rows(evidence: Evidence, settings: Settings) -> pd.DataFrame:
    """Every claim on every set that it can be tested on: one row each, and one for a claim that cannot be.

    Returns columns claim, section, statement, criterion, dataset, label_mode, policy, subject, outcome, effect, low,
    high, unit, n, sample (what n counts), models (ids with commas) and reason.
    """
    return pd.DataFrame([row for claim in CLAIMS for row in _rows(claim, evidence, settings)])


def _rows(claim: Claim, evidence: Evidence, settings: Settings) -> Iterator[dict]:
    named = {"claim": claim.id, "section": claim.section, "statement": claim.statement, "criterion": claim.criterion}
    found = [finding for finding in claim.test(evidence, settings) if finding.estimate is not None]
    for finding in found:
        estimate = finding.estimate
        yield named | {
            **{"dataset": finding.dataset, "label_mode": finding.label_mode, "policy": finding.policy},
            **{"subject": finding.subject, "unit": claim.unit, "reason": None},
            **{"outcome": claim.verdict(estimate, settings.margin), "n": estimate.n, "sample": claim.sample},
            **{"effect": estimate.value, "low": estimate.low, "high": estimate.high},
            "models": ",".join(estimate.models),
        }
    if not found:
        reason = f"it would take {claim.needs}"
        yield named | {"outcome": UNDECIDED, "unit": claim.unit, "n": 0, "models": "", "reason": reason}
