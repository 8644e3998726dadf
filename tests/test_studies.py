"""The studies that come along: each begins with what it takes, and plans the jobs that it should."""

import re
from pathlib import Path

import pandas as pd
import pytest

from withstand import models, selftest
from withstand.config import load_study, read_config
from withstand.dag import Dag
from withstand.datasets import catalogue
from withstand.metrics.corruption_error import ALEXNET, corruption_errors, mean_corruption_error
from workflow_project import PROJECT, Project

STUDIES = sorted(path.stem for path in (PROJECT / "studies").glob("*.yaml"))
TABLES = dict.fromkeys(("tabulate_failures", "tabulate_models", "tabulate_comparisons", "tabulate_trends"), 1)
TABLES |= {"join_summaries": 2, "tabulate_claims": 1, "draw_study": 3, "write_report": 1, "all": 1}


def attacked(models: int) -> dict[str, int]:
    """Jobs of FGSM, PGD, rotations and translations on so many models."""
    a_model = dict.fromkeys(("attack_model", "transfer_perturbations", "attack_spatial"), models)
    tables = dict.fromkeys(("attacks", "transfer", "patch_alignment", "spatial"), 1)
    figures = {"draw_attacks": 4, "draw_transfer": 2, "draw_perturbations": 2}
    return a_model | {f"tabulate_{table}": count for table, count in tables.items()} | figures


def examined(models: int) -> dict[str, int]:
    """Jobs that look into so many models, with every kind of experiment."""
    tables = {"tabulate_similarity": 1, "tabulate_internals": 3}
    return {"measure_internals": models, **tables, "draw_internals": 7}


def gated(models: int) -> dict[str, int]:
    """Jobs of gates of so many models."""
    return dict.fromkeys(("describe_before_gate", "predict_gate", "judge_gate"), models)


