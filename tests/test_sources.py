"""Sources in files: published layouts, their traps, and files of one's own."""

import csv
import gzip
import io
import json
import os
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.io import savemat

from archives_of_images import npy, picture, write_folder, write_tar, write_zip
from withstand.datasets import catalogue, label_spaces
from withstand.datasets.containers import ContainerError, Location, Reader, members
from withstand.datasets.decoding import UnreadableImageError, decode
from withstand.datasets.files import IndexedSource, SourceError
from withstand.datasets.imagenette import CLASSES
from withstand.datasets.label_spaces import LabelError
from withstand.datasets.registry import open_source
from withstand.datasets.shape_categories import CATEGORIES
from withstand.errors import WithstandError
from withstand.steps.index import index_source

FILES = {f"top/{name}/{number}.JPEG": picture(number) for number, name in enumerate(("cat", "cat", "dog"))}
WNIDS = label_spaces.wnids()
OWN = {"label_space_name": "pets", "named_by": "name", "classes": ["dog", "cat"]}


@pytest.fixture
def index(tmp_path):
    """Scans a source and opens what was found."""

    def run(**source) -> IndexedSource:
        index_source(source, tmp_path / "index.parquet")
        return IndexedSource(tmp_path / "index.parquet")

    return run


@pytest.fixture
def few(monkeypatch):
    """Published sets are as small as a test makes them."""

    def run(**samples: int) -> None:
        for name, count in samples.items():
            monkeypatch.setitem(catalogue.SAMPLES, name, count)

    return run


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


# Folders and archives


@pytest.mark.parametrize(
    "write", [write_folder, write_tar, write_zip, lambda path, files: write_zip(path, files, zipfile.ZIP_STORED)]
)
def test_folders_and_archives_hold_the_same(tmp_path, write):
    hidden = {"top/.DS_Store": b"x", "__MACOSX/._1.JPEG": b"x", "top/.git/1.JPEG": b"x"}
    found = {member.name: member.location for member in members(write(tmp_path / "x", FILES | hidden))}
    assert found.keys() == FILES.keys()
    assert {name: Reader().read(location) for name, location in found.items()} == FILES


def test_links_in_a_users_folder_are_followed_but_not_in_circles(tmp_path):
    write_folder(tmp_path / "real", FILES)
    (tmp_path / "here").mkdir()
    (tmp_path / "here/linked").symlink_to(tmp_path / "real")
    (tmp_path / "here/circle").symlink_to(tmp_path / "here")
    assert sorted(member.name for member in members(tmp_path / "here")) == [f"linked/{name}" for name in sorted(FILES)]


@pytest.mark.parametrize("name", ["../evil.JPEG", "/etc/evil.JPEG", "a/../../evil.JPEG", "a\\..\\evil.JPEG"])
@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_archives_with_paths_that_lead_out_are_refused(tmp_path, write, name):
    path = write(tmp_path / "x", {name: b"x"})
    if write is write_zip:
        path.write_bytes(path.read_bytes().replace(name.replace("\\", "/").encode(), name.encode()))
    with pytest.raises(ContainerError, match="a path that leads out of the archive"):
        list(members(path))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_archives_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        info = tarfile.TarInfo("a/1.jpg")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(ContainerError, match=r"holds the link 'a/1\.jpg'; make it anew with tar --dereference"):
        list(members(tmp_path / "x.tar"))


def test_a_link_that_leads_nowhere_is_told(tmp_path):
    (tmp_path / "1.jpg").symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(ContainerError, match=r"1\.jpg: a link that leads nowhere"):
        list(members(tmp_path))


def test_a_damaged_archive_does_not_just_end(tmp_path):
    """Python's tarfile takes a damaged header for the end of the archive."""
    path = write_tar(tmp_path / "x.tar", {f"a/{number}.JPEG": bytes(512) for number in range(4)})
    data = bytearray(path.read_bytes())
    data[2 * 1024 : 2 * 1024 + 100] = b"x" * 100
    path.write_bytes(data)
    with pytest.raises(ContainerError, match=r"x\.tar: damaged at byte 2,048"):
        list(members(path))


def test_a_zip_at_the_end_of_a_tar_is_a_member(tmp_path):
    inner = write_zip(tmp_path / "inner.zip", {"dog/inner.jpg": b"x"}).read_bytes()
    path = write_tar(tmp_path / "x.tar", FILES | {"top/extra.zip": inner})
    assert {member.name for member in members(path)} == {*FILES, "top/extra.zip"}


