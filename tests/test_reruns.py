"""What runs again after which change: exact counts of jobs, by dry-runs after a real run."""

import copy
import json
import os

import pytest
import yaml

from workflow_project import STUDY, WHOLE, Project

REPORT = {"write_report": 1, "all": 1}
"""What follows from any new figure or table."""

CLAIMS = {"tabulate_claims": 1, "draw_study": 1, **REPORT}
"""What follows from any new table that claims rest on."""

STATISTICS = {"tabulate_comparisons": 1, "tabulate_corruption_error": 1, "tabulate_trends": 1, "tabulate_claims": 1}
STATISTICS |= {"draw_study": 3, "draw_compared": 5, "draw_disagreements": 4}

TABLES = {"join_summaries": 2, "tabulate_failures": 1, "draw_accuracy": 2, "draw_held_out": 1, **STATISTICS, **REPORT}
"""What follows from any new accuracy."""

PERTURBED = {"tabulate_attacks": 1, "tabulate_transfer": 1, "tabulate_patch_alignment": 1, "draw_transfer": 1}
PERTURBED |= {"draw_perturbations": 1, "tabulate_failures": 1, **CLAIMS}
"""What follows from any new perturbations, figures of all attacks apart."""

ATTACKS = PERTURBED | {"tabulate_spatial": 1, "draw_attacks": 4}
"""What follows from new attacks of every kind."""

INSIDE = {"tabulate_similarity": 1, "tabulate_internals": 3, "draw_internals": 7, "tabulate_failures": 1, **CLAIMS}
"""What follows from any new look into a model: one job has all files, and Snakemake plans what follows from each."""

NEW_CLEAN = {
    "tabulate_attacks": 1,
    "tabulate_transfer": 1,
    "tabulate_spatial": 1,
    "draw_attacks": 3,
    "draw_transfer": 1,
}
"""What follows from new predictions on the attacked images as they are: what perturbations are compared with."""

SHAPE_BIAS = {"tabulate_shape_bias": 1, "draw_shape_bias": 1}
"""What follows from any new predictions on the clean images."""

FIGURES = {"draw_accuracy": 2, "draw_held_out": 1, "draw_shape_bias": 1, **REPORT}
FIGURES |= {"draw_study": 3, "draw_compared": 5, "draw_disagreements": 4}
FIGURES |= {"draw_attacks": 4, "draw_transfer": 1, "draw_perturbations": 1, "draw_internals": 7}
"""Figures that show models."""

MODEL = {
    "describe_model": 1,
    "predict": 1,
    "predict_clean": 1,
    "attack_model": 1,
    "transfer_perturbations": 3,
    "attack_spatial": 1,
    "measure_internals": 1,
    "summarise_model": 1,
    "tabulate_models": 1,
    **SHAPE_BIAS,
    **ATTACKS,
    **INSIDE,
    **TABLES,
}
"""What follows from a new model whose weights are there: every model is shown its perturbations."""

SAME_NUMBER = MODEL | {"transfer_perturbations": 2}
"""What follows from another model in the place of one."""


@pytest.fixture
def project(finished, tmp_path) -> Project:
    return finished.clone(tmp_path / "project")


def configured(project: Project, **changes) -> dict[str, int]:
    """Jobs planned after keys of the study were replaced."""
    project.configure(copy.deepcopy(STUDY) | changes)
    return project.planned()


def models(**changes) -> dict:
    merged = copy.deepcopy(STUDY["models"]) | changes
    return {name: entry for name, entry in merged.items() if entry is not None}


def test_the_first_run_plans_everything(tmp_path):
    assert Project.fresh(tmp_path / "project").planned() == WHOLE


def test_nothing_changed(project):
    assert project.planned() == {}


def test_add_a_model(project):
    assert configured(project, models=models(third={"zoo": "vit_p8_base"})) == MODEL


def test_add_a_model_from_an_address(project):
    entry = {"timm": "vit_tiny_patch16_224", "checkpoint": "https://example.org/ViT-Ti_16.npz"}
    assert configured(project, models=models(third=entry)) == {"fetch_weights": 1, **MODEL}