PLANNED = {
    # 9 sets in files, of which 2 are stored, in shards of 5,000, and of the others the first images;
    # four archives of ImageNet-C and seven of other sets
    "imagenet": TABLES
    | attacked(10)
    | examined(10)
    | {
        "draw_compared": 10,
        "draw_disagreements": 2,
        "tabulate_corruption_error": 1,
        "tabulate_reproduction": 1,
        "draw_study": 4,
        "download": 11,
        "fetch_weights": 10,
        **gated(7),
        "describe_model": 3,
        "index_source": 9,
        "index_family": 1,
        "prepare_images": 18,
        "predict_clean": 10,
        "predict_from_source": 70,
        "predict_streamed": 10,
        "summarise_model": 10,
        "tabulate_shape_bias": 1,
        "draw_accuracy": 2,
        "draw_corruptions": 1,
        "draw_held_out": 1,
        "draw_samples": 9,
        "draw_shape_bias": 1,
    },
    "paper": TABLES
    | attacked(16)
    | examined(16)
    | {
        "draw_compared": 7,
        "draw_disagreements": 3,
        "tabulate_corruption_error": 1,
        "tabulate_reproduction": 1,
        "draw_study": 4,
        "download": 7,
        "fetch_weights": 16,
        **gated(11),
        "describe_model": 5,
        "index_source": 6,
        "index_family": 1,
        "prepare_images": 15,
        "predict_clean": 16,
        "predict_from_source": 48,
        "predict_streamed": 16,
        "summarise_model": 16,
        "tabulate_shape_bias": 1,
        "draw_accuracy": 2,
        "draw_corruptions": 1,
        "draw_held_out": 1,
        "draw_samples": 6,
        "draw_shape_bias": 1,
    },
    "cifar10": TABLES
    | {
        "draw_compared": 4,
        "draw_disagreements": 1,
        "tabulate_corruption_error": 1,
        "download": 2,
        "train_model": 3,
        "describe_model": 3,
        "index_source": 1,
        "index_training_source": 2,
        "index_family": 1,
        "prepare_images": 2,
        "prepare_training_images": 12,
        "corrupt_images": 2,
        "predict": 3,
        "predict_clean": 3,
        "predict_streamed": 3,
        "summarise_model": 3,
        "draw_accuracy": 4,
        "draw_corruptions": 1,
        "draw_samples": 1,
    },
    "selftest": TABLES
    | {
        "draw_compared": 6,
        "draw_disagreements": 2,
        "tabulate_corruption_error": 1,
        "tabulate_reproduction": 1,
        "draw_study": 4,
        "download": 7,
        "fetch_weights": 2,
        "describe_model": 2,
        "index_source": 5,
        "index_family": 1,
        "prepare_images": 14,
        "predict_clean": 2,
        "predict_from_source": 6,
        "predict_streamed": 2,
        "summarise_model": 2,
        "tabulate_shape_bias": 1,
        "draw_accuracy": 2,
        "draw_corruptions": 1,
        "draw_held_out": 1,
        "draw_samples": 5,
        "draw_shape_bias": 1,
    },
    "selftest-vit": TABLES
    | {
        "draw_compared": 3,
        "tabulate_reproduction": 1,
        "draw_study": 4,
        "download": 2,
        "fetch_weights": 4,
        "describe_model": 4,
        "index_source": 3,
        "prepare_images": 3,
        "predict_from_source": 12,
        "summarise_model": 4,
        "draw_held_out": 1,
        "draw_samples": 3,
    },
    # twelve models and the reference
    "zoo": TABLES
    | {
        "draw_compared": 5,
        "draw_disagreements": 4,
        "tabulate_corruption_error": 1,
        "fetch_weights": 13,
        "describe_model": 12,
        "find_missed": 1,
        "prepare_images": 4,
        "corrupt_images": 1,
        "predict": 12,
        "predict_clean": 12,
        "summarise_model": 12,
        "tabulate_shape_bias": 1,
        "draw_accuracy": 2,
        "draw_corruptions": 1,
        "draw_held_out": 1,
        "draw_samples": 4,
        "draw_shape_bias": 1,
    },
    # 100,000 training images in shards of 5,000, the few, and the validation images
    "train-zoo": TABLES
    | {
        "draw_compared": 1,
        "draw_disagreements": 1,
        "train_model": 13,
        "describe_model": 13,
        "prepare_images": 1,
        "prepare_training_images": 22,
        "predict_clean": 13,
        "summarise_model": 13,
        "draw_samples": 1,
    },
}

GIGABYTES = {"noise": 21, "blur": 7, "weather": 12, "digital": 7, "cue-conflict": 0.14, "cifar-10-binary": 0.17}
"""Sizes of archives that nobody publishes to the byte."""


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    """The project, with an empty folder where ImageNet should be linked."""
    project = Project.fresh(tmp_path / "project")
    (project.folder / "data/imagenet/val").mkdir(parents=True)
    return project


@pytest.mark.parametrize("name", PLANNED)
def test_real_studies_plan_their_jobs(project, name):
    assert project.planned("--configfile", f"studies/{name}.yaml") == PLANNED[name]


@pytest.mark.parametrize("name", STUDIES)
def test_studies_begin_with_what_they_take(project, name):
    header = re.match(r"(#.*\n)+", (project.folder / f"studies/{name}.yaml").read_text())[0]
    for key in ("Command", "Time", "Disk", "Expect"):
        assert re.search(rf"^# {key} +\S", header, re.MULTILINE), key


def test_every_study_has_its_jobs_told():
    assert PLANNED.keys() == set(STUDIES)


@pytest.fixture
def loaded(project, monkeypatch):
    monkeypatch.chdir(project.folder)
    return lambda name: load_study(read_config(project.folder / f"studies/{name}.yaml"))


