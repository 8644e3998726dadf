"""Rehearsals: what stands for what, made-up archives and weights, and a whole one that goes on after failures."""

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import timm
import torch
import yaml

from withstand import models
from withstand.config import ModelEntry, load_study, read_config
from withstand.dag import Dag
from withstand.datasets import catalogue, label_spaces
from withstand.datasets.containers import is_gzip
from withstand.datasets.files import IndexedSource, write_index
from withstand.datasets.registry import CORRUPTED_KINDS, FILE_KINDS, open_source
from withstand.planning import anatomy, costs, rates
from withstand.rehearsal import choose, images, run, sets, shrink, weights
from withstand.rehearsal.outcome import Outcome, summary
from withstand.rehearsal.server import Server
from withstand.steps.models import fetch_timm_weights
from workflow_project import PROJECT, Project

STUDIES = [
    path for path in sorted((PROJECT / "studies").glob("*.yaml")) if "# Rehearsal: no" not in path.read_text("utf-8")
]


@pytest.fixture(scope="module")
def placed(tmp_path_factory):
    """The configs in studies/ by name, with made-up files where theirs are missing."""
    folder = tmp_path_factory.mktemp("placed")
    configs = {path.stem: json.loads(json.dumps(read_config(path))) for path in STUDIES}
    return {name: run._without_missing_files(config, folder)[0] for name, config in configs.items()}


def test_only_studies_that_evaluate_nothing_are_not_rehearsed():
    left = {path.stem for path in (PROJECT / "studies").glob("*.yaml")} - {path.stem for path in STUDIES}
    assert left == {"train-zoo"}


def kinds(paths) -> set[str]:
    """Tables and figures without the names of datasets and formats."""
    return {re.split(r"[-.]", Path(path).name)[0] for path in paths}


@pytest.mark.parametrize("name", [path.stem for path in STUDIES])
def test_a_small_study_has_every_case_table_and_figure_of_the_whole_one(placed, name):
    study = load_study(placed[name])
    wanted = choose.cases(study)
    reduced = choose.reduce(placed[name], wanted)
    chosen = load_study(reduced)
    small = load_study(shrink.shrink(reduced, chosen))
    assert choose.cases(chosen) == wanted
    # a narrower network has other arguments, which the rehearsal's facts make up for
    assert choose.cases(small) == wanted
    assert len(small.models) <= len(study.models) and max(map(small.sample_count, small.evaluated())) <= shrink.SAMPLES
    for files in ("tables", "figures"):
        assert kinds(getattr(Dag(small), files)()) == kinds(getattr(Dag(study), files)())


def test_what_another_study_has_rehearsed_is_left_out(placed):
    covered = choose.cases(load_study(placed["paper"]))
    rest = choose.cases(load_study(placed["imagenet"])) - covered
    chosen = load_study(choose.reduce(placed["imagenet"], rest))
    assert rest <= choose.cases(chosen)
    assert {"v2_threshold", "v2_top"}.isdisjoint(chosen.datasets), "variants of v2"
    classes = {name: choose.class_of(chosen, entry) for name, entry in chosen.models.items()}
    assert len(set(classes.values())) == len(classes) == 5
    attacked = {classes[name].partition(",")[0] for name in chosen.attacked()}
    assert attacked == {"ResNet", "ConvNeXt", "SwinTransformer"}, "ViTs and BiTs are attacked in the paper's study"
    assert not choose.cases(load_study(placed["selftest-vit"])) - covered


