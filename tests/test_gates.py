"""A first look at each model: who is held against what, who is stopped, and what that costs and spares."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import timm
from click.testing import CliRunner
from scipy.stats import binom
from snakemake.iocontainers import Wildcards
from test_published import measured
from timm.data import resolve_data_config

from photographs import ENTRY, class_folders, efficientnet_weights
from withstand import published, zoo
from withstand.cli import main
from withstand.config import ConfigError, load_study, read_config
from withstand.dag import Dag
from withstand.explore import garbage
from withstand.gates import Expected, Gate, gates, is_below, without_gate
from withstand.metrics.reproduction import reproduction_rows
from withstand.planning import anatomy, counts
from withstand.predictions import read_facts
from withstand.published.match import identities
from withstand.rehearsal import shrink
from withstand.steps.gate import judge_gate
from withstand.steps.index import index_source
from withstand.steps.models import read_card, write_card
from withstand.steps.predict import ImageSet, is_current, predict
from withstand.steps.stream import ResizedSet
from workflow_project import PROJECT, Project

REVERSED = """
import torch
from withstand import models, zoo

class Reversed(torch.nn.Module):
    def __init__(self, name):
        super().__init__()
        path = zoo.weights(name)
        self.network = models.build(models.resolve({"zoo": name}, path))
        models.load_weights(self.network, path)

    def forward(self, images):
        return self.network(images).flip(1)

def reversed_zoo(name="vit_p8_base"):
    return Reversed(name)
