"""The paper's claims on tables made for them: each is supported where the tables say so, and refuted where they say the
opposite."""

import math
from dataclasses import replace
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import special, stats

from withstand.claims.answers import read_errors
from withstand.claims.estimates import Draws, Estimate, Images, difference, interval, mean, smallest
from withstand.claims.evidence import Evidence
from withstand.claims.paper import (
    CLAIMS,
    REFUTED,
    SUPPORTED,
    UNDECIDED,
    Settings,
    about_one,
    above_one,
    above_zero,
    below_margin,
    claim_rows,
    within_margin,
)
from withstand.config_attacks import ATTACK_KINDS, Fgsm, Norm, Pgd, Target
from withstand.metrics import answers
from withstand.metrics.comparisons import matched_interval
from withstand.metrics.conditions import Condition
from withstand.metrics.intervals import wilson
from withstand.steps.tabulate_attacks import _ATTACK, _about
from withstand.steps.tabulate_statistics import tabulate_claims

SETTINGS = Settings(("test",), ("conflict",), 0.05)
SET = {"dataset": "test", "label_mode": "all", "policy": "stored"}
MODELS = pd.DataFrame(
    [
        # model, family, parameters, patch size, images of pre-training
        ("vit8", "ViT", 1.0e6, 8.0, 100),
        ("vit8_few", "ViT", 1.0e6, 8.0, 10),
        ("vit16", "ViT", 1.2e6, 16.0, 100),
        ("vit8_large", "ViT", 3.0e6, 8.0, 100),
        ("resnet", "ResNet", 1.1e6, np.nan, 100),
        ("resnet_few", "ResNet", 1.1e6, np.nan, 10),
        ("mixer", "MLP-Mixer", 1.1e6, np.nan, 100),
        ("unknown", "ResNet", 1.1e6, np.nan, np.nan),
    ],
    columns=["model", "family", "parameters", "patch_size", "pretraining_images"],
).assign(
    kind=lambda models: models["family"].where(models["family"].isin(["ViT", "ResNet"]), None),
    grid=lambda models: 64 / models["patch_size"],
    pretraining_dataset="d",
    input_size=64,
)


FGSM = {"norm": "linf", "eps": "1/255", "steps": 1, "step_size": "1/255", "random_start": False, "target": "none"}
PGD = FGSM | {"steps": 8, "step_size": "1/2040"}


MEMBERS = {"ViT": "vit8,vit16,vit8_large", "ResNet": "resnet"}
"""The models of lines through sizes."""

OTHERS = ["vit16", "vit8_few", "vit8_large"]
"""ViTs besides the one whose inside is checked."""


def row(value, width=0.01, **keys):
    return {**SET, **keys, "value": value, "low": value - width, "high": value + width, "n": 500, "images": 500}


def accuracies(values, **keys):
    return [row(value, model=model, **keys) for model, value in values.items()]


def paired(values, family):
    """Comparisons of all pairs of models with these accuracies."""
    names = list(values)
    return [
        row(values[one] - values[other], model=one, other_model=other, family=family)
        for place, one in enumerate(names)
        for other in names[place + 1 :]
    ]