def test_backslashes_of_windows_separate_folders(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"pets/cat/1.jpg": b"x"})
    path.write_bytes(path.read_bytes().replace(b"pets/cat/1.jpg", b"pets\\cat\\1.jpg"))
    assert [member.name for member in members(path)] == ["pets/cat/1.jpg"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b\x08" + bytes(600), "compressed as a whole.*run gunzip"),
        (b"<!DOCTYPE html><html>log in</html>", "a web page instead of an archive"),
        (b"nothing of the kind" * 100, "not a whole tar or zip archive"),
        (b"", "not a whole tar or zip archive"),
    ],
)
def test_what_is_no_archive_is_told(tmp_path, content, message):
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(ContainerError, match=message):
        list(members(tmp_path / "x.tar"))


def test_a_cut_archive_is_told(tmp_path):
    path = write_tar(tmp_path / "x.tar", {"a/1.JPEG": bytes(5000), "a/2.JPEG": bytes(5000)})
    path.write_bytes(path.read_bytes()[:7000])
    with pytest.raises(ContainerError, match=r"x\.tar"):
        found = list(members(path))
        [Reader().read(member.location) for member in found]


def test_no_more_is_read_than_a_member_claims(tmp_path):
    bomb = write_zip(tmp_path / "x.zip", {"a/1.JPEG": bytes(10_000_000)})
    (member,) = members(bomb)
    lying = Location("zip", str(bomb), member.location.member, length=100)
    with pytest.raises(ContainerError, match="101 bytes instead of 100"):
        Reader().read(lying)
    huge = Location("zip", str(bomb), member.location.member, length=1 << 40)
    with pytest.raises(ContainerError, match="are no image"):
        Reader().read(huge)


def test_a_file_that_changed_after_the_scan_is_told(tmp_path):
    write_folder(tmp_path, {"a/1.JPEG": b"12345"})
    (member,) = members(tmp_path)
    (tmp_path / "a/1.JPEG").write_bytes(b"123456")
    with pytest.raises(ContainerError, match=r"a/1\.JPEG: 6 bytes instead of 5"):
        Reader().read(member.location)


# Decoding


def encoded(image: Image.Image, suffix: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, suffix, **options)
    return buffer.getvalue()


def odd_images() -> dict[str, bytes]:
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[274] = 6  # orientation: to be turned by a quarter
    return {
        "grey": encoded(rgb.convert("L"), "JPEG"),
        "CMYK": encoded(rgb.convert("CMYK"), "JPEG"),
        "palette": encoded(rgb.convert("P"), "PNG"),
        "palette with a transparent colour": encoded(rgb.convert("P"), "PNG", transparency=3),
        "alpha": encoded(rgb.convert("RGBA"), "PNG"),
        "grey and alpha": encoded(rgb.convert("LA"), "PNG"),
        "bits": encoded(rgb.convert("1"), "PNG"),
        "animated": encoded(rgb, "GIF", save_all=True, append_images=[rgb.rotate(90)]),
        "turned by EXIF": encoded(rgb, "JPEG", exif=exif),
    }


@pytest.mark.parametrize(("name", "data"), odd_images().items(), ids=odd_images())
def test_odd_images_are_converted_as_timm_does(tmp_path, name, data):
    from timm.data import ImageDataset

    write_folder(tmp_path, {"class/x.png": data})
    image, _ = ImageDataset(str(tmp_path))[0]
    assert np.array_equal(np.asarray(decode(data)), np.asarray(image))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (picture()[:-40], "truncated"),
        (b"\xff\xd8\xff" + bytes(100), "cannot identify|broken|truncated"),
        (encoded(Image.fromarray(np.zeros((4, 4), np.uint16)), "PNG"), "mode I;16: more than 8 bits"),
        (encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), "mode F: more than 8 bits"),
    ],
)
def test_unreadable_images_are_told(data, message):
    with pytest.raises(UnreadableImageError, match=message):
        decode(data)


# Label spaces


def test_classes_stand_for_outputs_explicitly():
    names = label_spaces.class_names("imagenet-1k")
    assert label_spaces.output_of("n01440764", names, "wnid", "imagenet-1k") == 0
    assert label_spaces.output_of("007", names, "index", "imagenet-1k") == 7
    assert label_spaces.output_of("goldfish", names, "name", "imagenet-1k") == 1
    with pytest.raises(LabelError, match=r"class 'crane' is ambiguous: outputs 134 and 517 of imagenet-1k"):
        label_spaces.output_of("crane", names, "name", "imagenet-1k")
    with pytest.raises(LabelError, match=r"class 'goldfisch' is no class of imagenet-1k; did you mean 'goldfish'"):
        label_spaces.output_of("goldfisch", names, "name", "imagenet-1k")
    with pytest.raises(LabelError, match=r"class '1000' is no index from 0 to 999"):
        label_spaces.output_of("1000", names, "index", "imagenet-1k")
    with pytest.raises(LabelError, match=r"class 'n99999999' is no WordNet id"):
        label_spaces.output_of("n99999999", names, "wnid", "imagenet-1k")


