# ruff: noqa: RUF001 - numbers have a typographic minus
import importlib
import re
import struct
import zlib
from itertools import combinations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from withstand.metrics.calibration_error import BINS
from withstand.report import protocol, sentences
from withstand.report.figures import DETAILS, ROOM, TEXT, alternative, embedded, kind_of, pictures, slim
from withstand.report.formats import Names, basis, interval, listed, magnitude, p_value, share, signed
from withstand.report.page import question, title
from withstand.report.sentences import Sentence, difference, extremes
from withstand.report.tables import (
    by_corruption,
    calibration,
    comparisons,
    corruption_errors,
    effective_robustness,
    glance,
    reproduction,
    trends,
)
from withstand.report.tables import claims as claims_table
from withstand.steps.report import write_report
from withstand.steps.tabulate import ACCURACY, FAILURES, MODELS, SHAPE_BIAS, write_table
from withstand.steps.tabulate_attacks import ATTACKS, SPATIAL
from withstand.steps.tabulate_internals import ATTENTION_LIMIT
from withstand.steps.tabulate_statistics import CLAIMS, COMPARISONS, CORRUPTION_ERROR, EFFECTIVE_ROBUSTNESS, TRENDS

NAMES = Names(
    {"vit": "ViT/8", "cnn": "ResNet", "few": "ResNet, 4k images"}, {"test": "test set", "shifted": "renditions"}
)
EVIL = "<script>alert(1)</script>"

SCHEMAS = {
    "accuracy": ACCURACY,
    "calibration": ACCURACY,
    "shape_bias": SHAPE_BIAS,
    "models": MODELS,
    "failures": FAILURES,
    "attacks": ATTACKS,
    "spatial": SPATIAL,
    "comparisons": COMPARISONS,
    "claims": CLAIMS,
    "trends": TRENDS,
    "attention_limit": ATTENTION_LIMIT,
    "corruption_error": CORRUPTION_ERROR,
    "effective_robustness": EFFECTIVE_ROBUSTNESS,
}


def row(model, value, half=0.02, **more):
    """A row of the table of accuracies: all images of the test set, clean, unless said otherwise."""
    return {
        **{"model": model, "dataset": "test", "family": "clean", "corruption": "clean", "severity": 0},
        **{"label_mode": "all", "policy": "stored", "metric": "accuracy"},
        **{"value": value, "low": value - half, "high": value + half, "n": 120, "images": 120},
        **more,
    }


def pooled(model, value, **more):
    return row(model, value, family=None, corruption=None, severity=None, n=1200, **more)


def compared(model, other, value, **more):
    return {
        **{"model": model, "other_model": other, "dataset": "test", "family": None, "label_mode": "all"},
        **{"policy": "stored", "metric": "accuracy", "value": value, "low": value - 0.022, "high": value + 0.022},
        **{"n": 120, "images": 120, "only_model": 9.0, "only_other": 5.0, "test": "bootstrap", "p": 0.002},
        "p_holm": 0.004,
        **more,
    }


def claim(**more):
    return {
        **{"claim": "ahead", "section": "Figure 2", "statement": "ViTs are ahead.", "dataset": "test"},
        **{"subject": "mean over corruptions", "criterion": "accuracy of ViTs minus that of ResNets"},
        **{"outcome": "supported", "effect": 0.032, "low": 0.01, "high": 0.054, "unit": "points", "n": 120},
        **{"sample": "images", "models": "vit,cnn", "reason": None},
        **more,
    }


def attacked(model, metric, value):
    return {
        **{"model": model, "dataset": "test", "attack": "pgd", "norm": "linf", "eps": "1/255", "steps": 8},
        **{"step_size": "1/2040", "random_start": False, "restarts": 1, "target": "none", "label_mode": "all"},
        **{"policy": "stored", "metric": metric, "value": value, "low": value - 0.05, "high": value + 0.05},
        **{"n": 120, "images": 120},
    }


def model(name, family="ViT", parameters=86_567_656, **more):
    return {
        **{"model": name, "architecture": "net", "family": family, "parameters": parameters, "flops": 10**9},
        **{"depth": 6, "input_size": 64, "outputs": 10, "label_space": "ten", "pretraining_dataset": "many"},
        **{"kind": family if family in ("ViT", "ResNet") else None, "inferred": None},
        **{"pretraining_images": 100_000, "weights": f"{name}.safetensors", "weights_sha256": "0" * 64},
        **more,
    }


@pytest.fixture(scope="module")
def rows():
    """The rows of a small study: three models, two corruptions at five severities, a shifted set, one attack."""
    accuracy = [row("vit", 0.9), row("cnn", 0.85), row("few", 0.8), pooled("vit", 0.632), pooled("cnn", 0.6)]
    accuracy += [pooled("few", 0.41, half=0.03)]
    for number, corruption in enumerate(("fog", "gaussian_noise")):
        for name, value in (("vit", 0.7), ("cnn", 0.62), ("few", 0.5)):
            about = {"family": "natural", "corruption": corruption, "severity": None, "n": 600}
            accuracy.append(row(name, value - 0.3 * number, **about))
    accuracy += [row(name, value, dataset="shifted", n=60, images=60) for name, value in (("vit", 0.5), ("cnn", 0.5))]
    accuracy += [row("vit", 0.6, dataset="shifted", label_mode="subset", n=60, images=60)]
    return {
        "accuracy": accuracy,
        "models": [model("vit"), model("cnn", "ResNet", 25_557_032), model("few", "ResNet", 25_557_032)],
        "comparisons": [compared("vit", "cnn", 0.032), compared("few", "vit", -0.222, p_holm=0.0001)],
        "claims": [claim(), claim(dataset="shifted", outcome="undecided", effect=None, reason="too few models")],
        "attacks": [attacked("vit", "clean_accuracy", 0.9), attacked("vit", "accuracy", 0.25)],
        "failures": [{"model": "few", "dataset": "shifted", "family": "clean", "reason": "ValueError: no weights"}],
        "trends": [
            {"metric": "spearman", "dataset": "shifted", "family": "clean", "label_mode": "all", "policy": "stored"}
            | {"value": 0.83, "low": 0.4, "high": 0.96, "n": 9, "p": 0.005}
        ],
    }


