"""Published numbers: the data, what they are set beside, and how figures show them."""

import importlib
import math
import pkgutil
from html import unescape

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from withstand import figures, published, timm_index
from withstand.config import load_study, read_config
from withstand.corruptions.constants import CORRUPTIONS, IMAGENET_C, IMAGENET_C_EXTRA
from withstand.datasets import catalogue
from withstand.datasets.registry import CORRUPTED_KINDS, KINDS
from withstand.figures.published import beside
from withstand.figures.reproduction import EXPERIMENTS
from withstand.interventions import reach
from withstand.metrics.corruption_error import ALEXNET
from withstand.metrics.reproduction import agree, attention_limit, lesion, reproduction_rows
from withstand.published import match
from withstand.published.match import has_published, identities
from withstand.steps.draw import draw_table
from withstand.steps.tabulate_reproduction import REPRODUCTION, tabulate_reproduction
from workflow_project import PROJECT

PAPER, NOTEBOOKS, TIMM, TESTBED = "bhojanapalli2021", "paul2022", "wightman2025", "taori2020"
B16 = "vit_base_patch16_384.orig_in21k_ft_in1k"
L16 = "https://storage.googleapis.com/vit_models/imagenet21k+imagenet2012/ViT-L_16.npz"


# The data


def test_every_source_is_described_and_has_values():
    files = {path.stem for path in published.FOLDER.glob("*.csv")} - {"models", "pretraining"}
    assert files == set(published.sources())
    keys = {"title", "authors", "year", "citation", "url", "read", "reading_error", "protocol"}
    assert all(keys | {"not_stated", "differences"} == set(about) for about in published.sources().values())
    counts = pd.DataFrame(published.values()).groupby("source").size().to_dict()
    assert counts == {
        **{PAPER: 502, NOTEBOOKS: 23, TIMM: 367, TESTBED: 256},
        **{"geirhos2019": 28, "croce2021": 28, "hendrycks2019": 2, "mao2022": 8},
    }


def test_a_value_has_one_row_and_a_possible_size():
    rows = pd.DataFrame(published.values())
    keys = ["source", "source_model", "pretraining_dataset", "set", "experiment", "metric", "label_mode", "policy"]
    assert not rows.duplicated([*keys, "input_size", "setting"]).any()
    values, errors = rows["value"].astype(float), pd.to_numeric(rows["reading_error"])
    shares = rows["metric"] != "mce"
    assert values[shares].between(0, 1).all()
    assert values[~shares].between(30, 110).all(), "percent of AlexNet's errors"
    digitised = rows["source"] == PAPER
    assert set(errors[digitised]) == {0.007, 0.01, 0.015, 0.02, 0.025, 0.1, 0.225}
    assert errors[~digitised].isna().all()


def test_values_are_named_as_tables_name_theirs():
    rows = pd.DataFrame(published.values())
    assert set(rows["set"]) - {*KINDS, *CORRUPTED_KINDS} == {"stylized_imagenet", "imagenet_3dcc"}
    assert set(rows["experiment"]) == set(EXPERIMENTS)
    assert set(rows["label_mode"]) == {"all", "subset", "categories"}
    assert set(rows["policy"]) == {"", "model", "plain", "swapped", "published", "cropped", "corrupt_after_resize"}
    assert set(rows.loc[rows["policy"].isin(["published", "cropped"]), "experiment"]) == {"corruptions"}
    assert {"imagenet_a", "imagenet_r"} == set(rows.loc[(rows["label_mode"] == "subset"), "set"]) - {"imagenet"}


def test_weights_are_known_and_belong_to_values():
    models = pd.DataFrame(published.models())
    named = set(models["weights"][~models["weights"].str.startswith("https://")])
    assert {name for name in named if name.split(".")[1] not in timm_index.tags()[name.split(".")[0]]} == set()
    keys = ["source", "source_model", "pretraining_dataset"]
    assert len(models.merge(pd.DataFrame(published.values())[keys].drop_duplicates(), on=keys)) == len(models)
    others = models[models["same_weights"] == "false"]
    assert (others["note"] != "").all()
    assert not models["pretraining_dataset"].str.contains("JFT").any(), "they were never published"