def test_the_categories_of_shapes_are_the_wordnet_ids_that_they_name():
    names = label_spaces.class_names("imagenet-1k")
    assert sum(map(len, CATEGORIES.values())) == 207
    assert [names[output] for output in CATEGORIES["bear"]] == [
        "brown bear",
        "American black bear",
        "ice bear",
        "sloth bear",
    ]
    assert [names[CATEGORIES[name][0]] for name in ("airplane", "knife", "oven")] == [
        "airliner",
        "cleaver",
        "rotisserie",
    ]


# Published sets


@pytest.mark.parametrize("kind", ["imagenet_a", "imagenet_r"])
def test_sets_of_200_classes(tmp_path, index, few, kind):
    few(**{kind: 200})
    wnids = label_spaces.imagenet_subset(kind)
    files = {f"{kind}/{wnid}/one.jpg": picture(number) for number, wnid in enumerate(wnids)}
    found = index(kind=kind, path=str(write_tar(tmp_path / "x.tar", files | {f"{kind}/README.txt": b"hello"})))
    assert (len(found.class_names()), len(found.subset()), found.label_space()) == (1000, 200, "imagenet-1k")
    ids = found.sample_ids(200)
    assert [WNIDS[label] for label in found.labels(ids)] == [name.split("/")[0] for name in ids]
    assert np.array_equal(found.read(ids[3]), pixels(files[f"{kind}/{ids[3]}"]))

    stranger = next(wnid for wnid in WNIDS if wnid not in wnids)
    with pytest.raises(SourceError, match=rf"{stranger}/one\.jpg: class {stranger} does not belong to this set"):
        more = files | {f"{kind}/{stranger}/one.jpg": b"x"}
        index(kind=kind, path=str(write_tar(tmp_path / "x.tar", more)))
    with pytest.raises(SourceError, match="201 samples found, 200 expected"):
        more = files | {f"{kind}/{wnids[0]}/two.jpg": b"x"}
        index(kind=kind, path=str(write_tar(tmp_path / "x.tar", more)))
    files.pop(f"{kind}/{wnids[7]}/one.jpg")
    with pytest.raises(SourceError, match=rf"x\.tar: there are no images of class {wnids[7]}$"):
        index(kind=kind, path=str(write_tar(tmp_path / "x.tar", files)))
    with pytest.raises(LabelError, match=r"n00000000/one\.jpg: class 'n00000000' is no WordNet id"):
        index(kind=kind, path=str(write_tar(tmp_path / "x.tar", {"a/n00000000/one.jpg": b"x"})))


def test_too_few_samples_and_none_are_told(tmp_path, index, few):
    files = {f"{wnid}/one.jpg": b"x" for wnid in label_spaces.imagenet_subset("imagenet_a")}
    path = write_folder(tmp_path / "a", files)
    with pytest.raises(SourceError, match=r"a: 200 samples found, 7,500 expected"):
        index(kind="imagenet_a", path=str(path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"empty: 0 samples found; is this the right place"):
        index(kind="imagenet_a", path=str(tmp_path / "empty"))
    assert not (tmp_path / "index.parquet").exists()


def test_folders_of_imagenet_v2_are_numbers_not_text(tmp_path, index, few):
    """Sorted as text, "10" comes before "2" (modestyachts/ImageNetV2#4)."""
    few(imagenet_v2=1000)
    files = {f"imagenetv2-top-images-format-val/{label}/x.jpeg": b"x" for label in range(1000)}
    path = write_tar(tmp_path / "x.tar", files)
    found = index(kind="imagenet_v2", variant="top-images", path=str(path))
    ids = found.sample_ids(1000)
    assert found.labels(ids).tolist() == [int(name.split("/")[0]) for name in ids] == list(range(1000))


def test_imagenette_has_splits_of_its_own(tmp_path, index, few):
    few(imagenette_val=20)
    wnids = [WNIDS[output] for output in CLASSES]
    files = {
        f"imagenette2-160/{split}/{wnid}/{split}_{number}.JPEG": b"x"
        for split, count in (("val", 2), ("train", 3))
        for wnid in wnids
        for number in range(count)
    }
    path = write_folder(tmp_path / "x", files)
    found = index(kind="imagenette", split="val", side="160", path=str(path))
    ids = found.sample_ids(100)
    assert len(ids) == 20 and all("/val_" in name for name in ids)
    assert found.labels(ids).tolist() == [*CLASSES, *CLASSES], "classes take turns"


def imagenet_files(count: int = 1000) -> dict[str, bytes]:
    """Validation images in class folders, not in the order of the classes."""
    labels = np.random.default_rng(0).permutation(count)
    return {f"{WNIDS[label]}/ILSVRC2012_val_{number:08d}.JPEG": b"x" for number, label in enumerate(labels, 1)}


def devkit(truth: list[str]) -> dict[str, bytes]:
    """The development kit, whose ids are in another order than the WordNet ids."""
    order = np.random.default_rng(1).permutation(1000)
    ids = {WNIDS[position]: number for number, position in enumerate(order, 1)}
    synsets = np.array([(number, wnid) for wnid, number in ids.items()], dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")])
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets})
    lines = "\n".join(str(ids[wnid]) for wnid in truth)
    folder = "ILSVRC2012_devkit_t12/data"
    return {f"{folder}/ILSVRC2012_validation_ground_truth.txt": lines.encode(), f"{folder}/meta.mat": meta.getvalue()}


