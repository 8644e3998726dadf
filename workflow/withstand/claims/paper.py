"""The claims, in the paper's order, and how each is decided.

An estimate is put on the side of the claim: supported where its whole 95% interval is above zero, refuted where it is
below, else undecided. Where a claim says that something makes no difference, the interval must lie within a margin, or
outside it. Intervals are over images (of rank correlations and slopes: over models), so they say what these models
would do on more images, and nothing of other models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pandas as pd

from withstand.claims.estimates import Estimate
from withstand.claims.evidence import Evidence
from withstand.claims.findings import (
    Finding,
    Settings,
    advantage_gone_under_pgd,
    attention_matters_more,
    class_token_changes,
    clean_predicts_shifted,
    data_helps_vits_more,
    early_blocks_need_patches,
    fgsm_resists_in_resnets,
    first_block_matters,
    large_models_lose_less,
    large_patches_see_shape,
    late_blocks_alike,
    later_block_is_dispensable,
    more_data_loses_more,
    near_beats_random,
    resnets_show_no_patches,
    spatial_large_patches,
    spatial_small_patches,
    transfer_within_families,
    vits_ahead,
    vits_scale_better,
    vits_show_their_patches,
)
from withstand.metrics.trends import FEWEST_MODELS

SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided"


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
        "accuracy that ViTs gain from the smallest to the largest pre-training set that both kinds have, "
        "minus what ResNets gain",
        "points",
        data_helps_vits_more,
        "a ViT and a ResNet that were each pre-trained on two numbers of images",
        above_zero,
    ),
    Claim(
        "vits_scale_better",
        "Figure 4",
        "Errors of ViTs fall faster with the number of parameters than those of ResNets.",
        "log-log slope of error against parameters of ResNets minus that of ViTs, of each size those with the "
        "smallest patches; all of one pre-training set",
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
        "accuracy of ResNets under FGSM (untargeted, L-infinity, one step) minus that of comparable ViTs of "
        "the same pre-training set",
        "points",
        fgsm_resists_in_resnets,
        "FGSM, untargeted and in L-infinity, on a ViT and a ResNet of comparable size and the same pre-training",
        above_zero,
    ),
    Claim(
        "advantage_gone_under_pgd",
        "Figure 3",
        "Under PGD, ResNets are no more accurate than ViTs of comparable size.",
        "accuracy of ResNets under PGD (untargeted, L-infinity, several steps) minus that of comparable ViTs "
        "of the same pre-training set; its interval must end below the margin",
        "points",
        advantage_gone_under_pgd,
        "PGD, untargeted and in L-infinity, on a ViT and a ResNet of comparable size and the same pre-training",
        below_margin,
    ),
    Claim(
        "transfer_within_families",
        "appendix",
        "Adversarial perturbations transfer more within a family of models than from one family to the other.",
        "share of a model's images fooled by FGSM's or PGD's perturbations made for another model of its "
        "family, minus that by others'",
        "points",
        transfer_within_families,
        "FGSM or PGD, untargeted and in L-infinity, on two models of one family and one of the other",
        above_zero,
    ),
    Claim(
        "vits_show_their_patches",
        "Figure 5",
        "Adversarial perturbations of ViTs follow the borders of their patches.",
        "steps of PGD's perturbations across borders of a ViT's patches over steps inside them; one means no "
        "difference",
        "ratio",
        vits_show_their_patches,
        "PGD, untargeted and in L-infinity, on ViTs",
        above_one,
    ),
    Claim(
        "resnets_show_no_patches",
        "Figure 5",
        "Adversarial perturbations of ResNets follow no grid.",
        "steps of PGD's perturbations of ResNets across borders of squares that they do not have over steps "
        "inside them; it must be one within the margin",
        "ratio",
        resnets_show_no_patches,
        "PGD, untargeted and in L-infinity, on ResNets",
        about_one,
    ),
    Claim(
        "spatial_small_patches",
        "Figure 3",
        "ViTs with small patches withstand rotation and translation as ResNets of comparable size do.",
        "accuracy under the worst transformation of ViTs with the smaller patches minus that of comparable "
        "ResNets of the same pre-training set; within the margin",
        "points",
        spatial_small_patches,
        "rotations and translations of images for two ViTs of different patches and a ResNet, of comparable size and"
        " the same pre-training",
        within_margin,
    ),
    Claim(
        "spatial_large_patches",
        "Figure 3",
        "ViTs with large patches withstand rotation and translation less than ResNets of comparable size.",
        "accuracy under the worst transformation of ResNets minus that of comparable ViTs with the larger "
        "patches, of the same pre-training set",
        "points",
        spatial_large_patches,
        "rotations and translations of images for two ViTs of different patches and a ResNet, of comparable size and"
        " the same pre-training",
        above_zero,
    ),
    Claim(
        "large_patches_see_shape",
        "Figure 6",
        "ViTs with larger patches tell the shape more often where shape and texture disagree.",
        "shape accuracy of ViTs with larger patches minus that of comparable ones with smaller patches, of "
        "the same pre-training set",
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
        "accuracy without that later block which is missed most, minus that without the first; its interval "
        "allows for that choice",
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
        "accuracy with attention to near patches minus that with as many random pairs, on the average over "
        "distances at which the two masks differ",
        "points",
        near_beats_random,
        "limits of attention of a ViT",
        above_zero,
    ),
    Claim(
        "early_blocks_need_patches",
        "Figure 9",
        "A ViT needs attention between patches in its first blocks more than in its last ones.",
        "accuracy with the last blocks limited to the class token minus that with as many first ones, on the "
        "average over numbers below the depth",
        "points",
        early_blocks_need_patches,
        "limits of attention to the class token of a ViT",
        above_zero,
    ),
)


def claim_rows(evidence: Evidence, settings: Settings) -> pd.DataFrame:
    """Every claim on every set that it can be tested on: one row each, and one for a claim that cannot be.

    Returns columns claim, section, statement, criterion, dataset, label_mode, policy, pretraining_dataset and
    pretraining_images (where all models compared share them), subject, outcome, effect, low, high, unit, n, sample
    (what n counts), models (ids with commas) and reason.
    """
    return pd.DataFrame([row for claim in CLAIMS for row in _rows(claim, evidence, settings)])


def _rows(claim: Claim, evidence: Evidence, settings: Settings) -> Iterator[dict]:
    named = {"claim": claim.id, "section": claim.section, "statement": claim.statement, "criterion": claim.criterion}
    found = [each for each in claim.test(evidence, settings) if each.estimate is not None or each.reason]
    for finding in found:
        estimate = finding.estimate or Estimate(math.nan, math.nan, math.nan, 0)
        yield named | {
            **{"dataset": finding.dataset, "label_mode": finding.label_mode, "policy": finding.policy},
            **dict(zip(("pretraining_dataset", "pretraining_images"), finding.pretraining, strict=True)),
            **{"subject": finding.subject, "unit": claim.unit, "sample": claim.sample},
            **{"outcome": (outcome := claim.verdict(estimate, settings.margin)), "n": estimate.n},
            **{"effect": estimate.value, "low": estimate.low, "high": estimate.high},
            "models": ",".join(estimate.models),
            "reason": finding.reason or _undecided(claim, estimate, settings.margin) if outcome == UNDECIDED else None,
        }
    if not found:
        reason = f"it would take {claim.needs}"
        yield named | {"outcome": UNDECIDED, "unit": claim.unit, "n": 0, "models": "", "reason": reason}


def _undecided(claim: Claim, estimate: Estimate, margin: float) -> str | None:
    """Why an estimate cannot decide a claim: it has no interval, or one that is too wide for the margin whatever the
    difference. Then it is said how many images it takes for half the margin either way, by the square root of their
    number."""
    if math.isnan(estimate.low):
        return "a value that it rests on has no interval"
    half = (estimate.high - estimate.low) / 2
    if claim.verdict not in (within_margin, below_margin) or not margin / 2 < half < math.inf:
        return None
    needed = estimate.n * (2 * half / margin) ** 2
    digits = 10 ** max(0, math.floor(math.log10(needed)) - 1)
    return (
        f"an interval of ±{100 * half:.1f} points is wide for a margin of {100 * margin:g}; ±{50 * margin:g} would take"
        f" about {math.ceil(needed / digits) * digits:,} images"
    )