"""
"""A model that is as good as it should be, but for the order of its outputs."""


# Who does not pass


@pytest.mark.parametrize(
    ("images", "accuracy", "fewest"),
    # n p - 3 sqrt(n p (1 - p)), by hand: 50 - 15; 90 - 27; 320 - 48 with n = 1,600 and p = 0.2
    [(100, 0.5, 35), (900, 0.1, 63), (1600, 0.2, 272), (1600, 0.8, 1232)],
)
def test_three_standard_errors_below_is_just_enough(images, accuracy, fewest):
    assert not is_below(fewest, images, accuracy)
    assert is_below(fewest - 1, images, accuracy)


def test_standard_errors_are_those_of_a_binomial_distribution():
    for images in (1, 7, 20, 333, 1000):
        for accuracy in (0.02, 0.3, 0.76156, 0.91, 0.99):
            least = images * accuracy - 3 * binom.std(images, accuracy)
            assert [is_below(k, images, accuracy) for k in range(images + 1)] == [k < least for k in range(images + 1)]


def test_a_thousand_images_tell_wrong_models_from_right_ones():
    """A right model is stopped by chance once in hundreds, one that lost eight points nearly always."""
    for accuracy in (0.7, 0.76156, 0.85):
        most = max(k for k in range(1001) if is_below(k, 1000, accuracy))
        assert binom.cdf(most, 1000, accuracy) < 1 / 400
        assert binom.cdf(most, 1000, accuracy - 0.08) > 0.99


# What is expected of whom


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """A study of ImageNet, which lies in an empty folder."""
    (tmp_path / "data/imagenet/val").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return lambda name: load_study(read_config(PROJECT / f"studies/{name}.yaml"))


WITHOUT = {
    "imagenet": {"resnet50_a1", "convnext_b", "vit_b16_laion"},
    "paper": {"r50x1", "r101x1", "r50x3", "r101x3", "r152x4"},
}
"""The models of which nobody published the accuracy, as far as numbers come along."""


@pytest.mark.parametrize("name", WITHOUT)
def test_models_of_imagenet_have_gates_but_for_those_without_a_published_value(loaded, name):
    study = loaded(name)
    assert without_gate(study).keys() == WITHOUT[name]
    assert gates(study).keys() == study.models.keys() - WITHOUT[name]
    assert {gate.dataset for gate in gates(study).values()} == {"val"}


def test_published_values_are_those_of_the_weights_and_the_size(loaded):
    ours, testbed = "timm's results, 2025", "Taori et al. 2020"
    found = gates(loaded("imagenet"))
    assert found["resnet50_tv"] == Gate("val", (Expected(0.76156, 224, ours),)), "timm's, not those of other sources"
    assert found["convnext_b_21k"].expected == (Expected(0.86302, 288, ours), Expected(0.85814, 224, ours))
    assert found["convnext_b_21k"].at(224).accuracy == 0.85814 and found["convnext_b_21k"].at(384) is None
    paper = gates(loaded("paper"))
    assert paper["vit_l16_21k"].expected == (Expected(0.8515, 384, testbed),), "of the file at its address, not its tag"


@pytest.mark.parametrize("name", WITHOUT)
def test_gates_expect_what_the_table_of_reproduction_calls_the_same_protocol(loaded, name):
    study = loaded(name)
    for model in study.models:
        gate = gates(study).get(model)
        for size in (224, 288, 384, 448, 480):
            sizes = pd.DataFrame({"model": [model], "input_size": [size], "patch_size": [None], "family": "any"})
            rows = pd.DataFrame([measured(model, "val", 0.5)])
            pairs = reproduction_rows({"accuracy": rows}, sizes, identities(study))
            same = set(pairs[pairs["same_protocol"]]["published"]) if len(pairs) else set()
            if gate is None:
                assert not same
            elif gate.at(size) is not None:
                assert gate.at(size).accuracy in same


def test_timm_runs_models_at_the_size_and_by_the_crop_of_its_published_values():
    """So an entry that changes no preprocessing is what was published."""
    rows = [row for row in published.values() if (row["source"], row["set"]) == ("wightman2025", "imagenet")]
    rows = [row for row in rows if (row["label_mode"], row["setting"]) == ("all", "")]
    names = {row["source_model"] for row in rows}
    assert len(names) > 40
    for name in names:
        wanted = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict(), use_test_size=True)
        size = str(wanted["input_size"][-1])
        (place,) = {row["place"] for row in rows if (row["source_model"], row["input_size"]) == (name, size)}
        assert f"crop {wanted['crop_pct']:.3f}, {wanted['interpolation']}" in place, name


VAL = {"source": {"kind": "imagenet", "path": "data/imagenet/val"}, "policy": "model"}
DEIT = {"timm": "deit_small_patch16_224.fb_in1k"}


def imagenet_study(entry, dataset=VAL, **more):
    models, datasets = {"deit": DEIT | entry}, {"val": dataset}
    return load_study({"study": "s", "models": models, "datasets": datasets, "gates": {"clean": 100}, **more})


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"kwargs": {"drop_rate": 0.1}}, "with kwargs of its own"),
        ({"checkpoint": "mine.safetensors"}, "mine.safetensors"),
        ({"checkpoint": "https://example.org/deit.safetensors"}, "https://example.org/deit.safetensors"),
        ({"preprocessing": {"crop_pct": 0.95}}, "with preprocessing of its own"),
        ({"preprocessing": {"test_size": False}}, "with preprocessing of its own"),
        ({"interventions": [{"kind": "lesion", "part": "mlp", "blocks": [2]}]}, "with interventions of its own"),
    ],
)
def test_a_changed_model_has_no_gate_by_its_tag(loaded, entry, reason):
    Path("mine.safetensors").touch()
    assert gates(imagenet_study({})).keys() == {"deit"}
    changed = imagenet_study(entry)
    assert gates(changed) == {}
    assert reason in without_gate(changed)["deit"]
    expected = imagenet_study(entry | {"expect": 0.7})
    assert gates(expected)["deit"].at(224).accuracy == 0.7 and without_gate(expected) == {}


def test_published_values_hold_for_a_models_own_resize_alone(loaded):
    stored = imagenet_study({}, VAL | {"policy": "stored"})
    assert gates(stored) == {}
    assert "on val stored at 224 px" in without_gate(stored)["deit"]


def test_a_study_without_gates_holds_nobody_against_anything(loaded):
    study = imagenet_study({}, gates=None)
    assert gates(study) == without_gate(study) == {}


def test_a_number_is_expected_on_the_reference_set_a_named_one_elsewhere(loaded):
    more = VAL | {"source": {"kind": "imagenet_v2", "variant": "matched-frequency"}}
    datasets = {"val": VAL, "a_v2": more}
    config = {"study": "s", "datasets": datasets, "gates": {"clean": 100}, "statistics": {"reference": "val"}}
    for expect, dataset in ((0.7, "val"), ({"a_v2": 0.7}, "a_v2")):
        study = load_study(config | {"models": {"deit": DEIT | {"expect": expect}}})
        assert gates(study) == {"deit": Gate(dataset, (Expected(0.7, None, "`expect` in the config"),))}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"expect": 76}, "models.deit.expect: expected an accuracy between 0 and 1"),
        ({"expect": True}, "models.deit.expect: expected an accuracy between 0 and 1"),
        ({"expect": {"val": 0.7, "v2": 0.6}}, "with one dataset"),
        ({"expect": {"vall": 0.7}}, "in 'vall'; did you mean 'val'?"),
    ],
)
def test_expectations_are_checked(loaded, changes, message):
    with pytest.raises(ConfigError) as error:
        imagenet_study(changes)
    assert message in str(error.value) and len(str(error.value).splitlines()) == 1


def test_an_expectation_without_gates_is_told(loaded):
    with pytest.raises(ConfigError, match="the study has no gates"):
        imagenet_study({"expect": 0.7}, gates=None)


def test_check_names_gates_and_models_without_one(loaded):
    told = CliRunner().invoke(main, ["check", str(PROJECT / "studies/imagenet.yaml")]).output
    assert "resnet50_tv has a gate: 76.16% at 224 px (timm's results, 2025) on val" in told
    assert "convnext_b has no gate: no published value for convnext_base.fb_in1k on val" in told


@pytest.mark.parametrize("name", WITHOUT)
def test_a_rehearsal_has_the_gates_of_its_study_and_random_weights_pass_them(loaded, name):
    study = loaded(name)
    config = json.loads(json.dumps(read_config(PROJECT / f"studies/{name}.yaml")))
    small = load_study(shrink.shrink(config, study))
    assert gates(small).keys() == gates(study).keys()
    for gate in gates(small).values():
        assert not gate.stops(0, small.gate_subset(gate.dataset)["count"], 224)


# At the gate: a real model on real photographs


def photographs_in(folder: Path) -> dict:
    """The source of the photographs."""
    source = {"kind": "folder", "path": str(folder / "photographs"), "named_by": "index"}
    dataset = {"source": source, "samples": 20, "policy": "model"}
    config = {"study": "real", "models": {"vit": {"zoo": "vit_p8_base"}}, "datasets": {"photographs": dataset}}
    return load_study(config).source_spec("photographs")


def at_the_gate(folder: Path, spec: dict, accuracy: float) -> tuple[dict, dict, bool]:
    """The card that efficientnet-lite0 gets, the verdict, and whether the card is that without a gate."""
    paths = [folder / name for name in ("described.json", "predictions.parquet", "card.json", "verdict.json")]
    write_card("lite0", spec, folder / "lite0.safetensors", paths[0])
    images = ResizedSet(
        "photographs",
        "clean",
        photographs_in(folder),
        (0, 20),
        [],
        0,
        "raw",
        paths[1],
        "model",
        index=folder / "index.parquet",
    )
    predict(paths[0], folder / "lite0.safetensors", [images], batch_size=20)
    gate = {"dataset": "photographs", "expected": [{"accuracy": accuracy, "input_size": 224, "source": "its author"}]}
    judge_gate(*paths[:2], gate, *paths[2:])
    return read_card(paths[2]), json.loads(paths[3].read_text()), paths[2].read_bytes() == paths[0].read_bytes()


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("gate")
    class_folders(folder / "photographs")
    efficientnet_weights(folder / "lite0.safetensors")
    index_source(photographs_in(folder), folder / "index.parquet")
    return folder


def test_a_right_model_passes_with_the_card_that_it_would_have(photographs):
    card, verdict, is_unchanged = at_the_gate(photographs, ENTRY, 0.9)
    assert is_unchanged and card["failure"] is None
    assert (verdict["correct"], verdict["images"], verdict["input_size"], verdict["failure"]) == (18, 20, 224, None)


def test_a_wrong_transform_stops_a_model_and_says_what_to_check(photographs):
    wrong = {"mean": [0, 0, 0], "std": [1 / 255] * 3}  # pixels from 0 to 255, where the model wants -1 to 1
    card, verdict, _ = at_the_gate(photographs, ENTRY | {"preprocessing": wrong}, 0.9)
    assert (verdict["correct"], verdict["failure"]) == (1, card["failure"])
    assert len(card["failure"].splitlines()) == 1
    for word in ("1 of 20", "photographs", "90%", "its author", "weights", "mean", "interpolation", "size", "labels"):
        assert word in card["failure"], word
    unknown = {"dataset": "photographs", "expected": [{"accuracy": 0.9, "input_size": 448, "source": "its author"}]}
    card, verdict, described = (photographs / f"{name}.json" for name in ("card", "verdict", "described"))
    judge_gate(described, photographs / "predictions.parquet", unknown, card, verdict)
    assert card.read_bytes() == described.read_bytes(), "nothing is expected of it at its own size"


def test_what_was_read_before_its_index_was_made_is_not_current(photographs, monkeypatch):
    at_the_gate(photographs, ENTRY, 0.9)
    index, predictions = photographs / "index.parquet", photographs / "predictions.parquet"
    images = ResizedSet(
        "photographs", "clean", photographs_in(photographs), (0, 20), [], 0, "raw", predictions, "model", index=index
    )
    inputs = read_facts(predictions)["inputs"]
    assert is_current(images, inputs)
    os.utime(index)
    assert not is_current(images, inputs)


def test_what_is_there_of_a_model_that_is_stopped_later_is_replaced(clean_file, tmp_path):
    card, output = tmp_path / "card.json", tmp_path / "predictions.parquet"
    write_card("vit", {"zoo": "vit_p8_base"}, zoo.weights("vit_p8_base"), card)
    images = [ImageSet("test", "clean", [clean_file], output)]
    described = json.loads(card.read_text())
    for failure in (None, "stopped at its gate", None):
        card.write_text(json.dumps(described | {"failure": failure}))
        predict(card, zoo.weights("vit_p8_base"), images, batch_size=12)
        assert read_facts(output).get("failure") == failure
        assert pq.read_metadata(output).num_rows == (0 if failure else 12)


# A study


GATED = {
    "study": "small",
    "models": {
        "right": {"zoo": "resnet_gn_base", "expect": 0.95, "family": "ResNet"},
        "wrong": {
            "function": "own_model:reversed_zoo",
            "label_space": "shapetex",
            "preprocessing": {"input_size": 64, "mean": [0.5] * 3, "std": [0.5] * 3},
            "expect": {"validation": 0.95},
        },
    },
    "datasets": {
        "test": {"source": {"kind": "shapetex", "split": "test"}, "samples": 20, "families": ["digital"]},
        "validation": {"source": {"kind": "shapetex", "split": "validation"}, "samples": 40},
    },
    "families": {"digital": {"corruptions": ["contrast"], "severities": [3]}},
    "gates": {"clean": 20},
    "attacks": {
        "dataset": "test",
        "samples": 6,
        "patch_sizes": [16],
        "perturbations": {"pgd": {"kind": "pgd", "steps": 1}},
        "spatial": {"angles": 3, "shifts": 1, "draws": 1},
    },
    "internals": {"dataset": "test", "samples": 6, "lesions": {"counts": [2], "draws": 1}},
    "images": {"size": 64},
}


@pytest.fixture(scope="module")
def gated(tmp_path_factory) -> Project:
    """A study with a right and a wrong model, run to its end."""
    project = Project.fresh(tmp_path_factory.mktemp("gated") / "project")
    (project.folder / "own_model.py").write_text(REVERSED)
    project.configure(GATED)
    project.complete()
    return project


def told(project: Project, model: str) -> dict[str, dict]:
    """What all results of a model say of themselves, by path within the study."""
    folder = project.folder / "results/small"
    paths = [*folder.glob(f"predictions/{model}/**/*.parquet"), *folder.glob(f"internals/{model}/*.parquet")]
    paths += [folder / f"{kind}/{model}.parquet" for kind in ("transfer", "spatial")]
    return {str(path.relative_to(folder)): json.loads(pq.read_metadata(path).metadata[b"withstand"]) for path in paths}


def table(project: Project, name: str) -> pd.DataFrame:
    return pd.read_parquet(project.folder / f"results/small/tables/{name}.parquet")


def test_a_wrong_model_is_stopped_and_all_else_is_there(gated):
    (reason,) = {facts["failure"] for facts in told(gated, "wrong").values()}
    assert "clean images of validation are right, expected 95%" in reason and "order of its outputs" in reason
    right = told(gated, "right")
    assert len(right) == 7 and not any("failure" in facts for facts in right.values())
    failures = table(gated, "failures")
    assert set(failures["model"]) == {"wrong"} and set(failures["reason"]) == {reason}
    accuracy = table(gated, "accuracy")
    assert set(accuracy["model"]) == {"right"} and {"digital", "clean"} <= set(accuracy["family"].dropna())
    for name in ("attacks", "spatial", "lesions"):
        assert set(table(gated, name)["model"]) == {"right"}, name
    page = (gated.folder / "results/small/report.html").read_text()
    assert reason.split(";")[0] in page
    assert "more than three standard errors below the accuracy expected" in page


def test_nothing_is_computed_with_a_stopped_model(gated):
    folder = gated.folder / "results/small/logs"
    logs = [*folder.glob("*/wrong.log"), *folder.glob("*/wrong.*.log")]
    stopped = [path for path in logs if "stopped at its gate" in path.read_text()]
    assert {path.parent.name for path in stopped} == {
        *("predict", "predict_clean", "attack_model", "transfer_perturbations", "attack_spatial", "measure_internals")
    }
    assert not any("images/s" in path.read_text() for path in stopped)


def changed(project: Project, **changes) -> dict[str, int]:
    """Jobs that are planned after a change of models' entries, or of the study where there is no such model."""
    study = copy.deepcopy(GATED)
    for name, value in changes.items():
        if name in study["models"]:
            study["models"][name] |= value
        else:
            study[name] = value
    project.configure(study)
    return project.planned()