@pytest.mark.parametrize("layout", ["csv", "synsets", "devkit folder", "devkit tar"])
def test_flat_imagenet_needs_labels_and_gets_the_same_ones(tmp_path, index, few, layout):
    few(imagenet=1000)
    files = imagenet_files()
    expected = index(kind="imagenet", path=str(write_folder(tmp_path / "folders", files)))
    truth = [name.split("/")[0] for name in files]
    flat = write_tar(tmp_path / "flat.tar", {name.split("/")[1]: data for name, data in files.items()})
    labels = tmp_path / "labels"
    if layout == "csv":
        rows = [
            f"{name.split('/')[1][:-5]},{wnid} 1 2 3 4 {wnid} 5 6 7 8" for name, wnid in zip(files, truth, strict=True)
        ]
        labels.write_text("\n".join(["ImageId,PredictionString", *reversed(rows)]))
    elif layout == "synsets":
        labels.write_text("\n".join(truth) + "\n")
    else:
        (write_folder if layout == "devkit folder" else write_tar)(labels, devkit(truth))
    found = index(kind="imagenet", path=str(flat), labels=str(labels))
    ids = found.sample_ids(1000)
    assert ids == expected.sample_ids(1000)
    assert found.labels(ids).tolist() == expected.labels(ids).tolist() == list(range(1000))


def test_numbers_as_labels_of_imagenet_are_ambiguous(tmp_path, index, few):
    few(imagenet=2)
    (tmp_path / "labels.txt").write_text("490\n361\n")
    path = write_folder(tmp_path / "x", {"ILSVRC2012_val_00000001.JPEG": b"x"})
    with pytest.raises(
        SourceError, match=r"labels\.txt: expected a WordNet id a line; numbers could be of either order"
    ):
        index(kind="imagenet", path=str(path), labels=str(tmp_path / "labels.txt"))
    with pytest.raises(SourceError, match=r"lies in no folder of a class"):
        index(kind="imagenet", path=str(path))


def test_the_training_images_of_imagenet_are_not_the_validation_images(tmp_path, index, few):
    few(imagenet=1000)
    files = {f"{wnid}/{wnid}_1.JPEG": b"x" for wnid in WNIDS}
    with pytest.raises(SourceError, match=r"n01440764_1\.JPEG: not named like a validation image"):
        index(kind="imagenet", path=str(write_folder(tmp_path / "x", files)))


def test_a_sample_that_is_there_twice_is_told(tmp_path, index, few):
    few(imagenet=1000)
    files = imagenet_files() | {f"{WNIDS[5]}/ILSVRC2012_val_00000001.png": b"x"}
    with pytest.raises(SourceError, match="a second sample 'ILSVRC2012_val_00000001'"):
        index(kind="imagenet", path=str(write_folder(tmp_path / "x", files)))


