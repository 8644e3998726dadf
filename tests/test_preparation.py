"""Sources in files to the image store, and corrupted sets as published beside them."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torchvision import transforms

from archives_of_images import npy, picture, write_folder, write_tar
from photographs import class_folders
from test_models import own
from test_sources import tiny_imagenet_c
from withstand import images
from withstand.datasets import catalogue, label_spaces
from withstand.datasets.decoding import UnreadableImageError
from withstand.datasets.files import IndexedSource, SourceError
from withstand.errors import WithstandError
from withstand.figures.accuracy_by_severity import select
from withstand.inference import of_categories, score
from withstand.steps.datasets import Preparation, prepare_images
from withstand.steps.index import index_source
from withstand.steps.missed import find_missed, read_missed
from withstand.steps.models import write_card
from withstand.steps.predict import ImageSet, predict
from withstand.steps.stream import DownloadedSet, ResizedSet
from withstand.steps.tabulate import summarise
from withstand.steps.take import take_images
from withstand.subsets import Subset

BILINEAR = Preparation(crop_pct=0.875, interpolation="bilinear")
LETTERS = {"label_space_name": "letters", "named_by": "name", "classes": ["a", "b"]}


def scan(tmp_path: Path, **source) -> IndexedSource:
    index_source(source, tmp_path / "index.parquet")
    return IndexedSource(tmp_path / "index.parquet")


@pytest.fixture
def photographs(tmp_path) -> IndexedSource:
    folder = class_folders(tmp_path / "photographs")
    return scan(tmp_path, kind="folder", path=str(folder), label_space_name="imagenet-1k", named_by="index")


def test_images_are_resized_as_those_of_imagenet_c_were(tmp_path, photographs):
    """Resize(256) and CenterCrop(224), of torchvision at that time: bilinear."""
    prepare_images(photographs, 0, 20, size=224, codec="raw", output=tmp_path / "o.h5", preparation=BILINEAR, threads=2)
    expected = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    with images.ImageFile(tmp_path / "o.h5") as file:
        stored = file.read("clean", 0, slice(None))
        assert file.origin["preparation"] == vars(BILINEAR)
        for sample_id, image in zip(file.samples.ids, stored, strict=True):
            original = Image.open(tmp_path / "photographs" / sample_id).convert("RGB")
            assert np.array_equal(image, np.asarray(expected(original)))


@pytest.mark.parametrize("size", [(50, 91), (91, 50), (40, 40), (33, 32)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_any_shape_is_resized_as_torchvision_does(tmp_path, size, interpolation):
    files = {"a/1.png": picture(1, size, "PNG"), "b/1.png": picture(2, size, "PNG")}
    source = scan(tmp_path, kind="folder", path=str(write_folder(tmp_path / "x", files)), **LETTERS)
    preparation = Preparation(crop_pct=0.9, interpolation=interpolation)
    prepare_images(source, 0, 2, size=32, codec="raw", output=tmp_path / "o.h5", preparation=preparation)
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    expected = transforms.Compose([transforms.Resize(35, filters[interpolation]), transforms.CenterCrop(32)])
    with images.ImageFile(tmp_path / "o.h5") as file:
        original = Image.open(io.BytesIO(files["b/1.png"]))
        assert np.array_equal(file.read("clean", 0, slice(1, 2))[0], np.asarray(expected(original)))


def test_images_of_the_studys_size_stay_as_they_are(tmp_path):
    """Resizing and cropping ImageNet-C once more changes ranks (RobustBench#59)."""
    files = {"a/1.png": picture(1, (32, 32), "PNG"), "b/1.png": picture(2, (32, 32), "PNG")}
    source = scan(tmp_path, kind="folder", path=str(write_folder(tmp_path / "x", files)), **LETTERS)
    prepare_images(source, 0, 2, size=32, codec="raw", output=tmp_path / "o.h5", preparation=BILINEAR)
    with images.ImageFile(tmp_path / "o.h5") as file:
        stored = file.read("clean", 0, slice(None))
        assert np.array_equal(stored[0], np.asarray(Image.open(tmp_path / "x/a/1.png")))
    with pytest.raises(WithstandError, match=r"a/1\.png: an image of 32 x 32 px, expected 24 x 24"):
        prepare_images(source, 0, 2, size=24, codec="raw", output=tmp_path / "o.h5")


@pytest.fixture
def damaged(tmp_path) -> IndexedSource:
    """Six images, of which one is cut off and one is empty."""
    files = {f"{name}/{number}.jpg": picture(number, (40, 36)) for name in "ab" for number in range(3)}
    files |= {"a/1.jpg": files["a/1.jpg"][:-200], "b/2.jpg": b""}
    return scan(tmp_path, kind="folder", path=str(write_tar(tmp_path / "x.tar", files)), **LETTERS)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_unreadable_image_stops_the_step_and_is_named(tmp_path, damaged, threads):
    with pytest.raises(UnreadableImageError, match=r"x\.tar, a/1\.jpg: not a readable image \(.*truncated"):
        prepare_images(
            damaged, 0, 6, size=32, codec="raw", output=tmp_path / "o.h5", preparation=BILINEAR, threads=threads
        )
    assert not (tmp_path / "o.h5").exists()


def test_or_is_left_out_named_and_counted(tmp_path, damaged, capsys):
    preparation = Preparation(0.875, "bilinear", "skip")
    prepare_images(damaged, 0, 6, size=32, codec="raw", output=tmp_path / "o.h5", preparation=preparation, threads=2)
    with images.ImageFile(tmp_path / "o.h5") as file:
        assert file.samples.ids == ["a/0.jpg", "b/0.jpg", "b/1.jpg", "a/2.jpg"]
        assert file.samples.labels.tolist() == [0, 1, 1, 0]
        assert file.origin["skipped"] == ["a/1.jpg", "b/2.jpg"]
        assert len(file.read("clean", 0, slice(None))) == 4
    log = capsys.readouterr().err
    assert "left out:" in log and "a/1.jpg" in log and "b/2.jpg: not a readable image (empty)" in log


def test_the_model_policy_leaves_out_the_same(tmp_path, damaged):
    spec = own("mean_color") | {"label_space": "letters"}
    spec["kwargs"] = {"outputs": 2}
    write_card("m", spec, None, tmp_path / "m.json")
    source = {"kind": "folder", "path": str(tmp_path / "x.tar"), **LETTERS}

    def run(unreadable: str) -> list[str]:
        given = ResizedSet(
            "d", "clean", source, (0, 6), [], 0, "raw", tmp_path / "o.parquet", "model",
            index=tmp_path / "index.parquet", unreadable=unreadable,
        )  # fmt: skip
        predict(tmp_path / "m.json", None, [given], batch_size=4, device="cpu")
        return pq.read_table(tmp_path / "o.parquet")["sample_id"].to_pylist()

    with pytest.raises(UnreadableImageError, match=r"a/1\.jpg"):
        run("stop")
    found = tmp_path / "missed.parquet"
    search = {"spec": spec, "weights": None, "output": found}
    with pytest.raises(UnreadableImageError, match=r"a/1\.jpg"):
        find_missed(damaged, (0, 6), 1, **search)
    find_missed(damaged, (0, 6), 1, **search, unreadable="skip")
    assert not set(read_missed(found)) & {"a/1.jpg", "b/2.jpg"}
    assert run("skip") == ["a/0.jpg", "b/0.jpg", "b/1.jpg", "a/2.jpg"]


def test_a_set_of_which_nothing_can_be_read_is_told(tmp_path):
    files = {f"{name}/{number}.jpg": b"x" for name in "ab" for number in range(3)}
    source = scan(tmp_path, kind="folder", path=str(write_tar(tmp_path / "x.tar", files)), **LETTERS)
    with pytest.raises(WithstandError, match=r"o\.h5: no image can be read"):
        prepare_images(
            source, 0, 6, size=32, codec="raw", output=tmp_path / "o.h5", preparation=Preparation(unreadable="skip")
        )
    card = {"preprocessing": {"input_size": 8, "mean": (0,) * 3, "std": (1,) * 3}}
    given = ResizedSet(
        "d",
        "clean",
        {"kind": "folder"},
        (0, 6),
        [],
        0,
        "raw",
        tmp_path / "o",
        "model",
        (),
        tmp_path / "index.parquet",
        "skip",
    )
    with pytest.raises(WithstandError, match="d: no image can be read"):
        list(given.shards(card, "cpu"))


def test_other_labels_are_predicted_again(tmp_path):
    write_card("m", own("mean_color", outputs=2) | {"label_space": "letters"}, None, tmp_path / "m.json")
    write_folder(tmp_path / "x", {"1.jpg": picture(1), "2.jpg": picture(2)})
    table = tmp_path / "labels.csv"
    source = {"kind": "folder", "path": str(tmp_path / "x"), "labels": str(table), **LETTERS}

    def labels(text: str) -> dict:
        table.write_text(text)
        scan(tmp_path, **source)
        index = tmp_path / "index.parquet"
        given = ResizedSet("d", "clean", source, (0, 2), [], 0, "raw", tmp_path / "o.parquet", "model", index=index)
        predict(tmp_path / "m.json", None, [given], batch_size=4, device="cpu")
        found = pq.read_table(tmp_path / "o.parquet").to_pydict()
        return dict(zip(found["sample_id"], found["label"], strict=True))

    assert labels("file,label\n1.jpg,a\n2.jpg,b\n") == {"1.jpg": 0, "2.jpg": 1}
    assert labels("file,label\n1.jpg,b\n2.jpg,a\n") == {"1.jpg": 1, "2.jpg": 0}


def test_too_few_samples_stop_the_step(tmp_path, photographs):
    with pytest.raises(WithstandError, match="20 samples found, 21 wanted"):
        prepare_images(photographs, 15, 21, size=224, codec="raw", output=tmp_path / "x/clean/o.h5")


# Corrupted sets as published

COPIES = {"corruptions": ["fog", "snow"], "severities": [1, 4]}


def copies_of_imagenet(change=lambda files: files) -> dict[str, bytes]:
    files = {
        f"{name}/{severity}/{label_spaces.wnids()[number]}/ILSVRC2012_val_{number + 1:08d}.JPEG": picture(
            1000 * severity + 10 * number + len(name), (32, 32)
        )
        for name in ("fog", "snow", "frost")
        for severity in (1, 2, 4)
        for number in range(4)
    }
    return change(files)


@pytest.fixture
def clean(tmp_path, monkeypatch) -> Path:
    """Four stored validation images of ImageNet, 32 px."""
    monkeypatch.setitem(catalogue.SAMPLES, "imagenet", 1000)
    wnids = label_spaces.wnids()
    files = {f"{wnid}/ILSVRC2012_val_{n:08d}.JPEG": picture(n, (32, 32)) for n, wnid in enumerate(wnids, 1)}
    source = scan(tmp_path, kind="imagenet", path=str(write_folder(tmp_path / "val", files)))
    prepare_images(source, 0, 4, size=32, codec="raw", output=tmp_path / "clean.h5")
    return tmp_path / "clean.h5"


def scan_copies(tmp_path: Path, path: Path) -> Path:
    index_source({"kind": "imagenet_c", "path": str(path), **COPIES}, tmp_path / "copies.parquet")
    return tmp_path / "copies.parquet"


@pytest.mark.parametrize("write", [write_folder, write_tar])
@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_a_downloaded_set_is_taken_as_it_is(tmp_path, clean, write, codec):
    files = copies_of_imagenet()
    index = scan_copies(tmp_path, write(tmp_path / "x", files))
    take_images(clean, index, COPIES, codec=codec, output=tmp_path / "o.h5", threads=2)
    with images.ImageFile(tmp_path / "o.h5") as file, images.ImageFile(clean) as labels:
        assert file.conditions == [("fog", 1, 0), ("fog", 4, 1), ("snow", 1, 0), ("snow", 4, 1)]
        assert np.array_equal(file.samples.labels, labels.samples.labels)
        for name, severity, number in file.conditions:
            stored = file.read(name, number, slice(None))
            for sample_id, image in zip(file.samples.ids, stored, strict=True):
                (data,) = (files[key] for key in files if f"{name}/{severity}/" in key and sample_id in key)
                assert np.array_equal(image, np.asarray(Image.open(io.BytesIO(data))))
                if codec == "jpeg":
                    assert data in file._file[name]["bytes"][()].tobytes(), "bytes are copied, not encoded again"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: {k: v for k, v in files.items() if "/4/" not in k}, "no fog at severity 4"),
        (
            lambda files: {k: v for k, v in files.items() if "snow/4" not in k or "00000003" not in k},
            r"snow at severity 4: 1 samples have no copy, e\.g\. 'ILSVRC2012_val_00000003'",
        ),
        (
            lambda files: {k.replace("snow/4/n01440764", "snow/4/n01443537"): v for k, v in files.items()},
            r"snow/4/n01443537/ILSVRC2012_val_00000001\.JPEG: lies in the folder of n01443537, but the clean image is"
            " of n01440764",
        ),
        (
            lambda files: {k.replace("snow/4/n01440764", "snow/4/n00000000"): v for k, v in files.items()},
            "class 'n00000000' is no WordNet id of ImageNet-1k",
        ),
        (
            lambda files: files | {k: picture(0, (64, 64)) for k in files if "snow/1" in k},
            "snow at severity 1, ILSVRC2012_val_00000001: 64 x 64 px, the clean images have 32 x 32",
        ),
        (lambda files: files | {k: v[:50] for k, v in files.items() if "fog/4" in k}, r"fog/4/.*not a readable image"),
    ],
)
def test_copies_that_do_not_belong_to_the_clean_set_are_told(tmp_path, clean, change, message):
    with pytest.raises(WithstandError, match=message):
        index = scan_copies(tmp_path, write_tar(tmp_path / "x", copies_of_imagenet(change)))
        take_images(clean, index, COPIES, codec="jpeg", output=tmp_path / "o.h5")
    assert not (tmp_path / "o.h5").exists()