def tables(sign):
    """Tables that say what the paper says, for a sign of 1, and the opposite for -1."""
    step = 0.1 * sign
    sets = {"vit8": 0.6 + step, "vit8_few": 0.4, "vit16": 0.6 + step, "resnet": 0.6, "resnet_few": 0.6 - step / 2}
    sets["vit8_few"] = sets["vit8"] - step * 2
    attacked = {"vit8": 0.5, "vit16": 0.5}
    similarity = []
    for model in ("vit8", "vit16"):
        for layer in range(4):
            for other in range(4):
                late = 0.5 + step if min(layer, other) >= 2 else 0.5
                for tokens, value in (("all_tokens", late), ("summary", late - 2 * step)):
                    keys = {"model": model, "other_model": model, "family": "clean", "metric": "pearson_joint"}
                    keys |= {"tokens": tokens, "summary": "class_token", "layer": layer, "other_layer": other}
                    similarity.append(row(value, **keys))
    lesions, limits = [], []
    lost = {1: (0.01, -0.08), -1: (0.3, 0.4)}[sign]
    losses = {"vit8": lost[0], "vit8_few": lost[1], "vit8_large": lost[1], "vit16": lost[0]}
    for model, loss in losses.items():
        keys = {"model": model, "family": "clean", "draw": None}
        lesions.append(row(0.9, **keys, design="intact", part="none", removed=0, block=None))
        for block in range(4):
            value = 0.9 - loss - (step if block == 0 else 0) - (0.05 if block == 2 else 0)
            lesions.append(row(value, **keys, design="single", part="block", removed=1, block=block))
        for part, value in (("mlp", 0.5 + step), ("attention", 0.5)):
            lesions += [row(value, **keys, design="several", part=part, removed=n, block=None) for n in (2, 3)]
        for arm, value in (("local", 0.5 + step), ("random", 0.5)):
            limits.append(row(value, **keys, arm=arm, masked=0.5, distance=0.25, blocks=None, same_as=None))
            # nearer than a patch, where both mask the same
            same = "local" if arm == "random" else None
            limits.append(row(0.2, **keys, arm=arm, masked=0.9, distance=0.05, blocks=None, same_as=same))
        for arm, value in (("last", 0.5 + step), ("first", 0.5)):
            limits += [row(value, **keys, arm=arm, masked=None, blocks=n, same_as=None) for n in (1, 2, 3)]
            # all of four blocks
            same = "first" if arm == "last" else None
            limits.append(row(0.2, **keys, arm=arm, masked=None, blocks=4, same_as=same))
    ratio = {1: (1.6, 1.0), -1: (0.7, 1.3)}[sign]
    about = {"pretraining_dataset": "d", "pretraining_images": 100}
    slopes = {"ViT": -0.4 * (1 + sign / 2), "ResNet": -0.4}
    fooled = {("vit8", "vit16"): 0.5 + step, ("vit16", "vit8"): 0.5 + step, ("vit8", "resnet"): 0.5}
    # targets that are hard to fool by anyone, and have no other model of their family, tell nothing
    fooled |= {("resnet", "vit16"): 0.01, ("vit8", "vit8"): 0.99, ("mixer", "vit8"): 0.99, ("vit16", "resnet"): 0.5}
    return {
        "models": MODELS,
        "comparisons": pd.DataFrame(paired(sets, None)),
        "trends": pd.DataFrame(
            [row(0.8 * sign, width=0.1, metric="spearman", family=None, group=None, models="vit8,resnet")]
            + [
                row(slope, metric="slope", family=None, group=group, models=MEMBERS[group], **about)
                for group, slope in slopes.items()
            ]
        ),
        "attacks": pd.DataFrame(
            accuracies(attacked | {"resnet": 0.5 + step}, attack="fgsm", metric="accuracy", **FGSM)
            + accuracies(attacked | {"resnet": 0.5 - step}, attack="pgd", metric="accuracy", **PGD)
        ),
        "transfer": pd.DataFrame(
            [row(v, model=m, source=s, attack="pgd", metric="fooled", **PGD) for (m, s), v in fooled.items()]
        ),
        "patch_alignment": pd.DataFrame(
            [
                row(ratio[0], model="vit8", attack="pgd", metric="edge_ratio", own=True, **PGD),
                row(9.0, model="vit8", attack="pgd", metric="edge_ratio", own=False, **PGD),
                row(ratio[1], model="resnet", attack="pgd", metric="edge_ratio", own=False, **PGD),
            ]
        ).drop(columns="label_mode"),
        "spatial": pd.DataFrame(
            accuracies({"vit8": 0.5 if sign > 0 else 0.2, "vit16": 0.5 - step, "resnet": 0.5}, metric="worst")
        ),
        "shape_bias": pd.DataFrame(accuracies({"vit8": 0.3, "vit16": 0.3 + step}, metric="shape_accuracy")),
        "similarity": pd.DataFrame(similarity).drop(columns="label_mode"),
        "lesions": pd.DataFrame(lesions),
        "attention_limit": pd.DataFrame(limits),
    }