def test_cue_conflict_keeps_what_disagrees(tmp_path, index):
    names = [f"{a}/{a}{n}-{b}{n + 1}.png" for a in reversed(CATEGORIES) for b in CATEGORIES for n in range(1, 6)]
    files = {f"cue-conflict/{name}": b"x" for name in names}
    found = index(kind="cue_conflict", path=str(write_tar(tmp_path / "x.tar", files)))
    ids = found.sample_ids(2000)
    order = list(CATEGORIES)
    pairs = zip(found.labels(ids), found.texture_labels(ids), strict=True)
    told = [(order[shape], order[texture]) for shape, texture in pairs]
    assert told == [(name.split("-")[0].rstrip("0123456789"), name.split("-")[1].rstrip("0123456789")) for name in ids]
    assert len(ids) == 1200 and all(shape != texture for shape, texture in told)
    assert [shape for shape, _ in told[:16]] == order
    assert found.categories() == [list(outputs) for outputs in CATEGORIES.values()]
    with pytest.raises(SourceError, match=r"cat-dog\.png: no name of the form"):
        index(kind="cue_conflict", path=str(write_tar(tmp_path / "x.tar", {"cat/cat-dog.png": b"x"})))
    files.pop(f"cue-conflict/{names[0]}")
    with pytest.raises(SourceError, match=r"x\.tar: 79 images of the shape truck, 80 were published"):
        index(kind="cue_conflict", path=str(write_tar(tmp_path / "x.tar", files)))


def test_an_archive_of_imagenet_of_another_size_is_told(tmp_path, index, few, monkeypatch, capsys):
    few(imagenet=1000)
    path = write_tar(tmp_path / "val.tar", imagenet_files())
    size = path.stat().st_size
    index(kind="imagenet", path=str(path))
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "as published" in line)
    assert line == (
        f"{path}: {size:,} bytes, and 6,744,924,160 as published; if it was not packed anew, it is cut off or another"
    )
    index(kind="imagenet", path=str(write_folder(tmp_path / "val", imagenet_files())))
    monkeypatch.setattr(catalogue, "IMAGENET_BYTES", size)
    index(kind="imagenet", path=str(path))
    assert "as published" not in capsys.readouterr().err