@pytest.fixture(scope="module")
def tables(rows):
    """The same as DataFrames, as they come from their files."""
    return {name: _table(name, found) for name, found in rows.items()}


def _table(name, rows):
    frame = pd.DataFrame(rows).reindex(columns=SCHEMAS[name].names)
    return pa.Table.from_pandas(frame, schema=SCHEMAS[name], preserve_index=False).to_pandas()


SPEC = {
    "study": "small",
    "seed": 3,
    "config": {
        "study": "small",
        "datasets": {"test": {"source": {"kind": "cifar", "classes": 10}}, "shifted": {"source": {"kind": "folder"}}},
        "families": {"natural": {"corruptions": ["fog", "gaussian_noise"]}},
        "attacks": {"models": ["vit"], "perturbations": {"pgd": {"kind": "pgd"}}},
        "limit": None,
    },
    "models": {name: {"label": label, "color": "#0072B2"} for name, label in NAMES.models.items()},
    "datasets": {
        "test": {"label": "test set", "kind": "cifar", "samples": 120, "size": 32, "families": ["natural"]},
        "shifted": {"label": "renditions", "kind": "folder", "samples": 60, "size": 32, "families": []},
    },
    "reference": "test",
    "baseline": "cnn",
    "margin": 0.05,
}


@pytest.fixture
def study(tmp_path, rows):
    """The files of the same study, and a function that writes its report: returns the page."""
    files = []
    for name, found in rows.items():
        files.append(tmp_path / "tables" / f"{name}.parquet")
        metadata = {"withstand": '{"versions": [{"torch": "2.0", "timm": "1.0"}]}'} if name == "accuracy" else None
        write_table(pd.DataFrame(found), SCHEMAS[name].with_metadata(metadata), files[-1])
    figures = tmp_path / "figures"
    figures.mkdir()
    figure(figures, "clean_against_corrupted-test", "model,corrupted_value\nvit,0.632\ncnn,0.6\n")
    figure(figures, "held_out", "")
    bench = tmp_path / "benchmarks" / "predict"
    bench.mkdir(parents=True)
    (bench / "vit.jsonl").write_text('{"s": 12.5}\n')

    def write(spec=SPEC, without=()):
        chosen = [path for path in files if path.stem not in without]
        output = tmp_path / "report.html"
        write_report(spec, chosen, sorted(figures.glob("*.svg")), output, tmp_path / "benchmarks")
        return output.read_text()

    return write


def figure(folder, name, data):
    (folder / f"{name}.svg").write_text(
        '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="72pt" height="36pt"><metadata>x</metadata>'
        '<path d="M 1.123456 2.987654"/></svg>'
    )
    (folder / f"{name}.png").write_bytes(_png(4, 2))
    (folder / f"{name}.csv").write_text(data)


