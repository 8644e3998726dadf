"""Whole studies of images in files, run by Snakemake: a mirror for the network, a second dataset, a second model."""

import copy
import gzip
import json
import tarfile

import numpy as np
import pandas as pd
import pytest
from snakemake.iocontainers import Wildcards

from archives_of_images import picture, write_tar
from photographs import ENTRY, class_folders, efficientnet_weights
from test_sources import cifar_archive, tiny_imagenet_c
from withstand.config import load_study
from withstand.dag import Dag
from withstand.datasets.shape_categories import CATEGORIES
from workflow_project import Project

REAL = {
    "study": "real",
    "models": {"lite0": ENTRY | {"checkpoint": "lite0.safetensors", "family": "EfficientNet"}},
    "datasets": {
        "photographs": {
            "source": {"kind": "folder", "path": "photographs", "named_by": "index"},
            "samples": 20,
            "policy": "model",
        },
        "conflict": {"source": {"kind": "cue_conflict"}, "samples": 48},
    },
    "images": {"size": 224, "shard_size": 30},
}

CIFAR = {
    "study": "cifar",
    "models": {
        "colors": {
            "function": "own_model:mean_color",
            "label_space": "cifar-10",
            "preprocessing": {"input_size": 32, "mean": [0, 0, 0], "std": [1, 1, 1]},
        }
    },
    "datasets": {
        "test": {
            "source": {"kind": "cifar", "classes": 10, "path": "cifar.tar"},
            "samples": 40,
            "families": ["made", "published"],
        },
        "again": {"source": {"kind": "cifar", "classes": 10, "path": "cifar.tar"}, "samples": 40, "families": ["read"]},
    },
    "families": {
        "made": {"corruptions": ["fog"], "severities": [1, 5]},
        "published": {
            "source": {"kind": "cifar_c", "classes": 10, "path": "c"},
            "corruptions": ["fog"],
            "severities": [1, 5],
        },
    },
    "images": {"size": 32},
}
CIFAR["families"]["read"] = CIFAR["families"]["published"] | {"materialize": False}


def conflict_archive(path) -> None:
    """All 1,280 stimuli, of one colour each, as the release has them: compressed as a whole."""
    names = [(shape, texture, number) for shape in CATEGORIES for texture in CATEGORIES for number in range(5)]
    files = {
        f"cue-conflict/{shape}/{shape}{number + 1}-{texture}{number + 1}.png": picture(hash_of, (224, 224), "PNG")
        for hash_of, (shape, texture, number) in enumerate(names[:1])
    }
    one = next(iter(files.values()))
    files = {
        f"cue-conflict/{shape}/{shape}{number + 1}-{texture}{number + 1}.png": one for shape, texture, number in names
    }
    plain = write_tar(path.with_suffix(".plain"), files)
    path.write_bytes(gzip.compress(plain.read_bytes(), 1))
    plain.unlink()


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Project:
    folder = tmp_path_factory.mktemp("real")
    project = Project.fresh(folder / "project")
    class_folders(project.folder / "photographs")
    efficientnet_weights(project.folder / "lite0.safetensors")
    (folder / "mirror").mkdir()
    conflict_archive(folder / "mirror/cue-conflict.tar.gz")
    project.configure(copy.deepcopy(REAL))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("WITHSTAND_MIRROR", str(folder / "mirror"))
        environment.setenv("WITHSTAND_OFFLINE", "1")
        project.complete()
    return project


def test_a_real_model_on_real_photographs(real):
    accuracy = pd.read_parquet(real.folder / "results/real/tables/accuracy.parquet")
    row = accuracy[(accuracy["dataset"] == "photographs") & (accuracy["label_mode"] == "all")].iloc[0]
    assert (row["value"], row["n"], row["policy"], row["family"]) == (0.9, 20, "model", "clean")
    bias = pd.read_parquet(real.folder / "results/real/tables/shape_bias.parquet")
    assert set(bias["label_mode"]) == {"categories"} and set(bias["images"]) == {48}
    for figure in ("shape_bias-conflict", "samples-conflict", "samples-photographs"):
        assert (real.folder / f"results/real/figures/{figure}.png").stat().st_size > 10_000