def cifar_archive(classes: int, images: np.ndarray, labels: np.ndarray) -> dict[str, bytes]:
    """The binary version: label bytes, then three planes."""
    before = [labels] if classes == 10 else [labels // 5, labels]
    records = np.concatenate([np.stack(before, 1), images.transpose(0, 3, 1, 2).reshape(len(images), -1)], 1)
    folder, name, names = {
        10: ("cifar-10-batches-bin", "test_batch.bin", "batches.meta.txt"),
        100: ("cifar-100-binary", "test.bin", "fine_label_names.txt"),
    }[classes]
    listed = "\n".join(label_spaces.class_names(f"cifar-{classes}")) + "\n\n"
    return {f"{folder}/{name}": records.astype(np.uint8).tobytes(), f"{folder}/{names}": listed.encode()}


@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_from_its_binary_archive(tmp_path, index, few, classes):
    few(cifar_test=8)
    random = np.random.default_rng(classes)
    images = random.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    labels = np.array([3, 1, 1, 7, 3, 0, 9, 1])
    files = cifar_archive(classes, images, labels)
    found = index(kind="cifar", classes=classes, split="test", path=str(write_tar(tmp_path / "x.tar", files)))
    ids = found.sample_ids(8)
    assert ids == ["00005", "00001", "00000", "00003", "00006", "00002", "00004", "00007"], "classes take turns"
    assert found.labels(ids).tolist() == labels[list(map(int, ids))].tolist()
    assert all(np.array_equal(found.read(name), images[int(name)]) for name in ids)

    with pytest.raises(ContainerError, match=r"cannot be read in part; unpack it, or make it a tar"):
        index(kind="cifar", classes=classes, split="test", path=str(write_zip(tmp_path / "x.zip", files)))
    unpacked = index(kind="cifar", classes=classes, split="test", path=str(write_folder(tmp_path / "x", files)))
    assert np.array_equal(unpacked.read("00004"), images[4])
    name = next(name for name in files if name.endswith(".bin"))
    with pytest.raises(SourceError, match=r"x\.tar: .*\.bin is cut off"):
        cut = files | {name: files[name][:-1]}
        index(kind="cifar", classes=classes, split="test", path=str(write_tar(tmp_path / "x.tar", cut)))
    with pytest.raises(SourceError, match=r"binary version of CIFAR"):
        index(kind="cifar", classes=classes, split="train", path=str(write_tar(tmp_path / "x.tar", files)))
    other = {name: data.replace(b"cat", b"dog").replace(b"cattle", b"dog") for name, data in files.items()}
    with pytest.raises(SourceError, match=r"names other classes"):
        index(kind="cifar", classes=classes, split="test", path=str(write_tar(tmp_path / "x.tar", other)))


def test_tiny_imagenet_has_an_order_of_its_own(tmp_path, index, few):
    few(tiny_imagenet=4)
    wnids = [WNIDS[position] for position in np.random.default_rng(0).permutation(1000)[:200]]
    truth = [wnids[5], wnids[0], wnids[199], wnids[5]]
    files = {f"t/val/images/val_{n}.JPEG": picture(n, (64, 64)) for n in range(4)}
    files |= {"t/train/n1/images/train_0.JPEG": b"x", "t/test/images/test_0.JPEG": b"x"}
    files["t/wnids.txt"] = "\n".join(wnids).encode()
    files["t/val/val_annotations.txt"] = "\n".join(
        f"val_{n}.JPEG\t{w}\t0\t0\t9\t9" for n, w in enumerate(truth)
    ).encode()
    path = str(write_zip(tmp_path / "x.zip", files))
    found = index(kind="tiny_imagenet", labels="tiny-imagenet-200", path=path)
    ids = found.sample_ids(4)
    assert [found.class_names()[label] for label in found.labels(ids)] == [truth[int(name[4:])] for name in ids]
    assert found.class_names() == sorted(wnids) != wnids
    as_imagenet = index(kind="tiny_imagenet", labels="imagenet-1k", path=path)
    assert [WNIDS[label] for label in as_imagenet.labels(ids)] == [truth[int(name[4:])] for name in ids]
    assert np.array_equal(found.read("val_2"), pixels(files["t/val/images/val_2.JPEG"]))


def tiny_imagenet_c(conditions=(("fog", 1), ("fog", 4), ("snow", 1), ("snow", 4))) -> dict[str, bytes]:
    """A photograph a class, called like a test image of Tiny ImageNet, under some conditions: the brighter, the later
    the class, and darker in snow and at higher severities."""
    wnids = sorted(np.random.default_rng(0).choice(WNIDS, 200, replace=False).tolist())
    return {
        f"Tiny-ImageNet-C/{name}/{severity}/{wnid}/test_{(7 * number) % 200}.JPEG": encoded(
            Image.new("RGB", (64, 64), (max(0, round(number * 255 / 199) - severity - 20 * (name == "snow")),) * 3),
            "JPEG",
        )
        for name, severity in conditions
        for number, wnid in enumerate(wnids)
    }


@pytest.mark.parametrize("write", [write_folder, write_tar])
def test_tiny_imagenet_c_is_labelled_by_its_own_folders(tmp_path, index, few, write):
    """Its images are no copies of Tiny ImageNet's (hendrycks/robustness#39)."""
    few(tiny_imagenet_c=200)
    files = tiny_imagenet_c()
    path = str(write(tmp_path / "x", files))
    found = index(kind="tiny_imagenet_c", labels="tiny-imagenet-200", path=path)
    ids = found.sample_ids(200)
    wnids = sorted({name.split("/")[3] for name in files})
    assert found.class_names() == wnids and found.subset() == list(range(200))
    assert [wnids[label] for label in found.labels(ids)] == [name.split("/")[0] for name in ids] == wnids
    as_imagenet = index(kind="tiny_imagenet_c", labels="imagenet-1k", path=path)
    assert [WNIDS[label] for label in as_imagenet.labels(ids)] == wnids and len(as_imagenet.class_names()) == 1000

    with pytest.raises(SourceError, match="200 samples found, 10,000 expected"):
        few(tiny_imagenet_c=10_000)
        index(kind="tiny_imagenet_c", labels="tiny-imagenet-200", path=path)


def test_classes_that_do_not_belong_to_tiny_imagenet_c_are_told(tmp_path, index, few):
    few(tiny_imagenet_c=200)
    files = tiny_imagenet_c((("fog", 1),))
    name = next(iter(files))
    more = files | {name.replace("/n", "/n0000000"): b"x"}
    with pytest.raises(SourceError, match="images of 201 classes, expected 200"):
        index(kind="tiny_imagenet_c", labels="tiny-imagenet-200", path=str(write_tar(tmp_path / "x", more)))
    with pytest.raises(LabelError, match=r"class 'n0000000\d+' is no class of imagenet-1k"):
        index(kind="tiny_imagenet_c", labels="imagenet-1k", path=str(write_tar(tmp_path / "x", more)))


# Files of one's own


def test_a_folder_for_each_class(tmp_path, index):
    found = index(kind="folder", path=str(write_zip(tmp_path / "x.zip", FILES)), **OWN)
    assert found.sample_ids(9) == ["dog/2.JPEG", "cat/0.JPEG", "cat/1.JPEG"], "classes take turns, by output"
    assert found.labels(found.sample_ids(9)).tolist() == [0, 1, 1]
    with pytest.raises(LabelError, match=r"dog/2\.JPEG: class 'dog' is no class of pets"):
        index(kind="folder", path=str(tmp_path / "x.zip"), **OWN | {"classes": ["cat", "horse"]})


def test_a_flat_folder_with_a_table(tmp_path, index):
    flat = write_folder(tmp_path / "flat", {"1.jpg": picture(1), "more/2.jpg": picture(2), "3.jpg": picture(3)})
    table = tmp_path / "labels.csv"

    def write(*rows: tuple, header=("label", "note", "file")) -> None:
        with table.open("w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file).writerows([header, *rows])

    source = {"kind": "folder", "path": str(flat), "labels": str(table), **OWN}
    write(("cat", "", "more/2.jpg"), ("dog", "a, b", "1.jpg"))
    found = index(**source)
    assert found.sample_ids(9) == ["1.jpg", "more/2.jpg"], "what is not in the table is not in the set"
    assert np.array_equal(found.read("more/2.jpg"), pixels(picture(2)))
    for rows, message in (
        ([("cat", "", "4.jpg")], r"labels\.csv, line 2: no image '4\.jpg' in"),
        ([("cat", "", "1.jpg"), ("cow", "", "3.jpg")], r"labels\.csv, line 3: class 'cow' is no class of pets"),
        ([("", "", "1.jpg")], r"labels\.csv, line 2: no label"),
        ([("cat", "", "1.jpg"), ("cat", "", "1.jpg")], r"a second sample '1\.jpg'"),
    ):
        write(*rows)
        with pytest.raises((SourceError, LabelError), match=message):
            index(**source)
    write(header=("name", "label"))
    with pytest.raises(SourceError, match=r"labels\.csv: no column 'file'; there are name, label"):
        index(**source)


def test_numpy_arrays(tmp_path, index):
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    write_folder(tmp_path, {"x.npy": npy(images), "y.npy": npy(np.array([1, 0, 0, 1, 1]))})
    source = {"kind": "arrays", "images_path": str(tmp_path / "x.npy"), "labels_path": str(tmp_path / "y.npy")}
    source |= {"size": 16, "label_space_name": "pets", "classes": ["dog", "cat"]}
    found = index(**source)
    ids = found.sample_ids(9)
    assert found.labels(ids).tolist() == [1, 0, 0, 1, 1]
    assert np.array_equal(np.stack([found.read(name) for name in ids]), images)
    for name, array, message in (
        ("y.npy", np.array([1, 0, 0, 1, 2]), r"y\.npy: label 2 at 4, pets has 2 outputs"),
        ("y.npy", np.array([1.0, 0.0]), r"y\.npy: expected one array of whole numbers"),
        ("y.npy", np.array([{}], dtype=object), r"y\.npy: not an array in the \.npy format"),
        ("x.npy", images[:4], r"x\.npy: images of shape \(4, 16, 16, 3\), expected \(5, 16, 16, 3\)"),
        ("x.npy", images.astype(np.float32), r"x\.npy: an array of float32, expected uint8"),
        ("x.npy", np.asfortranarray(images), r"x\.npy: an array of uint8 in Fortran order"),
    ):
        write_folder(tmp_path, {"x.npy": npy(images), "y.npy": npy(np.array([1, 0, 0, 1, 1]))} | {name: npy(array)})
        with pytest.raises(SourceError, match=message):
            index(**source)


@pytest.mark.parametrize("nested", [True, False])
def test_parquet_in_the_layout_of_the_hub(tmp_path, index, nested):
    data = [picture(number) for number in range(5)]
    images = [{"bytes": one, "path": "x.jpg"} for one in data] if nested else data
    facts = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    for number, part in enumerate((slice(0, 3), slice(3, 5))):
        table = pa.table({"image": images[part], "label": [0, 1, 1, 0, 1][part]})
        table = table.replace_schema_metadata({"huggingface": json.dumps(facts)})
        pq.write_table(table, tmp_path / f"test-{number:05d}.parquet", row_group_size=2)
    source = {"kind": "parquet", "path": str(tmp_path)} | OWN
    (tmp_path / "index.parquet").unlink(missing_ok=True)
    index_source(source, tmp_path / "made/index.parquet")
    found = IndexedSource(tmp_path / "made/index.parquet")
    ids = found.sample_ids(9)
    assert [found.class_names()[label] for label in found.labels(ids)] == ["cat", "dog", "dog", "cat", "dog"]
    assert all(np.array_equal(found.read(name), pixels(data[int(name)])) for name in reversed(ids))
    by_index = {**source, "named_by": "index"}
    index_source(by_index, tmp_path / "made/index.parquet")
    assert IndexedSource(tmp_path / "made/index.parquet").labels(ids).tolist() == [0, 1, 1, 0, 1]
    with pytest.raises(SourceError, match=r"no column 'picture'; there are image, label"):
        index_source({**source, "image_column": "picture"}, tmp_path / "made/index.parquet")
    table = pa.table({"image": images[:1], "label": [-1]}).replace_schema_metadata({"huggingface": json.dumps(facts)})
    pq.write_table(table, tmp_path / "test-00000.parquet")
    with pytest.raises(LabelError, match=r"test-00000\.parquet: label -1; there are 2 names, and -1 means no label"):
        index_source(source, tmp_path / "made/index.parquet")
    (tmp_path / "test-00000.parquet").write_bytes(b"x" * 100)
    with pytest.raises(SourceError, match=r"test-00000\.parquet: not a Parquet file"):
        index_source(source, tmp_path / "made/index.parquet")


def test_every_archive_of_the_catalogue_is_named_and_checked():
    """Where torchvision, torch-uncertainty or TensorFlow Datasets know a digest, it is checked."""
    unchecked = {"cue-conflict.tar.gz"}
    corruptions = [name for group in catalogue.IMAGENET_C for name in group]
    assert len(corruptions) == len(set(corruptions)) == 19
    specs = [
        {"kind": kind} for kind in ("imagenet_a", "imagenet_r", "imagenet_sketch", "cue_conflict", "tiny_imagenet")
    ]
    specs += [{"kind": "imagenet_v2", "variant": variant} for variant in catalogue.IMAGENET_V2]
    specs += [{"kind": "imagenette", "split": "val", "side": side} for side in catalogue.IMAGENETTE]
    specs += [{"kind": "cifar", "classes": classes, "split": "test"} for classes in (10, 100)]
    wanted = {"corruptions": corruptions, "severities": [1]}
    specs += [{"kind": "imagenet_c"} | wanted, {"kind": "tiny_imagenet_c"} | wanted]
    specs += [{"kind": "cifar_c", "classes": classes} | wanted for classes in (10, 100)]
    archives = [archive for spec in specs for archive in open_source(spec).archives()]
    assert {archive.stored for archive in archives} == {archive.stored for archive in catalogue.archives()}
    assert len({archive.name for archive in archives}) == len(archives) == 22
    assert {archive.name for archive in archives if not archive.digests} == unchecked
    assert all(spec["kind"] in catalogue.LICENCES for spec in specs)
    only_noise = open_source({"kind": "imagenet_c", "corruptions": ["shot_noise"], "severities": [1]})
    assert only_noise.inputs() == ["results/downloads/imagenet_c/noise.tar"]
    assert open_source({"kind": "cifar", "classes": 10, "split": "test"}).inputs() == [
        "results/downloads/cifar/cifar-10-binary.tar"
    ]


def test_a_folder_of_archives_as_downloaded_is_found(tmp_path, index, few):
    few(imagenet_a=200)
    files = {f"imagenet-a/{wnid}/1.jpg": b"x" for wnid in label_spaces.imagenet_subset("imagenet_a")}
    write_tar(tmp_path / "imagenet-a.tar", files)
    assert index(kind="imagenet_a", path=str(tmp_path)).available() == 200


@pytest.mark.parametrize("given", ["folder", "file"])
def test_a_plain_archive_of_ones_own_may_be_called_gz(tmp_path, index, few, given):
    few(imagenet_v2=1000)
    path = tmp_path / "v2/imagenetv2-top-images.tar.gz"
    path.parent.mkdir()
    write_tar(path, {f"imagenetv2-top-images-format-val/{label}/x.jpeg": b"x" for label in range(1000)})
    where = {"kind": "imagenet_v2", "variant": "top-images", "path": str(path if given == "file" else path.parent)}
    assert index(**where).available() == 1000
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(WithstandError, match=r"imagenetv2-top-images\.tar\.gz: compressed as a whole.*run gunzip"):
        index(**where)


def test_a_file_name_that_is_no_text_is_told(tmp_path, index):
    write_folder(tmp_path / "x/cat", {"1.jpg": b"x"})
    (tmp_path / "x/cat/1.jpg").rename(os.fsdecode(bytes(tmp_path / "x/cat") + b"/\xff.jpg"))
    with pytest.raises(SourceError, match="a file name that is no UTF-8"):
        index(kind="folder", path=str(tmp_path / "x"), **OWN)
