"""Degenerate studies go to their report: nothing right or all, one of everything, models that failed."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
import torch

from archives_of_images import npy, write_folder
from in_process import commands, run
from withstand.models import save_weights
from workflow_project import Project

VIT = {"img_size": 64, "patch_size": 16, "embed_dim": 16, "depth": 3, "num_heads": 2}
RESNET = {"norm_layer": "groupnorm", "channels": [32] * 4, "layers": [1] * 4}
ARCHITECTURES = {"vit": ("vit_tiny_patch16_224", VIT), "resnet": ("resnet18", RESNET)}
HALF = {"input_size": 64, "mean": [0.5] * 3, "std": [0.5] * 3}
ATTACKS = {
    "patch_sizes": [32],
    "perturbations": {"fgsm": {"kind": "fgsm"}, "pgd": {"kind": "pgd", "steps": 2}},
    "spatial": {"angles": 2, "shifts": 1, "draws": 2},
}
INSIDE = {
    "lesions": {"counts": [2], "draws": 2},
    "attention_limit": {"distances": [0.25], "draws": 2, "class_only": [1]},
    "attention_distance": {},
}
FOG = {"corruptions": ["fog"], "severities": [3]}


class Poor(Project):
    """A study with models that answer as a test wants."""

    def model(self, name: str, outputs: int, label_space: str, answer: int | None = None) -> dict:
        """A random network, or one that always gives one answer, and whose gradients are not quite zero."""
        timm_name, kwargs = ARCHITECTURES[name]
        kwargs = {**kwargs, "num_classes": outputs}
        torch.manual_seed(0)
        network = timm.create_model(timm_name, **kwargs)
        if answer is not None:
            with torch.no_grad():
                head = network.get_classifier()
                head.weight *= 1e-4
                head.bias.zero_()[answer] = 1.0
        save_weights(self.folder / f"{name}.safetensors", network.state_dict())
        about = {"checkpoint": f"{name}.safetensors", "label_space": label_space, "preprocessing": HALF}
        return {"timm": timm_name, "kwargs": kwargs, "family": {"vit": "ViT", "resnet": "ResNet"}[name]} | about

    def pets(self, labels: list[int]) -> dict:
        """Images of noise with labels."""
        pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 64, 64, 3), dtype=np.uint8)
        write_folder(self.folder, {"x.npy": npy(pixels), "y.npy": npy(np.array(labels))})
        return {
            **{"kind": "arrays", "images_path": "x.npy", "labels_path": "y.npy", "size": 64},
            **{"label_space": "pets", "classes": ["dog", "cat", "cow"]},
        }

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.folder / f"results/poor/tables/{name}.parquet")

    def page(self) -> str:
        """The report, without its library."""
        page = (self.folder / "results/poor/report.html").read_text()
        return re.sub(r'<script type="application/json".*?</script>', "", page, flags=re.DOTALL)


@pytest.fixture
def poor(tmp_path) -> Poor:
    return Poor.fresh(tmp_path / "project")


def finish(project: Poor, models: dict, datasets: dict, families: dict | None = None, **more) -> list[list[str]]:
    """Carry out a study to its report; return the commands."""
    study = {"study": "poor", "models": models, "datasets": datasets, "families": families or {"natural": FOG}}
    project.configure(study | {"images": {"size": 64}, "figures": {"dpi": 50}} | more)
    found = commands(project)
    assert run(project, found) == []
    assert "nan" not in re.sub('<svg.*?</svg>|data:[^"]*|Nan|nance', "", project.page()).lower().split()
    return found


def test_nothing_is_right(poor):
    """Two models that always give an answer that is never right, nor named by shape or texture."""
    models = {name: poor.model(name, 10, "shapetex", answer=1) for name in ARCHITECTURES}
    drawn = {"source": {"kind": "shapetex_renditions"}, "samples": 6, "families": ["natural"]}
    conflict = {"source": {"kind": "shapetex_cue_conflict"}, "samples": 12, "label": "Conflict"}
    attacks, inside = ({"dataset": "drawn", "samples": 4} | given for given in (ATTACKS, INSIDE))
    inside["similarity"] = {"minibatch": 4}
    more = {"attacks": attacks, "internals": inside, "statistics": {"baseline": "resnet"}}
    found = finish(poor, models, {"drawn": drawn, "conflict": conflict}, **more)
    accuracy = poor.table("accuracy")
    assert set(accuracy.loc[(accuracy["dataset"] == "drawn") & (accuracy["label_mode"] == "all"), "value"]) == {0.0}
    transfer = poor.table("transfer")
    assert transfer.loc[(transfer["metric"] == "fooled") & (transfer["label_mode"] == "all"), "value"].isna().all()
    assert "What 2 image classifiers withstand" in poor.page()

    # and where no table has a value, every figure of one says so, and the report goes on
    for path in (poor.folder / "results/poor/tables").glob("*.parquet"):
        whole = pq.read_table(path)
        for name in {"value", "low", "high"} & {*whole.column_names}:
            place = whole.schema.get_field_index(name)
            whole = whole.set_column(
                place, whole.schema.field(name), pa.nulls(len(whole), whole.schema.field(name).type)
            )
        pq.write_table(whole, path)
    left = ("draw", "tabulate-trends", "tabulate-claims", "write-report")
    assert run(poor, [words for words in found if words[0] in left]) == []
    assert "No image classifier has results" in poor.page()
    drawn = [words for words in found if words[0] == "draw" and words[1] != "claims"]
    assert len(drawn) > 20
    for words in drawn:
        text = (poor.folder / words[words.index("--svg") + 1]).read_text()
        assert "No model has the results" in " ".join(re.sub("<.*?>", " ", text).split()), words[1]


def test_all_is_right_and_of_one_class(poor):
    models = {name: poor.model(name, 3, "pets", answer=0) for name in ARCHITECTURES}
    pets = {"source": poor.pets([0] * 6), "samples": 6, "families": ["natural"]}
    attacks, inside = ({"dataset": "pets", "samples": 4} | given for given in (ATTACKS, INSIDE))
    families = {"natural": {"corruptions": ["fog", "contrast"], "severities": [1, 5]}}
    more = {"attacks": attacks, "internals": inside | {"similarity": {"minibatch": 4}}}
    finish(poor, models, {"pets": pets}, families, statistics={"baseline": "vit"}, **more)
    assert set(poor.table("accuracy")["value"]) == {1.0}
    attacked = poor.table("attacks")
    assert set(attacked.loc[attacked["metric"] == "fooled", "value"]) == {0.0}, "no attack fells any"
    errors = poor.table("corruption_error")
    assert errors["value"].isna().all(), "a baseline without errors is no reference"


def test_one_model_one_sample_one_condition(poor):
    models = {"vit": poor.model("vit", 3, "pets", answer=0)}
    pets = {"source": poor.pets([0]), "samples": 1, "families": ["natural"]}
    more = {"attacks": {"dataset": "pets"} | ATTACKS, "internals": {"dataset": "pets"} | INSIDE}
    finish(poor, models, {"pets": pets}, **more)
    accuracy = poor.table("accuracy")
    assert set(accuracy["value"]) == {1.0} and set(accuracy["n"]) == {1}
    assert "What 1 image classifier withstands" in poor.page()
    alignment = poor.table("patch_alignment")
    assert alignment["value"].notna().any() and alignment[["low", "high"]].isna().all(axis=None)
    ratios = poor.table("claims").query("unit == 'ratio'").dropna(subset="effect")
    assert len(ratios) and set(ratios["outcome"]) == {"undecided"}, "one image decides nothing"


def test_all_models_failed_but_one_which_an_attack_fells(poor):
    vit = poor.model("vit", 3, "pets")
    broken = {"function": "helper_models:broken", "label_space": "pets", "preprocessing": HALF}
    elsewhere = {"zoo": "vit_p8_base"}
    pixels = poor.pets([0] * 8)
    answers = _answers(poor, vit)
    pixels = poor.pets(answers)
    strong = {"kind": "pgd", "steps": 10, "eps": 0.5, "step_size": 0.05}
    attacks = {"dataset": "pets"} | ATTACKS | {"perturbations": {"strong": strong}}
    more = {"attacks": attacks, "internals": {"dataset": "pets"} | INSIDE | {"similarity": {"minibatch": 4}}}
    pets = {"source": pixels, "samples": 8, "families": ["natural"]}
    finish(poor, {"vit": vit, "broken": broken, "elsewhere": elsewhere}, {"pets": pets}, **more)
    accuracy = poor.table("accuracy")
    assert set(accuracy["model"]) == {"vit"}
    assert set(accuracy.loc[accuracy["family"] == "clean", "value"]) == {1.0}
    attacked = poor.table("attacks").query("label_mode == 'all'").set_index("metric")
    assert attacked.loc["fooled", "value"] == 1 and attacked.loc["accuracy", "value"] == 0
    page = poor.page()
    assert "What 1 image classifier withstands" in page and "How well does this model withstand" in page


def _answers(project: Poor, entry: dict) -> list[int]:
    """What a model answers to the images that lie there."""
    from withstand.models import load

    source = {key: entry[key] for key in ("timm", "kwargs", "label_space", "preprocessing")}
    model = load(source, project.folder / entry["checkpoint"])
    pixels = torch.from_numpy(np.load(project.folder / "x.npy")).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        return model(pixels).argmax(1).tolist()
