"""The parts of a config about the inside of models: what is refused, and what steps are given."""

import copy
import dataclasses
import json

import pytest
from snakemake.iocontainers import Wildcards

from withstand import config_internals, interventions
from withstand.config import ConfigError, load_study
from withstand.dag import Dag
from withstand.internals import GramProtocol, LesionProtocol, LimitProtocol

STUDY = {
    "study": "s",
    "seed": 3,
    "models": {"vit": {"zoo": "vit_p8_base"}, "resnet": {"zoo": "resnet_gn_base"}},
    "datasets": {
        "test": {"source": {"kind": "shapetex", "split": "test"}, "samples": 100, "families": ["noise", "light"]},
        "conflict": {"source": {"kind": "shapetex_cue_conflict"}, "samples": 90},
        "train": {"source": {"kind": "shapetex", "split": "train"}, "samples": 100, "role": "training"},
    },
    "families": {
        "noise": {"corruptions": ["gaussian_noise"]},
        "light": {"corruptions": ["brightness"], "materialize": False},
    },
    "internals": {
        "dataset": "test",
        "similarity": {},
        "lesions": {},
        "attention_limit": {},
        "attention_distance": {},
    },
    "images": {"size": 64},
}


def changed(**changes) -> dict:
    study = copy.deepcopy(STUDY)
    study["internals"] = {key: value for key, value in (study["internals"] | changes).items() if value is not None}
    return study


def intervened(*specs) -> dict:
    study = copy.deepcopy(STUDY)
    study["models"]["vit"]["interventions"] = list(specs)
    return study


NONE = dict.fromkeys(("similarity", "lesions", "attention_limit", "attention_distance"))


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (changed(dataset="tset"), "internals.dataset: no dataset 'tset'; did you mean 'test'?"),
        (changed(dataset="train"), "internals.dataset: train is for training only"),
        (changed(samples=101), "internals.samples: 101 samples asked for, test has 100"),
        (changed(models=["vti"]), "internals.models: no model 'vti'; did you mean 'vit'?"),
        (changed(families=["nois"]), "internals.families: test has no family 'nois'; did you mean 'noise'?"),
        (changed(families=["noise", "noise"]), "internals.families: noise stands there twice"),
        (changed(**NONE), "internals: give similarity, lesions, attention_limit, attention_distance, or several"),
        (changed(lesion={}), "internals.lesion: unknown key; did you mean 'lesions'?"),
        (changed(similarity={"minibatch": 3}), "internals.similarity.minibatch: Input should be greater than or equal"),
        (changed(samples=40), "internals.similarity.minibatch: 50, but 40 samples are looked at, which fill none"),
        (
            changed(similarity={"flattening": ["jiont"]}),
            "internals.similarity.flattening.0: Input should be 'joint' or",
        ),
        (changed(lesions={"parts": ["norm"]}), "internals.lesions.parts.0: Input should be 'block', 'mlp' or"),
        (changed(lesions={"drws": 3}), "internals.lesions.drws: unknown key; did you mean 'draws'?"),
        (changed(lesions={"counts": [0]}), "internals.lesions.counts.0: Input should be greater than or equal to 1"),
        (changed(lesions={"counts": [2, 2]}), "internals.lesions.counts: 2 stands there twice (got [2, 2])"),
        (changed(attention_limit={"distances": ["15/14"]}), "distances.0: expected a share of the grid, from 0 to 1"),
        (changed(attention_limit={"distances": ["x"]}), "or a fraction such as 2/14 (got 'x')"),
        (changed(attention_limit={"distances": [0.5, "1/2"]}), "distances: 1/2 stands there twice"),
        (changed(attention_distance={"heads": 3}), "internals.attention_distance.heads: unknown key"),
        (changed() | {"limit": 3}, "limit: 3, but internals.similarity needs 4 samples at least"),
        (
            intervened({"kind": "lesoin"}),
            "models.vit.interventions.0.kind: unknown kind 'lesoin'; did you mean 'lesion'",
        ),
        (intervened({"part": "mlp"}), "models.vit.interventions.0.kind: missing; one of lesion, local_attention"),
        (
            intervened({"kind": "lesion", "part": "mlp", "blocks": [0], "block": 1}),
            "models.vit.interventions.0.block: unknown key; did you mean 'blocks'?",
        ),
        (
            intervened({"kind": "lesion", "part": "mpl", "blocks": [0]}),
            "models.vit.interventions.0.part: Input should be 'block', 'mlp' or 'attention' (got 'mpl')",
        ),
        (
            intervened({"kind": "lesion", "part": "mlp", "blocks": [-1]}),
            "models.vit.interventions.0.blocks.0: Input should be greater than or equal to 0",
        ),
        (
            intervened({"kind": "patch_to_class", "first": 1, "last": 1}),
            "models.vit.interventions.0: give either first or last, the number of blocks",
        ),
        (intervened({"kind": "local_attention", "distance": 2}), "distance: expected a share of the grid, from 0 to 1"),
    ],
)
def test_what_makes_no_sense_is_told_before_any_job(study, message):
    with pytest.raises(ConfigError) as error:
        load_study(study)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def experiments(study: dict) -> dict[tuple[str, str], dict]:
    found = json.loads(Dag(load_study(study)).internals.experiments(Wildcards(fromdict={"model": "vit"})))
    return {(given["family"], given["kind"]): given for given in found}