@pytest.mark.parametrize(("sign", "outcome"), [(1, SUPPORTED), (-1, REFUTED)])
def test_every_claim_follows_the_tables(sign, outcome):
    rows = claim_rows(Evidence(tables(sign)), SETTINGS)
    assert list(dict.fromkeys(rows["claim"])) == [claim.id for claim in CLAIMS]
    rows = rows[~rows["subject"].isin(OTHERS)]
    assert dict(zip(rows["claim"], rows["outcome"], strict=True)) == {claim.id: outcome for claim in CLAIMS}
    assert rows["effect"].between(rows["low"], rows["high"]).all()
    assert (rows["n"] == 500).all()
    assert rows["reason"].isna().all()
    over_models = set(rows.loc[rows["sample"] == "models", "claim"])
    assert over_models == {"clean_predicts_shifted", "vits_scale_better"}


def test_effects_are_those_of_comparable_models():
    rows = claim_rows(Evidence(tables(1)), SETTINGS)
    assert rows["subject"].isin(OTHERS).sum() == 7 * 3 - 2 * 2, "of two of them there is no similarity"
    rows = rows[~rows["subject"].isin(OTHERS)].set_index("claim")
    # both ViTs of the large set are 0.1 ahead; those with fewer images, and the larger one, do not count
    assert rows.loc["vits_ahead", "effect"] == pytest.approx(0.1)
    assert rows.loc["vits_ahead", "models"] == "vit8,resnet,vit16"
    assert rows.loc["data_helps_vits_more", "effect"] == pytest.approx(0.2 - 0.05)
    assert rows.loc["vits_scale_better", "effect"] == pytest.approx(0.2)
    assert rows.loc["transfer_within_families", "effect"] == pytest.approx(0.1), "neither own perturbations nor mixers"
    assert rows.loc["vits_show_their_patches", "effect"] == pytest.approx(1.6), "not squares that they do not have"
    assert rows.loc["class_token_changes", "effect"] == pytest.approx(0.2)
    assert rows.loc["first_block_matters", "effect"] == pytest.approx(0.05), "than the one missed most"
    mean_loss = 0.01 + 0.05 / 3
    assert rows.loc["later_block_is_dispensable", "effect"] == pytest.approx(mean_loss)
    assert rows.loc["near_beats_random", "effect"] == pytest.approx(0.1)
    assert rows.loc["vits_ahead", ["label_mode", "policy"]].tolist() == ["all", "stored"]
    assert rows.loc["early_blocks_need_patches", "effect"] == pytest.approx(0.1), "with all blocks both are the same"


OF_ATTACKS = {
    "fgsm_resists_in_resnets": {"fgsm"},
    "advantage_gone_under_pgd": {"pgd"},
    "transfer_within_families": {"fgsm", "pgd"},
    "vits_show_their_patches": {"pgd"},
    "resnets_show_no_patches": {"pgd"},
}
"""The protocols that each claim about attacks is about."""


def kinds_of_attacks():
    """Attacks of every kind, norm and target that the config knows, with the protocol that each follows."""
    for kind, norm, target in product(ATTACK_KINDS, *(get_args(part) for part in (Norm, Target))):
        common = {"kind": kind, "norm": norm, "eps": "1/255"}
        bare = norm == "linf" and target == "none"
        if kind == "fgsm":
            yield Fgsm(**common, target=target).spec, "fgsm" if bare else None
        elif kind == "pgd":
            pgd = partial(Pgd, **common, target=target)
            yield pgd(steps=8).spec, "pgd" if bare else None
            yield pgd(steps=8, random_start=True, restarts=2).spec, "pgd" if bare else None
            yield pgd(steps=1, step_size="1/255").spec, "fgsm" if bare else None
            yield pgd(steps=1, step_size="1/255", random_start=True).spec, None
            yield pgd(steps=1).spec, None
        elif target == "none":
            assert kind == "autoattack", f"of no protocol known here: {kind}"
            yield {"kind": "autoattack", "norm": norm, "eps": "1/255", "version": "standard", "attacks": []}, None