def test_remove_a_model(project):
    dropped = {"transfer_perturbations": 1, "tabulate_models": 1}  # its cells, nothing is computed
    expected = dropped | SHAPE_BIAS | ATTACKS | INSIDE | TABLES
    expected |= {"draw_internals": 6, "draw_compared": 1}  # there is no other model to compare with
    del expected["draw_disagreements"]
    assert configured(project, models=models(vit=None)) == expected


def test_rename_a_model(project):
    assert configured(project, models=models(vit=None, vit_small=STUDY["models"]["vit"])) == SAME_NUMBER


def test_change_a_models_entry(project):
    assert configured(project, models=models(vit={"zoo": "resnet_gn_base"})) == SAME_NUMBER


def test_intervene_in_a_model(project):
    """It is another model, with the same weights; the code of interventions counts for it, and not for the other."""
    lesioned = STUDY["models"]["vit"] | {"interventions": [{"kind": "lesion", "part": "mlp", "blocks": [2]}]}
    assert configured(project, models=models(vit=lesioned)) == SAME_NUMBER
    del (study := copy.deepcopy(STUDY))["internals"]
    project.configure(study | {"models": models(vit=lesioned)})
    project.complete("--until", "predict")
    project.edit("workflow/withstand/interventions.py", '(module, "attn" if part', '(module, "attn" if not part')
    assert project.planned("--until", "predict") == {"describe_model": 1, "predict": 1}


def test_add_a_dataset(project):
    pool = {"source": {"kind": "shapetex", "split": "pool"}, "samples": 40}
    planned = configured(project, datasets=STUDY["datasets"] | {"pool": pool})
    expected = {"prepare_images": 1, "predict_clean": 2, "summarise_model": 2, "draw_samples": 1}
    more = {"draw_compared": 6, "draw_disagreements": 5}
    assert planned == expected | SHAPE_BIAS | TABLES | NEW_CLEAN | more

    # a model's clean images are one job, which runs it on the new dataset alone
    predictions = list(project.folder.glob("results/small/predictions/*/*/clean.parquet"))
    before = {path: path.stat().st_ino for path in predictions}
    project.complete("--until", "predict_clean")
    assert {path: path.stat().st_ino for path in predictions} == before
    logs = [path.read_text() for path in project.folder.glob("results/small/logs/predict_clean/*.log")]
    assert [(log.count("is up to date"), log.count("40/40 images")) for log in logs] == [(4, 1), (4, 1)]
    assert "predict_clean" not in project.planned()


def test_add_a_family(project):
    datasets = copy.deepcopy(STUDY["datasets"])
    datasets["test"]["families"].append("bright")
    families = STUDY["families"] | {"bright": {"corruptions": ["brightness"]}}
    planned = configured(project, datasets=datasets, families=families)
    assert planned == {"corrupt_images": 1, "predict": 2, "summarise_model": 2, **TABLES}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"label": "Another label"}, FIGURES),
        ({"label": "ViT", "color": "#123456"}, FIGURES),
        (
            {"label": "ViT", "family": "Transformer"},
            {"tabulate_models": 1, "tabulate_trends": 1, "tabulate_claims": 1, **FIGURES},
        ),
    ],
)
def test_change_what_only_tables_and_figures_show(project, entry, expected):
    assert configured(project, models=models(vit={"zoo": "vit_p8_base", **entry})) == expected


def test_change_a_figures_setting(project):
    planned = configured(project, figures={"dpi": 200})
    assert planned == {"draw_samples": 4, "draw_corruptions": 1, **FIGURES}


def test_touch_files(project):
    touched = [
        *project.folder.glob("results/weights/*.safetensors"),  # one of them over 2 MB
        *project.folder.glob("results/small/**/*.*"),
        *project.folder.glob("workflow/**/*.py"),
        *project.folder.glob("rules/*.smk"),
        project.folder / "config.yaml",
        project.folder / "Snakefile",
    ]
    assert max(path.stat().st_size for path in touched) > 2_000_000
    inputs = [path for path in touched if "figures" not in path.parts and "tables" not in path.parts]
    for path in inputs:
        os.utime(path)
    assert project.planned() == {}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("corruptions/digital.py", '"""Shrink the differences', '"""Make smaller the differences'),
        ("inference.py", "        parts, start = [], 0\n", "        # a comment\n        parts, start = [], 0\n"),
        ("metrics/calibration.py", "    rows = []\n", "    rows = (\n        []\n    )\n"),
        ("steps/draw.py", "rows = read_results(table)\n", "rows = read_results(table)  # all\n"),
        ("../../rules/inference.smk", "rule predict:\n", "# a comment\nrule predict:\n"),
    ],
)
def test_comments_docstrings_and_layout(project, name, old, new):
    project.edit(f"workflow/withstand/{name}", old, new)
    assert project.planned() == {}


