import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from test_models import own
from withstand import images, models
from withstand.datasets.registry import open_source
from withstand.errors import ModelError, WithstandError
from withstand.inference import Forward
from withstand.steps.datasets import prepare_images
from withstand.steps.missed import find_missed, read_missed

POOL = {"kind": "shapetex", "split": "pool"}
SOURCE = open_source(POOL)


def test_the_first_samples_that_the_reference_misses(tmp_path):
    spec, output = own("mean_color"), tmp_path / "missed.parquet"
    find_missed(SOURCE, (0, 600), 300, spec=spec, weights=None, output=output)
    ids = SOURCE.sample_ids(600)
    logits = Forward(models.load(spec, None), 10, 100)(np.stack([SOURCE.read(name) for name in ids]))
    answers = logits.argmax(1).numpy()
    wrong = [name for name, answer, label in zip(ids, answers, SOURCE.labels(ids), strict=True) if answer != label]
    assert read_missed(output) == wrong[:300]
    table = pq.read_table(output)
    assert (table["answer"].to_numpy() != table["label"].to_numpy()).all()
    facts = json.loads(table.schema.metadata[b"withstand"])
    assert facts["reference"] == spec
    assert 300 <= facts["searched"] <= 600

    prepare_images(SOURCE, 10, 30, size=64, codec="raw", output=tmp_path / "0000.h5", selected=read_missed(output))
    with images.ImageFile(tmp_path / "0000.h5") as file:
        assert file.samples.ids == wrong[10:30]
        assert np.array_equal(file.read("clean", 0, slice(0, 1))[0], SOURCE.read(wrong[10]))


def test_too_few_missed_samples_are_an_error(tmp_path):
    with pytest.raises(WithstandError, match=r"the reference gets \d+ of 50 samples wrong, 51 were asked for"):
        find_missed(SOURCE, (0, 50), 51, spec=own("mean_color"), weights=None, output=tmp_path / "missed.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_reference_of_another_label_space_is_an_error(tmp_path):
    spec = own("mean_color") | {"label_space": "cifar-10"}
    with pytest.raises(ModelError, match="answers in the label space cifar-10"):
        find_missed(SOURCE, (0, 50), 5, spec=spec, weights=None, output=tmp_path / "missed.parquet")