@pytest.mark.parametrize(("spec", "protocol"), list(kinds_of_attacks()))
def test_attacks_enter_the_claims_about_their_protocol(spec, protocol):
    given = tables(1)
    columns = ["attack", *(name for name, _ in _ATTACK if name != "attack")]
    for name in ("attacks", "transfer", "patch_alignment"):
        about = pd.Series(_about(spec | {"name": "x"})).reindex(columns)
        given[name] = given[name].assign(**about)
    rows = claim_rows(Evidence(given), SETTINGS)
    entered = set(rows.loc[rows["subject"] == "x", "claim"])
    assert entered == {claim for claim, protocols in OF_ATTACKS.items() if protocol in protocols}


def test_the_largest_number_of_blocks_counts_unless_it_is_all_of_them():
    keys = {"model": "vit8", "family": "clean", "draw": None, "masked": None, "distance": None, "same_as": None}
    values = {("last", 1): 0.6, ("first", 1): 0.5, ("last", 2): 0.7, ("first", 2): 0.4}
    rows = [row(value, **keys, arm=arm, blocks=n) for (arm, n), value in values.items()]
    found = claim_rows(Evidence({"models": MODELS, "attention_limit": pd.DataFrame(rows)}), SETTINGS)
    assert found.set_index("claim").loc["early_blocks_need_patches", "effect"] == pytest.approx(0.2)


def test_models_are_compared_within_each_pretraining_set():
    """Pooled over sets, what one shows would hide what the other shows."""
    values = {"vit8": 0.5, "resnet": 0.7, "vit8_few": 0.5, "resnet_few": 0.3, "unknown": 0.9}
    given = {"models": MODELS, "attacks": pd.DataFrame(accuracies(values, attack="x", metric="accuracy", **FGSM))}
    rows = claim_rows(Evidence(given), SETTINGS)
    found = rows[rows["claim"] == "fgsm_resists_in_resnets"].set_index("pretraining_images")
    assert found["effect"].to_dict() == {10: pytest.approx(-0.2), 100: pytest.approx(0.2)}
    assert found["outcome"].to_dict() == {10: REFUTED, 100: SUPPORTED}
    assert set(found["pretraining_dataset"]) == {"d"}


def test_gains_by_data_are_between_the_same_two_sets():
    """A model that lacks the smallest set, as the paper's ViT-H/14, gains from another one, and does not count."""
    about = [("vit", n) for n in (1, 10, 100)] + [("large", n) for n in (10, 100)] + [("resnet", n) for n in (1, 100)]
    models = pd.DataFrame(
        [
            {"model": f"{name}_{n}", "family": "ResNet" if name == "resnet" else "ViT", "pretraining_images": n}
            | {"parameters": 3e6 if name == "large" else 1e6, "patch_size": np.nan if name == "resnet" else 8.0}
            for name, n in about
        ]
    ).assign(pretraining_dataset="d", kind=lambda models: models["family"])
    evidence = Evidence({"models": models})
    pairs = evidence.more_and_less_data(models["model"], "ViT", "ResNet")
    assert pairs == {"ViT": [("vit_100", "vit_1")], "ResNet": [("resnet_100", "resnet_1")]}
    assert evidence.more_and_less_data(["vit_10", "vit_100", "resnet_1"], "ViT", "ResNet") == {"ViT": [], "ResNet": []}


def test_what_a_study_has_not_is_said():
    rows = claim_rows(Evidence({"models": MODELS}), SETTINGS)
    assert (rows["outcome"] == UNDECIDED).all()
    assert rows["reason"].str.startswith("it would take ").all()
    assert rows["effect"].isna().all() if "effect" in rows else True
    assert len(rows) == len(CLAIMS)


def test_clean_images_of_the_reference_and_conflicts_are_no_shift():
    given = tables(1)
    values = {"vit8": 0.9, "resnet": 0.5}
    more = [{**each, "dataset": dataset} for dataset in ("test", "conflict", "far") for each in paired(values, "clean")]
    given["comparisons"] = pd.concat([given["comparisons"], pd.DataFrame(more)])
    rows = claim_rows(Evidence(given), SETTINGS)
    ahead = rows[rows["claim"] == "vits_ahead"].set_index("dataset")
    assert set(ahead.index) == {"test", "far"}
    assert (ahead.loc["test", "subject"], ahead.loc["far", "effect"]) == ("mean over corruptions", pytest.approx(0.4))