def _png(width, height):
    """A white picture, written by hand."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = zlib.compress(b"".join(b"\0" + b"\xff" * 3 * width for _ in range(height)))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


# ---- sentences, word by word


def texts(said):
    """What sentences say."""
    return [sentence.text for sentence in said]


def test_what_is_said_first(tables):
    assert texts(sentences.overview(tables, NAMES)) == [
        "On the clean images of test set, ViT/8 is the most accurate: 90.0% [88.0, 92.0];"
        " ResNet, 4k images the least: 80.0% [78.0, 82.0] (120 images).",
        "Under the corruptions of test set, ViT/8 is the most accurate: 63.2% [61.2, 65.2];"
        " ResNet, 4k images the least: 41.0% [38.0, 44.0] (120 images, 10 conditions).",
        "ViT/8 is 3.2 points [1.0, 5.4] more accurate than ResNet on the corruptions of test set"
        " (120 images, 10 conditions, p = 0.004 after Holm's correction).",
    ]


def test_what_is_said_of_corruptions_shifts_and_attacks(tables):
    assert texts(sentences.corruptions(tables, NAMES))[1:] == [
        "On test set, averaged over severities, accuracy ranges from 20.0% [18.0, 22.0] (ResNet, 4k images, gaussian"
        " noise) to 70.0% [68.0, 72.0] (ViT/8, fog) (120 images, 5 conditions each)."
    ]
    assert texts(sentences.shift(tables, NAMES)) == [
        "On renditions, all 2 models are equally accurate: 50.0% [48.0, 52.0] (60 images).",
        "On renditions (the set's classes), ViT/8 has 60.0% [58.0, 62.0] (60 images).",
        "Ranks of models by accuracy on the clean images of the reference set and on renditions correlate by"
        " 0.83 [0.40, 0.96] (9 models, p = 0.005).",
    ]
    assert texts(sentences.attacks(tables, NAMES)) == [
        "Under PGD (L∞ ≤ 1/255, 8 steps of 1/2040) on test set, ViT/8 has 25.0% [20.0, 30.0] (120 images)."
    ]
    assert texts(sentences.failures(tables, NAMES)) == [
        "ResNet, 4k images failed on renditions: ValueError: no weights."
    ]


def test_claims_are_said_by_outcome(tables):
    found = sentences.claims(tables["claims"], NAMES)
    assert {outcome: texts(claims[0].evidence) for outcome, claims in found.items() if claims} == {
        "supported": [
            "Test set, mean over corruptions: +3.2 points [1.0, 5.4] (120 images: ViT/8 and ResNet).",
        ],
        "not tested": ["Renditions, mean over corruptions: too few models."],
    }


def test_claims_about_one_model_and_its_pretraining_say_so():
    about = {"pretraining_dataset": "ImageNet-21k", "pretraining_images": 14_197_122}
    table = _table("claims", [claim(dataset=None, subject="vit", models="vit", **about)])
    assert texts(sentences.claims(table, NAMES)["supported"][0].evidence) == [
        "ViT/8, trained on ImageNet-21k, 14.2M images: +3.2 points [1.0, 5.4] (120 images)."
    ]
    row = claims_table({"claims": table}, NAMES).rows[0]
    assert [row[place].text for place in (3, 4)] == ["ViT/8", "ImageNet-21k, 14.2M images"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"dataset": None, "reason": "it would take two ViTs"}, "It would take two ViTs."),
        ({"dataset": None}, "Not tested."),
        ({}, "Test set: not tested."),
    ],
)
def test_a_claim_that_was_not_tested_tells_why(more, said):
    table = _table("claims", [claim(subject=None, effect=None, outcome="undecided", **more)])
    assert texts(sentences.claims(table, NAMES)["not tested"][0].evidence) == [said]


def test_a_mask_is_never_set_beside_itself():
    def limit(arm, distance, value, **more):
        return row("vit", value, arm=arm, distance=distance, **more)

    shown = [limit("local", 0.25, 0.6), limit("random", 0.25, 0.4), limit("local", 0.125, 0.2)]
    alone = limit("random", 0.125, 0.2, same_as="local")
    (said,) = sentences.inside({"attention_limit": _table("attention_limit", [*shown, alone])}, NAMES)
    assert said.text == (
        "With attention within 0.25 of the grid's side, ViT/8 gets 60.0% [58.0, 62.0] of test set right;"
        " with as many pairs masked at random, 40.0% [38.0, 42.0] (120 images)."
    )
    (said,) = sentences.inside({"attention_limit": _table("attention_limit", [shown[2], alone])}, NAMES)
    assert "at random" not in said.text and "20.0%" in said.text


def test_claims_that_were_not_tested_are_no_tests(tables):
    found = [claim(), claim(dataset="shifted", outcome="refuted"), claim(claim="second", outcome="undecided")]
    found += [claim(claim=name, outcome="undecided", effect=None, low=None, high=None) for name in ("third", "fourth")]
    counts = "3 tests of 4 claims: 1 supported, 1 refuted, 1 undecided; 2 claims could not be tested"
    chance = "At most 5% of tests are decided by chance alone, 2.5% on each side: of these 3, about 0.2."
    assert sentences.verdict(_table("claims", found)).text == f"{counts}. {chance}"
    assert alternative("Claims", _table("claims", found), NAMES) == f"Claims. {counts}."
    assert sentences.verdict(tables["claims"]).text == "1 test of 1 claim: 1 supported, 0 refuted, 0 undecided."


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "accuracy of ViTs minus that of ResNets"),
        ({"criterion": "it must end below the margin."}, "it must end below the margin of 5 points"),
        ({"criterion": "one within the margin", "unit": "ratio"}, "one within the margin of 5%"),
        ({"criterion": None}, ""),
    ],
)
def test_a_criterion_that_has_a_margin_tells_it(more, said):
    table = _table("claims", [claim(**more)])
    assert sentences.claims(table, NAMES, 0.05)["supported"][0].criterion == said
    assert claims_table({"claims": table}, NAMES, 0.05).rows[0][0].about == said


def test_claims_tell_policies_apart():
    policies = ("stored", "published", "corrupt_after_resize")
    table = _table("claims", [claim(label_mode="all", policy=policy) for policy in policies])
    said = texts(sentences.claims(table, NAMES)["supported"][0].evidence)
    sets = ["test set", "test set (as published)", "test set (corrupted after resize)"]
    assert [text.split(",")[0].lower() for text in said] == sets
    assert [line[2].text for line in claims_table({"claims": table}, NAMES).rows] == sets


def test_corruption_errors_are_ranked_without_the_reference_of_the_study():
    def errors(reference, **values):
        return [
            row(name, value, metric="mce", reference=reference, corruption=None, low=value - 5, high=value + 5)
            for name, value in values.items()
        ]

    found = errors("cnn", vit=90.0, few=143.6, cnn=100.0) + errors("AlexNet", vit=60.0, few=80.0, cnn=55.0)
    assert texts(sentences.corruption_errors({"corruption_error": _table("corruption_error", found)}, NAMES)) == [
        "Of the models other than ResNet, by mCE against it on test set, ViT/8 is the best: 90.0% [85.0, 95.0];"
        " ResNet, 4k images the worst: 143.6% [138.6, 148.6] (120 images).",
        "By mCE against AlexNet on test set, ResNet is the best: 55.0% [50.0, 60.0];"
        " ResNet, 4k images the worst: 80.0% [75.0, 85.0] (120 images).",
    ]


def test_corrupted_images_are_ranked_beside_their_own_clean_ones():
    about = {"metric": "spearman", "dataset": "shifted", "label_mode": "all", "policy": "stored", "value": 0.5, "n": 9}
    said = texts(sentences.shift({"trends": _table("trends", [about])}, NAMES))
    assert said == [
        "Ranks of models by accuracy on the clean images of renditions and on the corruptions of renditions correlate"
        " by 0.50 (9 models)."
    ]


def test_what_cannot_be_estimated_is_said_in_words():
    """Every table that has reasons: a sentence with each, no number that is none, and nothing without a reason."""
    few, over = "too few models: 6 of 10", {"dataset": "shifted", "family": "clean", "label_mode": "all"}
    over |= {"policy": "stored", "n": 6, "reason": few}
    slope = over | {"metric": "slope", "group": "ViT", "value": -0.2}
    effective = over | {"metric": "effective_robustness", "model": "vit", "reference": "test", "images": 60}
    error = {
        **{"model": "vit", "dataset": "test", "label_mode": "all", "policy": "stored", "reference": "cnn"},
        **{"metric": "mce", "n": 600, "images": 120},
    }
    none = error | {"reason": "the reference makes no error under fog"}
    unsure = error | {"metric": "relative_mce", "value": 412.0, "reason": "the reference loses too little under snow"}
    found = {
        "trends": _table("trends", [over | {"metric": "spearman"}, slope]),
        "effective_robustness": _table("effective_robustness", [effective]),
        "corruption_error": _table("corruption_error", [none, unsure]),
    }
    said = texts([*sentences.shift(found, NAMES), *sentences.sizes(found, NAMES)])
    assert said == [
        f"What accuracy on clean images predicts on renditions, this study cannot tell: {few}.",
        f"Whether models keep their ranks on renditions, this study cannot tell: {few}.",
        f"Whether errors of ViT fall with size, this study cannot tell: {few}.",
    ]
    assert texts(sentences.corruption_errors(found, NAMES)) == [
        "mCE against ResNet on test set has no value: the reference makes no error under fog.",
        "By relative mCE against ResNet on test set, ViT/8 has 412.0% (120 images, 5 conditions).",
        "Relative mCE against ResNet on test set has no interval: the reference loses too little under snow.",
    ]
    made = [trends(found, NAMES), effective_robustness(found, NAMES, {}), *corruption_errors(found, NAMES, {})]
    told = " ".join([*said, *(str(table) for table in made)])
    assert few in made[0].rows[0][4].interval and few in made[1].note
    assert made[2].rows[0][1].about == "the reference makes no error under fog"
    assert "nan" not in told and " inf" not in told


def test_pretraining_that_is_not_stated_is_said_so():
    about = {"dataset": "test", "family": "clean", "label_mode": "all", "policy": "stored", "value": -0.2, "n": 12}
    about |= {"low": -0.3, "high": -0.1}
    found = [about | {"metric": "slope", "group": "ViT"}, about | {"metric": "spearman"}]
    tables = {"trends": _table("trends", found)}
    assert [line[2].text for line in trends(tables, NAMES).rows] == ["not stated", "any"]
    assert texts(sentences.sizes(tables, NAMES)) == [
        "Errors of ViT (pre-training not stated) fall with size on test set: log-log slope −0.20 [−0.30, −0.10]"
        " (12 models)."
    ]
    unknown = model("cnn", "ResNet", pretraining_dataset=None, pretraining_images=None)
    tables = {"models": _table("models", [model("vit"), unknown])}
    made = glance(tables, NAMES, {})
    assert [line[3].text for line in made.rows] == ["many", "not stated"]
    assert protocol.missing({}, tables, NAMES, {})[1:] == [
        "Not known what these were pre-trained on, so no comparison by pre-training has them: ResNet."
    ]


def test_the_best_of_two_families_are_compared_once_a_set():
    """Thirty models of eight families, on six sets of which three are answered in two ways."""
    families = ["ConvNeXt", "ResNet", "Swin", "ViT", "Mixer", "BiT", "MaxViT", "DeiT"]
    models = [model(f"m{number:02d}", families[number % 8]) for number in range(30)]
    names, sets = [each["model"] for each in models], [f"set{number}" for number in range(6)]
    accuracy = [
        row(name, 0.9 - number / 100, dataset=dataset, label_mode=mode)
        for number, name in enumerate(names)
        for place, dataset in enumerate(sets)
        for mode in (("all", "subset") if place < 3 else ("all",))
    ]
    compare = [
        compared(one, other, 0.02, dataset=dataset, family="clean", label_mode=mode)
        for one, other in combinations(names, 2)
        for dataset in sets
        for mode in ("all", "subset")
    ]
    tables = {
        "models": _table("models", models),
        "accuracy": _table("accuracy", accuracy),
        "comparisons": _table("comparisons", compare),
    }
    said = [each.rows[0] for each in sentences.overview(tables, NAMES) if each.table == "comparisons"]
    assert [(found["model"], found["other_model"]) for found in said] == [("m01", "m03")] * 6, "ResNet and ViT"
    assert {(found["dataset"], found["label_mode"]) for found in said} == {(name, "all") for name in sets}
    tables["models"] = tables["models"].assign(
        family=tables["models"]["family"].replace({"ViT": "Swin", "DeiT": "Swin"}), kind=None
    )
    said = [each.rows[0] for each in sentences.overview(tables, NAMES) if each.table == "comparisons"]
    assert [(found["model"], found["other_model"]) for found in said] == [("m00", "m01")] * 6, "the two best families"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"unit": "correlation", "effect": 0.9, "low": 0.1, "high": 0.99, "n": 2, "sample": "models"},
            "correlation 0.90 [0.10, 0.99] (2 models",
        ),
        ({"unit": "slope", "effect": -0.151, "low": None, "high": None, "n": None}, "slope −0.15 (ViT/8 and ResNet)."),
        (
            {"unit": "ratio", "effect": 1.0, "low": 0.9, "high": 1.1, "models": ""},
            "ratio 1.00 [0.90, 1.10] (120 images).",
        ),
        ({"models": ",".join("abcdefg")}, "+3.2 points [1.0, 5.4] (120 images: 7 models)."),
        ({"dataset": None, "subject": None}, "This study: +3.2 points"),
        ({"reason": "Only two sizes."}, "ResNet). Only two sizes."),
    ],
)
def test_a_claim_says_what_it_has(more, said):
    found = sentences.claims(_table("claims", [claim(**more)]), NAMES)
    assert said in found["supported"][0].evidence[0].text


def test_differences_are_told_from_none():
    said = [
        difference(_table("comparisons", [compared("cnn", "vit", value, **more)]).iloc[0].to_dict(), NAMES, 75).text
        for value, more in (
            (-0.032, {}),
            (0.01, {"p_holm": 0.3}),
            (0.0, {"p_holm": 1.0, "family": "clean"}),
            (0.2, {"low": None, "high": None, "p_holm": 1e-9, "family": "natural"}),
            (0.2, {"p": None, "p_holm": None}),
        )
    ]
    assert said == [
        "ViT/8 is 3.2 points [1.0, 5.4] more accurate than ResNet on the corruptions of test set"
        " (120 images, 75 conditions, p = 0.004 after Holm's correction).",
        "ResNet and ViT/8 do not differ beyond chance on the corruptions of test set: 1.0 points [−1.2, 3.2]"
        " (120 images, 75 conditions, p = 0.3 after Holm's correction).",
        "ResNet and ViT/8 are equally accurate on test set (120 images, 75 conditions, p = 1 after Holm's correction).",
        "ResNet is 20.0 points more accurate than ViT/8 on natural of test set"
        " (120 images, 75 conditions, p < 0.001 after Holm's correction).",
        "ResNet and ViT/8 do not differ beyond chance on the corruptions of test set: 20.0 points [17.8, 22.2]"
        " (120 images, 75 conditions).",
    ]


def test_ties_and_unlike_denominators_are_told():
    frame = pd.DataFrame([row("vit", 0.9), row("cnn", 0.9), row("few", 0.2)])
    assert texts(extremes(frame, NAMES, "on it", "accuracy", sentences.ACCURACY)) == [
        "On it, ViT/8 and ResNet are the most accurate: 90.0% [88.0, 92.0];"
        " ResNet, 4k images the least: 20.0% [18.0, 22.0] (120 images)."
    ]
    frame = pd.DataFrame([row("vit", 0.9, n=50), row("cnn", 0.1, n=100)])
    assert "92.0] (50 of 120 images); ResNet the least: 10.0% [8.0, 12.0] (100 of 120 images)" in "".join(
        texts(extremes(frame, NAMES, "on it", "shape_bias", sentences.ACCURACY))
    )
    lowest_first = texts(extremes(frame, NAMES, "by ECE", "calibration", sentences.CALIBRATION))
    assert lowest_first[0].startswith("By ECE, ResNet is the best calibrated: 10.0%")
    assert extremes(frame.assign(value=np.nan), NAMES, "on it", "accuracy", sentences.ACCURACY) == []


def test_nothing_is_said_without_tables():
    every = [
        *(sentences.overview, sentences.corruptions, sentences.shift, sentences.sizes, sentences.attacks),
        *(sentences.spatial, sentences.texture, sentences.inside, sentences.calibration, sentences.failures),
        *(sentences.corruption_errors, sentences.comparisons, sentences.reproduction),
    ]
    empty = {name: schema.empty_table().to_pandas() for name, schema in SCHEMAS.items()}
    assert [say({}, NAMES) for say in every] == [[]] * len(every)
    assert [say(empty, NAMES) for say in every] == [[]] * len(every)
    assert sentences.verdict(None) is None
    assert not any(sentences.claims(None, NAMES).values())


def every_sentence(tables):
    for say in (sentences.overview, sentences.corruptions, sentences.shift, sentences.attacks, sentences.comparisons):
        yield from say(tables, NAMES)
    for claims in sentences.claims(tables["claims"], NAMES).values():
        yield from (sentence for claim in claims for sentence in claim.evidence)


def test_every_number_of_a_sentence_is_in_its_rows(tables):
    for sentence in every_sentence(tables):
        assert isinstance(sentence, Sentence)
        assert sentence.rows
        table = tables[sentence.table]
        for found in sentence.rows:  # its rows are rows of the table, be it the other way round
            keys = [key for key in ("dataset", "family", "label_mode", "outcome") if key in table]
            same = np.logical_and.reduce(
                [(table[key] == found[key]) | (table[key].isna() & pd.isna(found[key])) for key in keys]
            )
            assert same.any()
        assert _decimals(sentence.text) <= _written(sentence.rows)


def _decimals(text):
    """Numbers with decimals in a sentence, without their sign, but for those of names."""
    return set(re.findall(r"\d+\.\d+", text.replace("p < 0.05", "")))


def _written(rows):
    """Every way in which numbers of rows may be written."""
    numbers = [
        value for found in rows for value in found.values() if isinstance(value, (int, float)) and pd.notna(value)
    ]
    forms = {
        form.format(abs(scale * value))
        for value in numbers
        for scale in (1, 100)
        for form in ("{:.1f}", "{:.2f}", "{:.2g}")
    }
    return forms | {"0.001"}


def test_numbers_are_written_one_way():
    assert [share(value) for value in (0.12345, 1, np.nan)] == ["12.3%", "100.0%", "\N{EN DASH}"]
    assert [signed(value) for value in (0.0321, -0.0321, -0.00001)] == ["+3.2", "−3.2", "0.0"]
    assert interval({"low": -0.012, "high": 0.03}) == "[−1.2, 3.0]"
    assert interval({"low": np.nan, "high": 0.03}) == ""
    assert [p_value(value) for value in (0.00099, 0.004, 0.123, 1.0, None)] == [
        "p < 0.001",
        "p = 0.004",
        "p = 0.12",
        "p = 1",
        "",
    ]
    assert [magnitude(value) for value in (697_066, 86_567_656, 999_999, 12)] == ["697k", "86.6M", "1M", "12"]
    assert basis({"n": 9000, "images": 120}) == "120 images, 75 conditions"
    assert basis({"n": 1, "images": 1}) == "1 image"
    assert [listed(names) for names in ([], ["a"], ["a", "b", "c"], ["a, 1", "b"])] == [
        "",
        "a",
        "a, b and c",
        "a, 1; and b",
    ]


def test_a_study_asks_what_it_has_data_for(tables):
    assert title(tables) == "What 3 image classifiers withstand"
    assert question(tables, SPEC) == (
        "Which of these 3 models (1 ViT and 2 ResNet) withstand natural corruptions, shifts of distribution and"
        " adversarial perturbations, and how sure is that?"
    )
    alone = {"models": tables["models"].head(1)}
    assert question(alone, {"models": {"vit": {}}}) == "How well does this model withstand what, and how sure is that?"


def test_models_that_failed_are_counted_nowhere(tables):
    """Neither those that only the config knows, nor those whose rows have no value."""
    failed = sorted({*tables["accuracy"]["model"]} - {"vit"})
    left = {
        name: table.assign(value=table["value"].where(~table["model"].isin(failed)))
        for name, table in tables.items()
        if {"model", "value"} <= set(table.columns)
    }
    assert title(left) == "What 1 image classifier withstands"
    asked = question(left | {"models": tables["models"]}, SPEC | {"models": {name: {} for name in ("vit", *failed)}})
    assert asked.startswith("How well does this model withstand natural corruptions")
    assert title({"models": tables["models"]}) == "No image classifier has results"


# ---- tables


def test_models_at_a_glance_have_their_values(tables):
    made = glance(tables, NAMES, {"vit": "#123456"})
    first = dict(zip(made.columns, made.rows[0], strict=True))
    assert first["model"].text == "ViT/8"
    assert first["model"].color == "#123456"
    assert first["parameters"].text == "86.6M"
    assert (first["test set, clean"].text, first["test set, clean"].interval) == ("90.0%", "[88.0, 92.0]")
    assert first["test set, corrupted"].order == 0.632
    assert first["renditions"].text == "50.0%"
    assert first["renditions (the set's classes)"].text == "60.0%"
    assert first["PGD, 1/255"].text == "25.0%"
    assert made.rows[2][made.columns.index("renditions")].text == "\N{EN DASH}"


def test_tables_have_a_column_a_corruption_and_a_row_a_pair(tables):
    (by_type,) = by_corruption(tables, NAMES, {})
    assert list(by_type.columns) == ["model", "clean", "mean", "fog", "gaussian noise"]
    assert [cell.text for cell in by_type.rows[1]] == ["ResNet", "85.0%", "60.0%", "62.0%", "32.0%"]
    pairs = comparisons(tables, NAMES)
    assert [[cell.text for cell in line] for line in pairs.rows] == [
        ["ViT/8", "ResNet", "+3.2"],
        ["ResNet, 4k images", "ViT/8", "−22.2"],
    ]
    assert pairs.rows[0][2].strong
    assert pairs.rows[0][2].interval == "[1.0, 5.4], p = 0.004"
    assert pairs.rows[1][2].interval == "[−24.4, −20.0], p < 0.001"
    assert pairs.columns[2] == "test set, corrupted: 120 images"


def test_calibration_has_clean_images_and_means_alone():
    metrics = [row("vit", value, metric=metric) for metric, value in (("ece", 0.05), ("brier", 0.1), ("nll", 0.2))]
    single = row("vit", 0.9, metric="ece", family="natural", corruption="fog", severity=1)
    made = calibration(
        {"calibration": _table("calibration", [*metrics, pooled("vit", 0.2, metric="ece"), single])}, NAMES, {}
    )
    assert [[cell.text for cell in line] for line in made.rows] == [
        ["ViT/8", "test set, clean", "5.0%", "0.100", "0.200"],
        ["ViT/8", "test set, corrupted", "20.0%", "\N{EN DASH}", "\N{EN DASH}"],
    ]


def test_published_shares_and_percentages_are_told_apart():
    about = {
        **{"model": "vit", "dataset": "test", "experiment": "corruptions", "label_mode": "all", "policy": "stored"},
        **{"setting": None, "n": 120, "source": "hendrycks2019", "source_model": "ResNet-50", "protocol": None},
        "same_protocol": True,
    }
    rows = [
        about
        | {"metric": "accuracy", "value": 0.45, "low": 0.4, "high": 0.5, "published": 0.52, "reading_error": 0.007}
        | {"difference": -0.07, "agrees": False},
        about
        | {"metric": "mce", "value": 76.7, "low": 75.0, "high": 78.0, "published": 76.5, "reading_error": None}
        | {"difference": 0.2, "agrees": True},
    ]
    made = reproduction({"reproduction": pd.DataFrame(rows)}, NAMES)
    assert [[cell.text for cell in line[4:8]] for line in made.rows] == [
        ["45.0%", "52.0% ± 0.7", "−7.0", "no"],
        ["76.7", "76.5", "0.2", "yes"],
    ]
    assert texts(sentences.reproduction({"reproduction": pd.DataFrame(rows)}, NAMES)) == [
        "Of 2 values published under the same protocol, 1 lies in the intervals measured."
    ]


# ---- figures


def test_figures_are_named_and_described_by_their_data(tmp_path):
    assert kind_of("accuracy_by_severity-test.published") == ("accuracy_by_severity", "test", "published")
    figure(tmp_path, "clean_against_corrupted-test", "model,corrupted_value\nvit,0.632\ncnn,0.6\n")
    figure(tmp_path, "attacks", "")
    figure(tmp_path, "new_kind-shifted", "model,dataset,value,low,n\nvit,shifted,0.5,0.4,60\n")
    drawn, empty = pictures(sorted(tmp_path.glob("*.png")), NAMES, tmp_path / "report.html")
    assert empty == ["attacks"]
    assert [picture.title for picture in drawn] == ["Clean against corrupted: test set", "New kind: renditions"]
    assert drawn[0].alternative == (
        "Clean against corrupted: test set. 2 models: ViT/8 and ResNet. Values from 60.0% (ResNet) to 63.2% (ViT/8)."
    )
    assert drawn[1].caption == "60 images; intervals are 95%."
    assert (drawn[0].width, drawn[0].height) == (96, 48)  # 72 by 36 points


def test_alternatives_of_images_name_classes():
    data = pd.DataFrame({"sample_id": ["1", "2"], "class": ["disk", "heart"], "row": [0, 0]})
    assert alternative("The first images", data, NAMES) == "The first images. 2 images of disk and heart."
    data = pd.DataFrame({"sample_id": ["1"], "right": ["vit"], "other": ["cnn"]})
    assert alternative("Images", data, NAMES) == "Images. 1 image. 2 models: ViT/8 and ResNet."


def test_drawings_are_slim_and_large_ones_are_pictures(tmp_path):
    figure(tmp_path, "x", "")
    text = slim((tmp_path / "x.svg").read_text())
    assert '<path d="M 1.12 2.98"/>' in text
    assert "metadata" not in text
    files = (tmp_path / "x.svg", tmp_path / "x.png")
    assert embedded(*files, False, DETAILS[0])[0].startswith("data:image/svg+xml;base64,")
    assert embedded(*files, True, DETAILS[0])[0].startswith("data:image/webp;base64,")
    (tmp_path / "x.svg").write_text(f"<svg>{'<g></g>' * 50_000}</svg>")
    assert embedded(*files, False, DETAILS[0])[0].startswith(("data:image/png", "data:image/webp"))


@pytest.fixture
def noise():
    """A picture that hardly compresses."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 1600, 3), dtype=np.uint8))