@pytest.mark.parametrize("name", ["imagenet", "paper", "selftest", "selftest-vit", "cifar10"])
def test_studies_say_how_much_they_download(loaded, project, name):
    told = re.search(r"Disk +([\d.]+) GB of downloads", (project.folder / f"studies/{name}.yaml").read_text())[1]
    known = {archive.stored: archive for archive in catalogue.archives()}
    archives = [known[Path(path).name] for path in Dag(loaded(name)).downloads()]
    sizes = [(archive.bytes or 0) / 1e9 or GIGABYTES[archive.stored.removesuffix(".tar")] for archive in archives]
    assert float(told) == pytest.approx(sum(sizes), abs=1 if sum(sizes) > 10 else 0.15)


@pytest.mark.parametrize("name", STUDIES)
def test_names_of_timm_carry_the_tag_that_says_their_transform(loaded, name):
    for key, entry in loaded(name).entries().items():
        assert entry.timm is None or "." in entry.timm, key


def test_the_papers_resnets_of_one_kind_are_resized_alike(loaded):
    study = loaded("paper")
    for names, size in (
        (("r50x1", "r101x1", "r50x3", "r101x3", "r152x4"), 224),
        (("r50x1_21k", "r101x1_21k", "r50x3_21k", "r101x3_21k"), 448),
    ):
        found = [models.resolve(study.models[model].source, None).preprocessing for model in names]
        assert found == [found[0]] * len(names)
        assert (found[0].input_size, found[0].interpolation, found[0].mean[0]) == (size, "bilinear", 0.5)


@pytest.fixture
def studies(loaded) -> dict:
    return {name: loaded(name) for name in selftest.STUDIES}


def test_every_anchor_of_the_selftest_is_measured_by_its_study(studies):
    for anchor in selftest.ANCHORS:
        study = studies[anchor.study]
        assert anchor.model in study.models and anchor.dataset in study.evaluated()
        assert (anchor.dataset in study.cue_conflict_sets()) == (anchor.metric == "shape_bias")


def test_alexnet_is_its_own_yardstick():
    errors = {(name, number): value for name, row in ALEXNET.items() for number, value in enumerate(row, 1)}
    assert len(errors) == 75
    assert all(value == pytest.approx(100, abs=1e-9) for value in corruption_errors(errors).values())
    assert mean_corruption_error({key: value / 2 for key, value in errors.items()}) == pytest.approx(50)
    # published means over the severities (hendrycks/robustness, google-research/augmix): to six digits
    means = {name: round(sum(row) / 5, 6) for name, row in ALEXNET.items()}
    assert (means["gaussian_noise"], means["fog"], means["jpeg_compression"]) == (0.886428, 0.819324, 0.6065)
    with pytest.raises(KeyError):
        mean_corruption_error({key: 0.5 for key in errors if key != ("snow", 3)})


def accuracy_table(error: float) -> pd.DataFrame:
    """Rows of AlexNet on ImageNet-C, all errors so many times its own, and of its clean images."""
    clean = {"family": "clean", "corruption": "clean", "severity": 0, "policy": "stored", "value": 0.5652}
    rows = [
        {"family": "c", "corruption": name, "severity": number, "policy": "published", "value": 1 - error * value}
        for name, row in reversed(ALEXNET.items())
        for number, value in enumerate(row, 1)
    ]
    pooled = {"family": None, "corruption": None, "severity": 1, "policy": "published", "value": 0.1}
    table = pd.DataFrame([clean, *rows, pooled])
    return table.assign(model="alexnet", dataset="val_224", label_mode="all", metric="accuracy")


def test_the_selftest_says_what_is_off():
    (anchor,) = (anchor for anchor in selftest.ANCHORS if (anchor.model, anchor.metric) == ("alexnet", "mCE"))
    for error, expected in ((1, "ok"), (1.001, "ok"), (1.023, "off")):  # 102.3: images resized and cropped once more
        value = selftest.measured(anchor, accuracy_table(error), None)
        assert value == pytest.approx(100 * error)
        assert selftest.verdict(anchor, value) == expected
    assert selftest.measured(anchor, accuracy_table(1).query("corruption != 'fog'"), None) is None
    assert selftest.verdict(anchor, None) == "not run"
