"""Models whose entry has interventions: models of their own, for every step."""

import json

import numpy as np
import pandas as pd
import pytest

from withstand import models, zoo
from withstand.inference import Forward
from withstand.interventions import intervene
from withstand.predictions import read_facts
from withstand.steps.internals import Experiment, measure_internals
from withstand.steps.models import write_card
from withstand.steps.predict import ImageSet, predict

NAME = "vit_p8_base"
LESION = {"kind": "lesion", "part": "mlp", "blocks": [1, 3]}
LIMIT = {"kind": "local_attention", "distance": 0.25}


def card(path, *specs, name=NAME):
    write_card("m", {"zoo": name, **({"interventions": list(specs)} if specs else {})}, zoo.weights(name), path)
    return json.loads(path.read_text())


def predicted(tmp_path, images, *specs, name=NAME):
    card(tmp_path / "card.json", *specs, name=name)
    image_set = ImageSet("test", "clean", [images], tmp_path / "predictions.parquet")
    predict(tmp_path / "card.json", zoo.weights(name), [image_set], batch_size=8, device="cpu")
    return image_set.output


@pytest.mark.bool_masks
@pytest.mark.parametrize("specs", [(LESION,), (LIMIT,), (LESION, LIMIT)])
def test_predictions_are_those_under_the_interventions(tmp_path, clean_file, pictures, specs):
    table = pd.read_parquet(predicted(tmp_path, clean_file, *specs))
    model = models.load({"zoo": NAME}, zoo.weights(NAME))
    with intervene(model, *specs):
        logits = Forward(model, 10, 8)(pictures)
    plain = Forward(model, 10, 8)(pictures)
    found = np.stack(table["logits"]).astype(np.float32)
    assert np.allclose(found, logits.numpy(), atol=2e-2), "float16 in the file"
    assert np.abs(found - plain.numpy()).max() > 0.5


@pytest.mark.bool_masks
def test_what_is_removed_is_not_computed(tmp_path):
    whole, lesioned, masked = (card(tmp_path / "c.json", *specs) for specs in ((), (LESION,), (LIMIT,)))
    network = models.load({"zoo": NAME}, zoo.weights(NAME)).network
    mlp = sum(parameter.numel() for parameter in network.blocks[1].mlp.parameters())
    norm = sum(parameter.numel() for parameter in network.blocks[1].norm2.parameters())
    assert whole["parameters"] - lesioned["parameters"] == 2 * (mlp + norm)
    tokens, width, hidden = 65, network.embed_dim, network.blocks[1].mlp.fc1.out_features
    assert whole["flops"] - lesioned["flops"] == 2 * 2 * 2 * tokens * width * hidden  # blocks, matrices, multiply-add
    assert masked["parameters"] == whole["parameters"] and masked["depth"] == lesioned["depth"] == whole["depth"]
    assert lesioned["weights"] == whole["weights"]


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (LESION | {"part": "attention"}, "block 1 (BasicBlock) has no attention with a residual path"),
        (LESION | {"part": "block", "blocks": [2]}, "block 2 changes the shape and cannot be removed"),
        (LESION | {"part": "block", "blocks": [9]}, "there is no block 9: the model has blocks 0 to 7"),
        (LIMIT, "ResNet has no grid of patches with prefix tokens before it"),
    ],
)
def test_what_the_architecture_has_not_is_an_outcome_of_one_line(tmp_path, clean_file, spec, reason):
    output = predicted(tmp_path, clean_file, spec, name="resnet_gn_base")
    assert json.loads((tmp_path / "card.json").read_text())["failure"] == reason
    assert read_facts(output)["failure"] == reason and len(pd.read_parquet(output)) == 0


def test_a_lesioned_model_can_be_looked_into(tmp_path, clean_file, pictures, samples):
    card(tmp_path / "card.json", LESION)
    image_set = ImageSet("test", "clean", [clean_file], tmp_path / "lesions.parquet")
    experiment = Experiment(image_set, "lesions", 0, {"parts": ["mlp"], "counts": []})
    measure_internals(tmp_path / "card.json", zoo.weights(NAME), [experiment], batch_size=12, device="cpu")
    table = pd.read_parquet(image_set.output)
    model = models.load({"zoo": NAME}, zoo.weights(NAME))
    rows = table[table["blocks"].map(list).map(lambda blocks: blocks == [0])]
    with intervene(model, LESION | {"blocks": [0, 1, 3]}):
        answers = Forward(model, 10, 12)(pictures).argmax(1).numpy()
    correct = rows.set_index("sample_id").loc[samples.ids, "correct_all"].to_numpy()
    assert np.array_equal(correct, answers == samples.labels)