@pytest.mark.parametrize(
    ("source", "model", "pretraining", "keys", "percent"),
    [
        (PAPER, "ViT-B/16", "ImageNet-21k", {"set": "imagenet_a"}, 26.8),
        (PAPER, "ViT-H/14", "JFT-300M", {"set": "imagenet_c"}, 78.2),
        (PAPER, "ResNet-50x1", "ILSVRC-2012", {"set": "imagenet_a"}, 2.5),  # below an axis that begins at 5
        (PAPER, "ResNet-152x4", "ILSVRC-2012", {"experiment": "fgsm"}, 33.3),
        (PAPER, "ViT-L/32", "ImageNet-21k", {"experiment": "pgd"}, 24.6),
        (PAPER, "ResNet-50x1", "JFT-300M", {"experiment": "spatial"}, 45.3),
        (PAPER, "ViT-L/32", "ImageNet-21k", {"experiment": "shape"}, 58.2),
        (PAPER, "ViT-B/16", "ILSVRC-2012", {"setting": "block=8, block"}, 74.5),
        (PAPER, "ViT-B/16", "JFT-300M", {"setting": "block=2, attention"}, 46),
        (PAPER, "ViT-L/16", "JFT-300M", {"setting": "removed=8, mlp"}, 35),
        (PAPER, "ViT-L/16", "ImageNet-21k", {"setting": "d=6, random"}, 39.7),
        (PAPER, "ViT-B/16", "JFT-300M", {"setting": "last=4"}, 74.6),
        (NOTEBOOKS, "ViT-L/32", "ImageNet-21k", {"set": "imagenet_r"}, 34.36),
        (NOTEBOOKS, "BiT-S R101x3", "ILSVRC-2012", {}, 4.29),
        (TIMM, B16, "ImageNet-21k", {"set": "imagenet_r", "label_mode": "subset"}, 51.05),
        (TIMM, "resnet18.tv_in1k", "ILSVRC-2012", {"set": "imagenet_sketch"}, 20.238),
        (TESTBED, "resnet50", "ILSVRC-2012", {"policy": "corrupt_after_resize"}, 42.15),
        (TESTBED, "vgg16", "ILSVRC-2012", {"setting": "eps=2/255, steps=100"}, 7.11),
        ("croce2021", "Tian2022 DeiT-B", "", {"set": "imagenet_3dcc", "metric": "accuracy"}, 65.9),
        ("geirhos2019", "ResNet-50 trained on SIN", "Stylized-ImageNet", {"metric": "shape_bias"}, 80.6),
        ("mao2022", "ResNet-50", "ILSVRC-2012", {"set": "imagenet_c", "metric": "accuracy"}, 39.2),
    ],
)
def test_values_are_those_of_the_sources(source, model, pretraining, keys, percent):
    named = {"source": source, "source_model": model, "pretraining_dataset": pretraining} | keys
    (row,) = [row for row in published.values() if named.items() <= row.items()]
    assert float(row["value"]) == pytest.approx(percent / 100)


def test_mce_is_in_percent():
    found = {row["source"]: float(row["value"]) for row in published.values() if row["metric"] == "mce"}
    assert found["hendrycks2019"] == found["mao2022"] == 76.7


def test_digitised_values_are_within_their_errors_of_the_same_values_in_tables():
    """The notebooks ran the checkpoints of the paper's figure."""
    figure, tables = (
        {
            (row["source_model"], row["set"]): row
            for row in published.values()
            if row["source"] == source and row["pretraining_dataset"] == "ImageNet-21k" and row["experiment"] == "clean"
        }
        for source in (PAPER, NOTEBOOKS)
    )
    both = [key for key in tables if key in figure]
    assert len(both) == 8
    for key in both:
        assert float(figure[key]["value"]) == pytest.approx(float(tables[key]["value"]), abs=0.007), key


def test_two_sources_of_the_same_weights_agree():
    """timm and imagenet-testbed; their resizes differ, most for BiT."""
    rows = pd.DataFrame(published.values()).merge(
        pd.DataFrame(published.models()), on=["source", "source_model", "pretraining_dataset"]
    )
    keys = ["weights", "set", "experiment", "metric", "label_mode", "setting", "input_size", "policy"]
    timm, testbed = (
        rows[rows["source"] == source].set_index(keys)["value"].astype(float) for source in (TIMM, TESTBED)
    )
    both = timm.index.intersection(testbed.index)
    assert len(both) == 39
    apart = np.abs(timm[both] - testbed[both])
    is_bit = apart.index.get_level_values("weights").str.contains("_bit")
    assert apart[~is_bit].max() < 0.006
    assert apart[is_bit].max() < 0.02