def test_many_large_figures_lose_detail_but_not_size(tmp_path, noise):
    figure(tmp_path, "alone", "value,n\n1,2\n")
    (tmp_path / "alone.svg").unlink()
    noise.save(tmp_path / "alone.png")
    for number in range(6):
        for suffix in ("png", "csv"):
            (tmp_path / f"many-{number}.{suffix}").write_bytes((tmp_path / f"alone.{suffix}").read_bytes())
    (fine,), _ = pictures([tmp_path / "alone.csv"], NAMES, tmp_path / "report.html")
    many, _ = pictures(sorted(tmp_path.glob("many-*.png")), NAMES, tmp_path / "report.html")
    assert sum(len(picture.uri) for picture in many) <= ROOM < 6 * len(fine.uri)
    assert {(picture.width, picture.height) for picture in many} == {(1600, 600)}


# ---- the page


def test_the_page_says_all_of_it(study, tables):
    page = study()
    for sentence in every_sentence(tables):
        assert sentence.text.replace("'", "&#39;").replace("<", "&lt;") in page
    for said in (
        "What 3 image classifiers withstand",
        "Measured: accuracy of ViTs minus that of ResNets.",
        "To be measured: accuracy of ViTs minus that of ResNets.",
        "Not tested on renditions: “ViTs are ahead.” Too few models.",
        "L∞ ≤ 1/255, 8 steps of 1/2040; white box, on 120 images of test set.",
        "cifar (classes 10); the first 120 images; 32 px; clean and under natural",
        "none stated",  # the licence of CIFAR
        "Not attacked, by choice of the config: ResNet; and ResNet, 4k images.",
        "Figures that have nothing to show: held_out.",
        "timm 1.0, torch 2.0",
        "12.5 s",
        "vit.safetensors",
        'href="figures/clean_against_corrupted-test.csv"',
    ):
        assert said in page
    assert "limit:" not in page
    assert "Without results in this study: rotation and translation, cue conflict" in page


