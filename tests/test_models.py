import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

from withstand import models
from withstand.errors import ModelError, WithstandError
from withstand.models import Classifier, Preprocessing
from withstand.steps.models import fetch_timm_weights

PLAIN = Preprocessing(input_size=64, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
TINY = {
    "timm": "vit_tiny_patch16_224",
    "kwargs": {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 10},
}


def own(function: str, **kwargs) -> dict:
    """The slice of an entry for a function of helper_models."""
    preprocessing = {"input_size": 64, "mean": [0.0] * 3, "std": [1.0] * 3}
    spec = {"function": f"helper_models:{function}", "preprocessing": preprocessing, "label_space": "shapetex"}
    return spec | ({"kwargs": kwargs} if kwargs else {})


@pytest.fixture
def tiny_weights(tmp_path):
    network = models.build(models.resolve(TINY, None))
    path = tmp_path / "tiny.safetensors"
    models.save_weights(path, network.state_dict())
    return path


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs", "depth", "grid", "prefix", "size"),
    [  # at the size of their training
        # published: Dosovitskiy et al. 2021, He et al. 2016, Kolesnikov et al. 2020, Liu et al. 2022, and timm's tables
        ("vit_base_patch16_224.augreg_in1k", 86.57e6, 17.58, 12, [14, 14], 1, 224),
        ("resnet50.a1_in1k", 25.56e6, 4.11, 16, None, None, 224),
        ("resnetv2_50x1_bit.goog_in21k_ft_in1k", 25.55e6, 16.62, 16, None, None, 448),
        ("convnext_tiny.fb_in1k", 28.59e6, 4.47, 18, None, None, 224),
    ],
)
def test_cards_agree_with_published_facts(name, parameters, gmacs, depth, grid, prefix, size):
    card = models.describe({"timm": name, "preprocessing": {"test_size": False}}, None)
    assert card["parameters"] == pytest.approx(parameters, rel=1e-3)
    assert card["flops"] / 2e9 == pytest.approx(gmacs, rel=0.02)  # tables round, and leave out norms or attention
    assert (card["depth"], card["grid"], card["prefix_tokens"]) == (depth, grid, prefix)
    assert card["preprocessing"]["input_size"] == size
    assert (card["label_space"], card["outputs"]) == ("imagenet-1k", 1000)


@pytest.mark.parametrize("name", ["resnet18.a1_in1k", "resnet18", "convnext_atto.d2_in1k"])
def test_a_timm_model_has_the_size_at_which_timm_validates_it(tmp_path, name):
    """validate.py: resolve_data_config(..., use_test_size=not args.use_train_size)."""
    network = timm.create_model(name, pretrained=False)
    models.save_weights(tmp_path / "w.safetensors", network.state_dict())
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))
    sizes = {}
    for test_size, spec in ((True, {"timm": name}), (False, {"timm": name, "preprocessing": {"test_size": False}})):
        card = models.describe(spec, tmp_path / "w.safetensors")
        theirs = resolve_data_config({}, model=network, use_test_size=test_size)
        assert card["preprocessing"].pop("input_size") == theirs["input_size"][-1]
        assert card["preprocessing"] == {key: theirs[key] for key in card["preprocessing"]}
        classifier = models.load(spec, tmp_path / "w.safetensors")
        ours = models.own_transform(classifier.preprocessing)(image)
        normalised = (torch.from_numpy(ours).permute(2, 0, 1) / 255 - classifier.mean[0]) / classifier.std[0]
        expected = create_transform(**theirs)(image)
        assert torch.allclose(normalised, expected, atol=1e-6)
        sizes[test_size] = ours.shape[0]
    assert sizes[True] > sizes[False]


def test_a_card_of_a_resized_model_says_its_true_size(tiny_weights):
    card = models.describe(TINY, tiny_weights)
    assert card["preprocessing"]["input_size"] == 32
    assert card["grid"] == [4, 4]
    assert card["weights"]["file"] == "tiny.safetensors"


def test_normalisation_and_resizing_lie_inside(pictures):
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, images):
            seen.append(images)
            return images.mean(dim=(2, 3))

    preprocessing = Preprocessing(input_size=32, mean=(0.1, 0.2, 0.3), std=(0.5, 0.4, 0.3), interpolation="bicubic")
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
    Classifier(Spy(), preprocessing)(images)
    restored = seen[0] * torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1) + torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)
    resized = np.stack([np.asarray(Image.fromarray(p).resize((32, 32), Image.Resampling.BICUBIC)) for p in pictures])
    difference = np.abs(restored.permute(0, 2, 3, 1).numpy() * 255 - resized)
    # Pillow rounds and clips to whole levels twice (rows, then columns): a level each time, and more at the few
    # sharp edges where the first pass overshoots and is clipped
    assert difference.mean() < 0.35
    assert np.quantile(difference, 0.999) < 2
    assert difference.max() < 10
    assert restored.min() + 1e-6 >= 0
    assert restored.max() <= 1 + 1e-6


def test_half_precision_weights_are_widened(tiny_weights, tmp_path):
    state = {name: tensor.half() for name, tensor in safetensors.torch.load_file(tiny_weights).items()}
    models.save_weights(tmp_path / "half.safetensors", state)
    model = models.load(TINY, tmp_path / "half.safetensors")
    assert {parameter.dtype for parameter in model.network.parameters()} == {torch.float32}


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_torch_files_load_without_pickle(tiny_weights, tmp_path, wrapper):
    state = {f"module.{name}": tensor for name, tensor in safetensors.torch.load_file(tiny_weights).items()}
    torch.save({wrapper: state} if wrapper else state, tmp_path / "a.pt")
    images = torch.rand(2, 3, 32, 32)
    expected = models.load(TINY, tiny_weights)(images)
    assert torch.equal(models.load(TINY, tmp_path / "a.pt")(images), expected)