# What a study has


@pytest.fixture
def imagenet(tmp_path, monkeypatch):
    """A folder to load studies of ImageNet in."""
    (tmp_path / "data/imagenet/val").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_corruption_sets_are_those_of_alexnets_errors():
    assert match.CORRUPTION_SETS["15 corruptions"] == set(ALEXNET) == set(IMAGENET_C)
    assert match.CORRUPTION_SETS["14 corruptions, without glass_blur"] == set(ALEXNET) - {"glass_blur"}
    archives = {name for group in catalogue.IMAGENET_C for name in group}
    assert archives == {*IMAGENET_C, *IMAGENET_C_EXTRA}


@pytest.fixture
def twentieth():
    """One more corruption, added before the modules that name published sets are imported."""
    with pytest.MonkeyPatch.context() as added:
        added.setitem(CORRUPTIONS, "dead_rows", CORRUPTIONS["fog"])
        importlib.reload(match)
        yield "dead_rows"
    importlib.reload(match)


def test_another_corruption_changes_no_published_set(imagenet, twentieth):
    fifteen = {"set": "imagenet_c", "setting": "15 corruptions"}
    found = match.identities(study(all={"corruptions": sorted(ALEXNET)}))["datasets"]["val"]["corrupted"]
    assert found == {"stored": fifteen}
    more = match.identities(study(all={"corruptions": [*sorted(ALEXNET), twentieth]}))["datasets"]["val"]["corrupted"]
    assert more == {"stored": fifteen | {"setting": "other corruptions"}}, "its mean is over sixteen"


def test_identities_of_the_papers_study(imagenet):
    found = identities(load_study(read_config(PROJECT / "studies/paper.yaml")))
    assert found["models"]["vit_b16_21k"] == {"weights": B16, "preprocessing": []}
    assert found["models"]["vit_l16_21k"]["weights"] == L16, "not those of timm's tag, which says the transform alone"
    assert found["models"]["r50x1"]["preprocessing"] == ["crop_pct"]
    assert found["datasets"]["val_384"] == {"set": "imagenet", "setting": "", "size": 384, "corrupted": {}}
    assert found["datasets"]["conflict"]["size"] is None, "stimuli are of the study's size"
    assert found["datasets"]["val_224"]["corrupted"] == {
        "published": {"set": "imagenet_c", "setting": "15 corruptions"}
    }
    known = {row["weights"] for row in published.models()}
    assert {about["weights"] for about in found["models"].values()} <= known


def study(models=None, **families):
    """A study of ImageNet, corrupted as families say."""
    config = {
        "study": "small",
        "models": models or {"r50": {"timm": "resnet50.tv_in1k"}},
        "datasets": {
            "val": {"source": {"kind": "imagenet", "path": "data/imagenet/val"}, "families": list(families)},
            "v2": {"source": {"kind": "imagenet_v2", "variant": "matched-frequency"}, "policy": "model"},
        },
        "families": families,
    }
    return load_study(config)


def test_families_are_told_apart_by_their_corruptions(imagenet):
    names = sorted(ALEXNET)
    some = {"corruptions": [name for name in names if name != "glass_blur"], "policy": "corrupt_after_resize"}
    found = identities(study(some=some))["datasets"]
    fourteen = {"set": "imagenet_c", "setting": "14 corruptions, without glass_blur"}
    assert found["val"]["corrupted"] == {"corrupt_after_resize": fourteen}
    assert found["v2"]["setting"] == "matched-frequency"
    one = ["glass_blur"]
    split = identities(study(some={"corruptions": some["corruptions"]}, other={"corruptions": one}))["datasets"]["val"]
    assert split["corrupted"]["stored"]["setting"] == "15 corruptions", "families of one policy are pooled"
    weak = identities(study(weak={"corruptions": names, "severities": [1, 2]}))["datasets"]["val"]
    assert weak["corrupted"]["stored"]["setting"] == "other corruptions"