def test_the_same_inputs_make_the_same_bytes(study):
    assert study() == study()


def test_text_of_others_is_harmless(study):
    spec = SPEC | {"study": EVIL, "models": SPEC["models"] | {"vit": {"label": EVIL, "color": '"><script>'}}}
    spec["config"] = SPEC["config"] | {"note": EVIL}
    page = study(spec)
    assert EVIL not in page
    assert '"><script>' not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert len(re.findall("<script", page)) == 2  # the library as data, and the glue


def test_the_page_asks_nothing_of_the_network(study):
    page = re.sub(r'<script type="application/json".*?</script>', "", study(), flags=re.DOTALL)
    assert "default-src 'none'" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#|figures/|tables/)[^"]*"', page)
    assert "url(" not in page
    assert "@import" not in page


@pytest.mark.parametrize("name", [*SCHEMAS, "all"])
def test_a_study_may_lack_tables(name, study, rows):
    left_out = set(rows) if name == "all" else {name}
    page = study(without=left_out)
    left = (part for name, part in rows.items() if name not in left_out)
    asked = {"model", "label_mode", "value"}
    measured = {each["model"] for part in left for each in part if each.keys() >= asked and each["value"] is not None}
    assert (f"What {len(measured)} image classifiers withstand" if measured else "No image classifier has") in page
    assert ("The claims of the paper were not tested" in page) == (name in ("claims", "all"))