OPTIONS = {
    "imagenet_v2": {"variant": "threshold0.7"},
    "imagenette": {"split": "val", "side": "160"},
    "cifar": {"classes": 100, "split": "train"},
    "cifar_c": {"classes": 10},
    "tiny_imagenet": {"labels": "imagenet-1k"},
    "tiny_imagenet_c": {"labels": "tiny-imagenet-200"},
}
OWN = {
    "folder": {"named_by": "name", "label_space_name": "cifar-10"},
    "arrays": {"size": 12, "label_space_name": "pets", "classes": ["cat", "dog"]},
    "parquet": {"named_by": "wnid", "label_space_name": "imagenet-1k"},
}


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_made_up_images_of_every_kind_are_scanned_and_read(tmp_path, monkeypatch, kind):
    spec = {"kind": kind, **OPTIONS.get(kind, {})}
    if kind in OWN:
        defaults = {"image_column": "image", "label_column": "label"} if kind == "parquet" else {}
        missing = {"images_path": "x", "labels_path": "x"} if kind == "arrays" else {"path": "x"}
        spec |= OWN[kind] | defaults
        spec |= images.own_files(spec | missing, tmp_path / "own")
    elif kind == "imagenet":
        spec |= images.imagenet(spec, tmp_path / "own")
    else:
        written = images.archives(kind, spec, [], tmp_path / "archives")
        assert [path.name for path in written] == [archive.name for archive in open_source(spec).archives()]
        for path, archive in zip(written, open_source(spec).archives(), strict=True):  # as the download leaves them
            data = gzip.decompress(path.read_bytes()) if is_gzip(path) else path.read_bytes()
            path.unlink()
            path.with_name(archive.stored).write_bytes(data)
        spec |= {"path": str(tmp_path / "archives")}
    for name, count in images.samples(kind, spec).items():
        monkeypatch.setitem(catalogue.SAMPLES, name, count)
    source = open_source(spec)
    write_index(source, tmp_path / "index.parquet")
    index = IndexedSource(tmp_path / "index.parquet")
    ids = index.sample_ids(shrink.SAMPLES)
    assert len(set(index.labels(ids).tolist())) == min(len(ids), len(source.class_names())), "classes take turns"
    assert all(index.read(name).ndim == 3 for name in ids)


@pytest.mark.parametrize("kind", CORRUPTED_KINDS)
def test_made_up_corrupted_sets_show_the_clean_samples(tmp_path, monkeypatch, kind):
    for name, count in images.samples("cifar", {"classes": 10}).items():
        monkeypatch.setitem(catalogue.SAMPLES, name, count)
    wanted = {"corruptions": ["fog", "gaussian_noise"], "severities": [1, 5]}
    spec = {"kind": kind, **wanted} | ({"classes": 10} if kind == "cifar_c" else {})
    clean = [("ILSVRC2012_val_00000007", 3), ("ILSVRC2012_val_00000002", 999)]
    images.archives(kind, spec, clean, tmp_path / "archives")
    copies = list(open_source({**spec, "path": str(tmp_path / "archives")}).scan())
    conditions = {(copy.corruption, copy.severity) for copy in copies}
    assert conditions == {(name, severity) for name in wanted["corruptions"] for severity in wanted["severities"]}
    if kind == "imagenet_c":
        assert {(copy.sample_id, copy.label) for copy in copies} == set(clean)


@pytest.mark.parametrize("seed", [None, 0, 7])
def test_large_sets_have_copies_of_the_samples_that_are_taken(tmp_path, monkeypatch, seed):
    monkeypatch.setitem(catalogue.SAMPLES, "imagenet", sets.ALL_COPIES + 1)
    for number in range(1, sets.ALL_COPIES + 2):
        folder = tmp_path / "val" / label_spaces.wnids()[number % 1000]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"ILSVRC2012_val_{number:08d}.JPEG").touch()
    spec = {"kind": "imagenet", "path": str(tmp_path / "val")}
    write_index(open_source(spec), tmp_path / "index.parquet")
    taken = IndexedSource(tmp_path / "index.parquet").chosen(shrink.SAMPLES, seed)
    assert [sample_id for sample_id, _ in sets._samples_of(spec, seed)] == taken