def test_changed_models_are_not_the_published_ones(imagenet):
    lesion_of_one = [{"kind": "lesion", "part": "block", "blocks": [3]}]
    models = {
        "other": {"timm": "resnet50.tv_in1k", "kwargs": {"drop_rate": 0.1}},
        "hurt": {"timm": "deit_small_patch16_224.fb_in1k", "interventions": lesion_of_one},
        "zoo": {"zoo": "vit_p16_small"},
    }
    changed = study(models)
    assert {about["weights"] for about in identities(changed)["models"].values()} == {None}
    assert not has_published(changed)
    assert has_published(study())


# Matching

IDENTITIES = {
    "models": {
        "vit": {"weights": B16, "preprocessing": []},
        "r50": {"weights": "resnet50.tv_in1k", "preprocessing": []},
        "bit": {"weights": "resnetv2_50x1_bit.goog_in21k_ft_in1k", "preprocessing": []},
        "convnext": {"weights": "convnext_base.fb_in22k_ft_in1k", "preprocessing": []},
        "augreg": {"weights": "vit_base_patch16_384.augreg_in1k", "preprocessing": []},
        "mine": {"weights": None, "preprocessing": []},
    },
    "datasets": {
        "val": {"set": "imagenet", "setting": "", "size": None, "corrupted": {}},
        "stored": {
            **{"set": "imagenet", "setting": "", "size": 224},
            "corrupted": {
                "published": {"set": "imagenet_c", "setting": "15 corruptions"},
                "corrupt_after_resize": {"set": "imagenet_c", "setting": "14 corruptions, without glass_blur"},
            },
        },
        "big": {"set": "imagenet", "setting": "", "size": 384, "corrupted": {}},
        "a": {"set": "imagenet_a", "setting": "", "size": None, "corrupted": {}},
        "conflict": {"set": "cue_conflict", "setting": "", "size": None, "corrupted": {}},
    },
}
MODELS = pd.DataFrame(
    {
        "model": list(IDENTITIES["models"]),
        "family": "any",
        "parameters": 1,
        "pretraining_images": 1,
        "input_size": [384, 224, 448, 288, 384, 224],
        "grid": [24.0, math.nan, math.nan, math.nan, 24.0, math.nan],
    }
)


def measured(model, dataset, value, **more):
    defaults = {"family": "clean", "corruption": "clean", "severity": 0, "label_mode": "all", "policy": "model"}
    spread = {"value": value, "low": value - 0.005, "high": value + 0.005, "n": 50_000, "images": 50_000}
    return {"model": model, "dataset": dataset, "metric": "accuracy"} | defaults | spread | more


def reproduced(rows, table="accuracy"):
    return reproduction_rows({table: pd.DataFrame(rows)}, MODELS, IDENTITIES)


def test_label_modes_are_never_mixed():
    rows = [measured("vit", "a", 0.27, images=7500), measured("vit", "a", 0.5, label_mode="subset", images=7500)]
    found = reproduced(rows).set_index(["source", "label_mode"])
    assert found["published"].to_dict() == {
        (PAPER, "all"): 0.268,
        (NOTEBOOKS, "all"): 0.2667,
        (TIMM, "subset"): 0.50053,
        (TESTBED, "subset"): 0.5064,
    }
    assert found["same_protocol"].all()


def test_means_over_corruptions_are_told_apart():
    pooled = {"family": None, "corruption": None, "severity": None}
    rows = [
        measured("r50", "stored", 0.39, policy="published", **pooled),
        measured("r50", "stored", 0.42, policy="corrupt_after_resize", **pooled),
        measured("r50", "stored", 0.9, policy="published", family="noise", corruption=None, severity=None),
    ]
    found = reproduced(rows)
    assert set(found[["policy", "source", "published"]].itertuples(index=False, name=None)) == {
        ("corrupt_after_resize", TESTBED, 0.4215),  # 14 corruptions, made at the model's size
        ("published", TESTBED, 0.381),  # 15, of the files
        ("published", "croce2021", 0.3948),
        ("published", "mao2022", 0.392),
    }
    of = found.set_index("published")
    assert "resized and cropped again" in of.loc[0.381, "protocol"]
    assert "published on 5,000 images, here 50,000" in of.loc[0.3948, "protocol"]
    assert of["same_protocol"].to_dict() == {0.4215: True, 0.381: False, 0.3948: False, 0.392: True}


