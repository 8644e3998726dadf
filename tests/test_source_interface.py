"""Every kind of source answers everything that a source can be asked (``datasets.source``)."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archives_of_images import npy, picture, write_folder, write_tar
from test_sources import CATEGORIES, CLASSES, WNIDS, cifar_archive, tiny_imagenet_c
from withstand.config_sources import SourceEntry
from withstand.datasets import catalogue, label_spaces
from withstand.datasets.registry import CORRUPTED_KINDS, FILE_KINDS, GENERATED_KINDS, KINDS, open_samples, open_source
from withstand.datasets.source import ReadableSource, Source
from withstand.steps.datasets import sample_table
from withstand.steps.index import index_source

ENTRIES = {entry.model_fields["kind"].annotation.__args__[0]: entry for entry in get_args(get_args(SourceEntry)[0])}
OWN = {"label_space_name": "pets", "classes": ["dog", "cat"]}


def imagenet_like(wnids, name: str = "ILSVRC2012_val_{:08d}.JPEG") -> dict[str, bytes]:
    return {f"top/{wnid}/{name.format(number)}": picture(0) for number, wnid in enumerate(wnids, 1)}


def cue_conflict() -> dict[str, bytes]:
    names = [f"{a}/{a}{n}-{b}{n}.png" for a in CATEGORIES for b in CATEGORIES for n in range(1, 6)]
    return dict.fromkeys(names, picture(0, (224, 224), "PNG"))


def tiny_imagenet() -> dict[str, bytes]:
    files = {f"t/val/images/val_{number}.JPEG": picture(number, (64, 64)) for number in range(4)}
    lines = "\n".join(f"val_{number}.JPEG\t{WNIDS[number]}\t0\t0\t9\t9" for number in range(4))
    return files | {"t/wnids.txt": "\n".join(WNIDS[:200]).encode(), "t/val/val_annotations.txt": lines.encode()}


def cifar() -> dict[str, bytes]:
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    return cifar_archive(10, images, np.arange(8))


def pets(folder: Path) -> dict:
    return {"path": str(write_folder(folder, {"cat/1.jpg": picture(1), "dog/2.jpg": picture(2)}))}


def arrays(folder: Path) -> dict:
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    write_folder(folder, {"x.npy": npy(images), "y.npy": npy(np.array([1, 0, 0, 1]))})
    return {"images_path": str(folder / "x.npy"), "labels_path": str(folder / "y.npy"), "size": 16}


def parquet(folder: Path) -> dict:
    folder.mkdir()
    pq.write_table(pa.table({"image": [picture(1), picture(2)], "label": ["cat", "dog"]}), folder / "x.parquet")
    return {"path": str(folder)}


def archive(files: Callable[[], dict[str, bytes]]) -> Callable[[Path], dict]:
    return lambda path: {"path": str(write_tar(path, files()))}


IMAGES: dict[str, Callable[[Path], dict]] = {
    "imagenet": archive(lambda: imagenet_like(WNIDS)),
    "imagenet_a": archive(lambda: imagenet_like(label_spaces.imagenet_subset("imagenet_a"))),
    "imagenet_r": archive(lambda: imagenet_like(label_spaces.imagenet_subset("imagenet_r"))),
    "imagenet_v2": archive(lambda: imagenet_like(range(1000))),
    "imagenet_sketch": archive(lambda: imagenet_like(WNIDS)),
    "imagenette": archive(lambda: {f"val/{WNIDS[output]}/1.JPEG": picture(0) for output in CLASSES}),
    "cue_conflict": archive(cue_conflict),
    "cifar": archive(cifar),
    "tiny_imagenet": archive(tiny_imagenet),
    "tiny_imagenet_c": archive(lambda: tiny_imagenet_c((("fog", 1),))),
    "folder": lambda folder: pets(folder) | OWN,
    "arrays": lambda folder: arrays(folder) | OWN,
    "parquet": lambda folder: parquet(folder) | OWN,
}
"""A small set of each kind in files: what it writes at a path, and the options of its source that say so."""

SMALL = {
    "imagenet": 1000,
    "imagenet_a": 200,
    "imagenet_r": 200,
    "imagenet_v2": 1000,
    "imagenet_sketch": 1000,
    "imagenette_val": 10,
    "cifar_test": 8,
    "tiny_imagenet": 4,
    "tiny_imagenet_c": 200,
}


def spec_of(kind: str, given: dict) -> dict:
    """A source of a kind as a study describes it: the first choice of each option that must be given."""
    fields = ENTRIES[kind].model_fields
    needed = {name for name, field in fields.items() if field.is_required()} - given.keys()
    chosen = {name: get_args(fields[name].annotation)[0] for name in needed}
    named = {"label_space": given["label_space_name"]} if "label_space_name" in given else {}
    plain = {key: value for key, value in given.items() if key in fields}
    return ENTRIES[kind].model_validate(chosen | named | plain).model_dump(mode="json", by_alias=True)


@pytest.fixture
def source_of(tmp_path, monkeypatch):
    """A source of a kind, and its samples."""

    def run(kind: str) -> tuple[Source, ReadableSource]:
        for name, count in SMALL.items():
            monkeypatch.setitem(catalogue.SAMPLES, name, count)
        if kind in GENERATED_KINDS:
            spec = spec_of(kind, {})
            return open_source(spec), open_samples(spec, None)
        assert kind in IMAGES, f"say in IMAGES what a small set of the new kind {kind} looks like"
        spec, index = spec_of(kind, IMAGES[kind](tmp_path / "images")), tmp_path / "index.parquet"
        index_source(spec, index)
        return open_source(spec), open_samples(spec, index)

    return run


def test_config_and_registry_know_the_same_kinds():
    assert ENTRIES.keys() == {*KINDS} and not {*GENERATED_KINDS} & {*FILE_KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_answers_everything(source_of, kind):
    source, samples = source_of(kind)
    assert isinstance(source, Source) and isinstance(samples, ReadableSource)
    ids = samples.sample_ids(3)

    # a study asks before any file is opened; the samples tell the same
    for asked in (source, samples):
        assert asked.is_generated == (kind in GENERATED_KINDS)
        assert asked.is_cue_conflict == (kind in ("cue_conflict", "shapetex_cue_conflict"))
        assert asked.label_space() and asked.outputs() > 1
        assert asked.native_size() is None or asked.native_size() >= 8
        mask = asked.foreground(ids[0])
        assert (mask is None) == (kind not in GENERATED_KINDS)
        assert mask is None or (mask.shape == (64, 64) and 0 <= mask.min() < mask.max() <= 1)
        assert all(isinstance(path, str) for path in (*asked.inputs(), *asked.downloads()))
    assert (source.label_space(), source.outputs()) == (samples.label_space(), samples.outputs())
    assert source.categories() == samples.categories()
    assert source.available() in (None, samples.available())
    assert source.own_classes() in (None, samples.class_names())
    assert source.downloads() == {}, "it lies at a path, or is drawn"

    # and steps ask the samples
    assert len(ids) == 3 or len(ids) == samples.available() == 2
    table = sample_table(samples, ids)
    assert table.labels.dtype == np.int64 and set(table.labels) <= set(table.subset)
    assert len(table.class_names) == (samples.outputs() if samples.categories() is None else len(samples.categories()))
    assert (table.texture_labels is not None) == samples.is_cue_conflict
    image = samples.read(ids[0])
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert np.array_equal(samples.picture(ids[0]), image)
    assert source.native_size() in (None, *image.shape[:2])
    assert samples.chosen(2) == ids[:2]


@pytest.mark.parametrize("kind", [kind for kind in FILE_KINDS if "path" in ENTRIES[kind].model_fields])
def test_what_is_not_at_a_path_is_downloaded(kind):
    if not ENTRIES[kind].model_fields["path"].is_required():
        source = open_source(spec_of(kind, {}))
        assert source.downloads() and source.inputs() == [*source.downloads()]
        assert all(path.startswith(f"results/downloads/{kind}/") for path in source.downloads())


@pytest.mark.parametrize("kind", CORRUPTED_KINDS)
def test_every_corrupted_set_answers_what_families_ask(kind):
    options = {"classes": 10} if kind == "cifar_c" else {}
    source = open_source({"kind": kind, "corruptions": ["fog"], "severities": [1], "path": None} | options)
    assert source.clean()["kind"] in FILE_KINDS and "fog" in source.known() and source.native_size() >= 32
    assert isinstance(source.is_encoded, bool) and source.foreground("x") is None and source.downloads()


def test_nothing_of_the_interface_is_left_unasked():
    """What is new in ``datasets.source`` must be asked of every kind above."""
    text = inspect.getsource(test_every_kind_answers_everything) + inspect.getsource(sample_table)
    names = {name for name in vars(ReadableSource) | vars(Source) if not name.startswith("_")}
    assert {name for name in names if f".{name}" not in text} == set()
