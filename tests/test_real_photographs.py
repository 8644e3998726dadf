"""A whole study of real photographs: everything that is asked of models, to the report. Nobody here made an image.

EfficientNet-Lite0 is an ImageNet model with its published weights; the ViT, without which there would be no patches and
no attention, has random weights, and right for it is only what holds for any model.
"""

import re

import numpy as np
import pandas as pd
import pytest
import timm
import torch

from in_process import commands, run
from photographs import ENTRY, class_folders, efficientnet_weights, labelled_table
from withstand import blocks
from withstand.errors import NotApplicableError
from withstand.models import save_weights
from workflow_project import Project

VIT = {"embed_dim": 48, "depth": 3, "num_heads": 3}
STUDY = {
    "study": "real",
    "seed": 3,
    "models": {
        "lite0": ENTRY | {"checkpoint": "lite0.safetensors", "family": "EfficientNet", "label": "EfficientNet-Lite0"},
        "random": {
            **{"timm": "vit_tiny_patch16_224", "kwargs": VIT, "checkpoint": "vit.safetensors", "family": "ViT"},
            **{"label_space": "imagenet-1k", "label": "random ViT"},
        },
    },
    "datasets": {
        "foolbox": {
            "source": {"kind": "folder", "path": "photographs", "named_by": "index"},
            **{"samples": 20, "choose": "random", "families": ["fog"]},
        },
        "own": {
            "source": {"kind": "folder", "path": "photographs", "named_by": "index"},
            **{"samples": 20, "policy": "model"},
        },
        "skimage": {
            "source": {"kind": "folder", "path": "flat", "labels": "flat.csv", "named_by": "index"},
            **{"samples": 3, "policy": "model"},
        },
    },
    "families": {"fog": {"corruptions": ["fog"], "severities": [5]}},
    "attacks": {
        "dataset": "foolbox",
        "patch_sizes": [32],
        "perturbations": {"fgsm": {"kind": "fgsm"}, "pgd": {"kind": "pgd", "steps": 2, "step_size": "1/510"}},
        "spatial": {"angles": 3, "shifts": 1, "draws": 2},
    },
    "internals": {
        **{"dataset": "foolbox", "samples": 8, "similarity": {"minibatch": 4}},
        "lesions": {"parts": ["block"], "counts": [2], "draws": 2},
        "attention_limit": {"distances": ["1/7"], "draws": 2, "class_only": [1]},
        "attention_distance": {},
    },
    "statistics": {"baseline": "random"},
    "images": {"size": 224},
    "figures": {"dpi": 50},
}
LITE0_CLEAN, LITE0_RESIZED = 0.9, 0.85
"""Of its twenty photographs: by its own resize and crop, and of the study's images."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Project:
    project = Project.fresh(tmp_path_factory.mktemp("whole") / "project")
    class_folders(project.folder / "photographs")
    labelled_table(project.folder / "flat")
    efficientnet_weights(project.folder / "lite0.safetensors")
    torch.manual_seed(0)
    save_weights(project.folder / "vit.safetensors", timm.create_model("vit_tiny_patch16_224", **VIT).state_dict())
    project.configure(STUDY)
    assert run(project, commands(project)) == []
    return project


@pytest.fixture
def table(whole):
    """Rows of a table of one model, over all outputs where there are several modes."""

    def read(name: str, model: str = "lite0", **keys) -> pd.DataFrame:
        rows = pd.read_parquet(whole.folder / f"results/real/tables/{name}.parquet")
        rows = rows[rows["model"] == model]
        keys |= {"label_mode": "all"} if "label_mode" in rows else {}
        for key, value in keys.items():
            rows = rows[rows[key] == value]
        return rows

    return read


def one(rows: pd.DataFrame, **keys) -> float:
    """The value of the one row with these keys."""
    for key, value in keys.items():
        rows = rows[rows[key].isna() if value is None else rows[key] == value]
    (value,) = rows["value"]
    return value


def test_accuracy_is_as_known(table):
    accuracy = table("accuracy")
    assert one(accuracy, dataset="own", family="clean") == LITE0_CLEAN
    assert one(accuracy, dataset="foolbox", family="clean") == LITE0_RESIZED
    assert one(accuracy, dataset="skimage", family="clean") == pytest.approx(2 / 3), "a tabby is no tiger cat"
    assert one(accuracy, dataset="foolbox", family="fog", corruption="fog", severity=5) < LITE0_RESIZED
    assert one(table("accuracy", "random"), dataset="own", family="clean") <= 0.05
    (errors,) = table("corruption_error", metric="mce")["value"]
    assert errors < 100, "of the errors of random weights"


def test_attacks_and_their_transfer(table):
    for attack in ("fgsm", "pgd"):
        rows = table("attacks", attack=attack)
        assert one(rows, metric="clean_accuracy") == LITE0_RESIZED
        assert one(rows, metric="accuracy") < LITE0_RESIZED
        own = one(table("transfer", attack=attack, source="lite0"), metric="fooled")
        assert own == one(rows, metric="fooled") > 0.2
        # perturbations of a grey level for random weights look like weak noise to a trained model
        assert one(table("transfer", attack=attack, source="random"), metric="fooled") < own


def test_perturbations_against_patches_know_of_no_foreground(table):
    """Photographs in files come without masks, which once ended every such study."""
    for model, own in (("lite0", set()), ("random", {16.0})):
        rows = table("patch_alignment", model)
        assert set(rows["metric"]) == {"edge_ratio", "border_ratio"} and set(rows["attack"]) == {"fgsm", "pgd"}
        assert set(rows.loc[rows["own"].astype(bool), "patch_size"]) == own
        assert {32.0} | own == set(rows["patch_size"]) and rows["value"].between(0.5, 2).all()
        assert set(rows["policy"]) == {"stored"} and set(rows["n"]) == {20}


def test_rotation_and_translation(table):
    rows = table("spatial")
    assert one(rows, metric="accuracy", angle=0) == LITE0_RESIZED, "no rotation, no shift"
    worst, mean = one(rows, metric="worst"), one(rows, metric="mean")
    assert worst <= min(rows.loc[rows["metric"] == "accuracy", "value"]) <= mean <= LITE0_RESIZED


def blocks_of(architecture: str, **kwargs) -> tuple[set[int], set[int]]:
    """All of a network's residual blocks, and those that may be removed; none where its kind is not known."""
    network = timm.create_model(architecture, **kwargs)
    try:
        return {block.index for block in blocks.find(network)}, set(blocks.removable(network))
    except NotApplicableError:
        return set(), set()