def test_archives_come_from_the_mirror_and_are_kept_readable_in_place(real):
    downloads = real.folder / "results/downloads/cue_conflict"
    assert [path.name for path in downloads.iterdir()] == ["cue-conflict.tar"]
    assert tarfile.is_tarfile(downloads / "cue-conflict.tar")
    log = (real.folder / "results/downloads/logs/cue_conflict/cue-conflict.tar.log").read_text()
    assert "CC BY 4.0" in log


def test_a_second_dataset_and_a_second_model_run_alone(real, tmp_path):
    project = real.clone(tmp_path / "project")
    assert project.planned() == {}
    study = copy.deepcopy(REAL)
    study["datasets"]["more"] = {**study["datasets"]["photographs"], "policy": "stored"}
    project.configure(study)
    tables = dict.fromkeys(("summarise_model", "tabulate_failures", "tabulate_shape_bias", "tabulate_comparisons"), 1)
    tables |= {"join_summaries": 2, "tabulate_trends": 1, "tabulate_claims": 1, "draw_study": 3, "write_report": 1}
    # predict_clean goes through the stored sets anew, and leaves the one that is there as it is
    assert project.planned() == tables | {
        "index_source": 1,
        "prepare_images": 1,
        "predict_clean": 1,
        "draw_held_out": 1,
        "draw_samples": 1,
        "draw_shape_bias": 1,
        "all": 1,
    }
    study = copy.deepcopy(REAL)
    study["models"]["again"] = {**study["models"]["lite0"], "label": "Again"}
    project.configure(study)
    assert project.planned() == tables | {
        "describe_model": 1,
        "predict_clean": 1,
        "predict_from_source": 1,
        "tabulate_models": 1,
        "draw_shape_bias": 1,
        "draw_compared": 2,
        "draw_disagreements": 1,
        "all": 1,
    }
    study = copy.deepcopy(REAL)
    study["limit"] = 10
    project.configure(study)
    assert "index_source" not in project.planned() and "download" not in project.planned()


def test_an_archive_that_nobody_has_fails_alone_and_says_how_to_get_it(real, tmp_path, monkeypatch):
    project = Project.fresh(tmp_path / "project")
    project.configure(REAL | {"datasets": {"conflict": REAL["datasets"]["conflict"]}, "models": CIFAR["models"]})
    (project.folder / "own_model.py").write_text("def mean_color():\n    raise AssertionError\n")
    monkeypatch.setenv("WITHSTAND_OFFLINE", "1")
    code, _ = project.run("--cores", "2", "downloads")
    assert code != 0
    log = (project.folder / "results/downloads/logs/cue_conflict/cue-conflict.tar.log").read_text()
    assert "cue-conflict.tar.gz" in log and "WITHSTAND_MIRROR" in log and "Traceback" not in log


def test_published_corruptions_stand_beside_made_ones(tmp_path):
    project = Project.fresh(tmp_path / "project")
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (10_000, 32, 32, 3), dtype=np.uint8)
    write_tar(project.folder / "cifar.tar", cifar_archive(10, images, random.integers(0, 10, 10_000)))
    (project.folder / "c").mkdir()
    copies = np.lib.format.open_memmap(
        project.folder / "c/fog.npy", mode="w+", dtype=np.uint8, shape=(50_000, 32, 32, 3)
    )
    copies[40_000:] = images // 2
    copies.flush()
    (project.folder / "own_model.py").write_text(
        "import torch\n"
        "class MeanColor(torch.nn.Module):\n"
        "    def forward(self, images):\n"
        "        return images.mean((2, 3)).repeat(1, 4)[:, :10] * torch.arange(1.0, 11.0)\n"
        "def mean_color():\n"
        "    return MeanColor()\n"
    )
    project.configure(CIFAR)
    output = project.complete()
    assert "index_family" in output and "take_images" in output and "predict_streamed" in output
    accuracy = pd.read_parquet(project.folder / "results/cifar/tables/accuracy.parquet")
    pooled = accuracy[accuracy["family"].isna() & accuracy["severity"].isna() & (accuracy["dataset"] == "test")]
    assert pooled["policy"].value_counts().to_dict() == {"stored": 1, "published": 1}, "never pooled with each other"
    folder = project.folder / "results/cifar/predictions/colors"
    taken, read = (pd.read_parquet(folder / f"{name}.parquet") for name in ("test/published", "again/read"))
    pd.testing.assert_frame_equal(taken, read)
    drawn = pd.read_csv(project.folder / "results/cifar/figures/accuracy_by_severity-test.published.csv")
    assert set(drawn["severity"]) == {0, 1, 5}
    assert json.loads((project.folder / "results/cifar/run.json").read_text())
    assert project.planned() == {}
    # an address or a way of fetching shapes no result
    for name in ("catalogue", "partial"):
        path = project.folder / f"workflow/withstand/datasets/{name}.py"
        path.write_text(f"{path.read_text()}\nMOVED = True\n")
    assert project.planned() == {}