def test_read_in_place_they_give_the_same_predictions(tmp_path, clean):
    spec = own("mean_color", outputs=1000) | {"label_space": "imagenet-1k"}
    write_card("m", spec, None, tmp_path / "m.json")
    index = scan_copies(tmp_path, write_tar(tmp_path / "x.tar", copies_of_imagenet()))
    take_images(clean, index, COPIES, codec="jpeg", output=tmp_path / "o.h5")
    stored = ImageSet("val", "c", [tmp_path / "o.h5"], tmp_path / "stored.parquet")
    read = DownloadedSet("val", "c", [clean], index, **COPIES, output=tmp_path / "read.parquet", threads=2)
    predict(tmp_path / "m.json", None, [stored, read], batch_size=3, device="cpu")
    tables = [pq.read_table(tmp_path / f"{name}.parquet") for name in ("stored", "read")]
    assert tables[0].num_rows == 16
    assert tables[0].equals(tables[1])

    two = [replace(image_set, output=tmp_path / "two.parquet", subset=Subset(2, 0)) for image_set in (stored, read)]
    tables = []
    for image_set in two:
        predict(tmp_path / "m.json", None, [image_set], batch_size=3, device="cpu")
        tables.append(pq.read_table(image_set.output))
    assert tables[0].num_rows == 8
    assert tables[0].equals(tables[1])


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Scans a copy of Tiny-ImageNet-C: the file of its samples, and the index of its copies."""

    def run(files: dict[str, bytes], **wanted) -> tuple[Path, Path]:
        monkeypatch.setitem(catalogue.SAMPLES, "tiny_imagenet_c", 200)
        path = str(write_tar(tmp_path / "Tiny-ImageNet-C.tar", files))
        source = scan(tmp_path, kind="tiny_imagenet_c", labels="tiny-imagenet-200", path=path)
        without = Preparation(with_images=False)
        prepare_images(source, 0, 150, size=64, codec="raw", output=tmp_path / "clean.h5", preparation=without)
        index_source({"kind": "tiny_imagenet_c", "path": path, **COPIES}, tmp_path / "copies.parquet")
        return tmp_path / "clean.h5", tmp_path / "copies.parquet"

    return run


def test_a_set_without_clean_images_has_samples_copies_and_predictions(tmp_path, tiny):
    files = tiny_imagenet_c()
    samples, index = tiny(files)
    with images.ImageFile(samples) as file:
        assert file.conditions == [] and len(file) == 150 and file.size == 64
    take_images(samples, index, COPIES, codec="raw", output=tmp_path / "o.h5", threads=2)
    with images.ImageFile(tmp_path / "o.h5") as file:
        for name, severity, number in file.conditions:
            for sample_id, image in zip(file.samples.ids, file.read(name, number, slice(None)), strict=True):
                data = files[f"Tiny-ImageNet-C/{name}/{severity}/{sample_id}.JPEG"]
                assert np.array_equal(image, np.asarray(Image.open(io.BytesIO(data))))
        red = file.read("fog", 0, slice(None))[..., 0].mean((1, 2)) / 255
        expected = (np.rint(red * 199) == file.samples.labels).mean()
        assert 0.1 < expected < 0.9

    write_card("m", own("mean_color", outputs=200) | {"label_space": "tiny-imagenet-200"}, None, tmp_path / "m.json")
    stored = ImageSet("tiny", "c", [tmp_path / "o.h5"], tmp_path / "stored.parquet", policy="published")
    read = DownloadedSet("tiny", "c", [samples], index, **COPIES, output=tmp_path / "read.parquet", threads=2)
    predict(tmp_path / "m.json", None, [stored, read], batch_size=30, device="cpu")
    tables = [pq.read_table(tmp_path / f"{name}.parquet") for name in ("stored", "read")]
    assert tables[0].num_rows == 600 and tables[0].equals(tables[1])

    beside = (tmp_path / f"{name}.parquet" for name in ("calibration", "images"))
    summarise([tmp_path / "stored.parquet"], tmp_path / "table.parquet", *beside)
    rows = pd.read_parquet(tmp_path / "table.parquet")
    single = rows[(rows["corruption"] == "fog") & (rows["severity"] == 1) & rows["family"].notna()]
    assert single["value"].tolist() == [expected] and single["n"].tolist() == [150]
    assert set(rows["policy"]) == {"published"} and set(rows["label_mode"]) == {"all"}
    assert "clean" not in set(rows["family"])
    drawn = select(rows, pd.DataFrame())
    assert set(drawn["severity"]) == {1, 4}, "no clean images stand at 0"


def test_a_copy_among_another_class_has_no_sample(tmp_path, tiny):
    """As under frost in the first upload of Tiny-ImageNet-C, whose images are of a thousand classes (#60)."""
    files = tiny_imagenet_c()
    name = next(name for name in files if "fog/4" in name)
    moved = {k: v for k, v in files.items() if k != name} | {name.replace("fog/4/n0", "fog/4/n9"): files[name]}
    samples, index = tiny(moved)
    lost = "/".join(name.split("/")[-2:]).removesuffix(".JPEG")
    with pytest.raises(SourceError, match=rf"fog at severity 4: 1 samples have no copy, e\.g\. '{lost}'"):
        take_images(samples, index, COPIES, codec="raw", output=tmp_path / "o.h5")


@pytest.mark.parametrize("classes", [10, 100])
def test_rows_of_cifar_c_are_the_test_images_severity_by_severity(tmp_path, monkeypatch, classes):
    monkeypatch.setitem(catalogue.SAMPLES, "cifar_test", 3)
    array = np.random.default_rng(0).integers(0, 256, (15, 32, 32, 3), dtype=np.uint8)
    files = {
        f"CIFAR-{classes}-C/{name}.npy": npy(array + number) for number, name in enumerate(("fog", "frost", "snow"))
    }
    path = write_tar(tmp_path / "x.tar", files | {f"CIFAR-{classes}-C/labels.npy": npy(np.zeros(15, np.uint8))})
    source = {"kind": "cifar_c", "classes": classes, "path": str(path), **COPIES}
    samples = images.Samples(["00002", "00000"], np.array([1, 0]), ["a", "b"], np.arange(2), f"cifar-{classes}")
    with images.create(tmp_path / "clean.h5", samples, size=32, codec="raw", origin={}) as writer:
        writer.add("clean", [0])
        writer.write("clean", 0, 0, array[:2])
    index_source(source, tmp_path / "copies.parquet")
    take_images(tmp_path / "clean.h5", tmp_path / "copies.parquet", COPIES, codec="raw", output=tmp_path / "o.h5")
    with images.ImageFile(tmp_path / "o.h5") as file:
        assert np.array_equal(file.read("snow", 1, slice(None)), (array + 2)[[9 + 2, 9 + 0]])
        assert np.array_equal(file.read("fog", 0, slice(None)), array[[2, 0]])
    write_tar(path, files | {f"CIFAR-{classes}-C/fog.npy": npy(array[:14])})
    with pytest.raises(SourceError, match=r"fog\.npy has the shape \(14, 32, 32, 3\), expected \(15, 32, 32, 3\)"):
        index_source(source, tmp_path / "copies.parquet")


# Categories of several outputs


def test_a_category_has_the_mean_probability_of_its_outputs():
    """Not the sum, nor the highest: those give other answers (Geirhos et al., ICLR 2019)."""
    probabilities = torch.tensor([[0.30, 0.22, 0.22, 0.26], [0.1, 0.1, 0.1, 0.7]])
    categories = [[0], [1, 2], [3]]
    found = of_categories(probabilities.log(), categories)
    assert torch.allclose(found.exp(), torch.tensor([[0.30, 0.22, 0.26], [0.1, 0.1, 0.7]]).double())
    samples = images.Samples(
        ["x", "y"], np.array([0, 2]), ["p", "q", "r"], np.arange(3), "four", np.array([2, 1]), categories
    )
    columns = score(probabilities.log(), samples, ("categories",))
    assert columns["correct_categories"].tolist() == [True, True], "by the sum, q would be the answer to x"
    assert columns["texture_correct_categories"].tolist() == [False, False]
    assert columns["label_probability_categories"] == pytest.approx([0.30 / 0.78, 0.7 / 0.9])


def test_categories_survive_the_store(tmp_path):
    samples = images.Samples(["x"], np.array([1]), ["p", "q"], np.arange(2), "imagenet-1k", None, [[0], [5, 7, 999]])
    with images.create(tmp_path / "o.h5", samples, size=8, codec="raw", origin={}) as writer:
        writer.add("clean", [0])
        writer.write("clean", 0, 0, np.zeros((1, 8, 8, 3), np.uint8))
    with images.ImageFile(tmp_path / "o.h5") as file:
        assert file.samples.categories == [[0], [5, 7, 999]]


def test_models_with_too_few_outputs_have_no_answer_in_categories(tmp_path):
    samples = images.Samples(["x"], np.array([1]), ["p", "q"], np.arange(2), "imagenet-1k", None, [[0], [5, 7, 999]])
    with images.create(tmp_path / "o.h5", samples, size=64, codec="raw", origin={}) as writer:
        writer.add("clean", [0])
        writer.write("clean", 0, 0, np.zeros((1, 64, 64, 3), np.uint8))
    write_card("m", own("mean_color", outputs=999) | {"label_space": "imagenet-1k"}, None, tmp_path / "m.json")
    given = ImageSet("d", "clean", [tmp_path / "o.h5"], tmp_path / "o.parquet")
    predict(tmp_path / "m.json", None, [given], batch_size=3, device="cpu")
    facts = json.loads(pq.read_schema(tmp_path / "o.parquet").metadata[b"withstand"])
    assert facts["failure"] == "the model has 999 outputs, too few for the label space imagenet-1k"
