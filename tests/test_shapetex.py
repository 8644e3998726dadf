import hashlib
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations

import numpy as np
import pytest

from withstand.datasets import splits
from withstand.datasets.drawing.scenes import compose, photograph
from withstand.datasets.drawing.shapes import SHAPES
from withstand.datasets.drawing.styles import STYLES
from withstand.datasets.drawing.textures import TEXTURES
from withstand.datasets.registry import GENERATED_KINDS, open_source
from withstand.datasets.shapetex import CLASSES
from withstand.random import Stream

SOURCES = {
    "shapetex": {"kind": "shapetex", "split": "test"},
    "shapetex_renditions": {"kind": "shapetex_renditions"},
    "shapetex_cue_conflict": {"kind": "shapetex_cue_conflict"},
}

MEANS = {
    "shapetex": [104, 95, 75, 87, 133, 122, 113, 121, 89, 115],
    "shapetex_renditions": [197, 225, 199, 198, 196, 209, 184, 216, 207, 182],
    "shapetex_cue_conflict": [110, 117, 104, 90, 99, 111, 95, 111, 101, 111],
}
"""The mean grey level of the first ten images of each set."""


def read(source, count: int) -> np.ndarray:
    return np.stack([source.read(sample_id) for sample_id in source.sample_ids(count)])


@pytest.mark.parametrize("kind", GENERATED_KINDS)
def test_images_are_pinned(kind):
    """The shipped models were trained on these pixels: a change of the generator is a new dataset."""
    # averages instead of bytes: the last bit of sin and cos may differ between processors
    means = np.round(read(open_source(SOURCES[kind]), 10).reshape(10, -1).mean(1)).astype(int).tolist()
    assert means == MEANS[kind]


@pytest.mark.parametrize("kind", GENERATED_KINDS)
def test_a_sample_is_a_function_of_its_id(kind):
    source = open_source(SOURCES[kind])
    ids = source.sample_ids(40)
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(source.read, reversed(ids)))[::-1]
    assert all(np.array_equal(source.read(name), image) for name, image in zip(ids, parallel, strict=True))
    assert parallel[0].shape == (64, 64, 3)
    assert parallel[0].dtype == np.uint8
    assert len({hashlib.sha256(image.tobytes()).hexdigest() for image in parallel}) == 40


@pytest.mark.parametrize("kind", GENERATED_KINDS)
def test_any_first_samples_are_balanced_and_sorted(kind):
    source = open_source(SOURCES[kind])
    ids = source.sample_ids(9000)
    labels = source.labels(ids)
    assert labels.dtype == np.int64
    assert sorted(set(labels)) == source.subset()
    assert ids == sorted(ids)
    assert source.sample_ids(50) == ids[:50]
    for count in (180, 900, 9000):
        counts = np.bincount(labels[:count], minlength=10)[source.subset()]
        assert np.ptp(counts) == 0
    assert len(ids) <= source.available()


def test_splits_share_no_sample():
    digests = {
        hashlib.sha256(image.tobytes()).hexdigest()
        for split in splits.SHAPETEX
        for image in read(open_source({"kind": "shapetex", "split": split}), 10)
    }
    assert len(digests) == 10 * len(splits.SHAPETEX)


def test_a_smaller_training_set_is_a_part_of_a_larger_one():
    source = open_source({"kind": "shapetex", "split": "train"})
    assert source.sample_ids(100_000)[:4000] == source.sample_ids(4000)


def test_renditions_have_six_classes_and_all_styles_of_each():
    source = open_source(SOURCES["shapetex_renditions"])
    assert len(source.subset()) == 6
    assert len(source.class_names()) == 10
    # style by style: paper and ink have few colours, photographs many
    colours = [len(np.unique(image.reshape(-1, 3), axis=0)) for image in read(source, 18)]
    photographs = read(open_source(SOURCES["shapetex"]), 18)
    assert max(colours) < min(len(np.unique(image.reshape(-1, 3), axis=0)) for image in photographs)


def test_every_ordered_pair_conflicts_equally_often():
    source = open_source(SOURCES["shapetex_cue_conflict"])
    ids = source.sample_ids(180)
    pairs = list(zip(source.labels(ids).tolist(), source.texture_labels(ids).tolist(), strict=True))
    assert sorted(pairs) == sorted(2 * list(permutations(range(10), 2)))
    assert np.bincount(source.texture_labels(ids[:10])).tolist() == [1] * 10, "textures take turns, too"
    for kind in ("shapetex", "shapetex_renditions"):
        assert open_source(SOURCES[kind]).texture_labels(ids) is None


@pytest.mark.parametrize("style", [photograph, *STYLES.values()])
@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape_takes_any_texture_in_any_style(shape, style):
    textures = list(TEXTURES)[:: 1 if style is photograph else 4]
    for texture in textures:
        stream = Stream("test", shape, texture)
        image = style(compose(stream, shape, texture), stream)
        assert (image.shape, image.dtype) == ((64, 64, 3), np.uint8)
        assert image.std() > 5


@pytest.mark.parametrize("shape", SHAPES)
def test_objects_are_large_enough_to_be_seen_and_leave_room_for_a_background(shape):
    covered = [compose(Stream("size", shape, draw), shape, "striped").mask.mean() for draw in range(50)]
    assert min(covered) > 0.05
    assert max(covered) < 0.65


def test_classes_are_named_by_texture_and_shape():
    names = open_source(SOURCES["shapetex"]).class_names()
    assert names[0] == "striped disk"
    assert len(set(names)) == len(CLASSES) == 10


def test_shape_and_texture_both_tell_the_class():
    assert len({shape for shape, _ in CLASSES}) == len({texture for _, texture in CLASSES}) == 10