def test_newcombes_example():
    """56 of 70 against 48 of 80: 0.0524 to 0.3339 (Newcombe, Statistics in Medicine 17:873, 1998, method 10)."""
    first, second = (Estimate(hits / n, *wilson(hits, n), n) for hits, n in ((56, 70), (48, 80)))
    found = first - second
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert found.n == 70


def test_means_are_as_uncertain_as_their_parts():
    parts = [Estimate(0.1, 0.0, 0.3, 10, ("a",)), Estimate(0.3, 0.2, 0.5, 20, ("b", "a"))]
    assert mean(parts) == Estimate(pytest.approx(0.2), pytest.approx(0.1), pytest.approx(0.4), 10, ("a", "b"))
    assert mean([]) is None and mean(parts[:1]) == parts[0]
    assert difference(None, parts[0]) is None
    assert (-parts[0]).low == -0.3


def of_answers(right, draws=None):
    """The estimate of a share: bool (images), or of draws that are a sample (draws, images)."""
    right = np.atleast_2d(right)
    errors = {Images("a"): right.mean(0) - right.mean()}
    errors |= {} if draws is None else {Draws(draws): right.mean(1) - right.mean()}
    return Estimate(right.mean(), *interval(right.mean(), errors), right.shape[1], ("a",), errors)


def test_gains_by_data_are_paired_by_image(tmp_path):
    """Four models on the same images, whose answers stand in different orders: clean ones of one set, three severities
    of another."""
    random, ids = np.random.default_rng(0), [f"s{number}" for number in range(300)]
    hard, bias = random.normal(size=300), {"vit8": 1.5, "vit8_few": 0.5, "resnet": 1.4, "resnet_few": 0.9}
    right, paths = {}, []
    for model, ease in bias.items():
        found = hard + 0.5 * random.normal(size=(4, 300)) < ease
        right[model] = {"far": found[0].astype(float), "test": found[1:].mean(0)}
        order = random.permutation(300)
        paths.append(tmp_path / f"{model}.parquet")
        with answers.create(paths[-1]) as writer:
            for dataset, severities in (("far", [0]), ("test", [1, 2, 3])):
                name, family = ("clean", "clean") if dataset == "far" else ("fog", "natural")
                conditions = [
                    Condition(family, name, severity, found[severity][order], *[None] * 4) for severity in severities
                ]
                keys = {"dataset": dataset, "policy": "stored", "label_mode": "all"}
                writer.write(keys, pa.array([ids[place] for place in order]), conditions)
    comparisons = [
        row((right[one][dataset] - right[other][dataset]).mean(), width=0.05, model=one, other_model=other)
        | {"dataset": dataset, "family": "clean" if dataset == "far" else None}
        for one, other in combinations(bias, 2)
        for dataset in ("far", "test")
    ]
    given = {"models": MODELS, "comparisons": pd.DataFrame(comparisons)}
    apart, paired = (claim_rows(Evidence(given, errors), SETTINGS) for errors in ({}, read_errors(paths)))
    for rows, dataset in ((paired, "far"), (paired, "test")):
        gains = rows[(rows["claim"] == "data_helps_vits_more") & (rows["dataset"] == dataset)].iloc[0]
        signs = {"vit8": 1, "vit8_few": -1, "resnet": -1, "resnet_few": 1}
        by_image = sum(sign * right[model][dataset] for model, sign in signs.items())
        assert gains["effect"] == pytest.approx(by_image.mean())
        # Student's, with two images added
        half = stats.t.isf(0.025, 299) * math.sqrt(by_image.var() * 300 + 1) / 302
        assert (gains["low"], gains["high"]) == pytest.approx((gains["effect"] - half, gains["effect"] + half))
    one, other = (rows[rows["claim"] == "data_helps_vits_more"] for rows in (apart, paired))
    assert (one["effect"].to_numpy() == pytest.approx(other["effect"].to_numpy())) and len(one) == 2