@pytest.mark.parametrize(
    "name",
    [
        *("vit_large_patch32_384.orig_in21k_ft_in1k", "resnetv2_152x4_bit.goog_in21k_ft_in1k", "resnet50.tv_in1k"),
        *("convnext_base.fb_in1k", "swin_base_patch4_window7_224.ms_in1k"),
        "vit_base_patch16_clip_224.laion2b_ft_in1k",
    ],
)
def test_large_networks_of_every_class_have_a_smaller_one_whose_weights_the_hub_can_give(tmp_path, monkeypatch, name):
    from huggingface_hub import constants

    with Server().running() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        made = weights.made_up("x", ModelEntry(timm=name), tmp_path / "made_up", server, full_size=False)
        assert made.entry["kwargs"] and not made.is_real
        fetch_timm_weights(name, made.entry["kwargs"], tmp_path / "fetched.safetensors")
    spec = {"timm": name, "kwargs": made.entry["kwargs"]}
    network = models.load(spec, tmp_path / "fetched.safetensors").network
    with torch.device("meta"):
        assert type(network) is type(timm.create_model(name))
    size = models.resolve(spec, None).preprocessing.input_size
    logits = network(torch.rand(2, 3, size, size))
    assert logits.isfinite().all() and logits.std() > 1e-3, "random, and not the same for all classes"


def test_weights_are_saved_in_every_format(tmp_path):
    for name, kwargs in (
        ("vit_tiny_patch16_224", weights.NARROWER[0]),
        ("resnetv2_50x1_bit", weights.NARROWER[2]),
    ):
        network = weights.scattered(timm.create_model(name, **kwargs).requires_grad_(False))
        for suffix in (".safetensors", ".pth", ".npz"):
            other = timm.create_model(name, **kwargs).requires_grad_(False)
            models.load_weights(other, weights.save(network, tmp_path / f"{name}{suffix}"))
            for key, tensor in network.state_dict().items():
                assert torch.equal(tensor, other.state_dict()[key]), (suffix, key)


OWN_CODE = """
import torch

def works(**kwargs):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64 * 64, 10))

def breaks(**kwargs):
    class Broken(torch.nn.Sequential):
        def forward(self, images):
            if images.device.type != "meta" and images.std() > 0:
                raise RuntimeError("a fault of its own")
            return super().forward(images)
    return Broken(torch.nn.Flatten(), torch.nn.Linear(3 * 64 * 64, 10))
"""