RERUN = {
    *("judge_gate", "predict", "predict_clean", "attack_model", "attack_spatial", "measure_internals"),
    *("transfer_perturbations", "summarise_model"),
}
"""What is planned of a model that gets another card; nothing before its gate."""


def test_what_runs_again_after_which_change(gated, tmp_path):
    project = gated.clone(tmp_path / "project")
    assert changed(project, right={"expect": 0.9}) == {"write_report": 1, "all": 1}, "it passes as before"
    opened = changed(project, wrong={"expect": {"validation": 0.05}})
    assert opened.keys() >= RERUN and {"predict_gate", "describe_before_gate"}.isdisjoint(opened)
    assert opened["judge_gate"] == opened["predict_clean"] == opened["attack_model"] == 1


@pytest.mark.parametrize(
    ("expect", "correct", "is_judged_again"),
    [(0.95, 19, False), (0.9, 19, False), (0.999, 18, True), ({"test": 0.9}, 19, True), (0.9, None, True)],
)
def test_a_model_is_judged_again_where_that_may_change_something(
    tmp_path, monkeypatch, expect, correct, is_judged_again
):
    monkeypatch.chdir(tmp_path)
    passed = {"dataset": "validation", "expected": [{"accuracy": 0.95, "input_size": None, "source": "anybody"}]}
    last = {"gate": passed, "correct": correct, "images": 20, "input_size": 64}
    last["failure"] = "broken" if correct is None else None
    path = tmp_path / "results/small/gates/right/verdict.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(last))
    study = copy.deepcopy(GATED) | {
        "statistics": {"reference": "validation"},
        "models": {"right": {"zoo": "vit_p8_base"}},
    }
    study["models"]["right"]["expect"] = expect
    judged_by = Dag(load_study(study)).gates.judged_by(Wildcards(fromdict={"model": "right"}))
    assert (json.loads(judged_by) != passed) == is_judged_again
    path.unlink()
    current = Dag(load_study(study)).gates.by_model["right"]
    assert (
        Gate.of(json.loads(Dag(load_study(study)).gates.judged_by(Wildcards(fromdict={"model": "right"})))) == current
    )


