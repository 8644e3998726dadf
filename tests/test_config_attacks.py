"""The part of a config about attacks: what is refused, and what steps are given."""

import copy
import json
from fractions import Fraction

import pytest
from snakemake.iocontainers import Wildcards

from withstand.config import ConfigError, load_study
from withstand.dag import Dag

STUDY = {
    "study": "s",
    "seed": 3,
    "models": {"vit": {"zoo": "vit_p8_base"}, "resnet": {"zoo": "resnet_gn_base"}},
    "datasets": {
        "test": {"source": {"kind": "shapetex", "split": "test"}, "samples": 40, "families": ["noise"]},
        "conflict": {"source": {"kind": "shapetex_cue_conflict"}, "samples": 90},
        "train": {"source": {"kind": "shapetex", "split": "train"}, "samples": 100, "role": "training"},
    },
    "families": {"noise": {"corruptions": ["gaussian_noise"]}},
    "attacks": {"dataset": "test", "perturbations": {"pgd": {"kind": "pgd"}}, "spatial": {}},
    "images": {"size": 64},
}


def changed(**changes) -> dict:
    study = copy.deepcopy(STUDY)
    study["attacks"] = {key: value for key, value in (study["attacks"] | changes).items() if value is not None}
    return study


def perturbed(**options) -> dict:
    return changed(perturbations={"pgd": {"kind": "pgd", **options}})


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (changed(dataset="tset"), "attacks.dataset: no dataset 'tset'; did you mean 'test'?"),
        (changed(dataset="conflict"), "attacks.dataset: conflict has no one right output for each image"),
        (changed(dataset="train"), "attacks.dataset: train is for training only"),
        (changed(samples=41), "attacks.samples: 41 samples asked for, test has 40"),
        (changed(samples=0), "attacks.samples: Input should be greater than or equal to 1"),
        (changed(models=["vti"]), "attacks.models: no model 'vti'; did you mean 'vit'?"),
        (changed(perturbations=None, spatial=None), "attacks: give perturbations, spatial, or both"),
        (changed(perturbations={"noise": {"kind": "fgsm"}}), "attacks.perturbations.noise: the name is taken"),
        (changed(perturbations={"clean": {"kind": "fgsm"}}), "attacks.perturbations.clean: the name is taken"),
        (changed(perturbations={"a b": {"kind": "fgsm"}}), "a name is letters, digits"),
        (
            changed(perturbations={"x": {"kind": "pdg"}}),
            "attacks.perturbations.x.kind: unknown kind 'pdg'; did you mean",
        ),
        (changed(perturbations={"x": {}}), "attacks.perturbations.x.kind: missing; one of fgsm, pgd, autoattack"),
        (changed(perturbations={"x": {"kind": "fgsm", "steps": 2}}), "attacks.perturbations.x.steps: unknown key"),
        (perturbed(eps=0), "attacks.perturbations.pgd.eps: expected a positive number (got 0)"),
        (perturbed(eps="-1/255"), "attacks.perturbations.pgd.eps: expected a positive number (got '-1/255')"),
        (perturbed(eps="1/0"), "eps: expected a number or a fraction such as 1/255 (got '1/0')"),
        (perturbed(step_size=-1), "attacks.perturbations.pgd.step_size: expected a positive number"),
        (perturbed(steps=0), "attacks.perturbations.pgd.steps: Input should be greater than or equal to 1"),
        (perturbed(norm="l1"), "attacks.perturbations.pgd.norm: Input should be 'linf' or 'l2'"),
        (perturbed(restarts=3), "restarts: every try would be the same without random_start"),
        (changed(spatial={"translation": 0}), "attacks.spatial.translation: expected a positive number"),
        (changed(spatial={"rotation": 270}), "attacks.spatial.rotation: Input should be less than or equal to 180"),
        (changed(spatial={"draws": 0}), "attacks.spatial.draws: Input should be greater than or equal to 1"),
        (perturbed(eps=8), "eps: 8 is beyond the range of pixels, which is from 0 to 1; did you mean 8/255?"),
        (changed(models=["vit", "vit"]), "attacks.models: vit stands there twice"),
        (changed(spatial={"translation": 3}), "attacks.spatial.translation: a share of the image's side, 1 at most"),
        (changed(patch_sizes=[8, 8]), "attacks.patch_sizes: 8 stands there twice"),
        (changed(patch_sizes=[1]), "attacks.patch_sizes.0: Input should be greater than or equal to 2"),
    ],
)
def test_wrong_attacks_are_told_before_any_job(study, message):
    with pytest.raises(ConfigError) as error:
        load_study(study)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def runs(study: dict) -> list[dict]:
    return json.loads(Dag(load_study(study)).attacks.runs(Wildcards(fromdict={"model": "vit"})))


def test_what_an_attack_is_given():
    (run,) = runs(STUDY)
    assert run["attack"] == {
        "kind": "gradient",
        "name": "pgd",
        "norm": "linf",
        "eps": "1/255",
        "step_size": "1/2040",
        "steps": 8,
        "random_start": False,
        "restarts": 1,
        "target": "none",
        "seed": 3,
    }
    assert run["subset"] == {"count": 40, "seed": 3}, "all, since there are fewer than a thousand"
    assert run["perturbations"] == "results/s/attacks/vit/pgd.h5"
    assert run["output"] == "results/s/predictions/vit/test/pgd.parquet"
    (fgsm,) = runs(changed(perturbations={"fgsm": {"kind": "fgsm", "eps": 0.5}}))
    assert (fgsm["attack"]["steps"], fgsm["attack"]["eps"], fgsm["attack"]["step_size"]) == (1, "1/2", "1/2")
    (auto,) = runs(changed(perturbations={"aa": {"kind": "autoattack", "eps": "4/255"}}))
    assert (auto["attack"]["kind"], Fraction(auto["attack"]["eps"])) == ("autoattack", Fraction(4, 255))


def test_a_limit_limits_attacks():
    (run,) = runs(STUDY | {"limit": 7})
    assert run["subset"]["count"] == 7
    (run,) = runs(changed(samples=30) | {"limit": 20})
    assert run["subset"]["count"] == 20


def test_images_that_models_resize_themselves_are_attacked_as_they_see_them():
    study = changed()
    study["datasets"]["test"] |= {"policy": "model", "families": []}
    (run,) = runs(study)
    assert run["policy"] == "model" and run["range"] == [0, 40] and "images" not in run


def test_a_dataset_can_be_stored_in_a_size_of_its_own():
    study = copy.deepcopy(STUDY)
    study["images"]["size"] = 32
    study["datasets"] |= {name: study["datasets"][name] | {"size": 64} for name in ("conflict", "train")}
    with pytest.raises(ConfigError, match=r"images\.size: 32, but test has images of 64 px"):
        load_study(study)
    study["datasets"]["test"]["size"] = 48
    with pytest.raises(ConfigError, match=r"datasets\.test\.size: 48, but test has images of 64 px"):
        load_study(study)
    study["datasets"]["test"]["size"] = 64
    dag = Dag(load_study(study))
    wildcards = Wildcards(fromdict={"dataset": "test", "family": "noise"})
    assert dag.image_size(wildcards) == 64
    assert list(json.loads(dag.corruptions_spec(wildcards))[0]["constants"]) == ["64"]
    study["datasets"]["test"] |= {"policy": "model", "families": []}
    with pytest.raises(ConfigError, match=r"datasets\.test\.size: under the policy model every model has its own"):
        load_study(study)