def test_defaults_are_those_of_the_experiments():
    """Written down twice, since the config imports no torch."""
    protocols = {kind: given["protocol"] for (_, kind), given in experiments(STUDY).items()}
    for kind, default in (
        ("grams", GramProtocol()),
        ("lesions", LesionProtocol()),
        ("attention_limit", LimitProtocol()),
    ):
        whole = json.loads(json.dumps(dataclasses.asdict(default)))
        assert protocols[kind] == {name: whole[name] for name in protocols[kind]}
    assert protocols["attention_distance"] == {}


def test_what_an_experiment_is_given():
    given = experiments(changed(families=["noise", "light"]))
    assert len(given) == 3 * 4
    lesions = given["clean", "lesions"]
    assert lesions["subset"] == {"count": 100, "seed": 3} and lesions["seed"] == 3
    assert lesions["output"] == "results/s/internals/vit/lesions.parquet"
    assert lesions["images"] == ["results/s/images/test/clean/0000.h5"]
    assert given["noise", "lesions"]["images"] == ["results/s/images/test/noise/0000.h5"]
    assert given["noise", "grams"]["output"] == "results/s/internals/vit/noise/grams.h5"
    light = given["light", "lesions"]
    assert light["images"] == lesions["images"] and light["corruptions"][0]["name"] == "brightness"
    codes = {key: one["code"] for key, one in given.items()}
    assert codes["clean", "lesions"] == codes["noise", "lesions"] != codes["light", "lesions"]
    assert len({codes["clean", kind] for kind in ("grams", "lesions", "attention_limit", "attention_distance")}) == 4


def test_a_family_is_one_line():
    dag = Dag(load_study(changed(families=["light"])))
    assert dag.internals.images(None) == ["results/s/images/test/clean/0000.h5"]
    assert {"lesion_single", "lesion_single-light", "attention_distance-light"} <= set(dag.internals.figures())
    assert "layer_similarity-light" not in dag.internals.figures()


def test_a_limit_limits_what_is_looked_at():
    given = experiments(changed() | {"limit": 7})
    assert given["clean", "grams"]["subset"]["count"] == 7
    assert given["clean", "grams"]["protocol"]["minibatch"] == 7


def test_images_that_models_resize_themselves_are_looked_at_as_they_see_them():
    study = changed()
    study["datasets"]["test"] |= {"policy": "model", "families": []}
    given = experiments(study)["clean", "lesions"]
    assert given["policy"] == "model" and given["range"] == [0, 100] and "images" not in given


def test_the_config_knows_the_interventions_that_there_are():
    """Fields and kinds are written down twice, since the config imports no torch."""
    known = {
        cls.model_fields["kind"].annotation.__args__[0]: set(cls.model_fields) - {"kind"}
        for cls in config_internals.Intervention.__origin__.__args__
    }
    assert known == {
        kind: {field.name for field in dataclasses.fields(cls)} for kind, cls in interventions.KINDS.items()
    }
    assert set(config_internals.INTERVENTION_KINDS) == set(known)


def test_interventions_are_part_of_what_a_model_is():
    specs = [
        {"kind": "lesion", "part": "mlp", "blocks": [2, 3]},
        {"kind": "random_attention", "distance": "2/8"},
        {"kind": "patch_to_class", "first": 0},
    ]
    study = load_study(intervened(*specs))
    source = study.models["vit"].source
    found = [interventions.from_spec(spec) for spec in source["interventions"]]
    assert found == [
        interventions.Lesion("mlp", (2, 3)),
        interventions.RandomAttention(0.25, 0),
        interventions.PatchToClass(first=0),
    ]
    assert study.weights_name(study.models["vit"]) == "zoo-vit_p8_base"
    plain = load_study(STUDY).models["vit"]
    assert plain.source == {"zoo": "vit_p8_base"}
    assert Dag(study).model_code("vit") and not Dag(study).model_code("resnet")
