"""Names that a shell would carry out: nothing is carried out, and results are right."""

import copy
import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image

from withstand import models
from withstand.cli import main
from withstand.images import ImageFile
from workflow_project import STUDY, Project

TRAPS = (
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned;",
    "' ; touch pwned; '",
    '" && touch pwned "',
    "| touch pwned",
)

HOSTILE = 'o\'dd "name" $(touch pwned) `touch pwned`; touch pwned & * \\ é'
"""All that a shell might trip over in one name, but for what no folder may have."""

CLASSES = ["it's; touch pwned", "$(touch pwned) `touch pwned`"]

MODEL = {
    "timm": "vit_tiny_patch16_224",
    "kwargs": {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2, "num_classes": 2},
    "label_space": "own $(touch pwned) 'space'",
    "label": HOSTILE,
    "family": "`touch pwned`",
    "pretraining": {"dataset": "; touch pwned", "images": 5},
}

IDS = {
    "study": lambda study, name: study | {"study": name},
    "models": lambda study, name: study | {"models": {name: {"zoo": "vit_p8_base"}}},
    "datasets": lambda study, name: study | {"datasets": {name: study["datasets"]["test"]}},
    "families": lambda study, name: study | {"families": {name: study["families"]["digital"]}},
    "recipes": lambda study, name: study | {"recipes": {name: {"timm": "resnet18", "dataset": "test"}}},
    "attacks": lambda study, name: study | {"attacks": {"dataset": "test", "perturbations": {name: {"kind": "fgsm"}}}},
}


@pytest.mark.parametrize("place", IDS)
@pytest.mark.parametrize("name", [*TRAPS, "../up", "a/b", "a b", "a\nb", ".hidden", "-n", "{model}", ""])
def test_an_id_that_is_no_plain_name_is_refused(tmp_path, place, name):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(IDS[place](copy.deepcopy(STUDY), name), sort_keys=False))
    outcome = CliRunner().invoke(main, ["check", str(path)])
    assert outcome.exit_code == 1
    assert "a name is letters, digits, '_' and '-'" in outcome.output, outcome.output
    assert place in outcome.output and "Traceback" not in outcome.output


def picture(path, color: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((32, 32, 3), color, np.uint8)).save(path)


@pytest.fixture
def project(tmp_path) -> Project:
    """A project in a folder with a hostile name, with images, a checkpoint and labels of such names."""
    project = Project.fresh(tmp_path / HOSTILE / "pro'ject\n$(touch pwned)")
    folder = project.folder / "my images; touch pwned $(touch pwned)"
    for number, name in enumerate(CLASSES):
        for trap in TRAPS:
            picture(folder / name / f"{trap.replace('/', '')}.png", 100 + 50 * number)
    network = models.build(models.resolve({name: MODEL[name] for name in ("timm", "kwargs")}, None))
    state = {name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}
    state["head.bias"] = torch.tensor([0.0, 1.0])  # it always answers the second class
    checkpoint = "check point $(touch pwned) 'x'; `touch pwned`.safetensors"
    models.save_weights(project.folder / checkpoint, state)
    source = {
        **{"kind": "folder", "path": folder.name, "classes": CLASSES, "label_space": MODEL["label_space"]},
    }
    study = {
        "study": "hostile",
        "models": {"own": MODEL | {"checkpoint": checkpoint}},
        "datasets": {
            "own": {"source": source, "samples": 12, "label": HOSTILE, "families": ["stored", "streamed"]},
        },
        "families": {
            "stored": {"corruptions": ["contrast"], "severities": [1]},
            "streamed": {"corruptions": ["brightness"], "severities": [1], "materialize": False},
        },
        "images": {"size": 32},
    }
    project.configure(study)
    return project


def test_a_study_of_hostile_names_carries_nothing_out(project, tmp_path):
    project.complete()
    assert [path for path in tmp_path.rglob("*") if path.name.startswith("pwned")] == []
    results = project.folder / "results/hostile"
    with ImageFile(results / "images/own/clean/0000.h5") as file:
        samples, pixels = file.samples, file.read("clean", 0, slice(None))
    assert samples.class_names == CLASSES
    assert {sample_id.split("/")[0] for sample_id in samples.ids} == set(CLASSES)
    assert sorted({sample_id.split("/")[1] for sample_id in samples.ids}) == sorted(f"{trap}.png" for trap in TRAPS)
    assert np.array_equal(pixels.mean(axis=(1, 2, 3)), 100 + 50 * samples.labels)
    accuracy = pd.read_parquet(results / "tables/accuracy.parquet")
    assert set(accuracy["value"]) == {0.5}
    assert set(accuracy["family"].dropna()) == {"clean", "stored", "streamed"}
    assert pd.read_parquet(results / "tables/models.parquet")["family"].tolist() == [MODEL["family"]]
    assert json.loads((results / "run.json").read_text())["status"] == "complete"
    page = (results / "report.html").read_text()
    assert "<script>touch" not in page and HOSTILE not in page, "the page escapes it"
    assert project.planned() == {}