def test_what_is_there_stays_where_a_gate_is_judged_again(gated, tmp_path):
    project = gated.clone(tmp_path / "project")
    folder = project.folder / "results/small"
    before = {path: (folder / path).stat().st_ino for path in told(project, "right")}
    changed(project, gates={"clean": 15})
    project.complete("--until", "predict", "predict_clean", "attack_spatial")
    assert json.loads((folder / "gates/right/verdict.json").read_text())["images"] == 15
    assert {path: (folder / path).stat().st_ino for path in before} == before
    assert project.planned("--until", "predict", "predict_clean", "attack_spatial") == {}


def test_gates_are_counted_and_cleared_away(gated, monkeypatch):
    monkeypatch.chdir(gated.folder)
    study = load_study(GATED)
    found = {
        each.wildcards["model"]: each
        for each in counts.work(study, anatomy.models_of(study))
        if each.rule == "predict_gate"
    }
    assert (found["right"].forward, found["wrong"].forward) == (20, 0)
    answers = pq.read_metadata("results/small/gates/right/predictions.parquet")
    assert found["right"].forward == answers.num_rows
    assert "gates" in garbage.STAGES


def test_a_stopped_model_is_recorded_without_torch(gated, tmp_path):
    """In a process of its own, as a job has it."""
    shard = gated.folder / "results/small/images/test/clean/0000.h5"
    card = gated.folder / "results/small/models/wrong.json"
    images = {"dataset": "test", "family": "clean", "images": [str(shard)], "output": str(tmp_path / "none.parquet")}
    code = "import sys; from withstand.cli import main; main(sys.argv[1:], standalone_mode=False)"
    code += "; assert 'torch' not in sys.modules and 'timm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, "predict", json.dumps([images]), "--card", str(card)], check=True)
    assert "stopped at its gate" in read_facts(tmp_path / "none.parquet")["failure"]