def test_data_of_figures_are_read_by_their_kind(tmp_path):
    """A model may be called 50 or NA, and a column of text may be empty."""
    names = Names({"50": "Fifty", "NA": "Not there", "None": "None"}, {"1": "One"})
    data = pd.DataFrame({"model": [*names.models], "dataset": "1", "corruption": None, "value": [0.5, 0.25, None]})
    data.to_csv(tmp_path / "new.csv", index=False)
    (tmp_path / "new.svg").write_text('<svg width="8pt" height="8pt"></svg>')
    Image.new("RGB", (8, 8)).save(tmp_path / "new.png")
    ((picture,), empty) = pictures([tmp_path / "new.csv"], names, tmp_path / "report.html")
    assert not empty
    assert "3 models: Fifty, Not there and None" in picture.alternative
    assert "Values from 25.0% (Not there, One) to 50.0% (Fifty, One)" in picture.alternative


def test_every_column_of_text_in_a_table_is_text_in_figures():
    modules = ("tabulate", "tabulate_attacks", "tabulate_internals", "tabulate_statistics", "tabulate_reproduction")
    found = [vars(importlib.import_module(f"withstand.steps.{name}")).values() for name in modules]
    schemas = [value for values in found for value in values if isinstance(value, pa.Schema)]
    assert len(schemas) > 15
    texts = {field.name for schema in schemas for field in schema if pa.types.is_string(field.type)}
    numbers = {field.name for schema in schemas for field in schema if not pa.types.is_string(field.type)}
    assert texts <= {*TEXT} and not numbers & {*TEXT}