def test_mce_is_compared_with_mce_against_alexnet_alone():
    row = measured("r50", "stored", 76.7, policy="published", metric="mce", low=76, high=77, corruption=None)
    found = reproduced([row | {"reference": "AlexNet"}, row | {"reference": "r50", "value": 100.0}], "corruption_error")
    assert set(found["value"]) == {76.7}
    assert set(found["published"]) == {76.7, 78.2, 76.38}


def test_mce_is_comparable_whatever_other_corruptions_a_study_has():
    """It counts the fifteen alone; the mean accuracy counts all."""
    others = {"published": {"set": "imagenet_c", "setting": "other corruptions"}}
    stored = IDENTITIES["datasets"]["stored"] | {"corrupted": others}
    pooled = {"policy": "published", "corruption": None}
    error = measured("r50", "stored", 76.7, metric="mce", low=76, high=77, reference="AlexNet", **pooled)
    mean = measured("r50", "stored", 0.39, family=None, severity=None, **pooled)
    tables = {"corruption_error": pd.DataFrame([error]), "accuracy": pd.DataFrame([mean])}
    found = reproduction_rows(tables, MODELS, IDENTITIES | {"datasets": {"stored": stored}})
    assert set(found["metric"]) == {"mce"} and set(found["published"]) == {76.7, 78.2, 76.38}


def test_a_source_of_several_sizes_gives_the_models():
    found = reproduced([measured("convnext", "val", 0.863)])
    assert found[["published", "same_protocol"]].to_numpy().tolist() == [[0.86302, True]]


def test_known_differences_are_named():
    found = reproduced([measured("bit", "val", 0.80), measured("augreg", "val", 0.81)]).set_index(["model", "source"])
    assert "published at 480 px, here 448" in found.loc[("bit", TESTBED), "protocol"]
    assert found.loc[("bit", TIMM), "same_protocol"]
    paper = found.loc[("augreg", PAPER)]
    assert not paper["same_protocol"]
    assert paper["protocol"].startswith("other weights: a later recipe")
    assert paper["published"] == 0.778
    stored = reproduced([measured("r50", "stored", 0.76, policy="stored", images=1000)]).set_index("source")
    assert "here stored at 224 px and resized" in stored.loc[TIMM, "protocol"]
    assert "published on 50,000 images, here 1,000" in stored.loc[TIMM, "protocol"]


def test_models_and_sets_of_the_users_own_have_no_published_values():
    assert reproduced([measured("mine", "val", 0.8)]).empty
    assert reproduced([measured("vit", "elsewhere", 0.8)]).empty


def attack(model, name, steps, value, **more):
    about = {"attack": name, "norm": "linf", "eps": "1/255", "steps": steps, "target": "none", "random_start": False}
    step_size = {"step_size": "1/255" if steps == 1 else "1/2040", "step": None}
    return measured(model, "big", value, policy="stored", images=1000, **about | step_size | more)


def test_attacks_are_told_by_what_they_do_not_by_their_names():
    rows = [
        attack("vit", "one", 1, 0.31),
        attack("vit", "many", 8, 0.10),
        attack("vit", "strong", 8, 0.01, eps="4/255"),
        attack("vit", "aimed", 8, 0.5, target="random"),
        attack("r50", "half", 100, 0.06, eps="2/255"),
        attack("r50", "quick", 10, 0.06, eps="2/255"),
    ]
    found = reproduced(rows, "attacks").set_index("attack")
    assert found["published"].to_dict() == {"one": 0.313, "many": 0.102, "half": 0.0632}
    assert found["experiment"].to_dict() == {"one": "fgsm", "many": "pgd", "half": "pgd"}
    assert "not stated: how images were resized, steps, step size, random start" in found.loc["many", "protocol"]
    assert found.loc["many", "same_protocol"], "the rest is not known to differ"


