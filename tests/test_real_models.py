"""A real ImageNet model on real photographs: what timm's own loading says, withstand says."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from timm.data import create_dataset, create_loader, resolve_data_config

from photographs import ENTRY, class_folders, efficientnet_weights
from withstand import models
from withstand.inference import Forward
from withstand.steps.index import index_source
from withstand.steps.models import write_card
from withstand.steps.predict import predict
from withstand.steps.stream import ResizedSet

INDEX_OF_CLASS = {"label_space_name": "imagenet-1k", "named_by": "index"}


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Folder of photographs, source, index, card and weights."""
    folder = tmp_path_factory.mktemp("real")
    weights = efficientnet_weights(folder / "lite0.safetensors")
    source = {"kind": "folder", "path": str(class_folders(folder / "photographs")), **INDEX_OF_CLASS}
    index_source(source, folder / "index.parquet")
    write_card("lite0", ENTRY, weights, folder / "lite0.json")
    return folder


def streamed(real, output, **options) -> ResizedSet:
    source = {"kind": "folder", "path": str(real / "photographs"), **INDEX_OF_CLASS}
    return ResizedSet(
        "photographs", "clean", source, (0, 20), [], 0, "raw", output, "model", index=real / "index.parquet", **options
    )


def test_the_model_policy_gives_the_logits_of_timms_own_loading(real, tmp_path):
    classifier = models.load(ENTRY, real / "lite0.safetensors")
    arguments = {"mean": ENTRY["preprocessing"]["mean"], "std": ENTRY["preprocessing"]["std"]}
    config = resolve_data_config(arguments, model=classifier.network, use_test_size=True)
    dataset = create_dataset("", root=str(real / "photographs"))
    loader = create_loader(
        dataset,
        batch_size=20,
        use_prefetcher=False,
        num_workers=0,
        **{key: config[key] for key in ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")},
    )
    with torch.inference_mode():
        theirs = torch.cat([classifier.network(images) for images, _ in loader])
    names = ["/".join(name.split("/")[-2:]) for name in dataset.filenames(absolute=False)]

    card = json.loads((real / "lite0.json").read_text())
    ours = {}
    for shard in streamed(real, tmp_path / "o.parquet", threads=2).shards(card, "cpu"):
        logits = Forward(classifier, 1000, 8)(shard.read("clean", 0, slice(None)))
        ours |= dict(zip(shard.samples.ids, logits, strict=True))
    # float32 alone: pixels are the same bytes, and are scaled before the mean is taken off in either
    assert torch.allclose(torch.stack([ours[name] for name in names]), theirs, atol=1e-4)

    labels = torch.tensor([int(name.split("/")[0]) for name in names])
    assert (theirs.argmax(1) == labels).sum() == 18


def test_predictions_from_the_source(real, tmp_path):
    given = streamed(real, tmp_path / "o.parquet")
    predict(real / "lite0.json", real / "lite0.safetensors", [given], batch_size=8, device="cpu")
    table = pq.read_table(tmp_path / "o.parquet").to_pandas()
    facts = json.loads(pq.read_schema(tmp_path / "o.parquet").metadata[b"withstand"])
    assert facts["policy"] == "model"
    assert table["correct_all"].sum() == 18
    assert len(np.unique(table["label"])) == 19 and table["correct_subset"].sum() >= 18  # of 19 classes instead of 1000
    assert [int(name.split("/")[0]) for name in table["sample_id"]] == table["label"].tolist()