FAULTY = {
    "study": "faulty",
    "models": {
        name: {
            "function": f"own_code:{name}",
            "label_space": "cifar-10",
            "preprocessing": {"input_size": 64, "mean": [0, 0, 0], "std": [1, 1, 1]},
            **({"checkpoint": "absent/weights.pth"} if name == "works" else {}),
        }
        for name in ("works", "breaks")
    },
    "datasets": {
        "absent": {
            "source": {"kind": "folder", "path": "absent/images", "label_space": "cifar-10"},
            "samples": 50,
            "families": ["two"],
        },
        "cifar": {"source": {"kind": "cifar", "classes": 10}, "size": 32},
        "damaged": {
            "source": {"kind": "folder", "path": "damaged", "label_space": "cifar-10"},
            "samples": 1,
            "policy": "model",
        },
    },
    "families": {"two": {"corruptions": ["contrast", "pixelate"]}},
    "images": {"size": 64},
}


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    """A rehearsal of a study with a model that breaks, a set that is damaged, and files that are not there."""
    project = Project.fresh(tmp_path_factory.mktemp("rehearsed") / "project")
    (project.folder / "own_code.py").write_text(OWN_CODE)
    (project.folder / "damaged/cat").mkdir(parents=True)
    (project.folder / "damaged/cat/1.jpg").write_bytes(images.picture(0)[:300])
    project.configure(FAULTY)
    before = {path.relative_to(project.folder) for path in project.folder.rglob("*")}
    environment = {**os.environ, "PYTHONPATH": str(project.folder / "workflow")}
    command = [sys.executable, "-m", "withstand.cli", "rehearse", "--cores", "2"]
    ended = subprocess.run(
        command, cwd=project.folder, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    changed = {path.relative_to(project.folder) for path in project.folder.rglob("*")} - before
    return project, ended, {path for path in changed if "__pycache__" not in path.parts}


def test_a_rehearsal_goes_on_after_failures_and_tells_all_of_them(rehearsed):
    project, ended, _ = rehearsed
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "Error: these studies would not have ended well: faulty" in ended.stderr
    assert re.search(r"breaks cifar clean: .*a fault of its own", ended.stdout), ended.stdout
    assert re.search(r"prepare_images damaged, 0000: .*not a readable image", ended.stdout), ended.stdout
    assert "jobs wait for these" in ended.stdout
    results = project.folder / "results/.rehearsal/faulty/results/faulty"
    assert (results / "predictions/works/cifar/clean.parquet").exists(), "what does not depend on it goes on"


def test_a_rehearsal_tells_what_the_real_run_needs(rehearsed):
    _, ended, _ = rehearsed
    assert "datasets.absent.source.path: absent/images" in ended.stdout
    assert "models.works.checkpoint: absent/weights.pth" in ended.stdout
    assert "1 archives to download: results/downloads/cifar/cifar-10-binary.tar" in ended.stdout


def test_a_rehearsal_says_in_every_result_that_it_is_one(rehearsed):
    project, _, _ = rehearsed
    results = project.folder / "results/.rehearsal/faulty/results/faulty"
    summary = "A rehearsal with a few samples; its numbers mean nothing (made up: works, absent, cifar)."
    card = json.loads((results / "models/works.json").read_text())
    assert card["versions"]["rehearsal"] == summary
    tables = list(results.glob("tables/**/*.parquet"))
    notes = [pq.read_metadata(path).metadata for path in tables]
    assert tables and all(summary in "".join(value.decode() for value in note.values()) for note in notes)
    config = yaml.safe_load((project.folder / "results/.rehearsal/faulty/config.yaml").read_text())
    assert config["models"]["works"]["label"] == "works (random weights)"
    assert config["datasets"]["absent"]["label"] == "absent (made up)"
    assert "label" not in config["datasets"]["damaged"]


def test_the_speed_of_models_of_full_size_is_measured_for_plan(rehearsed, monkeypatch):
    project, _, _ = rehearsed
    monkeypatch.chdir(project.folder)
    lines = [json.loads(line) for line in Path("results/rates.jsonl").read_text().splitlines()]
    assert {line["model"] for line in lines} == {"works"}, "the other one breaks"
    known = rates.measured_on(costs.DEVICES["cpu"])
    facts = anatomy.Facts(flops=lines[0]["flops"], values=lines[0]["values"])
    assert known.seconds(facts, "float32") == lines[0]["seconds"] > 0
    assert known.seconds(facts, "bfloat16") != lines[0]["seconds"]
    assert not rates.measured_on(costs.DEVICES["h100"]).measured


def test_a_rehearsal_writes_nothing_elsewhere_and_is_deleted_whole(rehearsed, tmp_path, monkeypatch):
    project, _, changed = rehearsed
    outside = {path for path in changed if path.parts[:2] != ("results", ".rehearsal")}
    assert outside <= {Path("results"), Path("results/rates.jsonl")}
    monkeypatch.chdir(project.folder)
    run.delete("faulty")
    assert (project.folder / "damaged/cat/1.jpg").exists(), "links are removed, and not what they lead to"
    assert not (project.folder / "results/.rehearsal/faulty").exists()


def test_a_summary_is_the_same_everywhere():
    outcome = Outcome("x", Path(), models={"a": "", "b": ""}, datasets={"c": ""}, real={"a", "c"})
    assert summary(outcome).endswith("(made up: b).")
    outcome.real.add("b")
    assert summary(outcome).endswith("(models and images are real).")
    outcome.models["own"] = weights.TRAINED
    assert summary(outcome).endswith("(trained in small: own).")