def test_lesions_and_limits_are_told_by_part_number_and_distance():
    base = {"draw": math.nan, "policy": "stored"}
    none = {"arm": "local", "distance": math.nan, "blocks": math.nan}
    limits = [
        measured("vit", "big", 0.83, **base | none | {"arm": "none"}),
        measured("vit", "big", 0.5, **base | none | {"distance": 4 / 24}),
        measured("vit", "big", 0.1, **base | none | {"distance": 4 / 24, "arm": "random"}),
        measured("vit", "big", 0.1, **base | none | {"distance": 4 / 24, "arm": "random", "draw": 1}),
        measured("vit", "big", 0.1, **base | none | {"distance": 5 / 24}),
    ]
    found = reproduced(limits, "attention_limit").set_index("setting")["published"]
    assert found.to_dict() == {"d=none": 0.84, "d=4, local": 0.516, "d=4, random": 0.091}
    removed = [
        measured("augreg", "big", 0.7, **base, part="mlp", removed=1, block=3),
        measured("augreg", "big", 0.6, **base, part="mlp", removed=4, block=math.nan),
    ]
    found = reproduced(removed, "lesions").set_index("setting")["published"]
    assert found.to_dict() == {"block=3, mlp": 0.76, "removed=4, mlp": 0.58}


def test_names_of_settings():
    assert lesion("none", 0, math.nan) == "intact"
    assert attention_limit("first", math.nan, 2, 24) == "first=2"
    assert attention_limit("local", 0.5, math.nan, math.nan) == "d=unknown"
    for side in (12, 14, 24, 27, 37):
        for patches in range(side + 1):
            name = attention_limit("local", patches / side, math.nan, side)
            assert name == f"d={reach((side, side), patches / side)}, local" == f"d={patches}, local"


def test_shapes_are_compared_by_metric():
    about = {"label_mode": "categories", "policy": "stored", "images": 1200}
    metrics = {"shape_accuracy": 0.135, "texture_accuracy": 0.477, "shape_bias": 0.22}
    rows = [measured("r50", "conflict", value, metric=metric, **about) for metric, value in metrics.items()]
    found = reproduced(rows, "shape_bias")
    named = found[["metric", "setting", "published"]].fillna({"setting": "not told apart"})
    assert set(named.itertuples(index=False, name=None)) == {
        ("shape_accuracy", "not told apart", 0.135),
        ("texture_accuracy", "not told apart", 0.477),
        ("shape_bias", "not told apart", 0.221),
        ("shape_bias", "mean probability of each category", 0.2139),
    }


@pytest.mark.parametrize(
    ("value", "error", "low", "high", "expected"),
    [
        (0.5, 0.0, 0.5, 0.6, True),
        (0.5, 0.0, 0.4, 0.5, True),
        (0.5, 0.0, 0.5001, 0.6, False),
        (0.268, 0.007, 0.275, 0.3, True),  # 0.268 + 0.007 is less than 0.275 or more, as it is rounded
        (0.268, 0.007, 0.2, 0.261, True),
        (0.268, 0.007, 0.2751, 0.3, False),
        (0.268, 0.007, 0.2, 0.2609, False),
        (0.5, 0.2, 0.49, 0.51, True),
    ],
)
def test_values_agree_where_they_meet(value, error, low, high, expected):
    assert bool(agree(*(pd.Series([number]) for number in (value, error, low, high)))[0]) is expected


def test_differences_have_a_sign():
    found = reproduced([measured("vit", "a", 0.30, images=7500)]).set_index("source")
    assert found.loc[NOTEBOOKS, "difference"] == pytest.approx(0.30 - 0.2667)
    assert not found.loc[NOTEBOOKS, "agrees"]
    close = reproduced([measured("vit", "a", 0.28, images=7500)]).set_index("source")
    assert close.loc[PAPER, "agrees"], "0.268 + 0.007 meets the interval from 0.275"
    assert not close.loc[NOTEBOOKS, "agrees"], "0.2667, exactly, does not"


# The step, and figures


def write(rows, path):
    pd.DataFrame(rows).to_parquet(path)
    return path


def test_a_study_without_published_values_has_a_table_without_rows(tmp_path):
    models, output = write(MODELS, tmp_path / "models.parquet"), tmp_path / "reproduction.parquet"
    accuracy = write([measured("mine", "val", 0.8)], tmp_path / "accuracy.parquet")
    for tables in ({}, {"accuracy": accuracy}):
        tabulate_reproduction(models, IDENTITIES, output, **tables)
        table = pq.read_table(output)
        assert table.num_rows == 0
        assert table.schema.equals(REPRODUCTION)