BLOCKS = {"lite0": blocks_of(ENTRY["timm"]), "random": blocks_of("vit_tiny_patch16_224", **VIT)}


@pytest.mark.parametrize("model", BLOCKS)
def test_lesions_and_similarity_of_all_blocks(table, model):
    found, removable = BLOCKS[model]
    lesions = table("lesions", model)
    intact = one(lesions, part="none")
    assert set(lesions["images"]) == {8} and (intact >= 0.6 if model == "lite0" else intact <= 0.2)
    assert set(lesions.loc[lesions["design"] == "single", "block"]) == removable
    similar = table("similarity", model, metric="cka", other_model=model)
    same = similar[(similar["layer"] == similar["other_layer"]) & (similar["summary"] == similar["other_summary"])]
    assert len(same["layer"].unique()) >= len(found) and np.allclose(same["value"], 1, atol=1e-5)


def test_attention_of_the_vit_alone(table):
    assert {*BLOCKS["random"][0]} == {0, 1, 2} == set(table("attention_distance", "random")["block"])
    assert set(table("attention_limit", "random")["arm"]) == {"none", "local", "random", "first", "last"}
    assert set(table("attention_limit")["arm"]) <= {"none"}, "a convolutional network has no attention"


def test_the_report_has_all_of_it(whole):
    results = whole.folder / "results/real"
    assert pd.read_parquet(results / "tables/failures.parquet").empty
    claims = pd.read_parquet(results / "tables/claims.parquet")
    assert claims["claim"].nunique() >= 21 and claims["effect"].notna().any()
    page = (results / "report.html").read_text()
    page = re.sub(r'<script type="application/json".*?</script>', "", page, flags=re.DOTALL)
    for said in (
        *("What 2 image classifiers withstand", "Natural corruptions", "Adversarial perturbations", "Comparisons"),
        *("Rotation and translation", "The inside of models", "Calibration", "Corruption errors"),
        *("20 images chosen at random by the seed 3", "the first 20 images", "the first 3 images"),
    ):
        assert said in page
    for figure in ("transfer-fgsm", "patch_alignment", "spatial", "lesion_single", "claims", "perturbations-pgd"):
        assert list((results / "figures").glob(f"{figure}*.svg")), figure