def test_reorder_keys(project):
    def reordered(value):
        if isinstance(value, dict):
            return {key: reordered(value[key]) for key in reversed(value)}
        return value

    text = yaml.safe_dump(reordered(STUDY), sort_keys=False)
    assert text.index("images") < text.index("study:")
    (project.folder / "config.yaml").write_text(text)
    assert project.planned() == {}


def test_add_a_corruption_beside_another(project):
    digital = project.folder / "workflow/withstand/corruptions/digital.py"
    digital.write_text(digital.read_text() + "\n\ndef invert(images, noise, share):\n    return 255 - images\n")
    project.edit(
        "workflow/withstand/corruptions/constants.py",
        "CORRUPTIONS: dict[str, Corruption] = {\n",
        'CORRUPTIONS: dict[str, Corruption] = {\n    "invert": Corruption("digital", {64: _single(1, 2, 3, 4, 5)}),\n',
    )
    assert project.planned() == {"draw_corruptions": 1, **REPORT}, "the figure of all corruptions"


def test_stream_a_family(project):
    """Without files of corrupted images, from the clean ones or the source."""
    families = copy.deepcopy(STUDY["families"])
    families["digital"]["materialize"] = False
    planned = configured(project, families=families)
    assert planned == {"predict_streamed": 2, "summarise_model": 2, **TABLES}
    families["digital"] |= {"materialize": True, "policy": "corrupt_after_resize"}
    planned = configured(project, families=families)
    assert planned == {"predict_streamed": 2, "summarise_model": 2, **TABLES}


def test_change_a_corruption(project):
    project.edit("workflow/withstand/corruptions/digital.py", "mul_(factor).add_((means", "mul_(factor).sub_((means")
    expected = {"corrupt_images": 1, "predict": 2, "summarise_model": 2, "draw_corruptions": 1, **TABLES}
    assert project.planned() == expected


def test_change_a_corruptions_constants(project):
    project.edit("workflow/withstand/corruptions/constants.py", "(65, 58, 50, 40, 25)", "(65, 58, 50, 40, 20)")
    assert project.planned()["corrupt_images"] == 1


def attacks(**changes) -> dict:
    return copy.deepcopy(STUDY["attacks"]) | changes


def test_add_an_attack(project):
    """All attacks on a model are one job, which carries out what is new."""
    perturbations = STUDY["attacks"]["perturbations"] | {"fgsm": {"kind": "fgsm"}}
    planned = configured(project, attacks=attacks(perturbations=perturbations))
    new = {"attack_model": 2, "transfer_perturbations": 2, "draw_transfer": 2, "draw_perturbations": 2}
    assert planned == PERTURBED | new | {"draw_attacks": 2}

    before = {path: path.stat().st_ino for path in project.folder.glob("results/small/attacks/*/pgd.h5")}
    project.complete("--until", "transfer_perturbations")
    assert len(before) == 2 and {path: path.stat().st_ino for path in before} == before
    logs = [path.read_text() for path in project.folder.glob("results/small/logs/transfer_perturbations/*.log")]
    assert [log.count("2 cells are there, 2 are missing") for log in logs] == [1, 1]


def test_change_an_attack(project):
    planned = configured(project, attacks=attacks(perturbations={"pgd": {"kind": "pgd", "steps": 2, "eps": "2/255"}}))
    assert planned == PERTURBED | {"attack_model": 2, "transfer_perturbations": 2, "draw_attacks": 2}


def test_attack_fewer_images(project):
    planned = configured(project, attacks=attacks(samples=10))
    assert planned == ATTACKS | {"attack_model": 2, "transfer_perturbations": 2, "attack_spatial": 2}


