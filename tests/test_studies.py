"""The studies that come along: each begins with what it takes, and plans the jobs that it should."""

import re

import pandas as pd
import pytest

from withstand import selftest
from withstand.config import load_study, read_config
from withstand.metrics.corruption_error import ALEXNET, corruption_errors, mean_corruption_error
from workflow_project import PROJECT, Project

STUDIES = sorted(path.stem for path in (PROJECT / "studies").glob("*.yaml"))
TABLES = {"tabulate_accuracy": 1, "tabulate_failures": 1, "tabulate_models": 1, "all": 1}

PLANNED = {
    # 9 sets in files, of which 2 are stored, in shards of 5,000, and of the others the first images;
    # four archives of ImageNet-C and seven of other sets
    "imagenet": TABLES
    | {
        "download": 11,
        "fetch_weights": 10,
        "describe_model": 10,
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
    | {
        "download": 7,
        "fetch_weights": 16,
        "describe_model": 16,
        "index_source": 5,
        "index_family": 1,
        "prepare_images": 14,
        "predict_clean": 16,
        "predict_from_source": 48,
        "predict_streamed": 16,
        "summarise_model": 16,
        "tabulate_shape_bias": 1,
        "draw_accuracy": 2,
        "draw_corruptions": 1,
        "draw_held_out": 1,
        "draw_samples": 5,
        "draw_shape_bias": 1,
    },
    "cifar10": TABLES
    | {
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
}


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


@pytest.fixture
def studies(project, monkeypatch) -> dict:
    monkeypatch.chdir(project.folder)
    return {name: load_study(read_config(project.folder / f"studies/{name}.yaml")) for name in selftest.STUDIES}


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