@pytest.fixture
def spatial(tmp_path):
    """The table of models, a table of rotations, and the reproduction of it."""
    about = {"policy": "stored", "images": 1000, "n": 1000, "draws": 10}
    names = {"clean_accuracy": 0.83, "mean": 0.7, "worst_of_draws": 0.6, "worst": 0.58}
    rows = [
        measured(model, "big", value, metric=metric, **about)
        for metric, value in names.items()
        for model in ("vit", "mine")
    ]
    models, table = write(MODELS, tmp_path / "models.parquet"), write(rows, tmp_path / "spatial.parquet")
    tabulate_reproduction(models, IDENTITIES, tmp_path / "reproduction.parquet", spatial=table)
    return table, models, tmp_path / "reproduction.parquet"


def drawn(kind, folder, table, models, datasets=("big",), **more):
    paths = {key: folder / f"{kind}.{suffix}" for key, suffix in (("svg", "svg"), ("png", "png"), ("data", "csv"))}
    draw_table(kind, table, models, list(datasets), {}, **paths, **more)
    return [path.read_bytes() for path in paths.values()]


def test_published_values_are_drawn_where_a_model_matches(spatial, tmp_path):
    table, models, reproduction = spatial
    alone = drawn("spatial", tmp_path, table, models)
    with_values = drawn("spatial", tmp_path, table, models, reproduction=reproduction)
    assert "published" not in alone[0].decode()
    assert ">published<" in with_values[0].decode()
    assert "Bhojanapalli et al. 2021" in with_values[0].decode()
    data = pd.read_csv(tmp_path / "spatial.csv")
    shown = data[data["published"].notna()]
    assert shown[["model", "metric", "published", "source"]].to_numpy().tolist() == [["vit", "worst", 0.576, PAPER]]
    assert len(data) == 8


def test_without_a_match_a_figure_stays_as_it_is(spatial, tmp_path):
    table, models, _ = spatial
    nothing = tmp_path / "nothing.parquet"
    tabulate_reproduction(models, IDENTITIES, nothing)
    assert drawn("spatial", tmp_path, table, models) == drawn("spatial", tmp_path, table, models, reproduction=nothing)


def test_of_several_published_values_one_of_the_same_protocol_is_drawn():
    data = pd.DataFrame([measured("r50", "stored", 0.39, policy="published", metric="accuracy")])
    rows = data.assign(reading_error=math.nan)
    several = pd.concat(
        [
            rows.assign(published=0.381, source=TESTBED, same_protocol=False),
            rows.assign(published=0.392, source="mao2022", same_protocol=True),
            rows.assign(published=0.395, source="croce2021", same_protocol=False),
        ]
    )
    assert beside(data, several)["published"].tolist() == [0.392]


def test_figures_with_published_values_are_those_that_the_package_names():
    modules = [module.name for module in pkgutil.iter_modules(figures.__path__)]
    found = [
        name for name in modules if hasattr(importlib.import_module(f"withstand.figures.{name}"), "with_published")
    ]
    assert sorted(found) == sorted(published.FIGURES)


def test_the_figure_of_reproduction_names_sources_and_what_does_not_agree(tmp_path):
    rows = [measured("vit", "a", 0.28, images=7500), measured("r50", "val", 0.761), measured("bit", "val", 0.9)]
    models, output = write(MODELS, tmp_path / "models.parquet"), tmp_path / "reproduction.parquet"
    tabulate_reproduction(models, IDENTITIES, output, accuracy=write(rows, tmp_path / "accuracy.parquet"))
    svg = unescape(drawn("reproduction", tmp_path, output, models, ["val", "a"])[0].decode())
    assert "1 of 2 agree<" in svg, "of ImageNet-A: the figure, not the notebook"
    assert ">bit<" in svg
    assert ">r50<" not in svg
    assert all(published.sources()[name]["citation"] in svg for name in (PAPER, NOTEBOOKS, TIMM, TESTBED))
    data = pd.read_csv(tmp_path / "reproduction.csv")
    assert len(data) == pq.read_metadata(output).num_rows