def test_weights_that_do_not_fit_are_told(tiny_weights, tmp_path):
    state = safetensors.torch.load_file(tiny_weights)
    state["extra"] = state.pop("norm.weight")
    state["head.weight"] = state["head.weight"][:5].contiguous()
    models.save_weights(tmp_path / "b.safetensors", state)
    message = (
        "1 missing, e.g. norm.weight; 1 unknown, e.g. extra; "
        r"1 of another shape, e.g. head.weight \(5, 24\) instead of \(10, 24\)"
    )
    for function in (models.describe, models.load):
        with pytest.raises(ModelError, match=message):
            function(TINY, tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "not a safetensors file"), (b"\x00" * 100, "not a safetensors file")]
)
def test_damaged_weights_are_named(tmp_path, content, message):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=rf"a\.safetensors: {message}"):
        models.describe(TINY, tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (own("no_module"), "returned a str, not a torch module"),
        (own("features"), r"returns \(1, 3, 64, 64\) for one image, expected logits"),
        (own("nothing"), "helper_models:nothing cannot be imported: AttributeError"),
        (own("mean_color", wrong=1), "cannot be built: TypeError"),
        ({**TINY, "kwargs": {"img_sise": 32}}, "cannot be built: TypeError"),
        ({**own("mean_color"), "function": "no_such_module:x"}, "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_a_model_that_cannot_be_used_says_why(spec, message):
    with pytest.raises(ModelError, match=message):
        models.describe(spec, None)


@pytest.mark.parametrize("name", ["cait_xxs24_224", "hrnet_w18", "pit_s_224", "efficientnet_b0", "maxvit_tiny_tf_224"])
def test_architectures_of_all_kinds_have_cards(name):
    spec = {"timm": name, "label_space": "imagenet-1k"}
    assert models.describe(spec, None)["flops"] > 1e8


def test_a_model_that_looks_at_values_has_a_card():
    assert models.describe(own("looks_at_values"), None)["outputs"] == 10


def test_weights_that_nobody_sets_are_the_same_in_every_job():
    one, two = (models.load(own("unseeded"), None).network[1].weight for _ in range(2))
    assert torch.equal(one, two)


def test_a_disk_that_fails_is_no_fault_of_the_model(tmp_path):
    for name in ("gone.safetensors", "gone.pt"):
        with pytest.raises(OSError, match="No such file"):
            models.load(TINY, tmp_path / name)


def test_a_users_function_is_a_model(pictures):
    card = models.describe(own("mean_color", outputs=7), None)
    assert (card["outputs"], card["parameters"], card["weights"]) == (7, 7, None)
    logits = models.load(own("mean_color"), None)(torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255)
    red = pictures[..., 0].mean(axis=(1, 2)) / 255
    assert logits.argmax(1).tolist() == np.round(red * 9).astype(int).tolist()


def test_fetched_timm_weights_make_the_same_model(tmp_path, monkeypatch):
    """The hub is not at hand: timm's own loader is stood in for by a network with known weights."""
    kwargs = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
    create = timm.create_model
    pretrained = create("vit_tiny_patch16_224", **kwargs).eval()
    seen = []

    def stand_in(name, **arguments):
        seen.append((name, arguments))
        return pretrained

    monkeypatch.setattr(timm, "create_model", stand_in)
    fetch_timm_weights("vit_tiny_patch16_224.augreg_in21k_ft_in1k", kwargs, tmp_path / "w.safetensors")
    monkeypatch.undo()
    assert seen == [("vit_tiny_patch16_224.augreg_in21k_ft_in1k", {"pretrained": True, **kwargs})]
    spec = {"timm": "vit_tiny_patch16_224.augreg_in21k_ft_in1k", "kwargs": kwargs}
    images = torch.rand(2, 3, 32, 32)
    model = models.load(spec, tmp_path / "w.safetensors")
    for name, tensor in pretrained.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], tensor), name
    # weights lie in memory in another order, for which some processors have kernels that round otherwise
    torch.testing.assert_close(model(images), pretrained((images - model.mean) / model.std), atol=1e-5, rtol=0)
    assert models.describe(spec, tmp_path / "w.safetensors")["label_space"] == "imagenet-1k"


def test_weights_that_do_not_exist_are_a_failure_of_the_model(tmp_path):
    fetch_timm_weights("botnet50ts_256", {}, tmp_path / "w.safetensors")
    for function in (models.describe, models.load):
        with pytest.raises(
            ModelError, match="no pretrained weights to be had: RuntimeError: No pretrained weights exist"
        ):
            function({"timm": "botnet50ts_256"}, tmp_path / "w.safetensors")


def test_weights_that_cannot_be_fetched_are_told(tmp_path, monkeypatch):
    def refuse(*arguments, **rest):
        raise ConnectionError("no network")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(
        WithstandError, match=r"resnet50\.a1_in1k: pretrained weights cannot be fetched: ConnectionError"
    ):
        fetch_timm_weights("resnet50.a1_in1k", {}, tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []
