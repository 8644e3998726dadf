import copy
import re
import subprocess
import sys

import pytest
import yaml

from withstand.config import ConfigError, canonical, load_study, read_config
from withstand.config_docs import json_schema, reference_page
from withstand.corruptions.constants import CORRUPTIONS
from withstand.dag import Dag
from withstand.datasets import shapetex_renditions
from workflow_project import PROJECT

STUDY = {
    "study": "small",
    "models": {"vit": {"zoo": "vit_p8_base"}},
    "datasets": {"test": {"source": {"kind": "shapetex", "split": "test"}, "samples": 100, "families": ["noise"]}},
    "families": {"noise": {"corruptions": ["gaussian_noise"]}},
    "images": {"size": 64},
}

MISSED = {"source": {"kind": "shapetex", "split": "pool"}, "samples": 20, "missed_by": {"zoo": "reference"}}

GOOGLE = {"timm": "vit_base_patch32_384", "checkpoint": "https://x.org/some/v.npz"}


def changed(path: str, value: object) -> dict:
    """STUDY with the value at a dotted path replaced or added."""
    study = copy.deepcopy(STUDY)
    *parents, last = path.split(".")
    node = study
    for name in parents:
        node = node.setdefault(name, {})
    node[last] = value
    return study


def trained(**changes) -> dict:
    study = changed("models.vit", {"recipe": "small"})
    recipe = {"timm": "resnet18", "kwargs": {"num_classes": 10}, "dataset": "train", "validation": "test"}
    study["recipes"] = {"small": recipe | changes.pop("recipe", {})}
    train = {"source": {"kind": "shapetex", "split": "train"}, "samples": 600, "role": "training"}
    study["datasets"] |= {"train": train | changes.pop("train", {})} | changes.pop("datasets", {})
    return study | changes


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("modells", {}, "config: modells: unknown key; did you mean 'models'?"),
        ("models.vit.lable", "x", "config: models.vit.lable: unknown key; did you mean 'label'?"),
        ("images.sise", 64, "config: images.sise: unknown key; did you mean 'size'?"),
        ("datasets.test.source.spilt", 1, "config: datasets.test.source.spilt: unknown key; did you mean 'split'?"),
        (
            "families.noise.severities",
            [1, 6],
            "config: families.noise.severities.1: Input should be less than or equal to 5",
        ),
        ("families.noise.corruptions", ["gausian_noise"], "unknown corruption; did you mean 'gaussian_noise'?"),
        ("families.clean", {"corruptions": ["contrast"]}, "families.clean: the name is taken"),
        (
            "models.vit",
            {"timm": "vit_bas_patch16_224.x"},
            "timm: no model 'vit_bas_patch16_224'; did you mean 'vit_base_patch16_224'?",
        ),
        ("models.vit", {"timm": "resnet50.nope"}, "timm: resnet50 has no weights 'nope', but"),
        ("models.vit", {"timm": "resnet50"}, "timm: resnet50 needs weights: name a tag (timm: resnet50."),
        (
            "models.vit",
            {"zoo": "vit_p8_bas"},
            "zoo: no model 'vit_p8_bas' comes with withstand; did you mean 'vit_p8_",
        ),
        (
            "models.vit",
            {"timm": "resnet50.a1_in1k", "zoo": "vit_p8_base"},
            "give exactly one of timm, zoo, recipe and function",
        ),
        ("models.vit", {"label": "x"}, "give exactly one of timm, zoo, recipe and function, not none"),
        ("models.vit", {"zoo": "vit_p8_base", "checkpoint": "x.pt"}, "checkpoint has no meaning beside zoo"),
        ("models.vit", {"timm": "resnet50", "checkpoint": "no/such.pt"}, "checkpoint: no file no/such.pt"),
        ("models.vit", {"function": "module.function"}, "is not 'module:function'"),
        (
            "models.vit",
            {"function": "a:b"},
            "give preprocessing.input_size, preprocessing.mean, preprocessing.std, label_space",
        ),
        ("models.vit", {"recipe": "vit"}, "models.vit.recipe: no recipe 'vit'"),
        ("models.v it", {"zoo": "vit_p8_base"}, "a name is letters, digits"),
        ("models", {}, "config: models:"),
        ("study", "../up", "a name is letters, digits"),
        ("limit", 0, "limit: Input should be greater than or equal to 1"),
        ("datasets.test.source.kind", "shapetx", "source.kind: unknown kind 'shapetx'; did you mean 'shapetex'?"),
        ("datasets.test.source", {}, "config: datasets.test.source.kind: missing; one of shapetex,"),
        ("datasets.test.missed_by", {"zoo": "vit_p8_base"}, "missed_by: the model 'vit' of the study would be judged"),
        ("datasets.test.missed_by", {"zoo": "refrence"}, "missed_by: zoo: no model 'refrence' comes with withstand"),
        ("datasets.test.pool", 50, "pool has no meaning without missed_by"),
        ("datasets.missed", MISSED | {"samples": None}, "samples: say how many, since nobody knows yet"),
        ("datasets.missed", MISSED | {"pool": 19}, "datasets.missed.samples: 20 asked for out of a pool of 19"),
        (
            "datasets.missed",
            MISSED | {"pool": 10**6},
            "datasets.missed.pool: 1000000 samples asked for",
        ),
        ("datasets.missed", MISSED | {"role": "training"}, "missed_by has no meaning for a training set"),
        ("datasets.test.samples", 10_001, "datasets.test.samples: 10001 samples asked for, test has 10000"),
        ("datasets.test.families", ["nois"], "datasets.test.families: no family 'nois'; did you mean 'noise'?"),
        ("datasets.test.source.split", "tset", "datasets.test.source.split: Input should be"),
        ("images.size", 224, "images.size: 224, but test has images of 64 px"),
        ("models.vit.color", "red", "models.vit.color:"),
        ("study", "weights", "the name 'weights' is taken"),
        ("families.noise.severities", [1, 1, 3], "families.noise.severities: 1 stands there twice"),
        ("families.noise.corruptions", ["contrast", "contrast"], "corruptions: contrast stands there twice"),
        ("models.vit", {"timm": "resnet50.a1_in1k", "kwargs": {"num_classes": 10}}, "would lose their outputs"),
        ("models.vit", {"timm": "botnet50ts_256"}, "timm: botnet50ts_256 needs weights: name a tag or a checkpoint"),
        (
            "models.vit",
            GOOGLE | {"checkpoint": "gs://b/v.npz"},
            "did you mean 'https://storage.googleapis.com/b/v.npz'?",
        ),
        (
            "models.vit",
            GOOGLE | {"checkpoint": "htps://x.org/v.npz"},
            "config: models.vit: checkpoint: htps://x.org/v.npz: files are fetched by http and https, not by 'htps'; "
            "did you mean 'https'?",
        ),
        ("models.vit", GOOGLE | {"checkpoint": "ftp://x.org/v.npz"}, "by http and https, not by 'ftp'"),
        ("models.vit", GOOGLE | {"checkpoint": "https://x.org/"}, "https://x.org/ is not the address of a file"),
        (
            "models.vit",
            GOOGLE | {"checkpoint": "https:/x.org/v.npz"},
            "https:/x.org/v.npz is not the address of a file",
        ),
        (
            "models.vit",
            GOOGLE | {"sha256": "7be5be7"},
            "config: models.vit.sha256: give the 64 hex digits of a SHA-256, or the first of them, 8 at least (got '7b",
        ),
        (
            "models.vit",
            GOOGLE | {"sha256": 71234567},
            "models.vit.sha256: put it in quotes, YAML takes it for a number",
        ),
        (
            "models.vit",
            {"timm": "resnet50.a1_in1k", "sha256": "7be5be79"},
            "config: models.vit: sha256 has no meaning without the address of a checkpoint",
        ),
        ("models.vit", {"zoo": "vit_p8_base", "sha256": "7be5be79"}, "sha256 has no meaning beside zoo"),
        (
            "models.vit",
            GOOGLE | {"timm": "resnet50"},
            "models.vit: checkpoint: timm reads .npz into ViTs and BiTs only, not into resnet50",
        ),
        (
            "models.vit",
            {
                "function": "a:b",
                "checkpoint": GOOGLE["checkpoint"],
                "label_space": "x",
                "preprocessing": {"input_size": 64, "mean": [0, 0, 0], "std": [1, 1, 1]},
            },
            "v.npz is read by timm; give timm instead of function",
        ),
        (
            "models.vit",
            {"function": "a:b", "label_space": "x", "preprocessing": {"test_size": False}},
            "preprocessing.test_size: only timm knows a size for tests; give preprocessing.input_size",
        ),
    ],
)
def test_a_problem_is_one_line_with_key_and_advice(path, value, message):
    with pytest.raises(ConfigError) as error:
        load_study(changed(path, value))
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"role": "evaluation"}}, "recipes.small.dataset: 'train' would be evaluated on too"),
        ({"recipe": {"kwargs": {}}}, "recipes.small.kwargs.num_classes: 1000, but train has 10 classes"),
        ({"recipe": {"validation": "missed"}, "datasets": {"missed": MISSED}}, "holds only what another model gets"),
        ({"recipe": {"validation": "tset"}}, "recipes.small.validation: no dataset 'tset'; did you mean 'test'?"),
    ],
)
def test_a_recipe_that_cannot_be_used_is_told(changes, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_study(trained(**changes))


def test_a_recipe_is_not_judged_in_another_label_space(monkeypatch):
    monkeypatch.setattr(shapetex_renditions.Source, "label_space", lambda source: "drawings")
    drawn = {"source": {"kind": "shapetex_renditions"}}
    with pytest.raises(ConfigError, match=r"recipes\.small\.validation: train is of shapetex but drawn is of drawings"):
        load_study(trained(recipe={"validation": "drawn"}, datasets={"drawn": drawn}))


def test_a_key_that_stands_twice_is_told(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("study: x\nmodels:\n  a: {zoo: vit_p8_base}\nmodels:\n  b: {zoo: vit_p8_base}\n")
    with pytest.raises(ConfigError, match=r"study\.yaml: line 4: 'models' stands twice"):
        read_config(path)
    for text, message in (("a: [", "not YAML"), ("- a", "expected keys and values")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            read_config(path)


def test_anchors_and_merges_are_no_keys_that_stand_twice(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("a: &one {x: 1, y: 2}\nb: {<<: *one, y: 3}\n")
    assert read_config(path)["b"] == {"x": 1, "y": 3}


def test_only_cue_conflict_has_labels_of_textures():
    study = changed("datasets.conflict", {"source": {"kind": "shapetex_cue_conflict"}})
    checked = load_study(study)
    assert checked.cue_conflict_sets() == ["conflict"]
    assert checked.judged_by_accuracy() == ["test"]


def test_all_problems_are_told_at_once():
    study = changed("images.sise", 64)
    study["models"]["other"] = {"zoo": "nothing"}
    with pytest.raises(ConfigError) as error:
        load_study(study)
    assert len(str(error.value).splitlines()) == 2


def test_limit_shortens_evaluation_sets_only():
    study = changed("limit", 30)
    study["datasets"]["train"] = {
        "source": {"kind": "shapetex", "split": "train"},
        "samples": 500,
        "role": "training",
    }
    study["datasets"]["conflict"] = {"source": {"kind": "shapetex_cue_conflict"}, "samples": 20}
    checked = load_study(study)
    assert checked.sample_count("test") == 30
    assert checked.sample_count("conflict") == 20, "a limit is no lower bound"
    assert checked.sample_count("train") == 500


def test_a_set_without_samples_is_whole():
    study = changed("images.shard_size", 4000)
    del study["datasets"]["test"]["samples"]
    shards = load_study(study).shards("test")
    assert shards == {"0000": (0, 4000), "0001": (4000, 8000), "0002": (8000, 10_000)}


def test_a_models_slice_holds_only_what_shapes_its_outputs():
    plain = load_study(STUDY).models["vit"].source
    study = changed("models.vit.label", "A ViT")
    study["models"]["vit"] |= {"color": "#112233", "family": "ViT", "pretraining": {"dataset": "x", "images": 1}}
    assert load_study(study).models["vit"].source == plain == {"zoo": "vit_p8_base"}


def test_order_of_keys_does_not_count():
    assert canonical({"b": 1, "a": [2, {"d": 3, "c": 4}]}) == canonical({"a": [2, {"c": 4, "d": 3}], "b": 1})


def test_trained_weights_are_named_by_all_that_shapes_them():
    def name(epochs=1, samples=600, **changes):
        study = trained(recipe={"epochs": epochs}, train={"samples": samples}, **changes)
        checked = load_study(study)
        return checked.weights_name(checked.models["vit"])

    assert name() == name(limit=50) == name(study="another")
    assert len({name(), name(epochs=2), name(samples=700)}) == 3
    assert name().startswith("small-")


def test_weights_from_an_address_are_named_by_all_that_shapes_them():
    def name(**changes):
        study = load_study(changed("models.vit", GOOGLE | changes))
        return study.weights_name(study.models["vit"])

    assert re.fullmatch(r"v-[0-9a-f]{8}", name())
    assert name(label="x", preprocessing={"crop_pct": 0.9}) == name()
    others = [{"checkpoint": "https://y.org/v.npz"}, {"sha256": "01234567"}, {"kwargs": {"img_size": 224}}]
    assert len({name(), *(name(**other) for other in others), name(timm="vit_base_patch16_384")}) == 5
    # a state dict is what it is, whatever the architecture
    pth = {"checkpoint": "https://x.org/some%20v.1.pth?download=1"}
    assert name(**pth) == name(**pth, timm="resnet50")
    assert name(**pth).startswith("some_v.1-")


def test_an_address_is_no_part_of_a_models_slice():
    study = load_study(changed("models.vit", GOOGLE | {"sha256": "ABCDEF01"}))
    assert study.models["vit"].source == {"timm": "vit_base_patch32_384"}
    assert study.models["vit"].sha256 == "abcdef01"


def test_models_that_differ_in_their_weights_alone_are_two():
    study = changed("models.vit", GOOGLE)
    study["datasets"]["missed"] = MISSED | {"missed_by": GOOGLE | {"checkpoint": "https://x.org/other.npz"}}
    assert load_study(study)
    study["datasets"]["missed"] = MISSED | {"missed_by": GOOGLE}
    with pytest.raises(ConfigError, match="the model 'vit' of the study would be judged by its own errors"):
        load_study(study)


@pytest.mark.parametrize(
    "path", ["config.yaml", *(str(p.relative_to(PROJECT)) for p in PROJECT.glob("studies/*.yaml"))]
)
def test_shipped_studies_are_valid(path, tmp_path, monkeypatch):
    (tmp_path / "data/imagenet/val").mkdir(parents=True)  # where they look for ImageNet
    monkeypatch.chdir(tmp_path)
    study = load_study(yaml.safe_load((PROJECT / path).read_text()))
    assert study.evaluation_sets()


@pytest.mark.parametrize(
    ("path", "make"), [("workflow/schemas/config.schema.json", json_schema), ("docs/config.md", reference_page)]
)
def test_schema_and_reference_are_those_of_the_code(path, make):
    assert (PROJECT / path).read_text() == make(), f"{path} is out of date: run `make docs`"


def test_every_key_is_documented():
    page = reference_page()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    assert all(line.rstrip("| ").count("|") >= 4 for line in rows)


def test_parsing_imports_nothing_heavy():
    code = (
        "import sys, withstand.cli, withstand.config, withstand.dag, withstand.run;"
        "from withstand.cli import main; main(['--help'], standalone_mode=False);"
        "heavy = {'torch', 'timm', 'h5py', 'matplotlib', 'pandas', 'pyarrow'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


FOLDER = {"kind": "folder", "path": "."}
TINY_C = {"source": {"kind": "tiny_imagenet_c"}, "corruptions": ["fog", "speckle_noise"]}
MADE = {"corruptions": ["fog"]}
CIFAR_C = {"source": {"kind": "cifar_c", "classes": 10}, "corruptions": ["fog"]}
IMAGENET_C = {"source": {"kind": "imagenet_c"}, "corruptions": ["fog"]}


def with_files(source: dict, *, families: dict | None = None, size: int = 224, **dataset) -> dict:
    """STUDY with one dataset in files."""
    families = families or {}
    given = {"source": source, "families": list(families)} | dataset
    return STUDY | {"datasets": {"d": given}, "families": families, "images": {"size": size}}


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (with_files(FOLDER), "config: datasets.d.samples: say how many, since nobody knows yet how many d has"),
        (
            with_files({"kind": "folder", "path": "nowhere"}, samples=5),
            "config: datasets.d.source.path: no such file or folder (got 'nowhere')",
        ),
        (
            with_files({"kind": "imagenet_b"}),
            "config: datasets.d.source.kind: unknown kind 'imagenet_b'; did you mean 'imagenet_",
        ),
        (with_files({"kind": "imagenet"}), "config: datasets.d.source.path: missing"),
        (
            with_files({"kind": "imagenet_a"}, samples=7501),
            "config: datasets.d.samples: 7501 samples asked for, d has 7500",
        ),
        (
            with_files(FOLDER | {"label_space": "pets"}, samples=5),
            "config: datasets.d.source: label_space: 'pets' is none of imagenet-1k, cifar-10, cifar-100; say what its",
        ),
        (
            with_files(FOLDER | {"classes": ["a", "b"]}, samples=5),
            "config: datasets.d.source: classes: those of imagenet-1k are known; give the label space another name",
        ),
        (
            with_files(FOLDER | {"label_space": "pets", "classes": ["a", "b", "a"]}, samples=5),
            "config: datasets.d.source: classes: class 'a' stands there twice",
        ),
        (
            with_files(FOLDER | {"label_space": "pets", "classes": "no.txt"}, samples=5),
            "config: datasets.d.source.classes: no file no.txt; give a list of names, or a text file with one a line",
        ),
        (
            with_files(FOLDER | {"label_space": "pets", "classes": ["a"], "named_by": "wnid"}, samples=5),
            "config: datasets.d.source: named_by: WordNet ids are of imagenet-1k, not of pets",
        ),
        (
            with_files({"kind": "cifar", "classes": 10}, size=64),
            "config: images.size: 64, but d has images of 32 px",
        ),
        (
            with_files({"kind": "imagenet", "path": "."}, families={"c": IMAGENET_C}, size=64),
            "config: images.size: 64, but the images of 'c' are of 224 px",
        ),
        (
            with_files({"kind": "imagenet_a"}, families={"c": IMAGENET_C}),
            "config: datasets.d.families: 'c' is imagenet_c, made of another set (kind: imagenet)",
        ),
        (
            with_files(
                {"kind": "cifar", "classes": 100},
                families={"c": {"source": {"kind": "cifar_c", "classes": 10}, "corruptions": ["fog"]}},
                size=32,
            ),
            "config: datasets.d.families: 'c' is cifar_c, made of another set (kind: cifar, classes: 10, split: test)",
        ),
        (
            with_files({"kind": "imagenet", "path": "."}, families={"c": IMAGENET_C}, policy="model"),
            "config: datasets.d.families: the images of 'c' are of the study's size, those of d of each model's own;",
        ),
        (
            with_files(
                {"kind": "imagenet", "path": "."}, families={"c": IMAGENET_C | {"policy": "corrupt_after_resize"}}
            ),
            "config: families.c: policy: the images of imagenet_c are of one size; only new ones can be of any",
        ),
        (
            with_files({"kind": "imagenet", "path": "."}, families={"c": IMAGENET_C, "same": IMAGENET_C}),
            "config: datasets.d.families: 'c' and 'same' both have fog, severity 1",
        ),
        (
            with_files({"kind": "imagenet", "path": "."}, families={"c": {"source": {"kind": "imagenet_x"}}}),
            "config: families.c.source.kind: unknown kind 'imagenet_x'; did you mean 'imagenet_c'",
        ),
        (
            with_files(FOLDER, samples=5, missed_by={"zoo": "reference"}),
            "config: datasets.d.pool: say how many samples there are to ask about",
        ),
        (
            with_files({"kind": "cue_conflict"}, samples=5, missed_by={"zoo": "reference"}),
            "config: datasets.d.missed_by: on cue conflict there is no wrong answer",
        ),
        (
            with_files({"kind": "tiny_imagenet"}, families={"c": TINY_C}, size=64),
            "config: datasets.d.families: 'c' is tiny_imagenet_c, made of another set (kind: tiny_imagenet_c)",
        ),
        (
            with_files({"kind": "tiny_imagenet_c"}, families={"c": MADE}, size=64),
            "config: datasets.d.families: 'c' is made of clean images, and tiny_imagenet_c has none",
        ),
        (
            with_files({"kind": "tiny_imagenet_c"}, size=64),
            "config: datasets.d.families: tiny_imagenet_c has no clean images; name families of it (source.kind: tiny",
        ),
        (
            with_files({"kind": "tiny_imagenet_c"}, families={"c": TINY_C}, size=64, policy="model"),
            "config: datasets.d.policy: tiny_imagenet_c has no clean images that models could resize; take stored",
        ),
        (
            with_files({"kind": "tiny_imagenet_c"}, families={"c": TINY_C}, samples=5, missed_by={"zoo": "reference"}),
            "config: datasets.d.missed_by: tiny_imagenet_c has no clean images",
        ),
        (
            with_files({"kind": "tiny_imagenet_c"}, families={"c": TINY_C}, role="training"),
            "config: datasets.d.role: tiny_imagenet_c has no clean images",
        ),
        (
            trained(recipe={"validation": "c"}, datasets={"c": {"source": {"kind": "tiny_imagenet_c"}}}),
            "config: datasets.c: tiny_imagenet_c has no clean images, and can be in no recipe",
        ),
        (
            with_files({"kind": "cifar", "classes": 10}, families={"c": CIFAR_C}, size=32)
            | {"images": {"size": 32, "codec": "jpeg"}},
            "config: families.c.materialize: with images.codec jpeg its pixels would change; read them in place",
        ),
        (
            with_files(FOLDER | {"label_space": "shapetex", "classes": ["a", "b"]}, samples=5),
            "config: datasets.d.source: label_space: 'shapetex' is that of a set that comes along; take another name",
        ),
        (
            STUDY
            | {
                "datasets": {
                    name: {"source": FOLDER | {"label_space": "pets", "classes": classes}, "samples": 5}
                    for name, classes in (("one", ["cat", "dog"]), ("two", ["dog", "cat"]))
                }
            },
            "config: datasets.two.source.classes: not those that one has of the same label space pets",
        ),
        (
            trained(recipe={"validation": "c"}, datasets={"c": {"source": {"kind": "shapetex_cue_conflict"}}}),
            "config: recipes.small.validation: images of c have two answers each, there is nothing to learn",
        ),
    ],
)
def test_wrong_sources_in_files_are_told_before_any_job(study, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as error:
        load_study(study)
    assert any(line.startswith(message) for line in str(error.value).splitlines()), str(error.value)


def test_published_and_made_corruptions_may_be_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    families = {"published": IMAGENET_C, "made": {"corruptions": ["fog"]}}
    study = load_study(with_files({"kind": "imagenet", "path": "."}, families=families))
    assert study.policies("d") == ["stored", "published"]


@pytest.mark.parametrize("kind", ["imagenet_c", "tiny_imagenet_c"])
def test_published_sets_have_the_nineteen_corruptions_and_no_later_ones(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    sources = {"imagenet_c": {"kind": "imagenet", "path": "."}, "tiny_imagenet_c": {"kind": "tiny_imagenet_c"}}
    nineteen = {"source": {"kind": kind}, "corruptions": list(CORRUPTIONS)}
    size = {"imagenet_c": 224, "tiny_imagenet_c": 64}[kind]
    load_study(with_files(sources[kind], families={"c": nineteen}, size=size))
    monkeypatch.setitem(CORRUPTIONS, "dead_rows", CORRUPTIONS["fog"])
    added = nineteen | {"corruptions": ["fog", "dead_rows"]}
    with pytest.raises(ConfigError, match=rf"families\.c\.corruptions: {kind} has no dead_rows"):
        load_study(with_files(sources[kind], families={"c": added}, size=size))


def test_a_set_without_clean_images_is_evaluated_under_its_families_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = load_study(with_files({"kind": "tiny_imagenet_c"}, families={"c": TINY_C}, size=64))
    assert study.evaluation_sets() == [("d", "c")]
    assert study.stored_sets() == study.judged_by_accuracy() == []
    assert study.sample_count("d") == 10_000
    figures = {path.rpartition("/")[2] for path in Dag(study).figures() if path.endswith(".csv")}
    assert figures == {"accuracy_by_severity-d.published.csv", "calibration-d.published.csv", "claims.csv"}
    assert Dag(study).downloads() == [
        "results/downloads/tiny_imagenet_c/Tiny-ImageNet-C-extra.tar",
        "results/downloads/tiny_imagenet_c/Tiny-ImageNet-C.tar",
    ]
