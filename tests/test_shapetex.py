import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from withstand.datasets import shapetex, splits
from withstand.datasets.registry import KINDS, open_source
from withstand.random import Stream


def test_images_are_pinned():
    """The shipped models were trained on these pixels: a change of the generator is a new dataset."""
    source = open_source({"kind": "shapetex", "split": "test"})
    images = np.stack([source.read(sample_id) for sample_id in source.sample_ids(20)])
    # averages instead of bytes: the last bit of sin and cos may differ between processors
    means = np.round(images.reshape(20, -1).mean(1)).astype(int).tolist()
    assert means == [114, 146, 109, 126, 83, 129, 113, 112, 109, 110, 105, 138, 134, 128, 116, 125, 121, 127, 92, 106]


def test_a_sample_is_a_function_of_its_id():
    source = shapetex.Source("train")
    ids = source.sample_ids(16)
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(source.read, reversed(ids)))[::-1]
    assert all(np.array_equal(source.read(name), image) for name, image in zip(ids, parallel, strict=True))


def test_samples_and_splits_differ():
    digests = {
        hashlib.sha256(shapetex.Source(split).read(name).tobytes()).hexdigest()
        for split in splits.SHAPETEX
        for name in shapetex.Source(split).sample_ids(10)
    }
    assert len(digests) == 10 * len(splits.SHAPETEX)


def test_any_first_samples_are_balanced_and_sorted():
    source = shapetex.Source("validation")
    ids = source.sample_ids(1000)
    assert np.bincount(source.labels(ids)).tolist() == [100] * 10
    assert ids == sorted(ids)
    assert source.sample_ids(50) == ids[:50]


@pytest.mark.parametrize("shape", shapetex.SHAPES)
@pytest.mark.parametrize("texture", ["striped", "spoked"])
def test_any_shape_takes_any_texture(shape, texture):
    image = shapetex.render_object(Stream("test", shape), shape, texture)
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.uint8
    assert image.std() > 8


def test_classes_are_named_by_texture_and_shape():
    names = shapetex.Source("test").class_names()
    assert names[0] == "striped disk"
    assert len(set(names)) == 10


def test_every_kind_of_source_opens():
    for kind in KINDS:
        source = open_source({"kind": kind, "split": "test"})
        assert source.available() >= 1000
        assert source.native_size() == source.read(source.sample_ids(1)[0]).shape[0]