def test_attack_one_model_less(project):
    planned = configured(project, attacks=attacks(models=["vit"]))
    assert planned == ATTACKS | {"transfer_perturbations": 1}


def test_change_the_grid_of_rotations_and_translations(project):
    spatial = STUDY["attacks"]["spatial"] | {"angles": 5}
    planned = configured(project, attacks=attacks(spatial=spatial))
    expected = {"attack_spatial": 2, "tabulate_spatial": 1, "draw_attacks": 2, "tabulate_failures": 1, **CLAIMS}
    assert planned == expected


def test_compare_perturbations_with_other_patches(project):
    planned = configured(project, attacks=attacks(patch_sizes=[8, 32]))
    assert planned == {"tabulate_patch_alignment": 1, "draw_attacks": 1, "draw_perturbations": 1, **CLAIMS}


def test_change_how_attacks_step(project):
    project.edit("workflow/withstand/attacks/space.py", "alpha=self._step", "alpha=self._step / 2")
    expected = PERTURBED | {"attack_model": 2, "transfer_perturbations": 2, "draw_attacks": 2}
    assert project.planned() == expected


def internals(**changes) -> dict:
    merged = copy.deepcopy(STUDY["internals"]) | changes
    return {key: value for key, value in merged.items() if value is not None}


def measured(project: Project, kind: str = "*") -> dict:
    return {path: path.stat().st_ino for path in project.folder.glob(f"results/small/internals/*/{kind}.*")}


def test_change_lesions(project):
    """All experiments on a model are one job, which carries out what is new."""
    planned = configured(project, internals=internals(lesions={"counts": [2], "draws": 3}))
    assert planned == INSIDE | {"measure_internals": 2}
    before, lesions = measured(project), measured(project, "lesions")
    project.complete("--until", "measure_internals")
    after = measured(project)
    assert len(before) == 8 and {path for path in before if after[path] != before[path]} == set(lesions)


def test_look_into_models_with_corrupted_images(project):
    before = measured(project)
    planned = configured(project, internals=internals(families=["digital"]))
    assert planned == INSIDE | {"measure_internals": 2, "draw_internals_corrupted": 4}
    project.complete("--until", "measure_internals")
    assert measured(project) == before
    assert len(list(project.folder.glob("results/small/internals/*/digital/*"))) == 8


def test_an_experiment_less(project):
    planned = configured(project, internals=internals(attention_distance=None))
    fewer = {"tabulate_internals": 2, "draw_internals": 6, "measure_internals": 2}
    assert planned == INSIDE | fewer


def test_look_into_one_model_less(project):
    planned = configured(project, internals=internals(models=["vit"]))
    assert planned == INSIDE | {"draw_internals": 6}


def test_look_with_fewer_images(project):
    assert configured(project, internals=internals(samples=8)) == INSIDE | {"measure_internals": 2}


def test_tabulate_other_similarities(project):
    similarity = {"minibatch": 6, "flattening": ["per_sample"], "between_models": False}
    planned = configured(project, internals=internals(similarity=similarity))
    assert planned == {"tabulate_similarity": 1, "draw_internals": 2, "tabulate_failures": 1, **CLAIMS}


def test_change_how_attention_is_limited(project):
    """No other experiment is carried out again."""
    project.edit("workflow/withstand/internals.py", "masked = 1 - float(", "masked = 1.0 - 1 * float(")
    assert project.planned() == INSIDE | {"measure_internals": 2}
    before, limits = measured(project), measured(project, "attention_limit")
    project.complete("--until", "measure_internals")
    after = measured(project)
    assert {path for path in before if after[path] != before[path]} == set(limits)


def test_change_a_metric(project):
    project.edit("workflow/withstand/metrics/intervals.py", 'method="wilson"', 'method="beta"')
    shares = {"tabulate_internals": 2, "draw_internals": 3}
    assert project.planned() == {"summarise_model": 2, **SHAPE_BIAS, **TABLES, **NEW_CLEAN, **shares}