RUNS = 1000
ERROR = 3 * math.sqrt(0.05 * 0.95 / RUNS)
"""What a share of 95% of so many runs may be off by chance, three standard errors."""


def width(estimate):
    return estimate.high - estimate.low


@pytest.mark.parametrize(("images", "least"), [(40, 0.91), (120, 0.93), (1000, 0.93)])
def test_differences_on_the_same_images_have_intervals_that_hold(images, least):
    """An intact model and six lesions of it: the accuracy that they lose on the average, image by image."""
    random, chances = np.random.default_rng(images), np.array([0.9, *np.linspace(0.8, 0.89, 6)])
    held, widths = [], []
    for _ in range(RUNS):
        # of an image's difficulty, of variance one, most is the same for all
        hard = math.sqrt(0.8) * random.normal(size=images) + math.sqrt(0.2) * random.normal(size=(7, images))
        intact, *without = [of_answers(each) for each in hard < special.ndtri(chances)[:, None]]
        found = intact - mean(without)
        held.append(found.low <= 0.9 - chances[1:].mean() <= found.high)
        unpaired = replace(intact, errors=None) - mean(replace(each, errors=None) for each in without)
        widths.append(width(found) / width(unpaired))
    assert least - ERROR < np.mean(held) < 0.97 + ERROR
    assert np.mean(widths) < 0.7, "than if the images were different ones"


@pytest.mark.parametrize("draws", [3, 5, 25])
def test_random_masks_are_a_source_of_error_beside_images(draws):
    """Attention within three distances against as many random masks each."""
    random, held = np.random.default_rng(draws), []
    for _ in range(RUNS):
        ease = random.normal(size=200)
        sides = []
        for distance in range(3):
            of_mask = random.normal(0, 0.2, size=(draws, 1))
            noise = random.normal(size=(draws + 1, 200))
            sides.append(of_answers(ease + noise[0] > 0) - of_answers(ease + of_mask + noise[1:] > 0, ("m", distance)))
        found = mean(sides)
        held.append(found.low <= 0 <= found.high)
    assert 0.93 - ERROR < np.mean(held) < 0.98 + ERROR


def test_the_smallest_difference_is_not_taken_for_smaller_than_it_is():
    """Twelve blocks that matter alike: a model does not lose less without the first than without that later one which
    happens to be missed most."""
    random, images = np.random.default_rng(1), 300
    outcomes, naive = [], []
    for _ in range(RUNS):
        right = random.uniform(size=images)[None] * 0.5 + random.uniform(size=(12, images)) * 0.5 < 0.7
        first, *later = [of_answers(each) for each in right]
        outcomes.append(above_zero(smallest(each - first for each in later), 0.05))
        naive.append(above_zero(min(later, key=lambda each: each.value) - first, 0.05))
    share = {outcome: outcomes.count(outcome) / RUNS for outcome in (SUPPORTED, REFUTED)}
    assert all(value < 0.025 + 3 * math.sqrt(0.025 * 0.975 / RUNS) for value in share.values())
    assert naive.count(REFUTED) / RUNS > 0.1, "where the most missed one is chosen first"


def test_the_smallest_of_several_is_found():
    parts = [Estimate(value, value - 0.1, value + 0.1, 10, (str(value),)) for value in (0.5, 0.3)]
    found = smallest(parts)
    assert (found.value, found.low) == (0.3, pytest.approx(0.2))
    # the quantile of 1.25% over that of 2.5%
    assert found.high == pytest.approx(0.3 + 0.1 * 2.2414 / 1.9600, abs=1e-5)
    assert smallest([]) is None
    assert smallest(parts[:1]).high == pytest.approx(0.6)


def test_pairs_have_agresti_and_mins_interval():
    """Of two models on the same images, where there are many."""
    random = np.random.default_rng(0)
    one, other = random.uniform(size=(2, 1000)) * 0.5 + random.uniform(size=1000) * 0.5 < 0.7
    found = of_answers(one) - of_answers(other)
    low, high = matched_interval((one & ~other).sum(), (other & ~one).sum(), 1000)
    # Student's of 999 degrees, and the middle drawn to zero by two images
    assert (found.low, found.high) == pytest.approx((low, high), abs=2e-4)
    same = of_answers(one) - of_answers(one)
    assert same.value == 0 and -0.003 < same.low < 0 < same.high < 0.003, "not certain of what did not differ here"


