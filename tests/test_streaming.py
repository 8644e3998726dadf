"""Corrupted images that are made inside inference jobs, beside those that are stored."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import skimage.data
import torch
from PIL import Image
from torchvision import transforms

from test_models import own
from withstand import images, models, predictions
from withstand.corruptions.constants import CORRUPTIONS
from withstand.corruptions.registry import corrupt
from withstand.datasets.registry import open_source
from withstand.models import Preprocessing, own_transform
from withstand.shards import CorruptedShard
from withstand.steps.models import write_card
from withstand.steps.perturb import corrupt_images
from withstand.steps.predict import ImageSet, predict
from withstand.steps.stream import ResizedSet, StreamedSet
from withstand.subsets import Subset

NAMES = ("gaussian_noise", "frost", "elastic_transform", "jpeg_compression")
SHAPETEX = {"kind": "shapetex", "split": "test"}
PLAN = json.loads(
    json.dumps(
        [
            {
                "name": name,
                "category": CORRUPTIONS[name].category,
                "severities": [2, 5],
                "constants": {size: [rows[1], rows[4]] for size, rows in CORRUPTIONS[name].constants.items()},
            }
            for name in NAMES
        ]
    )
)


@pytest.fixture
def card(tmp_path):
    write_card("m", own("mean_color"), None, tmp_path / "m.json")
    return tmp_path / "m.json"


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_streamed_predictions_are_those_of_stored_images(tmp_path, card, clean_file, codec):
    made = {"seed": 3, "codec": codec}
    corrupt_images(clean_file, PLAN, output=tmp_path / "stored.h5", **made)
    stored = ImageSet("test", "family", [tmp_path / "stored.h5"], tmp_path / "stored.parquet")
    streamed = StreamedSet("test", "family", [clean_file], PLAN, output=tmp_path / "streamed.parquet", **made)
    predict(card, None, [stored, streamed], batch_size=5, device="cpu")
    first, second = (pq.read_table(kind.output) for kind in (stored, streamed))
    assert first.num_rows == 12 * 2 * len(NAMES)
    assert first.equals(second)


def test_a_subset_has_the_same_samples_stored_and_streamed(tmp_path, card, clean_file):
    corrupt_images(clean_file, PLAN, seed=0, codec="raw", output=tmp_path / "stored.h5")
    whole = ImageSet("test", "family", [tmp_path / "stored.h5"], tmp_path / "whole.parquet")
    some = {"subset": Subset(5, 1)}
    stored = ImageSet("test", "family", [tmp_path / "stored.h5"], tmp_path / "stored.parquet", **some)
    streamed = StreamedSet("test", "family", [clean_file], PLAN, 0, "raw", tmp_path / "streamed.parquet", **some)
    predict(card, None, [whole, stored, streamed], batch_size=5, device="cpu")
    every, first, second = (pq.read_table(kind.output).to_pandas() for kind in (whole, stored, streamed))
    assert first.equals(second) and streamed.samples() == first["sample_id"].nunique() == 5
    kept = every[every["sample_id"].isin(first["sample_id"])].reset_index(drop=True)
    # other batches
    assert kept["sample_id"].equals(first["sample_id"]) and np.allclose(kept["loss"], first["loss"], atol=1e-5)
    assert predictions.read_facts(streamed.output)["inputs"]["subset"] == {"count": 5, "seed": 1}


def test_scattered_samples_are_the_ones_asked_for(tmp_path, clean_file):
    with images.ImageFile(clean_file) as clean:
        streamed = CorruptedShard(clean, PLAN, seed=0, codec="raw")
        scattered = np.array([7, 2, 9])
        for name in ("gaussian_noise", "elastic_transform"):
            whole = streamed.read(name, 1, slice(0, 12))
            assert np.array_equal(streamed.read(name, 1, scattered), whole[scattered])


def test_streamed_pixels_are_the_stored_ones(tmp_path, clean_file):
    corrupt_images(clean_file, PLAN, seed=0, codec="jpeg", output=tmp_path / "stored.h5")
    with images.ImageFile(tmp_path / "stored.h5") as stored, images.ImageFile(clean_file) as clean:
        streamed = CorruptedShard(clean, PLAN, seed=0, codec="jpeg")
        assert streamed.conditions == stored.conditions
        for name, _, index in stored.conditions:
            assert np.array_equal(stored.read(name, index, slice(2, 9)), streamed.read(name, index, slice(2, 9)))


def test_other_constants_are_predicted_again(tmp_path, card, clean_file):
    def run(plan, seed=0) -> int:
        given = StreamedSet("test", "family", [clean_file], plan, seed, "raw", tmp_path / "o.parquet")
        predict(card, None, [given], batch_size=5, device="cpu")
        return given.output.stat().st_ino

    first = run(PLAN)
    assert run(PLAN) == first
    second = run(PLAN, seed=1)
    assert second != first
    assert run(PLAN[:2], seed=1) != second


def test_corruptions_at_the_models_size(tmp_path):
    spec = own("mean_color")
    spec["preprocessing"] = {**spec["preprocessing"], "input_size": 40, "crop_pct": 0.8}
    write_card("m", spec, None, tmp_path / "m.json")
    output = tmp_path / "o.parquet"
    given = ResizedSet("test", "resized", SHAPETEX, (3, 9), PLAN, 0, "raw", output, "corrupt_after_resize")
    predict(tmp_path / "m.json", None, [given], batch_size=4, device="cpu")
    assert predictions.read_facts(output)["policy"] == "corrupt_after_resize"
    table = pq.read_table(output).to_pandas()
    assert table.groupby(["corruption", "severity"]).size().to_dict() == {
        ("clean", 0): 6,
        **{(name, severity): 6 for name in NAMES for severity in (2, 5)},
    }
    # the same by hand: resized to 50, cropped to 40, corrupted with the constants for 32 px
    source = open_source(SHAPETEX)
    ids = source.sample_ids(9)[3:]
    resize = transforms.Compose([transforms.Resize(50, Image.Resampling.BICUBIC), transforms.CenterCrop(40)])
    pixels = np.stack([np.asarray(resize(Image.fromarray(source.read(name)))) for name in ids])
    noisy = corrupt(torch.from_numpy(pixels), "gaussian_noise", 5, ids, 0)
    for name, severity, expected in (("clean", 0, torch.from_numpy(pixels)), ("gaussian_noise", 5, noisy)):
        rows = table[(table["corruption"] == name) & (table["severity"] == severity)]
        assert rows["sample_id"].tolist() == ids
        classifier = models.load(spec, None)
        logits = classifier(expected.permute(0, 3, 1, 2).float() / 255)
        assert np.allclose(np.stack(rows["logits"]), logits.numpy(), atol=1e-2)  # float16 in the file


def test_the_own_transform_takes_images_of_any_size():
    preprocessing = Preprocessing(96, (0.5,) * 3, (0.5,) * 3, "bilinear", 0.875)
    picture = skimage.data.coffee()
    expected = transforms.Compose(
        [transforms.Resize(109, Image.Resampling.BILINEAR), transforms.CenterCrop(96)]  # floor(96 / 0.875)
    )(Image.fromarray(picture))
    assert np.array_equal(own_transform(preprocessing)(Image.fromarray(picture)), np.asarray(expected))