def test_change_inference(project):
    """Of the models, looked into or not, and of the reference that chooses natural adversarial examples."""
    project.edit("workflow/withstand/inference.py", ".float() / 255", ".float() / 256")
    chosen = {"find_missed": 1, "prepare_images": 1, "draw_samples": 1}
    predicted = {"predict": 2, "predict_clean": 2, "summarise_model": 2, "measure_internals": 2}
    assert project.planned() == chosen | predicted | SHAPE_BIAS | NEW_CLEAN | INSIDE | TABLES


def test_compute_in_other_numbers(project):
    """Predictions are computed so, and nothing else is; the table of models, which figures show, says it."""
    predicted = {"predict": 2, "predict_clean": 2, "summarise_model": 2, "tabulate_models": 1}
    again = SHAPE_BIAS | NEW_CLEAN | TABLES
    assert configured(project, inference={"precision": "bfloat16"}) == again | FIGURES | predicted
    assert configured(project, inference={"precision": "float32"}) == {}
    vit = STUDY["models"]["vit"] | {"inference": {"channels_last": True}}
    alone = {"predict": 1, "predict_clean": 1, "summarise_model": 1}
    assert configured(project, models=STUDY["models"] | {"vit": vit}) == again | alone


def test_change_a_figure(project):
    project.edit("workflow/withstand/figures/accuracy_by_severity.py", "COLUMNS = 3", "COLUMNS = 4")
    assert project.planned() == {"draw_accuracy": 1, **REPORT}


def test_another_study_replaces_the_demo(project):
    other = copy.deepcopy(STUDY) | {"study": "other", "models": {"only": {"zoo": "vit_p8_base"}}}
    del other["attacks"], other["internals"], other["statistics"]
    other["datasets"] = {"validation": STUDY["datasets"]["validation"]}
    project.configure(other, "other.yaml")
    planned = project.planned("--configfile", "other.yaml")
    assert planned == {
        "describe_model": 1,
        "prepare_images": 1,
        "predict_clean": 1,
        "summarise_model": 1,
        "join_summaries": 2,
        "tabulate_failures": 1,
        "tabulate_models": 1,
        "tabulate_comparisons": 1,
        "tabulate_trends": 1,
        "tabulate_claims": 1,
        "draw_study": 3,
        "draw_samples": 1,
        **REPORT,
    }
    assert project.planned() == {}


def test_a_study_that_only_trains_is_for_its_weights(project):
    kwargs = {"num_classes": 10}
    recipe = {"timm": "resnet18", "kwargs": kwargs, "dataset": "train", "validation": "train", "epochs": 1}
    train = {"source": {"kind": "shapetex", "split": "train"}, "samples": 200, "role": "training"}
    study = {"study": "training", "models": {"small": {"recipe": "small"}}, "datasets": {"train": train}}
    project.configure(study | {"recipes": {"small": recipe}, "images": {"size": 64}}, "training.yaml")
    planned = project.planned("--configfile", "training.yaml")
    assert planned == {"prepare_training_images": 1, "train_model": 1, "all": 1}


def test_limit_makes_a_pilot(project):
    planned = configured(project, limit=20)
    assert (planned["predict"], planned["predict_clean"]) == (2, 2)
    assert planned["prepare_images"] == 3, "the natural adversarial examples are fewer anyway"
    assert "describe_model" not in planned


def test_another_reference(project):
    datasets = copy.deepcopy(STUDY["datasets"])
    datasets["missed"]["missed_by"] = {"zoo": "vit_p16_base"}
    planned = configured(project, datasets=datasets)
    chosen = {"fetch_weights": 1, "find_missed": 1, "prepare_images": 1, "draw_samples": 1}
    assert planned == chosen | {"predict_clean": 2, "summarise_model": 2} | SHAPE_BIAS | TABLES | NEW_CLEAN


def test_new_weights_in_the_zoo(project):
    zoo = project.folder / "workflow/withstand/zoo"
    digests = [
        json.loads((zoo / "index.json").read_text())[name]["sha256"] for name in ("vit_p8_base", "resnet_gn_base")
    ]
    project.edit("workflow/withstand/zoo/index.json", *digests)
    assert project.planned() == {"fetch_weights": 1} | SAME_NUMBER


def test_another_split_of_generated_images(project):
    project.edit("workflow/withstand/datasets/splits.py", '"pool": 200_000', '"pool": 300_000, "more": 10_000')
    assert project.planned() == {}
