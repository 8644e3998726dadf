import json

import numpy as np
import pytest
import safetensors.torch
import torch

from withstand import models, zoo
from withstand.datasets.registry import open_source
from withstand.errors import ModelError, WithstandError
from withstand.files import sha256
from withstand.steps import train as training
from withstand.steps.datasets import prepare_images
from withstand.steps.models import fetch_zoo_weights
from withstand.steps.publish import publish
from withstand.steps.train import TrainingError, TrainingImages, learning_rate, train, train_or_record

RECIPE = {
    "timm": "resnet18",
    "kwargs": {
        "norm_layer": "groupnorm",
        "channels": [32, 32, 32, 32],
        "layers": [1, 1, 1, 1],
        "zero_init_last": False,
        "num_classes": 10,
    },
    "epochs": 3,
    "batch_size": 32,
    "learning_rate": 1e-2,
    "weight_decay": 0.05,
    "warmup": 0.1,
    "label_smoothing": 0.0,
    "max_shift": 2,
    "seed": 0,
}


SIZES = ("small", "base", "large", "base_few")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two shards of training images and one of validation images."""
    folder = tmp_path_factory.mktemp("data")
    paths = []
    for split, start, stop in (("train", 0, 150), ("train", 150, 960), ("validation", 0, 100)):
        paths.append(folder / f"{split}-{start}.h5")
        source = {"kind": "shapetex", "split": split}
        prepare_images(open_source(source), start, stop, size=64, codec="raw", output=paths[-1])
    return paths[:2], paths[2:]


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small-0123abcd.safetensors"
    return path, train(RECIPE, *data, path)


def test_training_learns(trained):
    _, accuracy = trained
    assert 0.25 < accuracy < 1  # chance is 0.1, with a standard error of 0.03; 0.38 on the machine at hand


def test_weights_carry_what_is_needed_to_use_them(trained):
    path, accuracy = trained
    header = models.read_header(path)
    assert header["recipe"] == RECIPE
    assert header["validation_accuracy"] == pytest.approx(accuracy, abs=1e-4)
    card = models.describe({"recipe": "small"}, path)
    assert (card["label_space"], card["outputs"], card["preprocessing"]["input_size"]) == ("shapetex", 10, 64)
    assert list(path.parent.iterdir()) == [path], "no training state is left"


def test_an_interrupted_training_ends_as_an_undisturbed_one(trained, data, tmp_path, monkeypatch):
    path = tmp_path / "small.safetensors"
    save = training._save_state

    def interrupted(*arguments):
        save(*arguments)
        if arguments[-1] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save_state", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(RECIPE, *data, path)
    monkeypatch.undo()
    assert not path.exists()
    train(RECIPE, *data, path)
    expected, found = safetensors.torch.load_file(trained[0]), safetensors.torch.load_file(path)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_the_state_of_another_recipe_is_refused(data, tmp_path, monkeypatch):
    path = tmp_path / "small.safetensors"
    monkeypatch.setattr(training, "_train_epoch", lambda *arguments: 0.0)
    monkeypatch.setattr(training, "_accuracy", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(RECIPE, *data, path)
    with pytest.raises(TrainingError, match=r"small\.checkpoint\.pt: the state of another recipe; delete it"):
        train(RECIPE | {"seed": 1}, *data, path)
    (tmp_path / "small.checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(TrainingError, match=r"small\.checkpoint\.pt: not a training state"):
        train(RECIPE, *data, path)


def test_the_state_of_other_images_or_code_is_no_start(data, tmp_path, monkeypatch):
    path, epochs = tmp_path / "small.safetensors", []
    monkeypatch.setattr(training, "_train_epoch", lambda *arguments: epochs.append(arguments[4]) or 0.0)

    def interrupted(training_files, code) -> list[int]:
        """The epochs of a training that is interrupted before its end."""
        epochs.clear()
        monkeypatch.setattr(training, "_accuracy", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(RECIPE, training_files, data[1], path, code=code)
        return list(epochs)

    assert interrupted(data[0], "a") == [0, 1, 2]
    assert interrupted(data[0], "a") == []
    assert interrupted(data[0], "b") == [0, 1, 2]
    assert interrupted(data[0][1:], "b") == [0, 1, 2]


def test_fewer_images_than_a_batch_are_refused(data, tmp_path):
    with pytest.raises(TrainingError, match="has 960 images, fewer than a batch of 961"):
        train(RECIPE | {"batch_size": 961}, *data, tmp_path / "a.safetensors")


def test_a_diverged_training_stops(data, tmp_path):
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) in epoch 1: try a lower learning_rate"):
        train(RECIPE | {"learning_rate": 1e30}, *data, tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()


def test_a_diverged_recipe_is_a_failed_model(data, tmp_path):
    path = tmp_path / "a.safetensors"
    train_or_record(RECIPE | {"learning_rate": 1e30}, *data, path)
    with pytest.raises(ModelError, match=r"its training diverged: the loss is (nan|inf) in epoch 1"):
        models.describe({"recipe": "a"}, path)
    assert list(tmp_path.iterdir()) == [path]


def test_images_are_read_across_shards(data):
    images = TrainingImages(data[0])
    indices = np.array([0, 149, 150, 959])
    pixels, labels = images.read(indices)
    assert labels.tolist() == [0, 9, 0, 9]
    alone = np.concatenate([images.read(np.array([index]))[0] for index in indices])
    assert np.array_equal(pixels, alone)


def test_learning_rate_rises_and_falls():
    rates = [learning_rate(step, 100, {"learning_rate": 2.0, "warmup": 0.1}) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] == rates[10] == 2.0
    assert rates[55] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_publishing_keeps_the_model(trained, tmp_path, pictures):
    path, accuracy = trained
    line = publish(path, tmp_path)
    assert "small.safetensors" in line
    entry = json.loads((tmp_path / "index.json").read_text())["small"]
    published = tmp_path / "small.safetensors"
    assert entry["sha256"] == sha256(published)
    assert entry["validation_accuracy"] == pytest.approx(accuracy, abs=1e-4)
    assert entry["recipe"] == RECIPE
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
    before, after = (models.load({"recipe": "small"}, weights)(images) for weights in (path, published))
    # float16 keeps eleven bits of each weight
    assert torch.allclose(before, after, atol=0.02)


def test_only_our_own_weights_are_published(tmp_path):
    models.save_weights(tmp_path / "a.safetensors", {"x": torch.zeros(1)})
    with pytest.raises(WithstandError, match=r"a\.safetensors: not weights that withstand trained"):
        publish(tmp_path / "a.safetensors", tmp_path)


def test_what_has_no_weights_is_not_published(tmp_path):
    models.save_failure(tmp_path / "a-01234567.safetensors", "its training diverged")
    with pytest.raises(WithstandError, match=r"a-01234567\.safetensors: no weights to publish: its training diverged"):
        publish(tmp_path / "a-01234567.safetensors", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a-01234567.safetensors"]


ZOO = [f"{architecture}_{size}" for architecture in ("vit_p8", "vit_p16", "resnet_gn") for size in SIZES]


def test_the_zoo_is_complete():
    assert sorted(zoo.names()) == sorted([*ZOO, "reference"])
    recipes = {name: entry["recipe"] for name, entry in zoo.index().items()}
    for architecture in ("vit_p8", "vit_p16", "resnet_gn"):
        base = recipes[f"{architecture}_base"]
        for size in ("small", "large"):
            assert recipes[f"{architecture}_{size}"] == base | {"kwargs": recipes[f"{architecture}_{size}"]["kwargs"]}
        few = recipes[f"{architecture}_base_few"]
        assert few == base | {"dataset": few["dataset"], "epochs": few["epochs"]}
        assert (few["dataset"]["samples"], base["dataset"]["samples"]) == (4000, 100_000)


def test_the_zoo_is_worth_comparing():
    """Models that learned their task, and families that are close to each other in their middle size."""
    accuracy = {name: entry["validation_accuracy"] for name, entry in zoo.index().items()}
    assert min(accuracy[name] for name in ZOO if not name.endswith("few")) > 0.95
    base = [accuracy[f"{architecture}_base"] for architecture in ("vit_p8", "vit_p16", "resnet_gn")]
    assert max(base) - min(base) <= 0.03
    parameters = [zoo.index()[name]["parameters"] for name in ZOO]
    assert 150_000 < min(parameters) < max(parameters) < 2_500_000


@pytest.mark.parametrize("name", zoo.names())
def test_the_zoo_is_whole(name, tmp_path):
    fetch_zoo_weights(name, None, tmp_path / "weights.safetensors")
    header, entry = models.read_header(tmp_path / "weights.safetensors"), zoo.index()[name]
    assert header["recipe"] == entry["recipe"]
    assert models.describe({"zoo": name}, tmp_path / "weights.safetensors")["parameters"] == entry["parameters"]
    assert zoo.weights(name).stat().st_size < 5_000_000


def test_damaged_weights_of_the_zoo_are_told(tmp_path, monkeypatch):
    damaged = tmp_path / "vit_p8_base.safetensors"
    damaged.write_bytes(zoo.weights("vit_p8_base").read_bytes()[:-1] + b"x")
    monkeypatch.setattr(zoo, "weights", lambda name: damaged)
    with pytest.raises(WithstandError, match="the file is damaged"):
        fetch_zoo_weights("vit_p8_base", None, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