def test_thirty_models_fit_in_five_megabytes(tmp_path):
    models = [f"m{number}" for number in range(30)]
    datasets = [f"d{number}" for number in range(5)]
    corruptions = [f"corruption_{number}" for number in range(15)]
    accuracy = []
    for number, name in enumerate(models):
        for dataset in datasets:
            accuracy += [row(name, 0.9 - number / 100, dataset=dataset), pooled(name, 0.6, dataset=dataset)]
            about = {"dataset": dataset, "family": "natural", "severity": None, "n": 600}
            accuracy += [row(name, 0.5, corruption=corruption, **about) for corruption in corruptions]
    pairs = [(one, other) for index, one in enumerate(models) for other in models[index + 1 :]]
    compare = [
        compared(*pair, 0.01, dataset=dataset, family=family)
        for pair in pairs
        for dataset in datasets
        for family in (None, "clean")
    ]
    found = {"accuracy": accuracy, "comparisons": compare, "models": [model(name) for name in models]}
    files = []
    for name, rows in found.items():
        files.append(tmp_path / f"{name}.parquet")
        write_table(pd.DataFrame(rows), SCHEMAS[name], files[-1])
    write_report({"study": "large", "models": {name: {} for name in models}}, files, [], tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 3e6  # figures come on top
    assert pq.read_metadata(files[1]).num_rows == 435 * 10


def test_the_protocol_tells_how_what_there_is_was_estimated(tables):
    every = {name: pd.DataFrame({"value": [0.5]}) for name in ("calibration", "corruption_error")}
    said = dict(
        protocol.protocol({}, {name: tables[name] for name in ("comparisons", "claims", "trends")} | every, NAMES)
    )
    assert "exact McNemar test" in said["comparison of two models"]
    assert "paired t-test" in said["comparison of two models"]
    assert "Holm's method" in said["comparison of two models"]
    assert f"with {BINS} bins" in said["calibration"]
    assert "at most 2 times the other's parameters" in said["claims"]
    assert "MOVER" in said["claims"]
    assert "no correction for the number of claims" in said["claims"]
    assert "jackknife" in said["corruption errors"]
    assert "Bonett" in said["trends over models"]
    assert "effective robustness" not in said
    assert list(dict(protocol.protocol({}, {}, NAMES))) == ["intervals"]


def test_choices_of_the_inside_are_in_words():
    config = {
        "internals": {
            "dataset": "test",
            "lesions": {"draws": 10, "stop_after": 2},
            "attention_limit": {"distances": [0.5, 0], "draws": 3, "class_only": [1, 2]},
            "similarity": {"minibatch": 20, "flattening": ["joint"]},
        }
    }
    said = dict(protocol.protocol({"config": config}, {}, NAMES))
    assert said["inside: lesions"] == (
        "blocks, MLPs and attentions are removed at inference; the residual path stays; each one alone; several at"
        " random, without the first block: 10 choices of each number; a curve ends after 2 numbers no better than"
        " chance."
    )
    assert said["inside: attention limit"] == (
        "Chebyshev distances of 0.5 and 0 of the grid's longer side; 3 random masks of as many pairs for each, one"
        " for all layers and heads; patches attend to the class token alone in the first, or the last, 1 and 2 blocks."
    )
    assert "20 images" in said["inside: similarity"]
    notes = {"lesions": {"not_applicable": [{"model": "cnn", "what": "lesion of mlp", "reason": "no MLP"}] * 2}}
    assert "Without meaning for ResNet: lesion of MLP (no MLP)." in protocol.missing({}, {}, NAMES, notes)