def test_a_set_without_clean_images_goes_all_the_way(tmp_path):
    project = Project.fresh(tmp_path / "project")
    project.edit("workflow/withstand/datasets/catalogue.py", '"tiny_imagenet_c": 10_000', '"tiny_imagenet_c": 200')
    write_tar(project.folder / "tiny.tar", tiny_imagenet_c())
    source = {"kind": "tiny_imagenet_c", "path": "tiny.tar"}
    (project.folder / "own_model.py").write_text(
        "import torch\n"
        "class Grey(torch.nn.Module):\n"
        "    def forward(self, images):\n"
        "        return -((images.mean((1, 2, 3))[:, None] - torch.linspace(0, 1, 200)) ** 2)\n"
        "def grey():\n"
        "    return Grey()\n"
    )
    model = {
        "function": "own_model:grey",
        "label_space": "tiny-imagenet-200",
        "preprocessing": {"input_size": 64, "mean": [0, 0, 0], "std": [1, 1, 1]},
    }
    conditions = {"corruptions": ["fog", "snow"], "severities": [1, 4]}
    study = {
        "study": "tiny",
        "models": {"grey": model},
        "datasets": {"tiny_c": {"source": source, "families": ["read"]}},
        "families": {"read": {"source": source, "materialize": False} | conditions},
        "images": {"size": 64},
    }
    project.configure(study)
    project.complete()
    accuracy = pd.read_parquet(project.folder / "results/tiny/tables/accuracy.parquet")
    single = accuracy[accuracy["corruption"].notna() & accuracy["severity"].notna()].set_index(
        ["corruption", "severity"]
    )
    assert set(single.index) == {("fog", 1), ("fog", 4), ("snow", 1), ("snow", 4)}
    assert single["value"].loc[("fog", 1)] > single["value"].loc[("snow", 1)], "it is darker in snow"
    assert project.planned() == {}
    study["families"]["read"]["materialize"] = True
    project.configure(study)
    planned = project.planned()
    assert (planned["take_images"], planned["predict"]) == (1, 1) and "prepare_images" not in planned


def test_studies_that_share_a_recipe_share_its_images_and_their_index():
    def dag(name: str) -> Dag:
        kwargs = {"norm_layer": "groupnorm", "channels": [32] * 4, "layers": [1] * 4, "num_classes": 10}
        recipe = {"timm": "resnet18", "kwargs": kwargs, "dataset": "train", "validation": "validation", "epochs": 1}
        train, test = ({"kind": "cifar", "classes": 10, "split": split} for split in ("train", "test"))
        study = {
            "study": name,
            "models": {"small": {"recipe": "small"}},
            "recipes": {"small": recipe},
            "datasets": {
                "train": {"source": train, "samples": 200, "role": "training"},
                "validation": {"source": test, "samples": 100},
            },
            "images": {"size": 32},
        }
        return Dag(load_study(study))

    one, other = dag("one"), dag("other")
    assert one.indexed_training_images() == other.indexed_training_images()
    assert len(one.indexed_training_images()) == 2
    for name in one.indexed_training_images():
        wildcards = Wildcards(fromdict={"images": name})
        assert one.index(wildcards) == other.index(wildcards) == [f"results/weights/images/{name}/index.parquet"]
    evaluated = Wildcards(fromdict={"dataset": "validation"})
    assert one.index(evaluated) == ["results/one/images/validation/index.parquet"]