def test_one_draw_of_many_does_not_show_how_far_draws_differ():
    right = np.random.default_rng(0).uniform(size=(1, 50)) < 0.5
    found = of_answers(right[0]) - of_answers(right, ("m", 1))
    assert (found.low, found.high) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("verdict", "low", "high", "outcome"),
    [
        (above_zero, 0.01, 0.2, SUPPORTED),
        (above_zero, 0.0, 0.2, UNDECIDED),
        (above_zero, -0.2, -0.01, REFUTED),
        (within_margin, -0.04, 0.04, SUPPORTED),
        (within_margin, -0.05, 0.04, UNDECIDED),
        (within_margin, 0.06, 0.2, REFUTED),
        (within_margin, -0.2, -0.06, REFUTED),
        (below_margin, -0.9, 0.04, SUPPORTED),
        (below_margin, 0.02, 0.06, UNDECIDED),
        (below_margin, 0.06, 0.2, REFUTED),
        (above_one, 1.01, 2, SUPPORTED),
        (above_one, 0.9, 2, UNDECIDED),
        (above_one, 0.5, 0.9, REFUTED),
        (about_one, math.exp(-0.04), math.exp(0.04), SUPPORTED),
        (about_one, math.exp(-0.06), 1.0, UNDECIDED),
        (about_one, 1.2, 1.3, REFUTED),
    ],
)
def test_verdicts_at_the_edges(verdict, low, high, outcome):
    assert verdict(Estimate((low + high) / 2, low, high, 1), 0.05) == outcome


@pytest.mark.parametrize(
    ("spearman", "slope"), [((None, "too few models: 6 of 10"), "too few models: 3 of 10"), ((0.8, None), None)]
)
def test_too_few_models_decide_nothing_and_say_so(spearman, slope):
    given = tables(1)
    trends = given["trends"]
    value, reason = spearman
    rank = trends["metric"] == "spearman"
    trends.loc[rank, ["value", "low", "high"]] = (value, *((None, None) if value is None else (0.7, 0.9)))
    trends["reason"] = np.where(rank, reason, slope)
    if slope:
        trends.loc[~rank, ["low", "high"]] = np.nan
    found = claim_rows(Evidence(given), SETTINGS).drop_duplicates("claim").set_index("claim")
    told = {name: found.loc[name, ["outcome", "reason"]].tolist() for name in OVER_MODELS}
    decided = [UNDECIDED, reason] if reason else [SUPPORTED, None]
    assert told["clean_predicts_shifted"] == decided
    assert told["vits_scale_better"] == ([UNDECIDED, slope] if slope else [SUPPORTED, None])
    assert pd.isna(found.loc["clean_predicts_shifted", "effect"]) == (value is None)
    assert found.loc["vits_scale_better", "effect"] == pytest.approx(0.2), "a line needs no interval"


OVER_MODELS = ["clean_predicts_shifted", "vits_scale_better"]


def test_the_page_of_claims_has_every_one_as_it_is_tested():
    page = (Path(__file__).parents[1] / "docs/claims.md").read_text(encoding="utf-8")
    for claim in CLAIMS:
        assert f"| `{claim.id}` | {claim.statement} | {claim.criterion} |" in page
        assert f"| `{claim.id}` | {claim.section.removeprefix('Figure ').replace('appendix', 'text')} | " in page


def test_tables_are_read_by_name(tmp_path):
    paths = []
    for name, table in tables(1).items():
        paths.append(tmp_path / f"{name}.parquet")
        table.to_parquet(paths[-1])
    tabulate_claims(paths, SETTINGS, tmp_path / "claims")
    written = pd.read_parquet(tmp_path / "claims")
    assert set(written["claim"]) == {claim.id for claim in CLAIMS}
    assert written["outcome"].eq(SUPPORTED).sum() >= len(CLAIMS)
